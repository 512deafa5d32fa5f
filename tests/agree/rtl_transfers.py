"""A load or store unit in its bench beside the simulator, and random tiles and tokens to move."""

import numpy as np

from rtl.components import started
from rtl.transfer_bench import OPEN, TransferBench, command, peek, poke
from tapeout.isa.fields import REGISTERS
from tapeout.rtl.check import random_gates
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

MEMORY = 1 << 16
L1, SCALE = 1 << 14, 1 << 11
TABLE = 1 << 11  # bytes of the part of memory that holds block tables
PAGES = 16
ZEROS = [0] * REGISTERS

CONDITIONS = [  # latency, share of cycles in which memory and the on-core memories go on
    (0, OPEN, OPEN),
    (100, OPEN, OPEN),
    (3, 128, OPEN),
    (20, OPEN, 128),
    (40, 60, 100),
]


def bench_of(unit_class, bus_bytes, **options):
    granules = {"l1_granules": L1 // 16, "scale_granules": SCALE // 16}
    unit = unit_class(bus_bytes=bus_bytes, **granules, **options)
    return TransferBench(unit, beats=MEMORY // bus_bytes, **granules)


class Case:
    """A bench and the simulator with the same memories; entries of block tables below PAGES.

    No two of PAGES entries that follow one another are equal.
    """

    def __init__(self, bench, seed, **controls):
        self.bus_bytes, self.seed = bench.bus_bytes, seed
        self.rng = np.random.default_rng(seed)
        self.model = started(bench)
        hbm = self.rng.integers(0, 256, MEMORY, np.uint8)
        self.skew = int(self.rng.integers(4))
        entries = np.tile(self.rng.permutation(PAGES).astype(np.uint32), TABLE // 4 // PAGES)
        hbm[self.skew : self.skew + TABLE] = entries.view(np.uint8)
        self.memories = Memories(l1_bytes=L1, scale_bytes=SCALE, acc_bytes=16, hbm=hbm, fill=0)
        for name, size in (("l1", L1), ("scale", SCALE)):
            getattr(self.memories, name)[:] = self.rng.integers(0, 256, size, np.uint8)
        self.fill()
        settings = {"memory_bytes": MEMORY, "share": OPEN, "local_share": OPEN, "latency": 0}
        for name, value in (settings | controls).items():
            self.model.set(name, value)

    def fill(self):
        """Give the bench what the simulator's memories hold."""
        for name, content in self.contents().items():
            poke(self.model, name, content)

    def contents(self):
        m = self.memories
        return {"l1": m.l1, "scale": m.scale, "memory": m.hbm}

    def run(self, operations, *, ends=None, gate=1.0):
        """Send commands; how each ended, and when."""
        beats = np.array([command(op, registers) for op, registers in operations])
        run = self.model.run(
            {"commands": beats},
            {"ends": len(beats) if ends is None else ends},
            gates=random_gates(["commands"], open_share=gate, seed=self.seed),
            max_cycles=5000 * len(beats) + 10000,
        )
        assert self.model.get("broken") == 0
        return run

    def check(self, operations, **kwargs):
        """Send commands, all of which must be done and leave what the simulator leaves."""
        run = self.run(operations, **kwargs)
        assert run.violations == ()
        assert not run.beats["ends"].any()
        assert self.model.get("busy") == 0
        for op, registers in operations:
            execute(op, registers, self.memories)
        for name, theirs in self.contents().items():
            different = np.flatnonzero(peek(self.model, name, len(theirs)) != theirs)
            assert not len(different), f"{name} differs at {different[:9]}"
        return run

    def check_ends(self, operations, ends):
        """Send commands, which must end so, and nothing after them."""
        run = self.run(operations, ends=len(ends))
        assert run.beats["ends"].ravel().tolist() == ends
        assert not any(problem.startswith("ends") for problem in run.violations)


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


def row_count(rng, most):
    return int(rng.choice([0, 1, 2, 3, 5, rng.integers(20), rng.integers(most)]))


def placed(rng, size, row, wanted):
    """(address, pitch, rows) of rows on granules in a memory of `size` bytes."""
    least = -(-row // 16)
    pitch = int(
        rng.choice([0, 1, least, least, row // 16 or 1, least + rng.integers(4), rng.integers(64)])
    )
    rows = min(wanted, (size - row) // (16 * pitch) + 1 if pitch else wanted)
    extent = (rows - 1) * 16 * pitch + row if rows else 16
    return 16 * int(rng.integers((size - extent) // 16 + 1)), 16 * pitch, rows


def placed_in_memory(rng, low, row, wanted):
    """(address, pitch, rows) of rows in memory from `low` on."""
    pitch = int(rng.choice([row, row, 0, rng.integers(row + 1), row + rng.integers(300), 4096]))
    rows = min(wanted, (MEMORY - low - row) // pitch + 1 if pitch else wanted)
    extent = (rows - 1) * pitch + row if rows else 0
    start = int(rng.choice([low, MEMORY - extent, rng.integers(low, MEMORY - extent + 1)]))
    return start, pitch, rows


def registers_with(rng, **values):
    """Registers, and the numbers of those that hold the values."""
    registers = [0, *(int(v) for v in rng.integers(-(2**40), 2**40, REGISTERS - 1))]
    numbers = dict(zip(values, 1 + rng.permutation(REGISTERS - 1)[: len(values)], strict=True))
    for name, number in numbers.items():
        registers[number] = int(values[name])
    return registers, {name: int(number) for name, number in numbers.items()}


def pool(rng, low, row, skew):
    """Fields of a pool of PAGES pages in memory from `low` on, and (table, first, page_log2)."""
    log2 = int(rng.integers(8))
    room = (MEMORY - low) // PAGES
    while (row << log2) > room:
        log2 -= 1
    offset = int(rng.integers(room - (row << log2) + 1))
    least = offset + (row << log2)
    page_bytes = int(rng.choice([least, room, rng.integers(least, room + 1)]))
    entry = int(rng.integers(TABLE // 8))  # where in the table the walk starts
    first, table = (entry << log2) + int(rng.integers(1 << log2)), skew
    if rng.integers(2):  # far tokens, of a table that would start before memory
        first += (1 << log2) << 20
        table -= 4 << 20
    fields = {
        "pool": int(rng.integers(low, MEMORY - page_bytes * PAGES + 1)),
        "page_bytes": page_bytes,
        "offset": offset,
        "page_log2": log2,
        "row_bytes": row,
    }
    return fields, table, first
