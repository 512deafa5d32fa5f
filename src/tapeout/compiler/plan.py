"""How a linear layer is cut into products, so that neither memory nor the multipliers wait.

The cycles of loads and products are estimates from the RTL's counters: benchmarks/rtl_core.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

from tapeout.chip import L1_BANK_BYTES, Chip
from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.layout import (
    FACTORED,
    FP32_BYTES,
    align,
    power_of_two,
    scale_offset,
    scale_pitch,
)
from tapeout.errors import CapacityError
from tapeout.isa.encoding import WORD_BYTES
from tapeout.isa.shapes import scales_unit
from tapeout.numerics import Format, segments
from tapeout.numerics.formats import BLOCK, padded

MOST_ROWS = 2047
"""Rows of a tile that an instruction can name: of weights, the columns of the result."""

PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
COPIES = (2, 3, 4, 5)

ENOUGH = 1.01
"""Cycles that a plan with fewer instructions may take, in parts of the fewest."""

LATENCY_CYCLES = 300
"""From a free buffer until the first bytes of its next tile come."""

BURST_CYCLES = 1.1
"""Of a row that is read by itself: so many reads may be under way, and no more."""

LOAD_CYCLES = 10
"""Of any load, besides its bytes."""

PRODUCT_CYCLES = 60
"""Of any product, to send what belongs to it."""

PRODUCT_INSTRUCTIONS = 4
"""Of a product and its loads; as many, about, of an epilogue."""

SUPER = 8
"""The matrix unit reads an operand again for each so many groups of rows of the other."""

LINE_CYCLES = 1.1
"""Of a line (of a bank) that the matrix unit reads, where other ports use its memory too."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a product [rows, K] x [N, K] is cut: the columns of a tile, and the slices of K."""

    n: int
    slices: tuple[tuple[tuple[int, int], ...], ...]
    """For each canonical segment of K, its (start, length) slices."""
    resident: bool
    """Whether the activations stay in L1 for all tiles of N."""
    copies: int
    """Buffers that tiles of weights take in turn."""
    part: int
    """Columns that the epilogue takes at once."""
    sides: int
    """Buffers that the epilogue takes in turn."""
    row_scales: int
    """Buffers for whole rows of the activations' scales, of which slices take parts; 0: none."""

    @property
    def flat(self) -> list[tuple[int, int]]:
        """All slices in ascending order."""
        return [s for segment in self.slices for s in segment]

    @property
    def sources(self) -> int:
        """Buffers for slices of the activations."""
        count = len(self.flat)
        return count if self.resident else min(2, count)

    @property
    def scale_copies(self) -> tuple[int, int]:
        """Buffers for scales of the activations, and of weights."""
        return (self.row_scales, 2) if self.row_scales else (self.sources, self.copies)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One linear layer as the planner sees it; several weights share the activations."""

    rows: int
    k: int
    n: int
    unit: int
    """Columns of a tile are a multiple of this."""
    source: Format
    weights: Format
    count: int
    tiles32: int
    """FP32 tiles that the epilogue needs, and `code_bytes` per element for what it quantises."""
    code_bytes: int
    scale_rows: int = 1
    """Rows of scales that the epilogue writes per row and `unit` columns."""


@dataclass(frozen=True, kw_only=True)
class _Core:
    """What of a core and its program matters to a plan."""

    chip: Chip
    wide: bool
    constants_end: int


def plan_linear(b: CoreBuilder, work: Work) -> Plan:
    """The cut that should take the fewest cycles.

    Raises:
        CapacityError: if no cut fits the core.
    """
    core = _Core(chip=b.chip, wide=b.recipe.wide, constants_end=b.constants_end)
    plan = _best(core, work)
    if plan is None:
        raise CapacityError(
            f"a product of {work.rows} rows with K = {work.k} must fit {b.chip.name}'s core",
            hint="ask for fewer rows in a step, or take a chip with more L1 and accumulators",
        )
    return plan


@cache
def _best(core: _Core, work: Work) -> Plan | None:
    """Of the plans that take about the fewest cycles, the one with the fewest instructions."""
    timed = [
        (_cycles(core, work, plan), plan)
        for pieces in PIECES
        for resident in (True, False)
        for copies in COPIES
        for plan in _plans(core, work, _slices(work, pieces), resident, copies)
    ]
    enough = ENOUGH * min((cycles for cycles, _ in timed), default=0.0)
    good = [
        (_instructions(core, work, plan), cycles, i)
        for i, (cycles, plan) in enumerate(timed)
        if cycles <= enough
    ]
    return timed[min(good)[-1]][1] if good else None


def _plans(
    core: _Core, work: Work, slices: tuple[tuple[tuple[int, int], ...], ...], resident: bool,
    copies: int,
) -> Iterator[Plan]:  # fmt: skip
    for n in _widths(core, work):
        plan = _whole(core, work, n, slices, resident, copies)
        if plan is None:
            return
        yield plan


def _widths(core: _Core, work: Work) -> list[int]:
    """Columns that a tile may have, ascending: all narrow ones, then those of about equal tiles."""
    share = align(-(-work.n // core.chip.cores), work.unit)
    most = min(share, MOST_ROWS // work.unit * work.unit)
    if not core.wide:
        row = core.chip.matrix.accumulators // power_of_two(work.rows)
        most = min(most, row // work.unit * work.unit)
    units = most // work.unit
    return [n * work.unit for n in range(1, units + 1) if n <= 16 or n % 8 == 0 or n == units]


def _whole(
    core: _Core, work: Work, n: int, slices: tuple[tuple[tuple[int, int], ...], ...],
    resident: bool, copies: int,
) -> Plan | None:  # fmt: skip
    """A plan with what is best for the epilogue, if it fits."""
    narrow = align(BLOCK, work.unit)
    in_accumulators = not (core.wide or len(slices) > 1 or work.weights.name in FACTORED)
    splits = in_accumulators and work.count == 1
    parts = [n, *([narrow] if splits and narrow < n else [])]
    scales = (2, 1, 0) if _row_scales(work, slices) else (0,)
    for row_scales, sides, part in product(scales, (2, 1), parts):
        plan = Plan(
            n=n, slices=slices, resident=resident, copies=copies, part=part, sides=sides,
            row_scales=row_scales,
        )  # fmt: skip
        if _fits(core, work, plan):
            return plan
    return None


def _row_scales(work: Work, slices: tuple[tuple[tuple[int, int], ...], ...]) -> bool:
    """Whether there are slices, and each may find its scales within whole rows of them."""
    starts = [k for segment in slices for k, _ in segment]
    return len(starts) > 1 and all(
        fmt.scale != "none" and scale_offset(fmt, k) % scales_unit(fmt) == 0
        for fmt in (work.source, work.weights)
        for k in starts
    )


# ---- time ------------------------------------------------------------------------------------


def _cycles(core: _Core, work: Work, plan: Plan) -> float:
    """About how long a plan takes: loads and products overlap as far as the buffers let them."""
    tiles = -(-work.n // (plan.n * core.chip.cores))
    weights = _operand_cycles(core, work.weights, plan.n, work.k, plan)
    activations = _operand_cycles(core, work.source, work.rows, work.k, plan)
    products = work.count * tiles * len(plan.flat)
    again = 1 if plan.resident else work.count * tiles
    load = (work.count * tiles * weights + again * activations) / products
    multiply = sum(_product_cycles(core, work, plan.n, k) for _, k in plan.flat) / len(plan.flat)
    round_trip = (load + multiply + LATENCY_CYCLES) / plan.copies
    fetch = _instructions(core, work, plan) * WORD_BYTES / (products * _rate(core))
    period = max(load + fetch, multiply, round_trip, PRODUCT_CYCLES)
    return products * period + load + multiply


def _instructions(core: _Core, work: Work, plan: Plan) -> int:
    """About how many instructions of a core a plan is."""
    tiles = -(-work.n // (plan.n * core.chip.cores))
    products, parts = work.count * len(plan.flat), -(-plan.n // plan.part)
    return tiles * PRODUCT_INSTRUCTIONS * (products + parts)


def _rate(core: _Core) -> float:
    """Bytes per cycle that a core gets of the memory's bandwidth."""
    hbm = core.chip.hbm
    return hbm.bytes_per_s * hbm.efficiency / (core.chip.clock_hz * core.chip.cores)


