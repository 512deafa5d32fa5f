"""The table of tiles, `isa.tiles`, as words of a read-only memory that `bounds` walks through.

Where a field of an operation lies is a number in the word, so that one selector serves them all.
"""

from enum import IntEnum
from typing import Any

from amaranth.lib import data
from amaranth.utils import exact_log2

from tapeout.isa.encoding import fields
from tapeout.isa.fields import GRANULE_BYTES, Space
from tapeout.isa.instructions import Operation
from tapeout.isa.tiles import (
    ROWS,
    TILES,
    Amount,
    Dense,
    Elements,
    Field,
    Numbers,
    Pitch,
    RowBytes,
    Rows,
    Scales,
    Spread,
    Tile,
    Where,
)
from tapeout.numerics.formats import BLOCK

OPERATIONS: tuple[type[Operation], ...] = tuple(TILES)
"""Operations with tiles; the place of one is its number in the memory."""

STEP_BITS = 3
STEPS = 1 << STEP_BITS
MEMORY_SPACE = 3
"""The number of the memory outside, beside those of `Space`."""


class AmountKind(IntEnum):
    """Where an amount comes from."""

    ROWS = 0
    CONSTANT = 1  # `at` itself
    FIELD = 2
    BLOCKS = 3  # 32 times a field


class PitchKind(IntEnum):
    """Where a pitch comes from."""

    CONSTANT = 0  # `at` itself
    FIELD = 1
    GRANULES = 2  # 16 times a field
    DENSE = 3  # the bytes of a row
    SPREAD = 4  # that of so many columns in the accumulators


class RowKind(IntEnum):
    """What a row consists of."""

    BYTES = 0
    NUMBERS = 1
    BLOCKS = 2
    ELEMENTS = 3
    SCALES = 4
    SCALE = 5  # a single one


AT = 8  # bits of the place of a field in the payload
WIDTH = 6

SLICE = data.StructLayout({"at": AT, "width": WIDTH})
AMOUNT = data.StructLayout({"kind": 2, "at": AT, "width": WIDTH})
CONDITION = data.StructLayout({"at": AT, "among": 16})
"""Holds if the bit of `among` is 1 whose number the four bits at `at` are."""

WORD = data.StructLayout(
    {
        "last": 1,
        "where": data.ArrayLayout(CONDITION, 2),
        "space": data.StructLayout({"fixed": 2, "at": AT, "width": WIDTH}),
        "start": SLICE,
        "unit_log2": 3,
        "plus_x": 1,
        "half": 1,
        "rows": AMOUNT,
        "pitch": data.StructLayout({"kind": 3, "at": AT, "width": WIDTH}),
        "row": data.StructLayout({"kind": 3, "format_at": AT, "single_at": AT, "maybe_single": 1}),
        "count": AMOUNT,
    }
)
"""A tile. `space` is `fixed` or a field; `plus_x`: the command's x is added to `start`."""


def words() -> list[dict[str, Any]]:
    """The contents of the memory: STEPS words for each operation, zero beyond its tiles."""
    out: list[dict[str, Any]] = []
    for cls in OPERATIONS:
        tiles = TILES[cls]
        assert len(tiles) <= STEPS, f"{cls.__name__} has too many tiles"
        mine = [_word(cls, tile, last=tile is tiles[-1]) for tile in tiles]
        out += [*mine, *[{}] * (STEPS - len(mine))]
    return out


def _word(cls: type[Operation], tile: Tile, *, last: bool) -> dict[str, Any]:
    assert len(tile.where) <= 2, "two conditions at most"
    where = [_condition(cls, each) for each in tile.where]
    always = {"at": 0, "among": 0xFFFF}
    if isinstance(tile.space, str):
        space = {"fixed": 0, **_slice(cls, tile.space)}
    else:
        space = {"fixed": MEMORY_SPACE if tile.space is None else Space(tile.space)}
    return {
        "last": int(last),
        "where": [*where, *[always] * (2 - len(where))],
        "space": space,
        "start": _slice(cls, tile.start),
        "unit_log2": exact_log2(fields(cls)[tile.start].unit),
        "plus_x": int(bool(tile.register)),
        "half": int(tile.half),
        "rows": _amount(cls, tile.rows),
        "pitch": _pitch(cls, tile.pitch, tile.row_bytes),
        **_row(cls, tile.row_bytes),
    }


def _place(cls: type[Operation], name: str) -> int:
    """The lowest bit of a field in the payload."""
    low = 0
    for each, field in fields(cls).items():
        if each == name:
            return low
        low += field.bits
    raise KeyError(name)


def _slice(cls: type[Operation], name: str) -> dict[str, int]:
    return {"at": _place(cls, name), "width": fields(cls)[name].bits}


def _condition(cls: type[Operation], where: Where) -> dict[str, int]:
    """Four bits of the payload, of which those above the field may be anything."""
    mask = (1 << fields(cls)[where.field].bits) - 1
    among = sum(1 << v for v in range(16) if v & mask in where.among)
    return {"at": _place(cls, where.field), "among": among}


def _amount(cls: type[Operation], amount: Amount) -> dict[str, int]:
    match amount:
        case Rows():
            assert amount == ROWS[cls]
            return {"kind": AmountKind.ROWS}
        case Field():
            kind = {1: AmountKind.FIELD, BLOCK: AmountKind.BLOCKS}[amount.times]
            return {"kind": kind, **_slice(cls, amount.name)}
        case int():
            return {"kind": AmountKind.CONSTANT, "at": amount}


def _pitch(cls: type[Operation], pitch: Pitch, row: RowBytes) -> dict[str, int]:
    match pitch:
        case Dense():
            return {"kind": PitchKind.DENSE}
        case Spread():
            assert row == Numbers(pitch.columns), "the hardware takes the columns of the row"
            return {"kind": PitchKind.SPREAD}
        case Field():
            unit = fields(cls)[pitch.name].unit
            kind = PitchKind.GRANULES if unit == GRANULE_BYTES else PitchKind.FIELD
            return {"kind": kind, **_slice(cls, pitch.name)}
        case int():
            return {"kind": PitchKind.CONSTANT, "at": pitch}


def _row(cls: type[Operation], rule: RowBytes) -> dict[str, Any]:
    count = _amount(cls, rule.count)
    match rule:
        case Numbers():
            kind = {1: RowKind.BYTES, 4: RowKind.NUMBERS}[rule.each_bytes]
            return {"count": count, "row": {"kind": kind}}
        case Elements():
            kind = RowKind.BLOCKS if rule.whole_blocks else RowKind.ELEMENTS
            return {"count": count, "row": {"kind": kind, "format_at": _place(cls, rule.format)}}
        case Scales():
            row = {"kind": RowKind.SCALES, "format_at": _place(cls, rule.format)}
            if rule.per_row is True:
                row["kind"] = RowKind.SCALE
            elif rule.per_row:
                row |= {"single_at": _place(cls, str(rule.per_row)), "maybe_single": 1}
            return {"count": count, "row": row}
