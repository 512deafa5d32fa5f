"""The store unit writes to memory what the simulator does, under any latency and stalls."""

from functools import partial

import numpy as np
import pytest

from agree.rtl_transfers import (
    CONDITIONS,
    L1,
    MEMORY,
    PAGES,
    SCALE,
    TABLE,
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
from tapeout.errors import TrapError
from tapeout.isa.instructions import StorePages, StoreTile
from tapeout.rtl.store import Store
from tapeout.rtl.trap import Trap
from tapeout.sim.execute import execute

DATA = 1 << 12  # where memory ends that holds block tables
BENCHES = {bus: bench_of(Store, bus) for bus in (16, 32, 64, 128)}


def random_tile(rng, bus, low=DATA):
    space = int(rng.integers(2))
    row = row_bytes(rng, bus)
    src, src_pitch, rows = placed(rng, (L1, SCALE)[space], row, row_count(rng, 80))
    start, pitch, rows = placed_in_memory(rng, low, row, rows)
    offset = int(rng.integers(-(2**38), start + 1)) if rng.integers(2) else 0
    fixed = int(rng.integers(rows + 1))
    registers, number = registers_with(rng, dst=offset, rows=rows - fixed)
    op = StoreTile(
        space=space, src=src, src_pitch=src_pitch, dst=start - offset, dst_reg=number["dst"],
        dst_pitch=pitch, rows=fixed, rows_reg=number["rows"], row_bytes=row,
    )  # fmt: skip
    return op, registers


def random_pages(rng, bus, skew):
    space = int(rng.integers(2))
    row = min(row_bytes(rng, bus), 300)
    src, src_pitch, rows = placed(rng, (L1, SCALE)[space], row, row_count(rng, 150))
    fields, table, first = pool(rng, DATA, row, skew)
    rows = min(rows, (PAGES - 1) << fields["page_log2"])
    registers, number = registers_with(rng, table=table, first=first, count=rows)
    return StorePages(space=space, src=src, src_pitch=src_pitch, **fields, **number), registers


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
@pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda b: b.module_name)
def test_many_random_commands(bench):
    for seed in range(60):
        latency, share, local_share = CONDITIONS[seed % len(CONDITIONS)]
        controls = {"latency": latency, "share": share, "local_share": local_share}
        case = Case(bench, 100 + seed, **controls)
        case.check(random_commands(case, 150))


tile = partial(
    StoreTile, space=0, src=0, src_pitch=16, dst=DATA, dst_reg=0, dst_pitch=16, rows=1, rows_reg=0,
    row_bytes=16,
)  # fmt: skip
pages = partial(
    StorePages, space=0, src=0, src_pitch=16, table=1, first=2, count=3, pool=DATA, page_bytes=64,
    offset=0, page_log2=1, row_bytes=16,
)  # fmt: skip

LATENCY = 60  # cycles: less than the requests that the bench holds
FAST = {  # tiles: their rows, and the beats that pass in a cycle at least
    "from anywhere": (tile(dst=4101, dst_pitch=64, row_bytes=64, src_pitch=64), 128, 0.95),
    "apart in L1": (tile(dst=4101, dst_pitch=192, row_bytes=192, src_pitch=208), 64, 0.95),
    "one long row": (tile(dst=4099, dst_pitch=0, row_bytes=8000), 1, 0.95),
    "granules": (tile(dst_pitch=16, row_bytes=16, src_pitch=16), 512, 0.95),
    "rows apart in memory": (tile(dst_pitch=256, row_bytes=128, src_pitch=128), 100, 0.95),
    "rows of two beats": (tile(dst=4140, dst_pitch=320, row_bytes=64, src_pitch=64), 100, 0.95),
    "short rows": (tile(dst=4105, dst_pitch=4, row_bytes=4), 1000, 4 / 64 * 0.95),
    "short rows apart": (tile(dst_pitch=64, row_bytes=9), 900, 0.8),
}  # fmt: skip


@pytest.mark.parametrize("name", FAST)
def test_beats_per_cycle(name):
    op, rows, least = FAST[name]
    case = Case(BENCHES[64], 1, latency=LATENCY)
    registers = [*ZEROS[:-1], rows]
    op = tile(**{**vars(op), "rows": 0, "rows_reg": len(ZEROS) - 1})
    run = case.check([(op, registers)] * 8)
    cycles = run.cycle_of["ends"][-1] - 2 * LATENCY - 40
    assert case.model.get("beat_count") >= least * cycles


