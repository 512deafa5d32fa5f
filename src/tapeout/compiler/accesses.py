"""What each operation reads and writes: the one place that says so, for synchroniser and verifier.

`extents` says it in terms of registers; `accesses` gives the bytes at their largest, over all
values that the registers may have.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tapeout.isa.fields import GRANULE_BYTES, Broadcast, MapFn, Space
from tapeout.isa.instructions import (
    Dequantise,
    LoadPages,
    LoadScalar,
    LoadTile,
    Map,
    Matmul,
    Norm,
    Operation,
    Quantise,
    Rope,
    Sample,
    Softmax,
    StorePages,
    StoreTile,
    VectorMatmul,
)
from tapeout.numerics.formats import BLOCK, format_of_code

FP32_BYTES = 4
TABLE_ENTRY_BYTES = 4
PARAMETER_BYTES = 32
PAGES_MAX = 1 << 20

Bound = Callable[[int], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """`rows` rows of `row_bytes`, `pitch` bytes apart, in a core's memory or (None) outside."""

    space: Space | None
    start: int
    rows: int
    pitch: int
    row_bytes: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + (self.rows - 1) * self.pitch + self.row_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """A tile that starts at start + R[start_reg] and has rows + R[rows_reg] rows.

    A `paged` extent has a row for each page of its pool instead.
    """

    space: Space | None
    start: int
    start_reg: int = 0
    rows: int
    rows_reg: int = 0
    pitch: int
    row_bytes: int
    paged: bool = False


Accesses = tuple[list[Tile], list[Tile]]
"""Tiles read and tiles written."""

Extents = tuple[list[Extent], list[Extent]]
"""Extents read and extents written."""


def accesses(op: Operation, high: Bound, low: Bound, *, pages: int = PAGES_MAX) -> Accesses:
    """Return the tiles that `op` reads and writes, at their largest.

    high(r) and low(r) bound the value of register r; `pages` is the number of pages of a pool.
    Tiles without bytes are left out. Commands of the command processor touch only what
    `LoadScalar` reads.

    Raises:
        ConfigError: if a format code is unknown.
    """
    reads, writes = extents(op)
    tiles_read = [_largest(extent, high, low, pages) for extent in reads]
    if isinstance(op, LoadPages | StorePages):
        tiles_read.append(block_table(op, high, low))
    tiles_written = [_largest(extent, high, low, pages) for extent in writes]
    return _filled(tiles_read), _filled(tiles_written)


def extents(op: Operation) -> Extents:
    """Return what `op` reads and writes, but for the block tables of paged operations.

    Raises:
        ConfigError: if a format code is unknown.
    """
    match op:
        case LoadScalar() | LoadTile() | StoreTile() | Sample():
            return _memory(op)
        case LoadPages() | StorePages():
            return _paged(op)
        case Matmul() | VectorMatmul():
            return _product(op)
        case Map():
            return _map(op)
        case Softmax():
            return _softmax(op)
        case Norm() | Rope():
            return _wide(op)
        case Quantise() | Dequantise():
            return _blocks(op)
        case _:
            return [], []


def block_table(op: LoadPages | StorePages, high: Bound, low: Bound) -> Tile:
    """The entries of the block table that a paged operation may read."""
    if isinstance(op, LoadPages):
        last = min(high(op.first) + op.rows, high(op.end)) - 1
    else:
        last = high(op.first) + high(op.count) - 1
    first_entry = low(op.first) >> op.page_log2
    entries = (last >> op.page_log2) - first_entry + 1 if last >= low(op.first) else 0
    return spread(
        Extent(
            space=None,
            start=first_entry * TABLE_ENTRY_BYTES,
            rows=entries,
            pitch=TABLE_ENTRY_BYTES,
            row_bytes=TABLE_ENTRY_BYTES,
        ),
        low(op.table),
        high(op.table),
        entries,
    )


def spread(extent: Extent, low: int, high: int, rows: int, *, step: int = 1) -> Tile:
    """All bytes of an extent of `rows` rows whose start register is low, low + step, .. or high."""
    pitch, row_bytes = extent.pitch, extent.row_bytes
    if high > low and rows > 0:
        if pitch and step % pitch == 0 and (high - low) % pitch == 0:
            rows += (high - low) // pitch
        else:
            row_bytes += high - low + (rows - 1) * pitch
            rows, pitch = 1, 0
    start = extent.start + low
    return Tile(space=extent.space, start=start, rows=rows, pitch=pitch, row_bytes=row_bytes)


