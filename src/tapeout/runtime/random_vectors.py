"""Random operations of the vector unit on tiles of numbers."""

from dataclasses import dataclass, replace

import numpy as np

from tapeout.isa import (
    GRANULE_BYTES,
    ROWS_MAX,
    Broadcast,
    Dequantise,
    Map,
    MapFn,
    Norm,
    Quantise,
    Rope,
    Sample,
    Softmax,
    Space,
    acc_pitch,
)
from tapeout.numerics import BLOCK, FORMATS, ScaleMode
from tapeout.runtime.random_memory import NoRoomError
from tapeout.runtime.random_operands import (
    SPECIAL,
    random_choices,
    random_frequencies,
    random_numbers,
    random_positions,
    random_scales,
    random_state,
)
from tapeout.runtime.random_products import RandomProducts
from tapeout.runtime.random_shapes import Shapes
from tapeout.runtime.random_tiles import RandomTiles, Tile

ELEMENTS = 3072
"""Elements of a tile of numbers, at most, but for those with the most rows."""

MAPS = tuple(
    (fn, mode, space)
    for fn in MapFn
    for mode in Broadcast
    for space in Space
    if fn is MapFn.FILL or space is not Space.SCALE
)
QUANTISED = tuple(
    (fmt, mode, per_row) for fmt in FORMATS for mode in ScaleMode for per_row in (0, 1)
)
PROBABILITIES = tuple(
    (fmt, value)
    for fmt in FORMATS
    for value in FORMATS
    if (fmt.family == "wide") == (value.family == "wide")
)
HEAD_STEP = 8
HEAD_MOST = 1024
HEADS = ("least", "ragged", "whole", "large", "large whole")
SEEN = ("diagonal", "diagonal", "all", "none", "far")
FAR = 1 << 46