def test_only_what_is_written_is_touched_even_with_errors():
    case = Case(BENCHES[16], 1, latency=20, bad_from=DATA + 64, bad_to=DATA + 80)
    good = [(tile(row_bytes=64), ZEROS), (tile(dst=DATA + 80), ZEROS), (tile(rows=0), ZEROS)]
    case.check_ends([*good, (tile(row_bytes=65), ZEROS), *good], [0, 0, 0, Trap.WRITE])


@pytest.mark.parametrize("burst", [0, 1, 2])
def test_an_error_of_any_burst_traps_once(burst):
    at = DATA + 1024 * burst
    case = Case(BENCHES[16], 1, latency=20, bad_from=at, bad_to=at + 16)
    case.check_ends([(tile(row_bytes=3000), ZEROS)] * 3, [Trap.WRITE])


OUTSIDE = {  # of StorePages: table, first, count; fields; and the size of memory
    "a token before the first": ((0, -1, 9), {}, MEMORY),
    "a table before memory": ((-5, 3, 9), {}, MEMORY),
    "the end of a table": ((MEMORY - 11, 0, 6), {}, MEMORY),
    "the end of a page": ((0, 0, 2), {"pool": MEMORY - 31, "page_bytes": 32}, MEMORY),
    "the end of memory": ((0, 0, 2), {"pool": MEMORY - 32, "page_bytes": 32}, MEMORY - 1),
    "a page that would wrap": ((0, 5, 9), {"page_bytes": 2**24 - 1}, MEMORY),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_memory_traps_in_its_turn(name):
    (table, first, count), fields, memory_bytes = OUTSIDE[name]
    case = Case(BENCHES[16], 3, memory_bytes=memory_bytes, latency=9)
    entry = 2**32 - 1 if name == "a page that would wrap" else 0
    case.memories.hbm[:16] = np.array([0, 0, entry, 0], "<u4").view(np.uint8)
    case.fill()
    case.memories.hbm = case.memories.hbm[:memory_bytes]
    bad = (pages(**fields), [0, table, first, count, *ZEROS[4:]])
    with pytest.raises(TrapError):
        execute(*bad, case.memories)
    good = [(tile(), ZEROS), (pages(), [0, -9, -9, 0, *ZEROS[4:]]), (tile(rows=20), ZEROS)]
    case.check_ends([*good, bad, *good], [0, 0, 0, Trap.ADDRESS])


def test_an_error_of_a_table_traps_in_its_turn():
    for at in (0xF1, 0x100, 0x10D):
        case = Case(BENCHES[16], 5, bad_from=0x100, bad_to=0x110, latency=20)
        good = (pages(), [0, case.skew + 0x80, 0, 9, *ZEROS[4:]])
        case.check_ends([good, (good[0], [0, at, 0, 9, *ZEROS[4:]]), good], [0, Trap.READ])


@pytest.mark.parametrize("bus_bytes", [16, 64])
@pytest.mark.parametrize("latency", [0, 100])
def test_tables_are_read_after_they_are_written(bus_bytes, latency):
    """Stores of tables, between stores through them and elsewhere."""
    case = Case(BENCHES[bus_bytes], 7 + latency, latency=latency)
    rng = case.rng
    operations = []
    tables = np.array([rng.permutation(PAGES) for _ in range(64)], "<u4")
    case.memories.l1[L1 // 2 : L1 // 2 + tables.nbytes] = tables.view(np.uint8).ravel()
    case.fill()
    for _ in range(60):
        at = case.skew + 64 * int(rng.integers(TABLE // 64))
        source = L1 // 2 + 64 * int(rng.integers(64))
        operations.append((tile(src=source, dst=at, row_bytes=64), ZEROS))
        if rng.integers(3) == 0:
            operations.append(random_tile(rng, bus_bytes))
        through = at if rng.integers(2) else case.skew + 64 * int(rng.integers(TABLE // 64))
        count = int(rng.integers(1, 2 * PAGES + 1))
        registers = [0, through, 0, count, *ZEROS[4:]]
        operations.append((pages(row_bytes=int(rng.integers(1, 33))), registers))
    case.check(operations)
