"""What each operation reads and writes: the one place that says so, for synchroniser and verifier.

Bytes are given as tiles, at their largest extent over all values that the registers may have.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.isa.instructions import (
    GRANULE_BYTES,
    Broadcast,
    Dequantise,
    LoadPages,
    LoadScalar,
    LoadTile,
    Map,
    MapFn,
    Matmul,
    Norm,
    Operation,
    Quantise,
    Rope,
    Sample,
    Softmax,
    Space,
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


@dataclass(frozen=True, kw_only=True)
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


Accesses = tuple[list[Tile], list[Tile]]
"""Tiles read and tiles written."""


def accesses(op: Operation, high: Bound, low: Bound, *, pages: int = PAGES_MAX) -> Accesses:
    """Return what `op` reads and writes.

    high(r) and low(r) bound the value of register r; `pages` is the number of pages in a pool.
    Tiles without bytes are left out. Commands of the command processor touch only what
    `LoadScalar` reads.

    Raises:
        ConfigError: if a format code is unknown.
    """
    match op:
        case LoadTile() | LoadPages() | StoreTile() | StorePages() | Sample() | LoadScalar():
            reads, writes = _memory(op, high, low, pages)
        case Matmul() | VectorMatmul():
            reads, writes = _product(op, max(0, op.m + high(op.m_reg)))
        case Map():
            reads, writes = _map(op, _rows(op, high))
        case Softmax():
            reads, writes = _softmax(op, _rows(op, high))
        case Norm() | Rope() | Quantise() | Dequantise():
            reads, writes = _row_by_row(op, _rows(op, high))
        case _:
            reads, writes = [], []
    return _filled(reads), _filled(writes)


def overlap(a: Tile, b: Tile) -> bool:
    """Whether two tiles may share a byte.

    Exact for tiles of one pitch and for tiles without gaps; otherwise their spans are compared.
    """
    if a.space != b.space or a.start >= b.end or b.start >= a.end:
        return False
    a, b = _joined(a), _joined(b)
    pitch = max(a.pitch, b.pitch)
    if pitch == 0 or (a.rows > 1 and b.rows > 1 and a.pitch != b.pitch):
        return True
    # Row i of a meets row j of b where -b.row_bytes < b.start - a.start + (j - i) pitch
    # < a.row_bytes.
    distance = b.start - a.start
    first = (-b.row_bytes - distance) // pitch + 1
    last = -((distance - a.row_bytes) // pitch) - 1
    return max(first, 1 - a.rows) <= min(last, b.rows - 1)


def _joined(tile: Tile) -> Tile:
    """A tile without gaps as one row (pitch 0); any other as it is."""
    if tile.rows > 1 and tile.row_bytes < tile.pitch:
        return tile
    size = tile.end - tile.start
    return Tile(space=tile.space, start=tile.start, rows=1, pitch=0, row_bytes=size)


def _filled(tiles: list[Tile]) -> list[Tile]:
    return [tile for tile in tiles if tile.rows > 0 and tile.row_bytes > 0]


def _rows(op: Map | Softmax | Norm | Rope | Quantise | Dequantise, high: Bound) -> int:
    return max(0, op.rows + high(op.rows_reg))


def _l1(start: int, rows: int, pitch: int, row_bytes: int) -> Tile:
    return Tile(space=Space.L1, start=start, rows=rows, pitch=pitch, row_bytes=row_bytes)


def _scale(start: int, rows: int, pitch: int, row_bytes: int) -> Tile:
    return Tile(space=Space.SCALE, start=start, rows=rows, pitch=pitch, row_bytes=row_bytes)


def _outside(start: int, rows: int, pitch: int, row_bytes: int, slack: int = 0) -> Tile:
    """A tile in memory whose start may be up to `slack` bytes later."""
    if slack == 0 or rows <= 0:
        return Tile(space=None, start=start, rows=rows, pitch=pitch, row_bytes=row_bytes)
    size = slack + (rows - 1) * pitch + row_bytes
    return Tile(space=None, start=start, rows=1, pitch=0, row_bytes=size)


def _memory(
    op: LoadTile | LoadPages | StoreTile | StorePages | Sample | LoadScalar,
    high: Bound,
    low: Bound,
    pages: int,
) -> Accesses:
    match op:
        case LoadScalar():
            start, slack = op.address + low(op.address_reg), _slack(op.address_reg, high, low)
            return [_outside(start, 1, 0, TABLE_ENTRY_BYTES, slack)], []
        case LoadTile():
            rows, slack = op.rows + high(op.rows_reg), _slack(op.src_reg, high, low)
            start = op.src + low(op.src_reg)
            source = _outside(start, rows, op.src_pitch, op.row_bytes, slack)
            return [source], [_local(op.space, op.dst, rows, op.dst_pitch, op.row_bytes)]
        case StoreTile():
            rows, slack = op.rows + high(op.rows_reg), _slack(op.dst_reg, high, low)
            start = op.dst + low(op.dst_reg)
            target = _outside(start, rows, op.dst_pitch, op.row_bytes, slack)
            return [_local(op.space, op.src, rows, op.src_pitch, op.row_bytes)], [target]
        case LoadPages():
            here = _local(op.space, op.dst, op.rows, op.dst_pitch, op.row_bytes)
            last = min(high(op.first) + op.rows, high(op.end)) - 1
            return [_table(op, last, high, low), _pool(op, pages)], [here]
        case StorePages():
            rows = high(op.count)
            here = _local(op.space, op.src, rows, op.src_pitch, op.row_bytes)
            last = high(op.first) + rows - 1 if rows > 0 else -1
            return [_table(op, last, high, low), here], [_pool(op, pages)]
        case Sample():
            rows = op.rows + high(op.rows_reg)
            logits = _outside(op.logits, rows, op.pitch, op.columns * FP32_BYTES)
            parameters = _outside(op.parameters, rows, PARAMETER_BYTES, PARAMETER_BYTES)
            return [logits, parameters], [_outside(op.out, rows, FP32_BYTES, FP32_BYTES)]


def _slack(register: int, high: Bound, low: Bound) -> int:
    return high(register) - low(register)


def _local(space: int, start: int, rows: int, pitch: int, row_bytes: int) -> Tile:
    return Tile(space=Space(space), start=start, rows=rows, pitch=pitch, row_bytes=row_bytes)


def _table(op: LoadPages | StorePages, last: int, high: Bound, low: Bound) -> Tile:
    """The entries of the block table for tokens R[first] .. `last`."""
    first_entry, last_entry = low(op.first) >> op.page_log2, last >> op.page_log2
    entries = last_entry - first_entry + 1 if last >= low(op.first) else 0
    start = low(op.table) + first_entry * TABLE_ENTRY_BYTES
    slack = _slack(op.table, high, low)
    return _outside(start, entries, TABLE_ENTRY_BYTES, TABLE_ENTRY_BYTES, slack)


def _pool(op: LoadPages | StorePages, pages: int) -> Tile:
    """Every page's part that the operation may touch: which pages, only the table knows."""
    return _outside(op.pool + op.offset, pages, op.page_bytes, op.row_bytes << op.page_log2)


