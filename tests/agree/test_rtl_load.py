"""The load unit fills the on-core memories as the simulator does, under any latency and stalls."""

import numpy as np
import pytest

from rtl.components import started
from rtl.transfer_bench import OPEN, TransferBench, command, peek, poke
from tapeout.isa.fields import REGISTERS
from tapeout.isa.instructions import LoadPages, LoadTile
from tapeout.rtl.check import random_gates
from tapeout.rtl.load import Load
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

MEMORY = 1 << 16
L1, SCALE = 1 << 14, 1 << 11
TABLE = 1 << 11  # bytes of the part of memory that holds block tables
PAGES = 16


def bench(bus_bytes, burst_bytes=1024):
    granules = {"l1_granules": L1 // 16, "scale_granules": SCALE // 16}
    unit = Load(bus_bytes=bus_bytes, burst_bytes=burst_bytes, **granules)
    return TransferBench(unit, beats=MEMORY // bus_bytes, **granules)


BENCHES = {bus: bench(bus) for bus in (16, 64, 128)}


class Case:
    """A bench and the simulator with the same memories."""

    def __init__(self, bus_bytes, seed, **controls):
        self.bus_bytes = bus_bytes
        self.rng = np.random.default_rng(seed)
        self.model = started(BENCHES[bus_bytes])
        hbm = self.rng.integers(0, 256, MEMORY, np.uint8)
        self.skew = int(self.rng.integers(4))
        entries = self.rng.integers(0, PAGES, TABLE // 4, np.uint32)
        hbm[self.skew : self.skew + TABLE] = entries.view(np.uint8)
        self.memories = Memories(l1_bytes=L1, scale_bytes=SCALE, acc_bytes=16, hbm=hbm, fill=0)
        for name, size in (("l1", L1), ("scale", SCALE)):
            getattr(self.memories, name)[:] = self.rng.integers(0, 256, size, np.uint8)
            poke(self.model, name, getattr(self.memories, name))
        poke(self.model, "memory", hbm)
        settings = {"memory_bytes": MEMORY, "share": OPEN, "local_share": OPEN, "latency": 0}
        for name, value in (settings | controls).items():
            self.model.set(name, value)
        self.seed = seed

    def run(self, operations, *, ends=None, gate=1.0):
        """Commands one after another; how each ended, and the run."""
        beats = np.array([command(op, registers) for op, registers in operations])
        gates = random_gates(["commands"], open_share=gate, seed=self.seed)
        run = self.model.run(
            {"commands": beats},
            {"ends": len(beats) if ends is None else ends},
            gates=gates,
            max_cycles=3000 * len(beats) + 10000,
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
        for name, size in (("l1", L1), ("scale", SCALE)):
            ours, theirs = peek(self.model, name, size), getattr(self.memories, name)
            different = np.flatnonzero(ours != theirs)
            assert not len(different), f"{name} differs at {different[:9]}"
        return run


def row_bytes(rng, bus):
    kind = rng.integers(5)
    if kind == 0:
        return int(rng.integers(1, 18))
    if kind == 1:
        return int(16 * rng.integers(1, 13))
    if kind == 2:
        return int(bus * rng.integers(1, 4) + rng.integers(-2, 3))
    if kind == 3:
        return int(2 ** rng.integers(0, 10))
    return int(rng.integers(1, 600))


def placed(rng, size, row, wanted):
    """(address, pitch, rows) of rows on granules in a memory of `size` bytes."""
    least = -(-row // 16)
    pitch = int(
        rng.choice([0, 1, least, least, row // 16 or 1, least + rng.integers(4), rng.integers(64)])
    )
    rows = min(wanted, (size - row) // (16 * pitch) + 1 if pitch else wanted)
    extent = (rows - 1) * 16 * pitch + row if rows else 16
    return 16 * int(rng.integers((size - extent) // 16 + 1)), 16 * pitch, rows


def registers_with(rng, **values):
    """Registers, and the numbers of those that hold the values."""
    registers = [0, *(int(v) for v in rng.integers(-(2**40), 2**40, REGISTERS - 1))]
    numbers = dict(zip(values, 1 + rng.permutation(REGISTERS - 1)[: len(values)], strict=True))
    for name, number in numbers.items():
        registers[number] = int(values[name])
    return registers, {name: int(number) for name, number in numbers.items()}


def random_tile(rng, bus):
    space = int(rng.integers(2))
    row = row_bytes(rng, bus)
    wanted = int(rng.choice([0, 1, 2, 3, rng.integers(20), rng.integers(80)]))
    dst, dst_pitch, rows = placed(rng, (L1, SCALE)[space], row, wanted)
    pitch = int(rng.choice([row, row, 0, rng.integers(row + 1), row + rng.integers(300), 4096]))
    rows = min(rows, (MEMORY - row) // pitch + 1 if pitch else rows)
    extent = (rows - 1) * pitch + row if rows else 0
    start = int(rng.choice([0, MEMORY - extent, rng.integers(MEMORY - extent + 1)]))
    offset = int(rng.integers(-(2**38), start + 1)) if rng.integers(2) else 0
    fixed = int(rng.integers(rows + 1))
    registers, number = registers_with(rng, src=offset, rows=rows - fixed)
    op = LoadTile(
        space=space,
        dst=dst,
        dst_pitch=dst_pitch,
        src=start - offset,
        src_reg=number["src"],
        src_pitch=pitch,
        rows=fixed,
        rows_reg=number["rows"],
        row_bytes=row,
    )
    return op, registers


def random_pages(rng, bus, skew):
    space = int(rng.integers(2))
    row = min(row_bytes(rng, bus), 300)
    wanted = int(rng.choice([0, 1, 5, rng.integers(40), rng.integers(150)]))
    dst, dst_pitch, rows = placed(rng, (L1, SCALE)[space], row, wanted)
    log2 = int(rng.integers(8))
    while (row << log2) * PAGES > MEMORY:
        log2 -= 1
    offset = int(rng.integers(MEMORY // PAGES - (row << log2) + 1))
    least = offset + (row << log2)
    page_bytes = int(rng.choice([least, MEMORY // PAGES, rng.integers(least, MEMORY // PAGES + 1)]))
    entries = -(-rows >> log2) + 1
    page = int(rng.integers(TABLE // 4 - entries))  # the place of the first entry in the table
    first = (page << log2) + int(rng.integers(1 << log2))
    table = skew
    if rng.integers(2):  # far tokens of a table that would start before memory
        first += (1 << log2) << 20
        table -= 4 << 20
    end = first + int(rng.choice([rows, rows + 5, rng.integers(rows + 1), 0, -1000, 2**46]))
    registers, number = registers_with(rng, table=table, first=first, end=min(end, 2**47 - 1))
    op = LoadPages(
        space=space,
        dst=dst,
        dst_pitch=dst_pitch,
        rows=rows,
        pool=int(rng.integers(MEMORY - page_bytes * PAGES + 1)),
        page_bytes=page_bytes,
        offset=offset,
        page_log2=log2,
        row_bytes=row,
        **number,
    )
    return op, registers


def random_commands(case, n):
    rng = case.rng
    out = []
    for _ in range(n):
        if rng.integers(2):
            out.append(random_tile(rng, case.bus_bytes))
        else:
            out.append(random_pages(rng, case.bus_bytes, case.skew))
    return out


CONDITIONS = [  # latency, share of cycles in which memory and the on-core memories go on
    (0, OPEN, OPEN),
    (100, OPEN, OPEN),
    (3, 128, OPEN),
    (20, OPEN, 128),
    (40, 60, 100),
]


@pytest.mark.parametrize(("latency", "share", "local_share"), CONDITIONS)
@pytest.mark.parametrize("bus_bytes", [16, 64])
def test_random_commands(bus_bytes, latency, share, local_share):
    case = Case(bus_bytes, latency, latency=latency, share=share, local_share=local_share)
    case.check(random_commands(case, 60))
    case.check(random_commands(case, 60), gate=0.02)
