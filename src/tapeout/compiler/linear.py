"""A linear layer: tiles of weights streamed through L1, results handed to an epilogue."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise

from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32, columns_of, l1_tile
from tapeout.compiler.layout import FACTORED, FP32_BYTES, Codes, align, power_of_two, scale_pitch
from tapeout.errors import CapacityError
from tapeout.isa.fields import Broadcast, MapFn, Space, acc_pitch
from tapeout.isa.program import Placement
from tapeout.numerics import Format, segments
from tapeout.numerics.formats import BLOCK, padded

MOST_ROWS = 2047
"""Rows of a tile that an instruction can name: of weights, the columns of the result."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a product [rows, K] x [N, K] is cut: the columns of a tile, and the slices of K."""

    n: int
    slices: tuple[tuple[tuple[int, int], ...], ...]
    """For each canonical segment of K, its (start, length) slices."""
    resident: bool
    """Whether the activations stay in L1 for all tiles of N."""

    @property
    def flat(self) -> list[tuple[int, int]]:
        """All slices in ascending order."""
        return [s for segment in self.slices for s in segment]


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


Epilogue = Callable[[int, int, list[Tile32], Buffers], None]
"""(first column, columns, a result per weight, buffers) -> emits what becomes of a tile."""


def linear(
    b: CoreBuilder,
    source: Codes,
    weights: list[Placement],
    work: Work,
    epilogue: Epilogue,
) -> None:
    """Emit source @ weights^T for this core's tiles of N."""
    plan = plan_linear(b, work)
    what = f"the product with {weights[0].name}"
    buffers = b.buffers(what)
    stream = _Stream(b, source, weights, work, plan, buffers)
    free = (buffers.l1, buffers.scale)
    tiles = -(-work.n // plan.n)
    for turn, i in enumerate(b.mine(tiles)):
        buffers.l1, buffers.scale = free
        start = i * plan.n
        columns = min(plan.n, work.n - start)
        results = [stream.result(w, start, columns, turn) for w in range(work.count)]
        epilogue(start, columns, results, buffers)


class _Stream:
    """The buffers of one linear layer, and the products of its tiles."""

    def __init__(
        self,
        b: CoreBuilder,
        source: Codes,
        weights: list[Placement],
        work: Work,
        plan: Plan,
        buffers: Buffers,
    ):
        self.b, self.source, self.weights, self.work, self.plan = b, source, weights, work, plan
        slices = plan.flat
        copies = len(slices) if plan.resident else min(2, len(slices))
        longest = max(length for _, length in slices)
        self.a = [_codes_buffer(buffers, work.source, work.rows, longest) for _ in range(copies)]
        self.w = [_codes_buffer(buffers, work.weights, plan.n, longest) for _ in range(2)]
        self.parts = [
            l1_tile(buffers.take(work.rows * align(FP32_BYTES * plan.n)), plan.n)
            for _ in range(_part_tiles(b, work, plan))
        ]
        self.factors = [self._load_factor(p, buffers) for p in weights]
        self.turns: Iterator[int] = count()
        self.loaded = False

    def result(self, which: int, start: int, columns: int, turn: int) -> Tile32:
        """The product with columns start.. of one weight, as a tile."""
        segments_ = self.plan.slices
        if len(segments_) == 1:
            home = self._home(which, columns, turn)
            self._segment(which, start, columns, segments_[0], home)
            return self._scaled(which, home, columns)
        return self._scaled(which, self._tree(which, start, columns, turn), columns)

    def _tree(self, which: int, start: int, columns: int, turn: int) -> Tile32:
        """Add the segments' results as a binary tree of neighbours; subtrees wait in L1."""
        base = which * _depth(self.plan)
        held: list[int] = []  # the level of the subtree in each of the L1 tiles base, base + 1, ...
        for i, slices in enumerate(self.plan.slices):
            now = self._home(which, columns, turn + i)
            self._segment(which, start, columns, slices, now)
            level = 0
            while held and held[-1] == level:
                left = self._part(base + len(held) - 1, columns)
                self._map(MapFn.ADD, now, left, left, columns)
                held.pop()
                now, level = left, level + 1
            if level == 0:
                self._map(MapFn.COPY, now, now, self._part(base + len(held), columns), columns)
            held.append(level)
        return self._part(base, columns)

    def _part(self, index: int, columns: int) -> Tile32:
        return l1_tile(self.parts[index].address, columns)

    def _home(self, which: int, columns: int, turn: int) -> Tile32:
        """Where a product is accumulated: an accumulator bank, or L1 if the vector unit does it."""
        if self.b.recipe.wide:
            tree = _depth(self.plan) * self.work.count
            return self._part(tree if tree else which, columns)
        bank = which if self.work.count > 1 else turn % 2
        return Tile32(
            space=Space.ACC,
            address=bank * FP32_BYTES * self.b.chip.matrix.accumulators,
            pitch=acc_pitch(columns),
        )

    def _map(self, fn: MapFn, a: Tile32, b: Tile32, dst: Tile32, columns: int) -> None:
        self.b.map(fn, a, b, Broadcast.FULL, dst, rows=self.b.rows, columns=columns)

    def _segment(
        self,
        which: int,
        start: int,
        columns: int,
        slices: tuple[tuple[int, int], ...],
        home: Tile32,
    ) -> None:
        for i, (k, length) in enumerate(slices):
            a = self._activations(k, length)
            w = self._weights(which, start, columns, k, length)
            self.b.multiply(
                a,
                w,
                home,
                (self.work.source, self.work.weights),
                rows=self.b.rows,
                n=columns,
                k=length,
                accumulate=i > 0,
            )

    def _activations(self, k: int, length: int) -> CodesTile:
        index = self.plan.flat.index((k, length))
        buffer = self.a[index % len(self.a)]
        tile = _shaped(buffer, self.work.source, length)
        if not (self.plan.resident and self.loaded):
            self._load(self.source, self.source.pitch, self.source.scale_pitch, k, length, tile)
            if index == len(self.plan.flat) - 1:
                self.loaded = True
        return tile

    def _load(
        self, codes: Codes, pitch: int, scales: int, k: int, length: int, to: CodesTile
    ) -> None:
        address, row_bytes, scale, scale_bytes = columns_of(codes, k, length)
        rows = self.b.rows
        self.b.load(address, pitch, Space.L1, to.address, to.pitch, row_bytes, rows=rows)
        self.b.load(scale, scales, Space.SCALE, to.scale, to.scale_pitch, scale_bytes, rows=rows)

    def _weights(self, which: int, start: int, columns: int, k: int, length: int) -> CodesTile:
        p, fmt = self.weights[which], self.work.weights
        tile = _shaped(self.w[next(self.turns) % 2], fmt, length)
        self.b.load(
            p.address + start * p.pitch_bytes + fmt.row_bytes(k),
            p.pitch_bytes,
            Space.L1,
            tile.address,
            tile.pitch,
            fmt.row_bytes(length),
            rows=columns,
        )
        self.b.load(
            p.scale_address + start * p.scale_pitch_bytes + _scale_offset(fmt, k),
            p.scale_pitch_bytes,
            Space.SCALE,
            tile.scale,
            tile.scale_pitch,
            fmt.scale_row_bytes(length),
            rows=columns,
        )
        return tile

    def _load_factor(self, placement: Placement, buffers: Buffers) -> int:
        if not placement.factor:
            return -1
        at = buffers.take(FP32_BYTES)
        factor = self.b.layout.placement(placement.factor)
        self.b.load(factor.address, 16, Space.L1, at, 16, FP32_BYTES, rows=1)
        return at

    def _scaled(self, which: int, home: Tile32, columns: int) -> Tile32:
        if self.factors[which] < 0:
            return home
        out = self._part(-1 - which, columns)
        self.b.map(
            MapFn.MUL,
            home,
            self.b.scalar(self.factors[which]),
            Broadcast.SCALAR,
            out,
            rows=self.b.rows,
            columns=columns,
        )
        return out


# ---- planning --------------------------------------------------------------------------------


def plan_linear(b: CoreBuilder, work: Work) -> Plan:
    """The cut with the fewest products, then the fewest bytes of activations read again.

    Raises:
        CapacityError: if no cut fits the core.
    """
    best: tuple[int, Plan] | None = None
    for pieces in (1, 2, 4, 8, 16, 32):
        slices = _slices(work, pieces)
        for resident in (True, False):
            n = _largest_n(b, work, slices, resident)
            if n:
                plan = Plan(n=n, slices=slices, resident=resident)
                products = -(-work.n // n) * len(plan.flat)
                loads = len(plan.flat) if resident else products
                score = 3 * products + 2 * loads
                if best is None or score < best[0]:
                    best = (score, plan)
    if best is None:
        raise CapacityError(
            f"a product of {work.rows} rows with K = {work.k} must fit {b.chip.name}'s core",
            hint="ask for fewer rows in a step, or take a chip with more L1 and accumulators",
        )
    return best[1]


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


def _largest_n(
    b: CoreBuilder, work: Work, slices: tuple[tuple[tuple[int, int], ...], ...], resident: bool
) -> int:
    share = align(-(-work.n // b.chip.cores), work.unit)
    most = min(share, MOST_ROWS // work.unit * work.unit)
    if not b.recipe.wide:
        row = b.chip.matrix.accumulators // power_of_two(work.rows)
        most = min(most, row // work.unit * work.unit)
    low, high = 0, most // work.unit
    while low < high:  # the largest multiple of `unit` that fits
        middle = (low + high + 1) // 2
        plan = Plan(n=middle * work.unit, slices=slices, resident=resident)
        low, high = (middle, high) if _fits(b, work, plan) else (low, middle - 1)
    return low * work.unit


def _fits(b: CoreBuilder, work: Work, plan: Plan) -> bool:
    flat = plan.flat
    longest = max(length for _, length in flat)
    copies = len(flat) if plan.resident else min(2, len(flat))
    tile32 = work.rows * align(FP32_BYTES * plan.n)
    l1 = b.constants_end + 16 * 4
    l1 += copies * work.rows * align(work.source.row_bytes(longest))
    l1 += 2 * plan.n * align(work.weights.row_bytes(longest))
    l1 += (_part_tiles(b, work, plan) + work.tiles32) * tile32
    l1 += work.code_bytes * work.rows * padded(plan.n) + 4 * align(FP32_BYTES * plan.n)
    scales = copies * work.rows * scale_pitch(work.source, longest)
    scales += 2 * plan.n * scale_pitch(work.weights, longest)
    scales += work.rows * max(
        align(padded(plan.n) // 8), 16 * work.scale_rows * (plan.n // work.unit)
    )
    return l1 <= b.chip.core.l1_bytes and scales <= b.chip.core.scale_bytes


def _scale_offset(fmt: Format, k: int) -> int:
    """Bytes before the scale of element k of a row."""
    return k // fmt.group * fmt.scale_bits // 8 if fmt.group else 0


def _depth(plan: Plan) -> int:
    """Subtrees of the segments' tree that wait at once; 0 for a single segment."""
    return len(plan.slices).bit_length() - 1


def _part_tiles(b: CoreBuilder, work: Work, plan: Plan) -> int:
    """FP32 tiles in L1 for the results of `linear` themselves."""
    tree = _depth(plan) * work.count
    wide = 1 if tree else work.count
    factors = work.count if work.weights.name in FACTORED else 0
    return tree + factors + (wide if b.recipe.wide else 0)


def _codes_buffer(buffers: Buffers, fmt: Format, rows: int, columns: int) -> CodesTile:
    pitch, scales = align(fmt.row_bytes(columns)), scale_pitch(fmt, columns)
    return CodesTile(
        address=buffers.take(rows * pitch),
        pitch=pitch,
        scale=buffers.take_scales(rows * scales),
        scale_pitch=scales,
    )


def _shaped(buffer: CodesTile, fmt: Format, columns: int) -> CodesTile:
    return CodesTile(
        address=buffer.address,
        pitch=align(fmt.row_bytes(columns)),
        scale=buffer.scale,
        scale_pitch=scale_pitch(fmt, columns),
    )