def _product(op: Matmul | VectorMatmul, m: int) -> Accesses:
    k = BLOCK * op.k_blocks
    b_format = format_of_code(op.b_format)
    if op.transpose:
        b = _l1(op.b, k, op.b_pitch, op.n * b_format.element_bits // 8)
    else:
        b = _l1(op.b, op.n, op.b_pitch, b_format.row_bytes(k))
    reads = [b]
    if isinstance(op, VectorMatmul):
        reads.append(_l1(op.a, m, op.a_pitch, k * FP32_BYTES))
        out = _l1(op.dst, m, op.dst_pitch, op.n * FP32_BYTES)
    else:
        a_format = format_of_code(op.a_format)
        reads.append(_l1(op.a, m, op.a_pitch, a_format.row_bytes(k)))
        reads.append(_scale(op.a_scale, m, op.a_scale_pitch, a_format.scale_row_bytes(k)))
        if not op.transpose:
            reads.append(_scale(op.b_scale, op.n, op.b_scale_pitch, b_format.scale_row_bytes(k)))
        out = _local(Space.ACC, op.acc, m, op.n * FP32_BYTES, op.n * FP32_BYTES)
    return [*reads, *([out] if op.accumulate else [])], [out]


def _map(op: Map, rows: int) -> Accesses:
    row_bytes = op.columns * FP32_BYTES
    dst = _l1(op.dst, rows, op.dst_pitch, row_bytes)
    reads: list[Tile] = []
    if op.fn != MapFn.FILL:
        reads.append(_local(op.a_space, op.a, rows, op.a_pitch, row_bytes))
    if op.fn != MapFn.COPY:
        reads.append(_map_b(op, rows, row_bytes))
    if op.fn == MapFn.MULADD:
        reads.append(dst)
    return reads, [dst]


def _map_b(op: Map, rows: int, row_bytes: int) -> Tile:
    match Broadcast(op.b_mode):
        case Broadcast.FULL:
            return _l1(op.b, rows, op.b_pitch, row_bytes)
        case Broadcast.ROW:
            return _l1(op.b, 1, 0, row_bytes)
        case Broadcast.COLUMN:
            return _l1(op.b, 1, 0, rows * FP32_BYTES)
        case Broadcast.SCALAR:
            return _l1(op.b, 1, 0, FP32_BYTES)


def _softmax(op: Softmax, rows: int) -> Accesses:
    score_bytes = op.columns * FP32_BYTES
    scores = _local(op.space, op.scores, rows, score_bytes, score_bytes)
    state_bytes = rows * FP32_BYTES
    value_format, out_format = format_of_code(op.value_format), format_of_code(op.format)
    value_scales = _scale(op.value_scale, op.columns, GRANULE_BYTES, value_format.scale_bits // 8)
    out = _l1(op.dst, rows, op.dst_pitch, out_format.row_bytes(op.columns))
    out_scales = _scale(op.scale, rows, GRANULE_BYTES, out_format.scale_row_bytes(op.columns))
    return (
        [scores, _l1(op.state, 2, op.state_pitch, state_bytes), value_scales],
        [_l1(op.state, 3, op.state_pitch, state_bytes), out, out_scales],
    )


def _row_by_row(op: Norm | Rope | Quantise | Dequantise, rows: int) -> Accesses:
    wide_bytes = op.columns * FP32_BYTES
    match op:
        case Norm():
            gamma = _l1(op.gamma, 1, 0, wide_bytes)
            return (
                [_l1(op.src, rows, op.src_pitch, wide_bytes), gamma],
                [_l1(op.dst, rows, op.dst_pitch, wide_bytes)],
            )
        case Rope():
            # head_dim / 2 frequencies of 8 bytes each
            frequencies = _l1(op.frequencies, 1, 0, op.head_dim // 2 * 8)
            positions = _l1(op.positions, 1, 0, rows * FP32_BYTES)
            return (
                [_l1(op.src, rows, op.src_pitch, wide_bytes), positions, frequencies],
                [_l1(op.dst, rows, op.dst_pitch, wide_bytes)],
            )
        case Quantise():
            fmt = format_of_code(op.format)
            scale_bytes = fmt.scale_row_bytes(op.columns, per_row=bool(op.per_row))
            return (
                [_l1(op.src, rows, op.src_pitch, wide_bytes)],
                [
                    _l1(op.dst, rows, op.dst_pitch, fmt.row_bytes(op.columns)),
                    _scale(op.scale, rows, op.scale_pitch, scale_bytes),
                ],
            )
        case Dequantise():
            fmt = format_of_code(op.format)
            scale_bytes = fmt.scale_row_bytes(op.columns)
            return (
                [
                    _l1(op.src, rows, op.src_pitch, fmt.row_bytes(op.columns)),
                    _scale(op.scale, rows, op.scale_pitch, scale_bytes),
                ],
                [_l1(op.dst, rows, op.dst_pitch, wide_bytes)],
            )
