from dataclasses import replace
from typing import get_type_hints

import pytest

from tapeout.isa import (
    OPERATIONS,
    REGISTERS,
    Broadcast,
    LoadTile,
    Map,
    MapFn,
    Matmul,
    Operation,
    Quantise,
    Queue,
    Softmax,
    Space,
    StorePages,
)
from tapeout.isa.encoding import fields
from tapeout.isa.fields import HbmAddress, Register
from tapeout.isa.tiles import ROWS, TILES, Field, PlacedTile, Spread, placed

R = [0] * REGISTERS
MATMUL = Matmul(
    a=0x100,
    a_pitch=48,
    a_scale=0x20,
    a_scale_pitch=16,
    a_format=7,  # mxfp6_e2m3: 24 bytes a block, a scale of a byte
    b=0x400,
    b_pitch=64,
    b_scale=0x80,
    b_scale_pitch=16,
    b_format=9,  # mxfp4: 16 bytes a block
    acc=0x1000,
    m=3,
    m_reg=2,
    n=40,
    k_blocks=2,
    accumulate=0,
    transpose=0,
)
MAP = Map(
    fn=MapFn.ADD,
    a_space=Space.ACC,
    a=0,
    a_pitch=128,
    b=0x200,
    b_pitch=64,
    b_mode=Broadcast.FULL,
    dst=0x100,
    dst_pitch=96,
    rows=4,
    rows_reg=0,
    columns=10,
)


def tile(
    space: Space | None, start: int, rows: int, pitch: int, row_bytes: int, half: bool = False
):
    return PlacedTile(
        space=space, start=start, rows=rows, pitch=pitch, row_bytes=row_bytes, half=half
    )


def test_a_product_reads_four_tiles_and_writes_one():
    assert placed(MATMUL, [0, 0, 2, *R[3:]]) == (
        tile(Space.L1, 0x100, 5, 48, 48),
        tile(Space.SCALE, 0x20, 5, 16, 2),
        tile(Space.L1, 0x400, 40, 64, 32),
        tile(Space.SCALE, 0x80, 40, 16, 2),
        tile(Space.ACC, 0x1000, 5, 256, 160, half=True),
    )


def test_a_transposed_operand_has_a_row_for_each_k_and_no_scales():
    b = placed(replace(MATMUL, transpose=1), R)[2]
    assert b == tile(Space.L1, 0x400, 64, 64, 32), "40 elements are padded to two blocks"
    assert len(placed(replace(MATMUL, transpose=1), R)) == 4


@pytest.mark.parametrize(
    ("mode", "b"),
    [
        (Broadcast.FULL, tile(Space.L1, 0x200, 4, 64, 40)),
        (Broadcast.ROW, tile(Space.L1, 0x200, 1, 0, 40)),
        (Broadcast.COLUMN, tile(Space.L1, 0x200, 4, 4, 4)),
        (Broadcast.SCALAR, tile(Space.L1, 0x200, 1, 0, 4)),
    ],
)
def test_map_reads_b_as_its_mode_says(mode: Broadcast, b: PlacedTile):
    dst, a = tile(Space.L1, 0x100, 4, 96, 40), tile(Space.ACC, 0, 4, 128, 40)
    assert placed(replace(MAP, b_mode=mode), R) == (dst, a, b)
    assert placed(replace(MAP, b_mode=mode, fn=MapFn.COPY), R) == (dst, a)
    assert placed(replace(MAP, b_mode=mode, fn=MapFn.FILL), R) == (dst, b)


def test_an_address_and_rows_may_come_from_registers():
    op = LoadTile(
        space=Space.SCALE,
        dst=32,
        dst_pitch=16,
        src=1000,
        src_reg=1,
        src_pitch=7,
        rows=5,
        rows_reg=2,
        row_bytes=6,
    )
    assert placed(op, [0, -1001, -3, *R[3:]]) == (
        tile(None, -1, 2, 7, 6),
        tile(Space.SCALE, 32, 2, 16, 6),
    )


def test_without_rows_nothing_is_touched():
    assert placed(replace(MATMUL, m=0), R) == ()
    assert placed(replace(MAP, rows=2, rows_reg=1), [0, -2, *R[2:]]) == ()


