"""Proves that a program can neither stall, race, read rubbish nor leave its memory, in any run.

Any run: every value of the scalars and every content of the tables within their bounds, and so
every number of turns of every loop. docs/decisions/0003-verifier.md says why the proof holds.
"""

from dataclasses import dataclass, replace

from tapeout.chip import Chip
from tapeout.compiler.accesses import Tile, overlap
from tapeout.compiler.footprint import Footprint
from tapeout.compiler.numbers import Numbers
from tapeout.compiler.order import Order
from tapeout.compiler.structure import parse
from tapeout.errors import CompileError, EncodingError
from tapeout.isa.fields import Space
from tapeout.isa.instructions import Barrier
from tapeout.isa.program import Program, to_bytes


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was proven, in numbers: over all cores but for the peaks, which are of one core."""

    instructions: int
    loops: int
    barriers: int
    hazards: int
    """Pairs of accesses that could clash and are ordered."""
    counters: int
    peak_l1_bytes: int
    peak_scale_bytes: int
    peak_acc_bytes: int
    memory_bytes: int


def verify(program: Program, chip: Chip) -> Proof:
    """Prove that `program` is safe on `chip`.

    Raises:
        CompileError: naming the core, the instruction and the rule that it breaks.
    """
    _check_header(program, chip)
    trees = [parse(core, instructions) for core, instructions in enumerate(program.cores)]
    numbers = Numbers()
    cores = [Footprint(program, chip, core, numbers) for core in range(len(program.cores))]
    runs = [one.follow(tree) for one, tree in zip(cores, trees, strict=True)]
    done = object()
    while True:
        ends = [next(run, done) for run in runs]
        _check_between_cores(cores)
        if all(end is done for end in ends):
            break
    orders = [
        Order(core, program.cores[core], one.tiles, one.turns, chip.core.queue_depth)
        for core, one in enumerate(cores)
    ]
    for order, tree in zip(orders, trees, strict=True):
        order.check(tree)
    return _proof(program, cores, orders)


def _proof(program: Program, cores: list[Footprint], orders: list[Order]) -> Proof:
    def peak(space: Space) -> int:
        return max(core.peak.get(space, 0) for core in cores)

    return Proof(
        instructions=sum(len(core) for core in program.cores),
        loops=sum(len(core.turns) for core in cores),
        barriers=_barriers(program, 0),
        hazards=sum(order.hazards for order in orders),
        counters=sum(len(order.counters) for order in orders),
        peak_l1_bytes=peak(Space.L1),
        peak_scale_bytes=peak(Space.SCALE),
        peak_acc_bytes=peak(Space.ACC),
        memory_bytes=sum(region.size_bytes for region in program.regions),
    )


def _barriers(program: Program, core: int) -> int:
    return sum(isinstance(i.op, Barrier) for i in program.cores[core])


def _check_header(program: Program, chip: Chip) -> None:
    where = f"program {program.name}"
    if program.chip != chip.fingerprint:
        raise CompileError(
            f"the chip must be the one that the program is for, {program.chip},"
            f" not {chip.name} ({chip.fingerprint})",
            where=where,
        )
    if len(program.cores) != chip.cores:
        raise CompileError(
            f"the program must have {chip.cores} cores, not {len(program.cores)}", where=where
        )
    try:
        to_bytes(replace(program, cores=((),) * len(program.cores)))
    except EncodingError as error:
        raise CompileError(error.problem, where=where, hint=error.hint) from error
    for region in program.regions:
        if region.end > chip.hbm.capacity_bytes:
            raise CompileError(
                f"`{region.name}` must end within the {chip.hbm.capacity_bytes} bytes of memory,"
                f" not at {region.end}",
                where=where,
            )
    first = _barriers(program, 0)
    for core in range(1, len(program.cores)):
        if (count := _barriers(program, core)) != first:
            raise CompileError(
                f"all cores must have as many barriers as core 0, {first}, not {count}",
                where=f"core {core}",
            )


def _check_between_cores(cores: list[Footprint]) -> None:
    """Check what the cores did between two barriers; then let each know what the others wrote."""
    events = sorted(
        (
            (tile.start, core.core, index, tile, write)
            for core in cores
            for (tile, write), index in core.outside.items()
        ),
        key=lambda event: event[:3],
    )
    active: list[tuple[int, int, Tile, bool]] = []
    for start, core, index, tile, write in events:
        active = [a for a in active if a[2].end > start]
        for other, other_index, other_tile, other_write in active:
            if other != core and (write or other_write) and overlap(tile, other_tile):
                verbs = {True: "writes", False: "reads"}
                op = cores[core].program.cores[core][index].op
                raise CompileError(
                    f"it {verbs[write]} memory {tile.start:#x}..{tile.end - 1:#x}, which"
                    f" instruction {other_index} of core {other} {verbs[other_write]} before the"
                    " same barrier",
                    where=f"core {core}, instruction {index}: {op!r}",
                    hint="a barrier must stand between them",
                )
        active.append((core, index, tile, write))
    for one in cores:
        one.outside.clear()
        for other in cores:
            if other is not one:
                one.written.share(other.written)
