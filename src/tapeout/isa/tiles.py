"""Which bytes each operation touches, as data: for the simulator's tests and for the hardware.

`TILES` describes the operands of every operation by the names of fields; `placed` gives their
bytes for one operation. Block tables and the pages that they name are not here: only the table's
entries say where those lie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from tapeout.isa.fields import GRANULE_BYTES, Broadcast, MapFn, Space, acc_pitch
from tapeout.isa.instructions import LoadPages, LoadTile, Matmul, Operation, StorePages, StoreTile
from tapeout.isa.vector import (
    Dequantise,
    Map,
    Norm,
    Quantise,
    Rope,
    Sample,
    Softmax,
    VectorMatmul,
)
from tapeout.numerics.formats import BLOCK, FORMATS, format_of_code

SCALED = tuple(fmt.code for fmt in FORMATS if fmt.scale != "none")
"""Codes of the formats that have scales."""

# ---- amounts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """What a field holds, `times` over."""

    name: str
    times: int = 1


@dataclass(frozen=True)
class Rows:
    """The rows of the operation: a field and a register."""

    name: str = "rows"
    register: str = "rows_reg"


@dataclass(frozen=True)
class Dense:
    """A pitch: rows follow each other without gaps."""


@dataclass(frozen=True)
class Spread:
    """A pitch: that of a matrix in the accumulators of so many columns, `fields.acc_pitch`."""

    columns: Field


Amount: TypeAlias = int | Field | Rows
Pitch: TypeAlias = int | Field | Dense | Spread

# ---- bytes of a row ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """`count` numbers of so many bytes."""

    count: Amount
    each_bytes: int = 4


@dataclass(frozen=True)
class Elements:
    """`count` elements of the format that a field names, padded to a whole block or not."""

    format: str
    count: Field
    whole_blocks: bool = True


@dataclass(frozen=True)
class Scales:
    """Scales of `count` elements, or one if there is one for each row (a flag, or always)."""

    format: str
    count: Field
    per_row: str | bool = False


RowBytes: TypeAlias = Numbers | Elements | Scales

# ---- tiles -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Where:
    """The condition that a field of at most four bits holds one of these values."""

    field: str
    among: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An operand: `rows` rows of `row_bytes`, `pitch` bytes apart, if all of `where` holds."""

    space: Space | str | None
    """A memory of the core, the field that names one, or None: memory outside."""
    start: str
    register: str = ""
    """The field that names the register added to `start`."""
    rows: Amount
    pitch: Pitch
    row_bytes: RowBytes
    where: tuple[Where, ...] = ()
    half: bool = False
    """Whether it must lie in one half of the accumulators."""


@dataclass(frozen=True, kw_only=True)
class PlacedTile:
    """The bytes of a tile."""

    space: Space | None
    start: int
    rows: int
    pitch: int
    row_bytes: int
    half: bool = False

    @property
    def end(self) -> int:
        """One past the last byte of the last row."""
        return self.start + (self.rows - 1) * self.pitch + self.row_bytes

    def lies_within(self, size_bytes: int) -> bool:
        """Whether it lies in its memory, which has so many bytes."""
        half_bytes = size_bytes // 2
        if self.half and self.start < half_bytes < self.end:
            return False
        return self.start >= 0 and self.end <= size_bytes


def placed(op: Operation, registers: Sequence[int]) -> tuple[PlacedTile, ...]:
    """The tiles that an operation touches with these values of the registers.

    Empty without rows. Rules of `shapes` and formats must hold.
    """
    tiles = (t for t in TILES.get(type(op), ()) if all(_holds(op, w) for w in t.where))
    if _amount(op, ROWS.get(type(op), 1), registers) == 0:
        return ()
    return tuple(_placed(op, tile, registers) for tile in tiles)


def _placed(op: Operation, tile: Tile, registers: Sequence[int]) -> PlacedTile:
    space = getattr(op, tile.space) if isinstance(tile.space, str) else tile.space
    offset = registers[getattr(op, tile.register)] if tile.register else 0
    row_bytes = _row_bytes(op, tile.row_bytes, registers)
    return PlacedTile(
        space=None if space is None else Space(space),
        start=getattr(op, tile.start) + offset,
        rows=_amount(op, tile.rows, registers),
        pitch=_pitch(op, tile.pitch, row_bytes),
        row_bytes=row_bytes,
        half=tile.half,
    )


