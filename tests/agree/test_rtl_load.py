"""The load unit fills the on-core memories as the simulator does, under any latency and stalls."""

from functools import partial

import numpy as np
import pytest

from agree.rtl_transfers import (
    CONDITIONS,
    L1,
    MEMORY,
    SCALE,
    ZEROS,
    Case,
    bench_of,
    placed,
    placed_in_memory,
    pool,
    registers_with,
    row_bytes,
    row_count,
)
from rtl.transfer_bench import OPEN
from tapeout.errors import TrapError
from tapeout.isa.instructions import LoadPages, LoadTile
from tapeout.rtl.load import Load
from tapeout.rtl.trap import Trap
from tapeout.sim.execute import execute

BENCHES = {bus: bench_of(Load, bus) for bus in (16, 32, 64, 128)}
SHORT_BURSTS = bench_of(Load, 16, burst_bytes=16)


def random_tile(rng, bus):
    space = int(rng.integers(2))
    row = row_bytes(rng, bus)
    dst, dst_pitch, rows = placed(rng, (L1, SCALE)[space], row, row_count(rng, 80))
    start, pitch, rows = placed_in_memory(rng, 0, row, rows)
    offset = int(rng.integers(-(2**38), start + 1)) if rng.integers(2) else 0
    fixed = int(rng.integers(rows + 1))
    registers, number = registers_with(rng, src=offset, rows=rows - fixed)
    op = LoadTile(
        space=space, dst=dst, dst_pitch=dst_pitch, src=start - offset, src_reg=number["src"],
        src_pitch=pitch, rows=fixed, rows_reg=number["rows"], row_bytes=row,
    )  # fmt: skip
    return op, registers


def random_pages(rng, bus, skew):
    space = int(rng.integers(2))
    row = min(row_bytes(rng, bus), 300)
    dst, dst_pitch, rows = placed(rng, (L1, SCALE)[space], row, row_count(rng, 150))
    fields, table, first = pool(rng, 0, row, skew)
    end = first + int(rng.choice([rows, rows + 5, rng.integers(rows + 1), 0, -1000, 2**46]))
    registers, number = registers_with(rng, table=table, first=first, end=end)
    op = LoadPages(space=space, dst=dst, dst_pitch=dst_pitch, rows=rows, **fields, **number)
    return op, registers


def random_commands(case, n):
    rng = case.rng
    return [
        random_tile(rng, case.bus_bytes)
        if rng.integers(2)
        else random_pages(rng, case.bus_bytes, case.skew)
        for _ in range(n)
    ]