def overlap(a: Tile, b: Tile) -> bool:
    """Whether two tiles may share a byte.

    Exact for tiles of one pitch and for tiles without gaps; otherwise their spans are compared.
    """
    if a.space != b.space or a.start >= b.end or b.start >= a.end:
        return False
    a, b = joined(a), joined(b)
    pitch = max(a.pitch, b.pitch)
    if pitch == 0 or (a.rows > 1 and b.rows > 1 and a.pitch != b.pitch):
        return True
    # Row i of a meets row j of b where -b.row_bytes < b.start - a.start + (j - i) pitch
    # < a.row_bytes.
    distance = b.start - a.start
    first = (-b.row_bytes - distance) // pitch + 1
    last = -((distance - a.row_bytes) // pitch) - 1
    return max(first, 1 - a.rows) <= min(last, b.rows - 1)


def joined(tile: Tile) -> Tile:
    """A tile without gaps as one row of pitch 0; any other as it is."""
    if tile.rows > 1 and tile.row_bytes < tile.pitch:
        return tile
    return replace(tile, rows=1, pitch=0, row_bytes=tile.end - tile.start)


def _filled(tiles: list[Tile]) -> list[Tile]:
    return [tile for tile in tiles if tile.rows > 0 and tile.row_bytes > 0]


def _largest(extent: Extent, high: Bound, low: Bound, pages: int) -> Tile:
    rows = pages if extent.paged else extent.rows + high(extent.rows_reg)
    return spread(extent, low(extent.start_reg), high(extent.start_reg), rows)


def _l1(start: int, rows: int, rows_reg: int, pitch: int, row_bytes: int) -> Extent:
    return _local(Space.L1, start, rows, rows_reg, pitch, row_bytes)


def _scale(start: int, rows: int, rows_reg: int, pitch: int, row_bytes: int) -> Extent:
    return _local(Space.SCALE, start, rows, rows_reg, pitch, row_bytes)


def _local(space: int, start: int, rows: int, rows_reg: int, pitch: int, row_bytes: int) -> Extent:
    return Extent(
        space=Space(space),
        start=start,
        rows=rows,
        rows_reg=rows_reg,
        pitch=pitch,
        row_bytes=row_bytes,
    )


def _memory(op: LoadScalar | LoadTile | StoreTile | Sample) -> Extents:
    def outside(start: int, start_reg: int, pitch: int, row_bytes: int) -> Extent:
        local = _l1(start, rows, rows_reg, pitch, row_bytes)
        return replace(local, space=None, start_reg=start_reg)

    rows, rows_reg = (1, 0) if isinstance(op, LoadScalar) else (op.rows, op.rows_reg)
    match op:
        case LoadScalar():
            return [outside(op.address, op.address_reg, 0, TABLE_ENTRY_BYTES)], []
        case LoadTile():
            here = _local(op.space, op.dst, rows, rows_reg, op.dst_pitch, op.row_bytes)
            return [outside(op.src, op.src_reg, op.src_pitch, op.row_bytes)], [here]
        case StoreTile():
            here = _local(op.space, op.src, rows, rows_reg, op.src_pitch, op.row_bytes)
            return [here], [outside(op.dst, op.dst_reg, op.dst_pitch, op.row_bytes)]
        case Sample():
            logits = outside(op.logits, 0, op.pitch, op.columns * FP32_BYTES)
            parameters = outside(op.parameters, 0, PARAMETER_BYTES, PARAMETER_BYTES)
            return [logits, parameters], [outside(op.out, 0, FP32_BYTES, FP32_BYTES)]


def _paged(op: LoadPages | StorePages) -> Extents:
    # Which pages are touched, only the table knows: this operation's part of every page.
    pool = Extent(
        space=None,
        start=op.pool + op.offset,
        rows=0,
        pitch=op.page_bytes,
        row_bytes=op.row_bytes << op.page_log2,
        paged=True,
    )
    if isinstance(op, LoadPages):
        return [pool], [_local(op.space, op.dst, op.rows, 0, op.dst_pitch, op.row_bytes)]
    return [_local(op.space, op.src, 0, op.count, op.src_pitch, op.row_bytes)], [pool]


def _product(op: Matmul | VectorMatmul) -> Extents:
    k = BLOCK * op.k_blocks
    b_format = format_of_code(op.b_format)
    if op.transpose:
        b = _l1(op.b, k, 0, op.b_pitch, op.n * b_format.element_bits // 8)
    else:
        b = _l1(op.b, op.n, 0, op.b_pitch, b_format.row_bytes(k))
    reads = [b]
    if isinstance(op, VectorMatmul):
        reads.append(_l1(op.a, op.m, op.m_reg, op.a_pitch, k * FP32_BYTES))
        out = _l1(op.dst, op.m, op.m_reg, op.dst_pitch, op.n * FP32_BYTES)
    else:
        a_format = format_of_code(op.a_format)
        a_scale_bytes, b_scale_bytes = a_format.scale_row_bytes(k), b_format.scale_row_bytes(k)
        reads.append(_l1(op.a, op.m, op.m_reg, op.a_pitch, a_format.row_bytes(k)))
        if a_scale_bytes:
            reads.append(_scale(op.a_scale, op.m, op.m_reg, op.a_scale_pitch, a_scale_bytes))
        if b_scale_bytes and not op.transpose:
            reads.append(_scale(op.b_scale, op.n, 0, op.b_scale_pitch, b_scale_bytes))
        out = _local(Space.ACC, op.acc, op.m, op.m_reg, op.acc_pitch, op.n * FP32_BYTES)
    return [*reads, *([out] if op.accumulate else [])], [out]


def _map(op: Map) -> Extents:
    row_bytes = op.columns * FP32_BYTES
    dst = _l1(op.dst, op.rows, op.rows_reg, op.dst_pitch, row_bytes)
    reads: list[Extent] = []
    if op.fn != MapFn.FILL:
        reads.append(_local(op.a_space, op.a, op.rows, op.rows_reg, op.a_pitch, row_bytes))
    if op.fn != MapFn.COPY:
        reads.append(_map_b(op, row_bytes))
    if op.fn == MapFn.MULADD:
        reads.append(dst)
    return reads, [dst]


def _map_b(op: Map, row_bytes: int) -> Extent:
    match Broadcast(op.b_mode):
        case Broadcast.FULL:
            return _l1(op.b, op.rows, op.rows_reg, op.b_pitch, row_bytes)
        case Broadcast.ROW:
            return _l1(op.b, 1, 0, 0, row_bytes)
        case Broadcast.COLUMN:
            return _numbers(op.b, op.rows, op.rows_reg)
        case Broadcast.SCALAR:
            return _l1(op.b, 1, 0, 0, FP32_BYTES)


def _numbers(start: int, count: int, count_reg: int) -> Extent:
    """One 32-bit number for each row, without gaps."""
    return _l1(start, count, count_reg, FP32_BYTES, FP32_BYTES)


def _softmax(op: Softmax) -> Extents:
    rows, reg = op.rows, op.rows_reg
    score_bytes = op.columns * FP32_BYTES
    out_format = format_of_code(op.format)
    scale_bytes = out_format.scale_row_bytes(op.columns)
    value_scale_bytes = format_of_code(op.value_format).scale_bits // 8
    state = [_numbers(op.state + i * op.state_pitch, rows, reg) for i in range(3)]
    reads = [_local(op.space, op.scores, rows, reg, op.score_pitch, score_bytes), *state[:2]]
    if value_scale_bytes:
        reads.append(_scale(op.value_scale, op.columns, 0, GRANULE_BYTES, value_scale_bytes))
    writes = [*state, _l1(op.dst, rows, reg, op.dst_pitch, out_format.row_bytes(op.columns))]
    if scale_bytes:
        writes.append(_scale(op.scale, rows, reg, GRANULE_BYTES, scale_bytes))
    return reads, writes


def _wide(op: Norm | Rope) -> Extents:
    row_bytes = op.columns * FP32_BYTES
    src = _l1(op.src, op.rows, op.rows_reg, op.src_pitch, row_bytes)
    dst = _l1(op.dst, op.rows, op.rows_reg, op.dst_pitch, row_bytes)
    if isinstance(op, Norm):
        return [src, _l1(op.gamma, 1, 0, 0, row_bytes)], [dst]
    # head_dim / 2 frequencies of 8 bytes each
    frequencies = _l1(op.frequencies, 1, 0, 0, op.head_dim // 2 * 8)
    return [src, _numbers(op.positions, op.rows, op.rows_reg), frequencies], [dst]


def _blocks(op: Quantise | Dequantise) -> Extents:
    fmt = format_of_code(op.format)
    per_row = isinstance(op, Quantise) and bool(op.per_row)
    scale_bytes = fmt.scale_row_bytes(op.columns, per_row=per_row)
    narrow_bytes, wide_bytes = fmt.row_bytes(op.columns), op.columns * FP32_BYTES
    quantise = isinstance(op, Quantise)
    src_bytes, dst_bytes = (wide_bytes, narrow_bytes) if quantise else (narrow_bytes, wide_bytes)
    src = _l1(op.src, op.rows, op.rows_reg, op.src_pitch, src_bytes)
    dst = _l1(op.dst, op.rows, op.rows_reg, op.dst_pitch, dst_bytes)
    if not scale_bytes:
        return [src], [dst]
    scales = _scale(op.scale, op.rows, op.rows_reg, op.scale_pitch, scale_bytes)
    return ([src], [dst, scales]) if quantise else ([src, scales], [dst])