def _holds(op: Operation, where: Where) -> bool:
    return getattr(op, where.field) in where.among


def _amount(op: Operation, amount: Amount, registers: Sequence[int]) -> int:
    match amount:
        case int():
            return amount
        case Field():
            return getattr(op, amount.name) * amount.times
        case Rows():
            fixed = getattr(op, amount.name) if amount.name else 0
            return fixed + (registers[getattr(op, amount.register)] if amount.register else 0)
        case _:
            assert_never(amount)


def _pitch(op: Operation, pitch: Pitch, row_bytes: int) -> int:
    match pitch:
        case int():
            return pitch
        case Field():
            return getattr(op, pitch.name) * pitch.times
        case Dense():
            return row_bytes
        case Spread():
            return acc_pitch(getattr(op, pitch.columns.name))
        case _:
            assert_never(pitch)


def _row_bytes(op: Operation, rule: RowBytes, registers: Sequence[int]) -> int:
    match rule:
        case Numbers():
            return _amount(op, rule.count, registers) * rule.each_bytes
        case Elements():
            fmt, count = format_of_code(getattr(op, rule.format)), _amount(op, rule.count, ())
            return fmt.row_bytes(count) if rule.whole_blocks else count * fmt.element_bits // 8
        case Scales():
            per_row = getattr(op, rule.per_row) if isinstance(rule.per_row, str) else rule.per_row
            fmt, count = format_of_code(getattr(op, rule.format)), _amount(op, rule.count, ())
            return fmt.scale_row_bytes(count, per_row=bool(per_row))
        case _:
            assert_never(rule)


# ---- the table ---------------------------------------------------------------------------------

_ROWS, _M = Rows(), Rows("m", "m_reg")
_N, _K, _COLUMNS = Field("n"), Field("k_blocks", BLOCK), Field("columns")
_BYTES = Numbers(Field("row_bytes"), 1)
_WIDE = Numbers(_COLUMNS)
_PARAMETER_BYTES = 32  # of the record of a row of `Sample`

ROWS: Mapping[type[Operation], Rows] = {
    LoadTile: _ROWS,
    LoadPages: Rows(register=""),
    StoreTile: _ROWS,
    StorePages: Rows("", "count"),
    Matmul: _M,
    VectorMatmul: _M,
    **dict.fromkeys((Map, Norm, Rope, Softmax, Quantise, Dequantise, Sample), _ROWS),
}
"""What the rows of an operation are; without any, it does nothing."""


def _tile(
    start: str,
    row_bytes: RowBytes,
    *where: Where,
    space: Space | str | None = Space.L1,
    rows: Amount = _ROWS,
    pitch: Pitch | None = None,
    half: bool = False,
) -> Tile:
    """A tile in L1 whose pitch is in the field beside its address, unless it is given."""
    return Tile(
        space=space,
        start=start,
        rows=rows,
        pitch=Field(f"{start}_pitch") if pitch is None else pitch,
        row_bytes=row_bytes,
        where=where,
        half=half,
    )


def _row(start: str, row_bytes: RowBytes, *where: Where) -> Tile:
    return _tile(start, row_bytes, *where, rows=1, pitch=0)


def _each_row(start: str, each_bytes: int, *where: Where, space: Space | None = Space.L1) -> Tile:
    """So many bytes for each row, without gaps."""
    return _tile(start, Numbers(each_bytes, 1), *where, space=space, pitch=each_bytes)


def _memory(start: str, register: str) -> Tile:
    return Tile(
        space=None,
        start=start,
        register=register,
        rows=_ROWS,
        pitch=Field(f"{start}_pitch"),
        row_bytes=_BYTES,
    )


def _scales(start: str, scales: Scales, *where: Where, rows: Amount, pitch: Pitch) -> Tile:
    return _tile(start, scales, *where, space=Space.SCALE, rows=rows, pitch=pitch)


def _blocks(name: str, rows: Amount, count: Field, *where: Where) -> tuple[Tile, Tile]:
    """Elements and scales of an operand of a product, or of blocks that are read."""
    fmt, scale = ("format", "scale") if name == "src" else (f"{name}_format", f"{name}_scale")
    pitch = Field(f"{scale}_pitch")
    return (
        _tile(name, Elements(fmt, count), *where, rows=rows),
        _scales(scale, Scales(fmt, count), *where, rows=rows, pitch=pitch),
    )


