"""A linear layer: tiles of weights streamed through L1, results handed to an epilogue."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32, columns_of, l1_tile
from tapeout.compiler.emitter import Reg
from tapeout.compiler.layout import FP32_BYTES, Codes, align, scale_offset, scale_pitch
from tapeout.compiler.plan import Plan, Work, depth, epilogue_bytes, part_tiles, plan_linear
from tapeout.isa.fields import Broadcast, MapFn, Queue, Space, acc_pitch
from tapeout.isa.program import Placement
from tapeout.numerics import Format

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
    own_l1, own_scales = epilogue_bytes(work, plan)
    base = buffers.l1, buffers.scale
    tiles = -(-work.n // plan.n)
    side = 0
    for turn, i in enumerate(b.mine(tiles)):
        start = i * plan.n
        columns = min(plan.n, work.n - start)
        results = [stream.result(w, start, columns, turn) for w in range(work.count)]
        for first in range(0, columns, plan.part):
            buffers.l1, buffers.scale = base[0] + side * own_l1, base[1] + side * own_scales
            part = [_from_column(result, first) for result in results]
            epilogue(start + first, min(plan.part, columns - first), part, buffers)
            side = (side + 1) % plan.sides
        b.emitter.rest(Queue.VU)


def _from_column(tile: Tile32, first: int) -> Tile32:
    return replace(tile, address=tile.address + FP32_BYTES * first)


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
        source_scales, weight_scales = plan.scale_copies
        self.a = _Ring.of(buffers, plan, work.source, work, work.rows, plan.sources, source_scales)
        self.w = _Ring.of(buffers, plan, work.weights, work, plan.n, plan.copies, weight_scales)
        self.parts = [
            l1_tile(buffers.take(work.rows * align(FP32_BYTES * plan.n)), plan.n)
            for _ in range(part_tiles(b.recipe.wide, work, plan))
        ]
        self.factors = [self._load_factor(p, buffers) for p in weights]
        self.turns, self.tiles, self.layer = count(), count(), next(b.layers)
        self.tile = 0
        self.loaded = self.scaled = False

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
        base = which * depth(self.plan)
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
            self.b.emitter.rest(Queue.VU)
            held.append(level)
        return self._part(base, columns)

    def _part(self, index: int, columns: int) -> Tile32:
        return l1_tile(self.parts[index].address, columns)

    def _home(self, which: int, columns: int, turn: int) -> Tile32:
        """Where a product is accumulated: an accumulator bank, or L1 if the vector unit does it."""
        if self.b.recipe.wide:
            tree = depth(self.plan) * self.work.count
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
        self.b.emitter.rest(Queue.MU)

    def _activations(self, k: int, length: int) -> CodesTile:
        index = self.plan.flat.index((k, length))
        tile = self.a.slice(index, self.layer, k, length)
        if not (self.plan.resident and self.loaded):
            rows = self.b.rows
            self._load(self.source, tile, k, length, rows)
            if not self.plan.row_scales:
                self._load_scales(self.source, tile, k, length, rows)
            elif not self.scaled:
                self._load_scales(self.source, tile, 0, self.work.k, rows)
            self.scaled = True
            self.loaded = index == len(self.plan.flat) - 1
        return tile

    def _weights(self, which: int, start: int, columns: int, k: int, length: int) -> CodesTile:
        p, fmt = self.weights[which], self.work.weights
        codes = Codes(
            format=fmt,
            address=p.address + start * p.pitch_bytes,
            pitch=p.pitch_bytes,
            scale_address=p.scale_address + start * p.scale_pitch_bytes,
            scale_pitch=p.scale_pitch_bytes,
            columns=self.work.k,
        )
        first = k == 0
        if first:
            self.tile = next(self.tiles)
        tile = self.w.slice(next(self.turns), self.tile, k, length)
        self._load(codes, tile, k, length, columns)
        if not self.plan.row_scales:
            self._load_scales(codes, tile, k, length, columns)
        elif first:
            self._load_scales(codes, tile, 0, self.work.k, columns)
        return tile

    def _load(self, codes: Codes, to: CodesTile, k: int, length: int, rows: Reg | int) -> None:
        address, row_bytes, _, _ = columns_of(codes, k, length)
        self.b.load(address, codes.pitch, Space.L1, to.address, to.pitch, row_bytes, rows=rows)

    def _load_scales(
        self, codes: Codes, to: CodesTile, k: int, length: int, rows: Reg | int
    ) -> None:
        _, _, address, row_bytes = columns_of(codes, k, length)
        if codes is not self.source and k == 0 and to.scale_pitch == codes.scale_pitch:
            row_bytes = codes.scale_pitch  # with what pads weights' rows, all rows are one run
        self.b.load(
            address, codes.scale_pitch, Space.SCALE, to.scale, to.scale_pitch, row_bytes, rows=rows
        )

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


@dataclass(frozen=True, kw_only=True)
class _Ring:
    """Buffers that slices of an operand take in turn, and buffers for their scales."""

    format: Format
    elements: list[int]
    scales: list[int]
    row: int
    """Elements of a row whose scales are held as a whole; 0: scales come with their slice."""

    @classmethod
    def of(
        cls, buffers: Buffers, plan: Plan, fmt: Format, work: Work, rows: int, count: int,
        scale_count: int,
    ) -> "_Ring":  # fmt: skip
        """Take the room for `rows` rows."""
        longest = max(length for _, length in plan.flat)
        held = work.k if plan.row_scales else longest
        size, scales = rows * align(fmt.row_bytes(longest)), rows * scale_pitch(fmt, held)
        return cls(
            format=fmt,
            elements=[buffers.take(size) for _ in range(count)],
            scales=[buffers.take_scales(scales) for _ in range(scale_count)],
            row=work.k if plan.row_scales else 0,
        )

    def slice(self, turn: int, row_turn: int, k: int, length: int) -> CodesTile:
        """Where a slice of K lies; `row_turn` counts what has rows of scales of its own."""
        scale = self.scales[(row_turn if self.row else turn) % len(self.scales)]
        return CodesTile(
            address=self.elements[turn % len(self.elements)],
            pitch=align(self.format.row_bytes(length)),
            scale=scale + (scale_offset(self.format, k) if self.row else 0),
            scale_pitch=scale_pitch(self.format, self.row or length),
        )