@dataclass
class RandomVectors:
    """Emits operations of the VU queue; each may raise `NoRoomError`."""

    tiles: RandomTiles
    shapes: Shapes
    products: RandomProducts
    rng: np.random.Generator

    def map(self) -> None:
        """A function of one tile or two, in place now and then."""
        fn, mode, space = self.shapes.decks.draw("map", MAPS)
        rows, columns = self._shape("map", most=ROWS_MAX)
        a = self._map_a(fn, space, rows, columns)
        row_bytes = 4 * columns
        in_place = rows > 1000 or self.rng.random() < 0.3
        b_shape = {
            Broadcast.FULL: (rows, columns),
            Broadcast.ROW: (1, columns),
            Broadcast.COLUMN: (1, max(1, rows)),
            Broadcast.SCALAR: (1, 1),
        }[mode]
        if fn is MapFn.COPY:
            b = self._wild()
        elif rows > 1000 and mode is Broadcast.FULL and a.space is Space.L1 and a.rows:
            b = a
        else:
            b = self._numbers(*b_shape)
        if in_place and space is Space.L1 and fn is not MapFn.FILL:
            dst = a
        elif in_place and mode is Broadcast.FULL and fn is not MapFn.COPY:
            dst = b
        else:
            dst = self.tiles.place("fp32", rows, row_bytes)
        self._check_apart(dst, *(t for t in (a, b) if t.space is Space.L1))
        self.tiles.result(dst)
        fixed, rows_reg = self.shapes.split(rows)
        op = Map(
            fn=fn,
            a_space=space,
            a=a.start,
            a_pitch=a.pitch,
            b=b.start,
            b_pitch=b.pitch,
            b_mode=mode,
            dst=dst.start,
            dst_pitch=dst.pitch,
            rows=fixed,
            rows_reg=rows_reg,
            columns=columns,
        )
        self.tiles.emit(op)

    def norm(self) -> None:
        """A norm of rows, in place now and then."""
        rows, columns = self._shape("norm", most=ROWS_MAX)
        src, gamma = self._numbers(rows, columns), self._numbers(1, columns)
        dst = self._result(src, rows, columns)
        fixed, rows_reg = self.shapes.split(rows)
        op = Norm(
            src=src.start,
            src_pitch=src.pitch,
            gamma=gamma.start,
            eps=self._factor(1e-5),
            dst=dst.start,
            dst_pitch=dst.pitch,
            rows=fixed,
            rows_reg=rows_reg,
            columns=columns,
        )
        self.tiles.emit(op)

    def rope(self) -> None:
        """Heads of any even size, turned."""
        head_dim = self._head_dim()
        rows, heads = self.shapes.tile("rope", rows=64, columns=40, elements=ELEMENTS // head_dim)
        columns = head_dim * heads
        src = self._numbers(rows, columns)
        positions = self.tiles.read(
            "positions",
            1,
            4 * max(1, rows),
            lambda: random_positions(rows or 1, self.rng).reshape(1, -1),
        )
        half = head_dim // 2
        frequencies = self.tiles.read(
            "frequencies", 1, 8 * half, lambda: random_frequencies(half, self.rng)
        )
        dst = self._result(src, rows, columns)
        fixed, rows_reg = self.shapes.split(rows)
        op = Rope(
            src=src.start,
            src_pitch=src.pitch,
            positions=positions.start,
            frequencies=frequencies.start,
            factor=self._factor(1.0),
            head_dim=head_dim,
            dst=dst.start,
            dst_pitch=dst.pitch,
            rows=fixed,
            rows_reg=rows_reg,
            columns=columns,
        )
        self.tiles.emit(op)

    def softmax(self) -> None:
        """A chunk of scores whose keys are seen in part, all, or not at all."""
        fmt, value = self.shapes.decks.draw("softmax", PROBABILITIES)
        space = self.shapes.decks.draw("softmax space", (Space.L1, Space.ACC))
        columns = self.shapes.decks.draw("softmax columns", range(BLOCK, 256, BLOCK))
        rows, _ = self.shapes.tile("softmax", rows=ELEMENTS // columns, columns=1, elements=1)
        scores = self._scores(space, rows, columns)
        state = self._state(rows)
        self.tiles.result(state)
        value_scale = self._wild()
        if value.scale != "none":
            value_scale = self.tiles.read(
                f"key scales {value.scale}",
                columns,
                value.scale_bits // 8,
                lambda: random_scales(value, columns, 1, self.rng),
                space=Space.SCALE,
                pitch=GRANULE_BYTES,
            )
        dst = self.tiles.write(fmt.name, rows, fmt.row_bytes(columns))
        scale = self._wild()
        if fmt.scale != "none":
            scale = self.tiles.write(
                fmt.name,
                rows,
                fmt.scale_row_bytes(columns),
                space=Space.SCALE,
                pitch=GRANULE_BYTES,
            )
        window = self.shapes.decks.draw("softmax window", (0, 1, 40, (1 << 18) - 1))
        group = self.shapes.decks.draw("softmax group", (1, 2, 5, 8, 127))
        key, query = self._seen(columns)
        fixed, rows_reg = self.shapes.split(rows)
        op = Softmax(
            space=space,
            scores=scores.start,
            columns=columns,
            state=state.start,
            state_pitch=state.pitch,
            rows=fixed,
            rows_reg=rows_reg,
            group=group,
            query=self.tiles.registers.hold(query),
            key=self.tiles.registers.hold(key),
            window=window,
            value_format=value.code,
            value_scale=value_scale.start % (1 << 20),
            dst=dst.start,
            dst_pitch=dst.pitch,
            format=fmt.code,
            mode=self.shapes.decks.draw("softmax mode", tuple(ScaleMode)),
            scale=scale.start % (1 << 20),
        )
        self.tiles.emit(op)

    def quantise(self) -> None:
        """Blocks of a format, where the numbers lie now and then."""
        fmt, mode, per_row = self.shapes.decks.draw("quantise", QUANTISED)
        rows, columns = self._shape("quantise")
        src = self._numbers(rows, columns)
        row_bytes = fmt.row_bytes(columns)
        if rows and row_bytes <= src.pitch and self.rng.random() < 0.3:
            dst = replace(src, row_bytes=row_bytes, kind=fmt.name)
            if dst.end > self.tiles.windows.size_bytes(Space.L1):
                raise NoRoomError
            self.tiles.result(dst)
        else:
            dst = self.tiles.write(fmt.name, rows, row_bytes)
        scale = self._wild()
        if fmt.scale != "none":
            scale_bytes = fmt.scale_row_bytes(columns, per_row=bool(per_row))
            scale = self.tiles.write(fmt.name, rows, scale_bytes, space=Space.SCALE)
        fixed, rows_reg = self.shapes.split(rows)
        op = Quantise(
            src=src.start,
            src_pitch=src.pitch,
            dst=dst.start,
            dst_pitch=dst.pitch,
            scale=scale.start % (1 << 20),
            scale_pitch=scale.pitch % (1 << 14),
            format=fmt.code,
            mode=mode,
            per_row=per_row,
            rows=fixed,
            rows_reg=rows_reg,
            columns=columns,
        )
        self.tiles.emit(op)

    def dequantise(self) -> None:
        """Numbers of blocks of a format."""
        fmt = self.products.format_like(self.shapes.decks.draw("dequantise", FORMATS))
        rows, columns = self._shape("dequantise")
        src, scale = self.products.blocks(fmt, rows, -(-columns // 32) * 32)
        dst = self.tiles.write("fp32", rows, 4 * columns)
        fixed, rows_reg = self.shapes.split(rows)
        op = Dequantise(
            src=src.start,
            src_pitch=src.pitch,
            scale=scale.start,
            scale_pitch=scale.pitch,
            format=fmt.code,
            dst=dst.start,
            dst_pitch=dst.pitch,
            rows=fixed,
            rows_reg=rows_reg,
            columns=columns,
        )
        self.tiles.emit(op)

    def sample(self) -> None:
        """Tokens of rows of logits, from the data or from what was stored."""
        image = self.tiles.image
        rows, columns = self.shapes.tile("sample", rows=24, columns=700, elements=2000)
        pitch = 4 * (columns + int(self.rng.integers(0, 4)))
        if self.rng.random() < 0.7:
            logits = image.place(random_numbers(rows or 1, columns, self.rng), pitch, align=4)
        else:
            logits = image.anywhere("scratch", (max(1, rows) - 1) * pitch + 4 * columns, align=4)
        parameters = image.place(random_choices(rows or 1, columns, self.rng), 32, align=4)
        out = image.anywhere("scratch", 4 * max(1, rows), align=4)
        if logits < out + 4 * rows and out < logits + rows * pitch:
            raise NoRoomError
        fixed, rows_reg = self.shapes.split(rows)
        op = Sample(
            logits=logits,
            pitch=pitch,
            columns=columns,
            parameters=parameters,
            out=out,
            rows=fixed,
            rows_reg=rows_reg,
        )
        self.tiles.emit(op)

    def _shape(self, name: str, *, most: int = 0) -> tuple[int, int]:
        """Rows and columns of a tile of numbers."""
        return self.shapes.tile(name, rows=64, columns=2000, elements=ELEMENTS, most=most)

    def _numbers(self, rows: int, columns: int, *, pitch: int | None = None) -> Tile:
        return self.tiles.read(
            "fp32", rows, 4 * columns, lambda: random_numbers(rows, columns, self.rng), pitch=pitch
        )

    def _map_a(self, fn: MapFn, space: Space, rows: int, columns: int) -> Tile:
        if fn is MapFn.FILL:
            return replace(self._wild(), space=space)
        if space is Space.L1:
            return self._numbers(rows, columns)
        pitch = acc_pitch(columns) if self.rng.random() < 0.7 else None
        return self.tiles.read("fp32", rows, 4 * columns, _nothing, space=space, pitch=pitch)

    def _result(self, src: Tile, rows: int, columns: int) -> Tile:
        """The operand itself, or another place."""
        in_place = rows > 1000 or self.rng.random() < 0.4
        dst = src if in_place else self.tiles.place("fp32", rows, 4 * columns)
        self.tiles.result(dst)
        return dst

    def _check_apart(self, dst: Tile, *others: Tile) -> None:
        """A result must lie apart from an operand, or exactly over it."""
        for other in others:
            exact = (dst.start, dst.pitch, dst.rows) == (other.start, other.pitch, other.rows)
            near = dst.rows and other.rows and dst.start < other.end and other.start < dst.end
            if near and not (exact and dst.row_bytes == other.row_bytes):
                raise NoRoomError

    def _wild(self) -> Tile:
        """An address and a pitch that the operation does not use: any."""
        start = GRANULE_BYTES * int(self.rng.integers(1 << 20))
        pitch = GRANULE_BYTES * int(self.rng.integers(1 << 15))
        return Tile(space=Space.SCALE, start=start, pitch=pitch, rows=0, row_bytes=0, kind="")

    def _factor(self, usual: float) -> int:
        """The bits of an FP32 number: the usual one, or any of the special ones."""
        bits = int(np.float32(usual).view(np.uint32))
        return bits if self.rng.random() < 0.6 else int(self.rng.choice(SPECIAL))

    def _head_dim(self) -> int:
        whole = 2 * max(32, self.shapes.lanes)
        match self.shapes.decks.draw("rope head", HEADS):
            case "least":
                return HEAD_STEP
            case "ragged":
                return HEAD_STEP * int(self.rng.integers(2, 20))
            case "whole":
                return min(whole * int(self.rng.integers(1, 2, endpoint=True)), HEAD_MOST)
            case "large":
                return HEAD_STEP * int(self.rng.integers(32, HEAD_MOST // HEAD_STEP))
            case _:
                return min(max(256, whole), HEAD_MOST)

    def _scores(self, space: Space, rows: int, columns: int) -> Tile:
        if space is Space.L1:
            return self._numbers(rows, columns, pitch=4 * columns)
        pitch = acc_pitch(columns)
        return self.tiles.read("fp32", rows, 4 * columns, _nothing, space=space, pitch=pitch)

    def _state(self, rows: int) -> Tile:
        return self.tiles.read(
            "state", 3, 4 * max(1, rows), lambda: random_state(max(1, rows), self.rng)
        )

    def _seen(self, columns: int) -> tuple[int, int]:
        """Positions of the first key and of the first query."""
        key = int(self.rng.integers(5000))
        match self.shapes.decks.draw("softmax seen", SEEN):
            case "diagonal":
                return key, key + int(self.rng.integers(-2, columns))
            case "all":
                return key, key + columns - 1 + int(self.rng.choice([0, 0, 1, 100]))
            case "none":
                return key, key - 1 - int(self.rng.integers(5000, 6000))
            case _:
                return int(self.rng.integers(-FAR, FAR)), int(self.rng.integers(-FAR, FAR))


def _nothing() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((0, 0), np.uint8)