def _map_b() -> tuple[Tile, ...]:
    used = Where("fn", tuple(fn for fn in MapFn if fn is not MapFn.COPY))
    full, row, column, scalar = (
        Where("b_mode", (mode,))
        for mode in (Broadcast.FULL, Broadcast.ROW, Broadcast.COLUMN, Broadcast.SCALAR)
    )
    return (
        _tile("b", _WIDE, used, full),
        _row("b", _WIDE, used, row),
        _each_row("b", 4, used, column),
        _row("b", Numbers(1), used, scalar),
    )


def _softmax() -> tuple[Tile, ...]:
    values_scaled, scaled = Where("value_format", SCALED), Where("format", SCALED)
    value_scale = Scales("value_format", _COLUMNS, per_row=True)
    dense = _tile("scores", _WIDE, Where("space", (Space.L1,)), pitch=Dense())
    products = _tile(
        "scores", _WIDE, Where("space", (Space.ACC,)), space=Space.ACC, pitch=Spread(_COLUMNS)
    )
    return (
        dense,
        products,
        _tile("state", Numbers(_ROWS), rows=3),
        _scales("value_scale", value_scale, values_scaled, rows=_COLUMNS, pitch=GRANULE_BYTES),
        _tile("dst", Elements("format", _COLUMNS)),
        _scales("scale", Scales("format", _COLUMNS), scaled, rows=_ROWS, pitch=GRANULE_BYTES),
    )


_STRAIGHT, _TRANSPOSED = Where("transpose", (0,)), Where("transpose", (1,))

TILES: Mapping[type[Operation], tuple[Tile, ...]] = {
    LoadTile: (_memory("src", "src_reg"), _tile("dst", _BYTES, space="space")),
    LoadPages: (_tile("dst", _BYTES, space="space", rows=ROWS[LoadPages]),),
    StoreTile: (_tile("src", _BYTES, space="space"), _memory("dst", "dst_reg")),
    StorePages: (_tile("src", _BYTES, space="space", rows=ROWS[StorePages]),),
    Matmul: (
        *_blocks("a", _M, _K),
        *_blocks("b", _N, _K, _STRAIGHT),
        _tile("b", Elements("b_format", _N), _TRANSPOSED, rows=_K),
        _tile("acc", Numbers(_N), space=Space.ACC, rows=_M, pitch=Spread(_N), half=True),
    ),
    VectorMatmul: (
        _tile("a", Numbers(_K), rows=_M),
        _tile("b", Elements("b_format", _K), _STRAIGHT, rows=_N),
        _tile("b", Elements("b_format", _N, whole_blocks=False), _TRANSPOSED, rows=_K),
        _tile("dst", Numbers(_N), rows=_M),
    ),
    Map: (
        _tile("dst", _WIDE),
        _tile(
            "a",
            _WIDE,
            Where("fn", tuple(fn for fn in MapFn if fn is not MapFn.FILL)),
            space="a_space",
        ),
        *_map_b(),
    ),
    Norm: (_tile("src", _WIDE), _row("gamma", _WIDE), _tile("dst", _WIDE)),
    Rope: (
        _tile("src", _WIDE),
        _each_row("positions", 4),
        # A pair of elements has one frequency of 8 bytes.
        _row("frequencies", Numbers(Field("head_dim"))),
        _tile("dst", _WIDE),
    ),
    Softmax: _softmax(),
    Quantise: (
        _tile("src", _WIDE),
        _tile("dst", Elements("format", _COLUMNS)),
        _scales(
            "scale",
            Scales("format", _COLUMNS, per_row="per_row"),
            Where("format", SCALED),
            rows=_ROWS,
            pitch=Field("scale_pitch"),
        ),
    ),
    Dequantise: (*_blocks("src", _ROWS, _COLUMNS), _tile("dst", _WIDE)),
    Sample: (
        _tile("logits", _WIDE, space=None, pitch=Field("pitch")),
        _each_row("parameters", _PARAMETER_BYTES, space=None),
        _each_row("out", 4, space=None),
    ),
}
"""Operation -> every tile that it reads or writes, in the order in which they are checked."""