def test_scales_per_row_are_one_and_formats_without_have_none():
    op = Quantise(
        src=0,
        src_pitch=512,
        dst=0,
        dst_pitch=128,
        scale=64,
        scale_pitch=16,
        format=0,  # int8: a scale of two bytes for each 32
        mode=0,
        per_row=0,
        rows=1,
        rows_reg=0,
        columns=128,
    )
    assert placed(op, R)[2] == tile(Space.SCALE, 64, 1, 16, 8)
    assert placed(replace(op, per_row=1), R)[2] == tile(Space.SCALE, 64, 1, 16, 2)
    assert len(placed(replace(op, format=3), R)) == 2


def test_scores_lie_dense_in_l1_and_spread_in_the_accumulators():
    op = Softmax(
        space=Space.L1,
        scores=0,
        columns=64,
        state=0x1000,
        state_pitch=48,
        rows=3,
        rows_reg=0,
        group=1,
        query=0,
        key=0,
        window=0,
        value_format=12,
        value_scale=0,
        dst=0x2000,
        dst_pitch=128,
        format=12,
        mode=0,
        scale=0,
    )
    assert placed(op, R) == (
        tile(Space.L1, 0, 3, 256, 256),
        tile(Space.L1, 0x1000, 3, 48, 12),
        tile(Space.L1, 0x2000, 3, 128, 128),
    )
    op = replace(op, space=Space.ACC, columns=32, value_format=11, format=11)  # nvfp4
    assert placed(op, R) == (
        tile(Space.ACC, 0, 3, 128, 128),
        tile(Space.L1, 0x1000, 3, 48, 12),
        tile(Space.SCALE, 0, 32, 16, 1),
        tile(Space.L1, 0x2000, 3, 128, 16),
        tile(Space.SCALE, 0, 3, 16, 2),
    )


@pytest.mark.parametrize(
    ("placed_tile", "inside"),
    [
        (tile(Space.L1, 0, 2, 64, 64), True),
        (tile(Space.L1, 16, 2, 64, 48), True),
        (tile(Space.L1, 16, 2, 64, 49), False),
        (tile(None, -1, 1, 0, 1), False),
        (tile(None, -1, 1, 0, 10), False),
        (tile(Space.ACC, 0, 2, 32, 32, half=True), True),
        (tile(Space.ACC, 64, 2, 32, 32, half=True), True),
        (tile(Space.ACC, 32, 1, 32, 32, half=True), True),
        (tile(Space.ACC, 48, 2, 32, 32, half=True), False),
        (tile(Space.ACC, 48, 2, 32, 32), True),
    ],
)
def test_a_tile_lies_in_a_memory_of_128_bytes(placed_tile: PlacedTile, inside: bool):
    assert placed_tile.lies_within(128) == inside


@pytest.mark.parametrize("cls", OPERATIONS)
def test_every_operation_of_a_unit_has_tiles(cls: type[Operation]):
    assert (cls in TILES) == (cls in ROWS) == (cls.queue not in (Queue.CP, None))


@pytest.mark.parametrize("cls", TILES)
def test_every_address_of_an_operation_is_that_of_a_tile(cls: type[Operation]):
    hints = get_type_hints(cls, include_extras=True)
    starts = {t.start for t in TILES[cls]}
    addresses = {name for name, field in fields(cls).items() if field.unit > 1}
    addresses |= {name for name in fields(cls) if hints[name] == HbmAddress}
    pitches = {name for name in addresses if name.endswith("pitch")}
    assert starts == addresses - pitches - {"pool"}
    used = {t.pitch.name for t in TILES[cls] if isinstance(t.pitch, Field)}
    assert pitches <= used
    assert used <= set(fields(cls))


@pytest.mark.parametrize("cls", TILES)
def test_the_table_names_fields_that_are_there(cls: type[Operation]):
    hints = get_type_hints(cls, include_extras=True)
    for each in TILES[cls]:
        assert not each.register or hints[each.register] == Register
        assert each.space is None or isinstance(each.space, Space) or each.space in hints
        if isinstance(each.pitch, Spread):
            assert each.space is Space.ACC
        for where in each.where:
            width = fields(cls)[where.field].bits
            assert width <= 4
            assert set(where.among) < set(range(1 << width)), "a condition that can fail"
    assert StorePages in TILES


def test_acc_pitch_of_the_table_is_that_of_the_operation():
    for n in (1, 32, 33, 64, 65, 4095):
        op = replace(MATMUL, n=n)
        assert placed(op, R)[-1].pitch == op.acc_pitch