@pytest.mark.parametrize(("latency", "share", "local_share"), CONDITIONS)
@pytest.mark.parametrize("bus_bytes", [16, 64])
def test_random_commands(bus_bytes, latency, share, local_share):
    controls = {"latency": latency, "share": share, "local_share": local_share}
    case = Case(BENCHES[bus_bytes], latency, **controls)
    case.check(random_commands(case, 60))
    case.check(random_commands(case, 20), gate=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("bench", [*BENCHES.values(), SHORT_BURSTS], ids=lambda b: b.module_name)
def test_many_random_commands(bench):
    for seed in range(60):
        latency, share, local_share = CONDITIONS[seed % len(CONDITIONS)]
        controls = {"latency": latency, "share": share, "local_share": local_share}
        case = Case(bench, 100 + seed, **controls)
        case.check(random_commands(case, 150))


tile = partial(
    LoadTile, space=0, dst=0, dst_pitch=16, src=0, src_reg=0, src_pitch=16, rows=1, rows_reg=0,
    row_bytes=16,
)  # fmt: skip
pages = partial(
    LoadPages, space=0, dst=0, dst_pitch=16, table=1, first=2, end=3, rows=4, pool=1 << 13,
    page_bytes=64, offset=0, page_log2=1, row_bytes=16,
)  # fmt: skip

LATENCY = 60  # cycles: less than the requests that the bench holds
FAST = {  # tiles: their rows, and the beats (or rows) that pass in a cycle at least
    "beats that start anywhere": (tile(src=5, src_pitch=64, row_bytes=64, dst_pitch=64), 128, 0.95),
    "apart in L1": (tile(src=77, src_pitch=192, row_bytes=192, dst_pitch=208), 64, 0.95),
    "one long row": (tile(src=4097, src_pitch=0, row_bytes=8000), 1, 0.95),
    "granules": (tile(src=3, src_pitch=16, row_bytes=16, dst_pitch=16), 512, 0.95),
    "rows apart in memory": (tile(src_pitch=256, row_bytes=128, dst_pitch=128), 100, 0.95),
    "one beat each": (tile(src_pitch=320, row_bytes=64, dst_pitch=64), 100, 0.95),
    "short rows": (tile(src=9, src_pitch=4, row_bytes=4, dst_pitch=16), 1000, 16 / 64 * 0.95),
    "short rows apart": (tile(src_pitch=64, row_bytes=9, dst_pitch=16), 1000, 0.95),
}


@pytest.mark.parametrize("name", FAST)
def test_beats_per_cycle(name):
    op, rows, least = FAST[name]
    case = Case(BENCHES[64], 1, latency=LATENCY)
    registers = [*ZEROS[:-1], rows]
    op = tile(**{**vars(op), "rows": 0, "rows_reg": len(ZEROS) - 1})
    run = case.check([(op, registers)] * 8)
    cycles = run.cycle_of["ends"][-1] - LATENCY - 30  # until the first data, and from the last
    assert case.model.get("beat_count") >= least * cycles


def test_pages_fill_the_bus():
    case = Case(BENCHES[64], 1, latency=100)
    registers = [0, case.skew, 0, 128, *ZEROS[4:]]
    op = pages(dst_pitch=64, rows=128, page_bytes=1024, page_log2=3, row_bytes=64)
    run = case.check([(op, registers)] * 8)
    cycles = run.cycle_of["ends"][-1] - 2 * 100 - 60
    assert case.model.get("beat_count") >= 0.95 * cycles


OUTSIDE = {  # of LoadPages: table, first, end; fields; and the size of memory
    "a token before the first": ((0, -1, 9), {}, MEMORY),
    "a table before memory": ((-5, 3, 9), {}, MEMORY),
    "a table far before memory": ((-(2**47), 3, 9), {}, MEMORY),
    "the end of a table": ((MEMORY - 11, 0, 4 + 2), {"rows": 6}, MEMORY),
    "a table far beyond memory": ((2**47 - 1, 2**47 - 2, 2**47 - 1), {}, MEMORY),
    "an entry that would wrap": ((2**40, 0, 4), {}, MEMORY),
    "the end of a page": ((0, 0, 4), {"pool": MEMORY - 31, "page_bytes": 32}, MEMORY),
    "the end of memory": ((0, 0, 4), {"pool": MEMORY - 32, "page_bytes": 32}, MEMORY - 1),
    "the last page": ((4, 2, 8), {"pool": MEMORY - 79, "page_bytes": 48}, MEMORY),
    "a page that would wrap": ((0, 5, 9), {"page_bytes": 2**24 - 1}, MEMORY),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_memory_traps_in_its_turn(name):
    (table, first, end), fields, memory_bytes = OUTSIDE[name]
    case = Case(BENCHES[16], 3, memory_bytes=memory_bytes, latency=9)
    entries = {"a page that would wrap": 2**32 - 1, "the last page": 1}
    words = np.array([0, 0, entries.get(name, 0), 0], "<u4")
    case.memories.hbm[:16] = words.view(np.uint8)
    case.fill()
    case.memories.hbm = case.memories.hbm[:memory_bytes]
    bad = (pages(**fields), [0, table, first, end, *ZEROS[4:]])
    with pytest.raises(TrapError):
        execute(*bad, case.memories)
    good = [(tile(), ZEROS), (pages(rows=0), [0, -9, -9, 9, *ZEROS[4:]]), (tile(rows=20), ZEROS)]
    case.check_ends([*good, bad, *good], [0, 0, 0, Trap.ADDRESS])


def test_what_just_fits_is_read():
    case = Case(BENCHES[16], 3, memory_bytes=MEMORY)
    fits = [
        (pages(rows=5), [0, case.skew - 4, 2, 7, *ZEROS[4:]]),
        (pages(rows=5), [0, -(2**47), -5, -5, *ZEROS[4:]]),
        (tile(src=MEMORY - 16), ZEROS),
        (tile(src=MEMORY - 32, row_bytes=32), ZEROS),
    ]
    case.check(fits)


@pytest.mark.parametrize("where", [(0x8000, 0x8010), (0x8030, 0x8031), (0x80F0, 0x8100)])
def test_an_error_of_memory_traps_in_its_turn(where):
    case = Case(BENCHES[16], 4, bad_from=where[0], bad_to=where[1], latency=20)
    bad = tile(src=0x8000, row_bytes=256)
    case.check_ends([(tile(), ZEROS)] * 3 + [(bad, ZEROS)] * 2, [0, 0, 0, Trap.READ])


def test_an_error_of_a_table_traps_in_its_turn():
    case = Case(BENCHES[16], 5, bad_from=0x100, bad_to=0x110, latency=20)
    good = (pages(rows=9), [0, case.skew + 0x80, 0, 9, *ZEROS[4:]])
    for at in (0xF1, 0x100, 0x10D):
        case = Case(BENCHES[16], 5, bad_from=0x100, bad_to=0x110, latency=20)
        bad = (pages(rows=9), [0, at, 0, 9, *ZEROS[4:]])
        case.check_ends([good, bad, good], [0, Trap.READ])


def test_nothing_stalls_for_ever_when_memory_is_slow():
    case = Case(BENCHES[64], 6, latency=250, share=20, local_share=OPEN)
    case.check(random_commands(case, 10))
