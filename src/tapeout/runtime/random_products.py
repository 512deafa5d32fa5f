"""Random products of the matrix unit and of the vector unit."""

from dataclasses import dataclass, replace

import numpy as np

from tapeout.isa import Matmul, Space, VectorMatmul, acc_pitch
from tapeout.isa.encoding import fields
from tapeout.isa.shapes import scales_unit
from tapeout.numerics import BLOCK, FORMATS, Format
from tapeout.runtime.random_memory import NoRoomError
from tapeout.runtime.random_operands import random_codes, random_numbers, random_scales
from tapeout.runtime.random_shapes import Shapes
from tapeout.runtime.random_tiles import RandomTiles, Tile

NARROW = tuple(fmt for fmt in FORMATS if fmt.family != "wide")
WIDE = tuple(fmt for fmt in FORMATS if fmt.family == "wide")
PAIRS = tuple(
    (a, b, transpose)
    for a in NARROW
    for b in NARROW
    for transpose in (0, 1)
    if a.family == b.family
)
WIDE_KINDS = tuple((b, transpose) for b in WIDE for transpose in (0, 1))
OPERAND_BYTES = 1 << 13
PRODUCTS = 1 << 15  # multiplications of a product of the vector unit, at most


@dataclass
class RandomProducts:
    """Emits products; each may raise `NoRoomError`."""

    tiles: RandomTiles
    shapes: Shapes
    rng: np.random.Generator

    def matmul(self) -> None:
        """A product in the accumulators."""
        a_format, b_format, transpose = self.shapes.decks.draw("matmul", PAIRS)
        window = min(b - a for a, b in self.tiles.windows.windows(Space.ACC))
        a_format, numbers = self.format_like(a_format), window // 4
        m, n = self.shapes.tile("matmul", rows=64, columns=min(numbers, 512), elements=numbers)
        if transpose:  # whole bytes
            step = {4: 2, 6: 4}.get(b_format.element_bits, 1)
            n += -n % step
        pitch = acc_pitch(n)
        m = min(m, window // pitch)
        k_blocks = self._k_blocks("matmul", max(m, n))
        a, a_scale = self.part_of_rows(a_format, m, BLOCK * k_blocks)
        if transpose:
            b, b_scale = self._elements(b_format, BLOCK * k_blocks, n), self._anywhere()
        else:
            b, b_scale = self.part_of_rows(b_format, n, BLOCK * k_blocks)
        accumulate = self.shapes.decks.draw("matmul accumulate", (0, 1))
        step = pitch << max(0, m - 1).bit_length()
        acc = self.tiles.write("fp32", m, 4 * n, space=Space.ACC, pitch=pitch, step=step)
        fixed, m_reg = self.shapes.split(m)
        op = Matmul(
            a=a.start,
            a_pitch=a.pitch,
            a_scale=a_scale.start,
            a_scale_pitch=a_scale.pitch,
            a_format=a_format.code,
            b=b.start,
            b_pitch=b.pitch,
            b_scale=b_scale.start,
            b_scale_pitch=b_scale.pitch,
            b_format=b_format.code,
            acc=acc.start,
            m=fixed,
            m_reg=m_reg,
            n=n,
            k_blocks=k_blocks,
            accumulate=accumulate,
            transpose=transpose,
        )
        self.tiles.emit(op)

    def fill_accumulators(self) -> None:
        """Products over all of the accumulators that the program uses."""
        fmt = next(f for f in NARROW if f.name == "fp8_e4m3")
        for low, high in self.tiles.windows.windows(Space.ACC):
            m = (high - low) // acc_pitch(BLOCK)
            a, b = self._elements(fmt, m, BLOCK), self._elements(fmt, BLOCK, BLOCK)
            op = Matmul(
                a=a.start,
                a_pitch=a.pitch,
                a_scale=0,
                a_scale_pitch=0,
                a_format=fmt.code,
                b=b.start,
                b_pitch=b.pitch,
                b_scale=0,
                b_scale_pitch=0,
                b_format=fmt.code,
                acc=low,
                m=m,
                m_reg=0,
                n=BLOCK,
                k_blocks=1,
                accumulate=0,
                transpose=0,
            )
            self.tiles.emit(op)

    def vector_matmul(self) -> None:
        """A product of wide numbers in L1."""
        fmt, transpose = self.shapes.decks.draw("vector matmul", WIDE_KINDS)
        most = PRODUCTS // BLOCK
        m, n = self.shapes.tile("vector matmul", rows=40, columns=400, elements=most)
        k_blocks = min(max(1, most // max(1, m * n)), self._k_blocks("vector matmul", max(m, n)))
        k = BLOCK * k_blocks
        a = self.tiles.read("fp32", m, 4 * k, lambda: random_numbers(m, k, self.rng))
        rows, row = (k, n) if transpose else (n, k)
        b = self._elements(fmt, rows, row)
        accumulate = self.shapes.decks.draw("vector matmul accumulate", (0, 1))
        if accumulate:
            dst = self.tiles.read("fp32", m, 4 * n, lambda: random_numbers(m, n, self.rng))
            if any(self._overlap(dst, other) for other in (a, b)):
                raise NoRoomError
            self.tiles.result(dst)
        else:
            dst = self.tiles.write("fp32", m, 4 * n)
        fixed, m_reg = self.shapes.split(m)
        op = VectorMatmul(
            a=a.start,
            a_pitch=a.pitch,
            b=b.start,
            b_pitch=b.pitch,
            b_format=fmt.code,
            dst=dst.start,
            dst_pitch=dst.pitch,
            m=fixed,
            m_reg=m_reg,
            n=n,
            k_blocks=k_blocks,
            accumulate=accumulate,
            transpose=transpose,
        )
        self.tiles.emit(op)

    def format_like(self, fmt: Format) -> Format:
        """A format, or now and then one of its family in which something was written before."""
        kinds = {tile.kind for tile in self.tiles.known if tile.space is Space.L1}
        others = [f for f in FORMATS if f.name in kinds and f.family == fmt.family]
        if not others or self.rng.random() < 0.7:
            return fmt
        return others[int(self.rng.integers(len(others)))]

    def part_of_rows(self, fmt: Format, rows: int, k: int) -> tuple[Tile, Tile]:
        """Elements and scales of an operand; now and then other scales lie before them."""
        units = int(self.rng.integers(1, 5)) if self.rng.random() < 0.4 else 0
        before = units * scales_unit(fmt)
        if fmt.scale == "none":
            return self.blocks(fmt, rows, k)
        elements, scales = self.blocks(fmt, rows, k, before=8 * before // fmt.scale_bits)
        return elements, replace(scales, start=scales.start + before)

    def blocks(self, fmt: Format, rows: int, k: int, *, before: int = 0) -> tuple[Tile, Tile]:
        """Elements and scales of an operand; before them in each row of scales `before` others."""
        elements = self._elements(fmt, rows, k)
        if fmt.scale == "none":
            return elements, self._no_scales(rows)
        count = before + fmt.scale_count(k)
        scales = self.tiles.read(
            fmt.name,
            rows,
            count * fmt.scale_bits // 8,
            lambda: random_scales(fmt, rows, count, self.rng),
            space=Space.SCALE,
        )
        return elements, scales

    def _elements(self, fmt: Format, rows: int, k: int) -> Tile:
        """Packed elements; rows of wide numbers have no padding."""
        row_bytes = k * fmt.element_bits // 8 if fmt.family == "wide" else fmt.row_bytes(k)
        return self.tiles.read(
            fmt.name,
            rows,
            row_bytes,
            lambda: random_codes(fmt, rows, k, self.rng)[:, :row_bytes],
        )

    def _no_scales(self, rows: int) -> Tile:
        """Where rows without bytes lie: inside the memory, as the instruction set asks."""
        size = self.tiles.windows.size_bytes(Space.SCALE)
        most = size // 16 // max(1, rows)  # 0 where even granules side by side do not fit
        pitch = 16 * int(self.rng.integers(max(1, most)) % 1024)
        room = (size - max(0, rows - 1) * pitch) // 16
        start = 16 * int(self.rng.integers(room, endpoint=True))
        return Tile(space=Space.SCALE, start=start, pitch=pitch, rows=0, row_bytes=0, kind="")

    def _anywhere(self) -> Tile:
        """Fields of scales that a transposed operand has not got: any."""
        field = fields(Matmul)["b_scale"]
        start = 16 * int(self.rng.integers((field.unit << field.bits) // 16))
        pitch = 16 * int(self.rng.integers(1 << 10))
        return Tile(space=Space.SCALE, start=start, pitch=pitch, rows=0, row_bytes=0, kind="")

    def _k_blocks(self, name: str, rows: int) -> int:
        """Blocks of K such that an operand of so many rows stays small."""
        most = max(1, min(12, OPERAND_BYTES // (BLOCK * max(1, rows))))
        kind = self.shapes.decks.draw(f"{name} k", ("one", "few", "most"))
        if kind == "one" or most == 1:
            return 1
        return most if kind == "most" else int(self.rng.integers(2, most, endpoint=True))

    def _overlap(self, one: Tile, other: Tile) -> bool:
        return bool(one.rows and other.rows) and one.start < other.end and other.start < one.end
