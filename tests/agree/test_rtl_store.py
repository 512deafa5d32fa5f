"""The store unit writes to memory what the simulator does, under any latency and stalls."""

import numpy as np
import pytest

from agree.test_rtl_load import MEMORY, PAGES, TABLE, placed, registers_with, row_bytes
from rtl.components import started
from rtl.transfer_bench import OPEN, TransferBench, command, peek, poke
from tapeout.isa.instructions import StorePages, StoreTile
from tapeout.rtl.check import random_gates
from tapeout.rtl.store import Store
from tapeout.rtl.trap import Trap
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

L1, SCALE = 1 << 14, 1 << 11
DATA = 1 << 12  # where memory ends that holds block tables


def bench(bus_bytes):
    granules = {"l1_granules": L1 // 16, "scale_granules": SCALE // 16}
    return TransferBench(
        Store(bus_bytes=bus_bytes, **granules), beats=MEMORY // bus_bytes, **granules
    )


BENCHES = {bus: bench(bus) for bus in (16, 64, 128)}


class Case:
    """A bench and the simulator with the same memories."""

    def __init__(self, bus_bytes, seed, **controls):
        self.bus_bytes, self.seed = bus_bytes, seed
        self.rng = np.random.default_rng(seed)
        self.model = started(BENCHES[bus_bytes])
        hbm = self.rng.integers(0, 256, MEMORY, np.uint8)
        self.skew = int(self.rng.integers(4))
        entries = self.rng.permutation(np.arange(TABLE // 4)).astype(np.uint32) % PAGES
        hbm[self.skew : self.skew + TABLE] = entries.view(np.uint8)
        self.memories = Memories(l1_bytes=L1, scale_bytes=SCALE, acc_bytes=16, hbm=hbm, fill=0)
        for name, size in (("l1", L1), ("scale", SCALE)):
            getattr(self.memories, name)[:] = self.rng.integers(0, 256, size, np.uint8)
            poke(self.model, name, getattr(self.memories, name))
        poke(self.model, "memory", hbm)
        settings = {"memory_bytes": MEMORY, "share": OPEN, "local_share": OPEN, "latency": 0}
        for name, value in (settings | controls).items():
            self.model.set(name, value)

    def run(self, operations, *, ends=None, gate=1.0):
        beats = np.array([command(op, registers) for op, registers in operations])
        gates = random_gates(["commands"], open_share=gate, seed=self.seed)
        run = self.model.run(
            {"commands": beats},
            {"ends": len(beats) if ends is None else ends},
            gates=gates,
            max_cycles=5000 * len(beats) + 10000,
        )
        assert self.model.get("broken") == 0
        return run

    def check(self, operations, **kwargs):
        run = self.run(operations, **kwargs)
        assert run.violations == ()
        assert not run.beats["ends"].any()
        assert self.model.get("busy") == 0
        for op, registers in operations:
            execute(op, registers, self.memories)
        ours = peek(self.model, "memory", MEMORY)
        different = np.flatnonzero(ours != self.memories.hbm)
        assert not len(different), f"memory differs at {different[:9]}"
        return run


def random_tile(rng, bus):
    space = int(rng.integers(2))
    row = row_bytes(rng, bus)
    wanted = int(rng.choice([0, 1, 2, 3, rng.integers(20), rng.integers(80)]))
    src, src_pitch, rows = placed(rng, (L1, SCALE)[space], row, wanted)
    pitch = int(rng.choice([row, row, row + rng.integers(300), 4096]))
    rows = min(rows, (MEMORY - DATA - row) // pitch + 1)
    extent = (rows - 1) * pitch + row if rows else 0
    start = int(rng.choice([DATA, MEMORY - extent, rng.integers(DATA, MEMORY - extent + 1)]))
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
    wanted = int(rng.choice([0, 1, 5, rng.integers(40), rng.integers(150)]))
    src, src_pitch, rows = placed(rng, (L1, SCALE)[space], row, wanted)
    log2 = int(rng.integers(8))
    room = (MEMORY - DATA) // PAGES
    while (row << log2) > room:
        log2 -= 1
    rows = min(rows, (PAGES - 1) << log2)  # no page twice
    offset = int(rng.integers(room - (row << log2) + 1))
    page_bytes = int(rng.integers(offset + (row << log2), room + 1))
    page = int(rng.integers(TABLE // 4 - PAGES - 1))
    first = (page << log2) + int(rng.integers(1 << log2))
    registers, number = registers_with(rng, table=skew, first=first, count=rows)
    op = StorePages(
        space=space, src=src, src_pitch=src_pitch,
        pool=int(rng.integers(DATA, MEMORY - page_bytes * PAGES + 1)),
        page_bytes=page_bytes, offset=offset, page_log2=log2, row_bytes=row, **number,
    )  # fmt: skip
    return op, registers


def random_commands(case, n):
    rng, out = case.rng, []
    for _ in range(n):
        if rng.integers(2):
            out.append(random_tile(rng, case.bus_bytes))
        else:
            out.append(random_pages(rng, case.bus_bytes, case.skew))
    return out


@pytest.mark.parametrize(
    ("latency", "share", "local_share"),
    [(0, OPEN, OPEN), (100, OPEN, OPEN), (3, 128, OPEN), (20, OPEN, 128), (40, 60, 100)],
)
@pytest.mark.parametrize("bus_bytes", [16, 64])
def test_random_commands(bus_bytes, latency, share, local_share):
    case = Case(bus_bytes, latency, latency=latency, share=share, local_share=local_share)
    case.check(random_commands(case, 40))
    case.check(random_commands(case, 20), gate=0.02)


def test_the_widest_bus():
    case = Case(128, 5, latency=20, share=200, local_share=200)
    case.check(random_commands(case, 30))


def one_row(size, dst, rows=1, pitch=0):
    return StoreTile(
        space=0, src=0, src_pitch=-(-size // 16) * 16, dst=dst, dst_reg=0, dst_pitch=pitch,
        rows=rows, rows_reg=0, row_bytes=size,
    )  # fmt: skip


@pytest.mark.parametrize("bus_bytes", [16, 64])
def test_long_rows_fill_the_bus(bus_bytes):
    case = Case(bus_bytes, 1, latency=20)
    run = case.check([(one_row(8192, DATA + 4096 * i), [0] * 32) for i in range(4)])
    assert case.model.get("beat_count") == 4 * 8192 // bus_bytes
    assert 4 * 8192 // bus_bytes >= 0.9 * run.cycle_of["ends"][-1] - 60


def test_an_error_traps_and_nothing_follows():
    case = Case(16, 2, bad_from=DATA + 64, bad_to=DATA + 80)
    operations = [(one_row(32, DATA), [0] * 32), (one_row(200, DATA + 32), [0] * 32)]
    run = case.run([*operations, operations[0]], ends=2)
    assert run.beats["ends"].ravel().tolist() == [0, Trap.WRITE]


def test_a_page_outside_memory_traps():
    case = Case(16, 3)
    registers = [0, 0, 0, 1, *[0] * 28]
    op = StorePages(
        space=0, src=0, src_pitch=16, table=1, first=2, count=3, pool=MEMORY - 8, page_bytes=64,
        offset=0, page_log2=0, row_bytes=16,
    )  # fmt: skip
    assert case.run([(op, registers)]).beats["ends"].ravel().tolist() == [Trap.ADDRESS]
