"""Loads and stores, against loops over single rows and tokens."""

from typing import Any

import numpy as np
import pytest

from sim.oracle import Expected, get, memories, put
from tapeout.errors import TrapError
from tapeout.isa import LoadPages, LoadTile, Norm, Set, Space, StorePages, StoreTile
from tapeout.sim.execute import execute

SPACES = [Space.L1, Space.SCALE]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("rows", "row_bytes"), [(1, 1), (7, 33), (5, 16), (0, 48), (3, 100)])
def test_load_tile_copies_rows(space: Space, rows: int, row_bytes: int):
    mem = memories(np.random.default_rng(rows))
    expected = Expected(mem)
    source = get(mem.hbm, 1003 + 50, 131, rows, row_bytes)
    expected.write(space, 64, 112, source)
    op = LoadTile(
        space=space,
        dst=64,
        dst_pitch=112,
        src=1003,
        src_reg=3,
        src_pitch=131,
        rows=rows // 2,
        rows_reg=4,
        row_bytes=row_bytes,
    )
    expected.check(op, {3: 50, 4: rows - rows // 2})


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("rows", "row_bytes"), [(1, 1), (7, 33), (0, 48), (3, 100)])
def test_store_tile_copies_rows(space: Space, rows: int, row_bytes: int):
    mem = memories(np.random.default_rng(rows))
    expected = Expected(mem)
    expected.write(None, 777 + 19, 201, get(mem.space(space), 32, 112, rows, row_bytes))
    op = StoreTile(
        space=space,
        src=32,
        src_pitch=112,
        dst=777,
        dst_reg=9,
        dst_pitch=201,
        rows=0,
        rows_reg=4,
        row_bytes=row_bytes,
    )
    expected.check(op, {9: 19, 4: rows})


def test_a_source_pitch_of_zero_repeats_a_row():
    mem = memories(np.random.default_rng(0))
    expected = Expected(mem)
    expected.write(Space.L1, 0, 16, np.repeat(get(mem.hbm, 5, 0, 1, 16), 4, axis=0))
    op = LoadTile(
        space=0,
        dst=0,
        dst_pitch=16,
        src=5,
        src_reg=0,
        src_pitch=0,
        rows=4,
        rows_reg=0,
        row_bytes=16,
    )
    expected.check(op)


TABLE, POOL, PAGE_BYTES, OFFSET = 0x40, 0x4000, 1200, 24


def page_address(mem: Any, token: int, page_log2: int, row_bytes: int) -> int:
    """Where a token's row lies, one step at a time."""
    entry = TABLE + 4 * (token // 2**page_log2)
    page = int.from_bytes(mem.hbm[entry : entry + 4].tobytes(), "little")
    return POOL + page * PAGE_BYTES + OFFSET + token % 2**page_log2 * row_bytes


def with_table(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    mem = memories(rng)
    put(mem.hbm, TABLE, 4, rng.permutation(40).astype("<u4").view(np.uint8).reshape(-1, 4))
    return mem


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("page_log2", range(7))
@pytest.mark.parametrize(
    ("first", "count", "rows"), [(0, 9, 9), (3, 20, 20), (13, 4, 11), (5, 0, 6), (2, -1, 4)]
)
def test_load_pages_gathers_token_by_token(
    space: Space, page_log2: int, first: int, count: int, rows: int
):
    """`count` tokens exist from `first` on; the rest of the tile is zero bytes."""
    mem, row_bytes = with_table(page_log2), 17
    expected = Expected(mem)
    for i in range(rows):
        at = page_address(mem, first + i, page_log2, row_bytes)
        row = mem.hbm[at : at + row_bytes] if i < count else np.zeros(row_bytes, np.uint8)
        expected.write(space, 128 + 32 * i, 0, row[None])
    op = LoadPages(
        space=space,
        dst=128,
        dst_pitch=32,
        table=1,
        first=2,
        end=3,
        rows=rows,
        pool=POOL,
        page_bytes=PAGE_BYTES,
        offset=OFFSET,
        page_log2=page_log2,
        row_bytes=row_bytes,
    )
    expected.check(op, {1: TABLE, 2: first, 3: first + count})


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("page_log2", range(7))
@pytest.mark.parametrize(("first", "count"), [(0, 9), (3, 20), (13, 4), (5, 0)])
def test_store_pages_scatters_token_by_token(space: Space, page_log2: int, first: int, count: int):
    mem, row_bytes = with_table(page_log2), 17
    expected = Expected(mem)
    for i in range(count):
        row = mem.space(space)[128 + 32 * i : 128 + 32 * i + row_bytes]
        expected.write(None, page_address(mem, first + i, page_log2, row_bytes), 0, row[None])
    op = StorePages(
        space=space,
        src=128,
        src_pitch=32,
        table=1,
        first=2,
        count=3,
        pool=POOL,
        page_bytes=PAGE_BYTES,
        offset=OFFSET,
        page_log2=page_log2,
        row_bytes=row_bytes,
    )
    expected.check(op, {1: TABLE, 2: first, 3: count})


LOAD = dict(
    space=0, dst=0, dst_pitch=32, src=0, src_reg=1, src_pitch=64, rows=2, rows_reg=2, row_bytes=32
)


@pytest.mark.parametrize(
    ("change", "registers", "message"),
    [
        ({"dst": (1 << 16) - 32}, {}, "address range 0xffe0..0x10020 must lie in 0..0x10000"),
        ({"src": (1 << 16) - 64}, {}, "address range 0xffc0..0x10020 must lie in 0..0x10000"),
        ({"space": 1, "dst": (1 << 13) - 16}, {}, "must lie in 0..0x2000"),
        ({}, {1: -1}, "address range -0x1.."),
        ({}, {2: -3}, "rows must be in 0..2047, not -1"),
        ({}, {2: 2046}, "rows must be in 0..2047, not 2048"),
        ({"row_bytes": 0}, {}, "row_bytes must be at least 1, not 0"),
    ],
)
def test_a_tile_outside_a_memory_traps(
    change: dict[str, int], registers: dict[int, int], message: str
):
    r = [registers.get(i, 0) for i in range(32)]
    with pytest.raises(TrapError, match=message):
        execute(LoadTile(**(LOAD | change)), r, memories(np.random.default_rng(0)))


def test_a_page_outside_the_memory_traps():
    mem = with_table(0)
    put(mem.hbm, TABLE, 4, np.full((1, 4), 255, np.uint8))
    op = StorePages(
        space=0,
        src=0,
        src_pitch=16,
        table=1,
        first=0,
        count=2,
        pool=POOL,
        page_bytes=PAGE_BYTES,
        offset=0,
        page_log2=4,
        row_bytes=16,
    )
    r = [0, TABLE, 1, *[0] * 29]
    with pytest.raises(TrapError, match="address range"):
        execute(op, r, mem)


def test_a_token_before_the_first_traps():
    op = StorePages(
        space=0, src=0, src_pitch=16, table=1, first=2, count=3, pool=POOL,
        page_bytes=PAGE_BYTES, offset=0, page_log2=4, row_bytes=16,
    )  # fmt: skip
    with pytest.raises(TrapError, match="first token must be at least 0, not -1"):
        execute(op, [0, TABLE, -1, 1, *[0] * 28], with_table(0))


def test_an_operation_without_rows_touches_nothing_even_outside():
    mem = memories(np.random.default_rng(0))
    expected = Expected(mem)
    far = (1 << 24) - 16
    expected.check(LoadTile(**(LOAD | {"dst": far, "rows": 0})))
    norm = Norm(
        src=far,
        src_pitch=16,
        gamma=far,
        eps=0,
        dst=far,
        dst_pitch=16,
        rows=0,
        rows_reg=0,
        columns=4,
    )
    expected.check(norm)


def test_a_command_is_no_business_of_a_queue():
    with pytest.raises(TrapError, match="Set must run in the command processor"):
        execute(Set(rd=1, imm=1), [0] * 32, memories(np.random.default_rng(0)))
