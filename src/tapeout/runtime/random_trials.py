"""Random trials of a chip's RTL: a program, how memory and host behave, and how it must end.

Most programs run to their end. Every tenth meets a mistake that must trap: an error of memory, a
program for another chip, an operand outside its memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapeout.chip import Chip
from tapeout.compiler.accesses import Tile, accesses, block_table, overlap
from tapeout.isa import (
    WORD_BYTES,
    Instruction,
    LoadPages,
    LoadScalar,
    Operation,
    Queue,
    Sample,
    Space,
    StorePages,
)
from tapeout.isa.encoding import fields
from tapeout.isa.tiles import TILES, Where, placed
from tapeout.rtl.fetch import LINE_WORDS
from tapeout.rtl.machine import PAGE_BYTES, PROGRAM_ROOM_BYTES
from tapeout.rtl.memory_options import Fault, MemoryOptions
from tapeout.rtl.trap import Trap
from tapeout.runtime.coverage import executed
from tapeout.runtime.random_memory import Windows
from tapeout.runtime.random_programs import Case, random_program

BROKEN_EVERY = 10
"""One of so many trials must trap."""

BUS_BYTES = 128
"""The most that memory answers at once: an error of one byte is one of all of them."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A case that runs while memory behaves in some way; `trap` is how it must end, if at all.

    The host takes the chip for `claimed`, whose fingerprint the program then bears.
    """

    case: Case
    options: MemoryOptions
    claimed: Chip
    trap: Trap = Trap.NONE
    culprits: frozenset[tuple[Queue, int]] = frozenset()
    """Queue and number of the instructions of which one must trap; all if there are none."""


def random_trial(chip: Chip, seed: int) -> Trial:
    """The trial of a seed; equal arguments give equal trials."""
    rng = np.random.default_rng([seed, 0x7121])
    case = random_program(chip, seed, int(rng.integers(4, 20)))
    data_first, await_data = map(bool, rng.permutation([True, False, False])[:2])
    options = replace(MemoryOptions.random(seed), data_first=data_first, await_data=await_data)
    trial = Trial(case=case, options=options, claimed=chip)
    if seed % BROKEN_EVERY != BROKEN_EVERY - 1:
        return trial
    breaks = BREAKS[seed // BROKEN_EVERY % len(BREAKS)]
    return breaks(trial, rng)


def _for_another_chip(trial: Trial, _rng: np.random.Generator) -> Trial:
    case, chip = trial.case, trial.claimed
    other = replace(chip, clock_hz=2 * chip.clock_hz)
    program = replace(case.program, chip=other.fingerprint)
    return replace(trial, case=replace(case, program=program), claimed=other, trap=Trap.CHIP)


# ---- errors of memory --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Access:
    """What an executed instruction reads and writes outside: `sure`, and perhaps, all rows."""

    queue: Queue
    number: int
    tiles: list[Tile]
    sure: list[Tile]


def _broken_read(trial: Trial, rng: np.random.Generator) -> Trial:
    return _broken(trial, _reads(trial.case), Trap.READ, rng)


def _broken_write(trial: Trial, rng: np.random.Generator) -> Trial:
    return _broken(trial, _writes(trial.case), Trap.WRITE, rng)


def _broken(trial: Trial, found: Iterator[_Access], trap: Trap, rng: np.random.Generator) -> Trial:
    """Memory answers with an error at a byte that an instruction must touch."""
    every = list(found)
    sure = [tile for access in every for tile in access.sure]
    if not sure:
        return trial
    tile = sure[int(rng.integers(len(sure)))]
    byte = (
        tile.start + tile.pitch * int(rng.integers(tile.rows)) + int(rng.integers(tile.row_bytes))
    )
    near = Tile(space=None, start=byte - BUS_BYTES, rows=1, pitch=0, row_bytes=2 * BUS_BYTES)
    fault = Fault(start=byte, end=byte + 1, reads=trap is Trap.READ, writes=trap is Trap.WRITE)
    return replace(
        trial,
        options=replace(trial.options, faults=(fault,)),
        trap=trap,
        culprits=frozenset(
            (access.queue, access.number)
            for access in every
            if any(overlap(near, tile) for tile in access.tiles)
        ),
    )


def _broken_program(trial: Trial, rng: np.random.Generator) -> Trial:
    """Memory answers with an error where an executed instruction lies."""
    numbers = sorted({number for number, _, _ in _executed(trial.case)})
    number = numbers[int(rng.integers(len(numbers)))]
    start = memory_bytes(trial.case) - PROGRAM_ROOM_BYTES
    byte = start + WORD_BYTES * number + int(rng.integers(WORD_BYTES))
    line = number // LINE_WORDS * LINE_WORDS
    return replace(
        trial,
        options=replace(trial.options, faults=(Fault(start=byte, end=byte + 1),)),
        trap=Trap.READ,
        culprits=frozenset((Queue.CP, line + i) for i in range(LINE_WORDS)),
    )


def memory_bytes(case: Case) -> int:
    """Of the memory around a chip that runs a case: behind the case's own lie its instructions."""
    return -(-len(case.memory) // PAGE_BYTES) * PAGE_BYTES + PROGRAM_ROOM_BYTES


def _reads(case: Case) -> Iterator[_Access]:
    for number, instruction, registers in _executed(case):
        read, _ = _accesses(instruction.op, registers)
        sure = read
        if isinstance(instruction.op, LoadPages | StorePages):  # only the table is certain
            bound = registers.__getitem__
            table = block_table(instruction.op, bound, bound)
            sure = [table] if table.rows else []
        yield _Access(instruction.queue, number, read, sure)


def _writes(case: Case) -> Iterator[_Access]:
    for number, instruction, registers in _executed(case):
        _, written = _accesses(instruction.op, registers)
        sure = [] if isinstance(instruction.op, StorePages) else written
        yield _Access(instruction.queue, number, written, sure)


def _accesses(op: Operation, registers: Sequence[int]) -> tuple[list[Tile], list[Tile]]:
    """What it reads and writes outside."""
    read, written = accesses(op, registers.__getitem__, registers.__getitem__)
    return [t for t in read if t.space is None], [t for t in written if t.space is None]


def _executed(case: Case) -> Iterator[tuple[int, Instruction, Sequence[int]]]:
    places = {id(instruction): n for n, instruction in enumerate(case.instructions)}
    for one in executed(case):
        yield places[id(one.instruction)], one.instruction, one.registers


# ---- addresses ---------------------------------------------------------------------------------


def _out_of_range(trial: Trial, rng: np.random.Generator) -> Trial:
    """An operand of an instruction ends one step behind its memory."""
    case = trial.case
    found: dict[int, tuple[Operation, list[Operation]]] = {}
    for number, instruction, registers in _executed(case):
        if number not in found and (moved := list(_moved(case, instruction.op, registers))):
            found[number] = instruction.op, moved
    # Each operation is as likely, however often it occurs.
    kinds = sorted({type(op).__name__ for op, _ in found.values()})
    kind = kinds[int(rng.integers(len(kinds)))]
    numbers = [number for number, (op, _) in found.items() if type(op).__name__ == kind]
    number = numbers[int(rng.integers(len(numbers)))]
    ways = found[number][1]
    core = list(case.instructions)
    core[number] = replace(core[number], op=ways[int(rng.integers(len(ways)))])
    program = replace(case.program, cores=(tuple(core), *case.program.cores[1:]))
    return replace(
        trial,
        case=replace(case, program=program),
        trap=Trap.ADDRESS,
        culprits=frozenset({(core[number].queue, number)}),
    )


def _moved(case: Case, op: Operation, registers: Sequence[int]) -> Iterator[Operation]:
    """An operation with one of its operands behind the end of its memory, in all ways."""
    for name, space, end in _operands(op, registers):
        size = memory_bytes(case) if space is None else Windows(case.chip).size_bytes(space)
        field = fields(type(op))[name]
        unit = 4 if isinstance(op, Sample) else field.unit
        start = getattr(op, name) - (end - size - 1) // unit * unit
        if 0 <= start < field.unit << field.bits:
            yield replace(op, **{name: start})


def _operands(op: Operation, registers: Sequence[int]) -> Iterator[tuple[str, Space | None, int]]:
    """The field that says where it starts, its memory, and its end, of each operand."""
    if isinstance(op, LoadScalar):
        yield "address", None, op.address + registers[op.address_reg] + 4
    tiles = [t for t in TILES.get(type(op), ()) if all(_holds(op, w) for w in t.where)]
    for tile, there in zip(tiles, placed(op, registers), strict=False):
        if there.row_bytes and not tile.half:
            yield tile.start, there.space, there.end


def _holds(op: Operation, where: Where) -> bool:
    return getattr(op, where.field) in where.among


BREAKS: tuple[Callable[[Trial, np.random.Generator], Trial], ...] = (
    _broken_read,
    _broken_write,
    _out_of_range,
    _broken_program,
    _for_another_chip,
)
