from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.programs import copy_acc, load, matmul, nop
from tapeout.compiler.accesses import Extent, Tile, accesses, joined, overlap, spread
from tapeout.errors import ConfigError
from tapeout.isa import Queue, Space
from tapeout.isa.instructions import LoadPages, Quantise, Softmax

tiles = st.builds(
    Tile,
    space=st.just(Space.L1),
    start=st.integers(0, 40),
    rows=st.integers(1, 5),
    pitch=st.integers(0, 12),
    row_bytes=st.integers(1, 9),
)


def touched(tile: Tile) -> set[int]:
    return {
        tile.start + row * tile.pitch + byte
        for row in range(tile.rows)
        for byte in range(tile.row_bytes)
    }


def constant(**values: int) -> Callable[[int], int]:
    return lambda register: values.get(f"r{register}", 0)


@given(tiles, tiles)
def test_overlap_is_exact_for_one_pitch_and_never_misses(a: Tile, b: Tile):
    shared = bool(touched(a) & touched(b))
    if a.pitch == b.pitch or joined(a).rows == joined(b).rows == 1:
        assert overlap(a, b) == shared
    else:
        assert overlap(a, b) >= shared


@given(tiles, st.integers(0, 4), st.integers(1, 13))
def test_spread_holds_the_tile_wherever_it_starts(tile: Tile, steps: int, step: int):
    extent = Extent(space=tile.space, start=3, rows=0, pitch=tile.pitch, row_bytes=tile.row_bytes)
    every = spread(extent, 5, 5 + steps * step, tile.rows, step=step)
    for i in range(steps + 1):
        one = spread(extent, 5 + i * step, 5 + i * step, tile.rows)
        assert one.start == 8 + i * step
        assert touched(one) <= touched(every)


def test_products_read_rows_as_registers_say():
    reads, writes = accesses(matmul(0, 1024, m=1, m_reg=7), constant(r7=3), constant())
    assert reads == [
        Tile(space=Space.L1, start=1024, rows=8, pitch=32, row_bytes=32),
        Tile(space=Space.L1, start=0, rows=4, pitch=32, row_bytes=32),
    ]
    assert writes == [Tile(space=Space.ACC, start=0, rows=4, pitch=128, row_bytes=32)]


def test_memory_addresses_range_over_their_register():
    reads, _ = accesses(load(0, 4096, src_reg=5), constant(r5=100), constant(r5=36))
    assert reads == [Tile(space=None, start=4132, rows=1, pitch=0, row_bytes=4 * 32 + 64)]


def test_tiles_without_bytes_are_left_out():
    assert accesses(copy_acc(0, rows=0), constant(), constant()) == ([], [])
    assert accesses(nop(Queue.LD).op, constant(), constant()) == ([], [])


def test_quantise_writes_one_scale_per_row_or_per_block():
    def scales(per_row: bool) -> Tile:
        op = Quantise(
            src=0,
            src_pitch=256,
            dst=1024,
            dst_pitch=64,
            scale=0,
            scale_pitch=16,
            format=5,
            mode=0,
            per_row=per_row,
            rows=3,
            rows_reg=0,
            columns=64,
        )
        return accesses(op, constant(), constant())[1][1]

    assert scales(True) == Tile(space=Space.SCALE, start=0, rows=3, pitch=16, row_bytes=1)
    assert scales(False) == Tile(space=Space.SCALE, start=0, rows=3, pitch=16, row_bytes=2)


def test_softmax_reads_two_rows_of_state_and_writes_three():
    op = Softmax(
        space=Space.ACC,
        scores=0,
        columns=64,
        state=0,
        state_pitch=32,
        rows=8,
        rows_reg=0,
        group=1,
        query=0,
        key=0,
        window=0,
        value_format=0,
        value_scale=0,
        dst=1024,
        dst_pitch=64,
        format=5,
        mode=0,
        scale=2048,
    )
    reads, writes = accesses(op, constant(), constant())
    assert [t.start for t in reads if t.space is Space.L1] == [0, 32]
    assert [t.start for t in writes if t.space is Space.L1] == [0, 32, 64, 1024]
    assert Tile(space=Space.SCALE, start=0, rows=64, pitch=16, row_bytes=2) in reads
    assert Tile(space=Space.SCALE, start=2048, rows=8, pitch=16, row_bytes=2) in writes


def test_paged_reads_touch_their_part_of_every_page_and_the_table():
    op = LoadPages(
        space=0,
        dst=0,
        dst_pitch=32,
        table=1,
        first=2,
        end=3,
        rows=64,
        pool=8192,
        page_bytes=1024,
        offset=256,
        page_log2=4,
        row_bytes=32,
    )
    high, low = constant(r1=400, r2=64, r3=100), constant(r1=400, r2=32)
    reads, writes = accesses(op, high, low, pages=5)
    assert reads == [
        Tile(space=None, start=8192 + 256, rows=5, pitch=1024, row_bytes=512),
        Tile(space=None, start=408, rows=5, pitch=4, row_bytes=4),  # tokens 32..99
    ]
    assert writes == [Tile(space=Space.L1, start=0, rows=64, pitch=32, row_bytes=32)]


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigError, match="format code must be in"):
        accesses(copy_matmul(), constant(), constant())


def copy_matmul():
    return matmul(0, 0).__class__(**{**matmul(0, 0).__dict__, "a_format": 15})