def _operand_cycles(core: _Core, fmt: Format, rows: int, k: int, plan: Plan) -> float:
    """To load all slices of an operand, and their scales."""
    slices = [length for _, length in plan.flat]
    scales = [k] if plan.row_scales else slices
    return sum(
        _load_cycles(core, rows, row_bytes, whole=len(cuts) == 1)
        for cuts, bytes_of in ((slices, fmt.row_bytes), (scales, fmt.scale_row_bytes))
        for row_bytes in map(bytes_of, cuts)
        if row_bytes
    )


def _load_cycles(core: _Core, rows: int, row_bytes: int, *, whole: bool) -> float:
    """Of a tile; whole rows lie one behind the other in memory."""
    row_cycles = align(row_bytes) / _rate(core)
    return LOAD_CYCLES + rows * (row_cycles if whole else max(BURST_CYCLES, row_cycles))


def _product_cycles(core: _Core, work: Work, n: int, k: int) -> float:
    """Of one product: as many as its blocks, or the lines of an operand, or in the vector unit."""
    if core.wide:
        return work.rows * n * k / core.chip.vector.lanes
    down, across = -(-work.rows // core.chip.matrix.rows), -(-n // core.chip.matrix.columns)
    lines_a = work.rows * -(-work.source.row_bytes(k) // L1_BANK_BYTES) * -(-across // SUPER)
    lines_b = n * -(-work.weights.row_bytes(k) // L1_BANK_BYTES) * -(-down // SUPER)
    return max(down * across * k / BLOCK, LINE_CYCLES * lines_a, LINE_CYCLES * lines_b)


# ---- room ------------------------------------------------------------------------------------


def _slices(work: Work, pieces: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Each segment of K cut into about `pieces`, of whole blocks.

    A segment may begin within a scale group; then its first slice is the rest of that group.
    """
    parts = segments(work.k)
    size = padded(work.k) // parts
    group = max(BLOCK, work.weights.group)
    step = align(-(-size // pieces), group)
    out: list[tuple[tuple[int, int], ...]] = []
    for start in range(0, parts * size, size):
        end = start + size
        cuts = sorted({start, *range(min(end, align(start, group)), end, step), end})
        out.append(tuple((at, to - at) for at, to in pairwise(cuts)))
    return tuple(out)


def _fits(core: _Core, work: Work, plan: Plan) -> bool:
    longest = max(length for _, length in plan.flat)
    l1 = core.constants_end + 16 * 4
    l1 += plan.sources * work.rows * align(work.source.row_bytes(longest))
    l1 += plan.copies * plan.n * align(work.weights.row_bytes(longest))
    l1 += part_tiles(core.wide, work, plan) * work.rows * align(FP32_BYTES * plan.n)
    held = work.k if plan.row_scales else longest
    source_scales, weight_scales = plan.scale_copies
    scales = source_scales * work.rows * scale_pitch(work.source, held)
    scales += weight_scales * plan.n * scale_pitch(work.weights, held)
    own_l1, own_scales = epilogue_bytes(work, plan)
    l1, scales = l1 + plan.sides * own_l1, scales + plan.sides * own_scales
    return l1 <= core.chip.core.l1_bytes and scales <= core.chip.core.scale_bytes


def epilogue_bytes(work: Work, plan: Plan) -> tuple[int, int]:
    """L1 and scale memory that one call of the epilogue needs at most."""
    row = align(FP32_BYTES * plan.part)
    l1 = work.rows * (work.tiles32 * row + work.code_bytes * padded(plan.part))
    l1 += 4 * row + align(FP32_BYTES * work.rows)
    scales = max(align(padded(plan.part) // 8), 16 * work.scale_rows * (plan.part // work.unit))
    return align(l1), align(work.rows * scales) if work.code_bytes else 0


def depth(plan: Plan) -> int:
    """Subtrees of the segments' tree that wait at once; 0 for a single segment."""
    return len(plan.slices).bit_length() - 1


def part_tiles(wide: bool, work: Work, plan: Plan) -> int:
    """FP32 tiles in L1 for the results of `linear` themselves."""
    tree = depth(plan) * work.count
    each = 1 if tree else work.count
    factors = work.count if work.weights.name in FACTORED else 0
    return tree + factors + (each if wide else 0)
