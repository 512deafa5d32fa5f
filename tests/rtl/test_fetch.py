"""Instructions come in order and from where a jump leads, whatever memory does."""

import random

import pytest

from rtl.components import started
from rtl.sequencer_bench import SlowMemory, Wires, fields_of
from tapeout.rtl.fetch import AHEAD, FETCHED, LINE_BYTES, Fetch
from tapeout.rtl.trap import Trap

LINES = 8


class Bench:
    """A program of random words."""

    def __init__(self, bus_bits, *, count, base=64, seed=1, open_share=0.6, latency=4, lines=LINES):
        self.rng = rng = random.Random(seed)
        size = base + 32 * count
        self.content = rng.randbytes(size + -size % max(LINE_BYTES, bus_bits // 8))
        self.w = w = Wires(started(Fetch(bus_bits=bus_bits, lines=lines)))
        for name in ("start", "jump", "target", "words_ready"):
            w[name] = 0
        w.reset()
        self.memory = SlowMemory(
            w, "memory", self.content, bus_bits // 8, rng, open_share=open_share, latency=latency
        )
        self.base, self.count = base, count
        self.got = []
        self.cycle = 0
        self.held = None
        self.gate = 1.0

    def start(self, **changes):
        w = self.w
        values = {"base": self.base, "count": self.count, "memory_bytes": len(self.content)}
        for name, value in (values | changes).items():
            w[name] = value
        w["start"] = 1
        self.step(ready=False)
        w["start"] = 0

    def jump(self, target):
        self.w["jump"], self.w["target"] = 1, target
        self.step(ready=False)
        self.w["jump"] = 0

    def step(self, *, ready=None):
        w = self.w
        self.memory.drive()
        w["words_ready"] = self.rng.random() < self.gate if ready is None else ready
        w.settle()
        self.memory.observe()
        self.cycle += 1
        if w["words_valid"]:
            payload = w["words_payload"]
            assert self.held in (None, payload)
            self.held = payload
            if w["words_ready"]:
                self.got.append((self.cycle, fields_of(FETCHED, payload)))
                self.held = None
        else:
            assert self.held is None
        if w["jump"] or w["start"]:
            self.held = None
        w.tick()

    def take(self, count, limit=3000):
        """The next instructions."""
        first = len(self.got)
        for _ in range(limit):
            if len(self.got) == first + count:
                break
            self.step()
        return [fetched for _, fetched in self.got[first:]]

    def word(self, number):
        start = self.base + 32 * number
        return int.from_bytes(self.content[start : start + 32], "little")

    def check(self, fetched, numbers):
        assert [each["number"] for each in fetched] == list(numbers)
        for each in fetched:
            assert each["trap"] == Trap.NONE
            assert each["word"] == self.word(each["number"])


@pytest.mark.parametrize("bus_bits", [32, 128, 256, 512, 1024])
def test_straight_on_from_any_place(bus_bits):
    for seed, (base, count) in enumerate([(0, 40), (32, 61), (64, 1), (96, 2), (4096 - 32, 90)]):
        bench = Bench(bus_bits, count=count, base=base, seed=seed)
        bench.start()
        bench.check(bench.take(count), range(count))
        assert bench.take(1)[0]["trap"] == Trap.END
        for address, beats in bench.memory.reads:
            assert address // LINE_BYTES == (address + beats * bus_bits // 8 - 1) // LINE_BYTES
            assert address < base + 32 * count
        read = sum(beats * bus_bits // 8 for _, beats in bench.memory.reads)
        assert read <= 32 * count + 2 * LINE_BYTES, "what is not needed was read"


@pytest.mark.parametrize("bus_bits", [128, 1024])
def test_jumps_at_random(bus_bits):
    for seed in range(8):
        rng = random.Random(seed)
        bench = Bench(bus_bits, count=150, base=32 * rng.randrange(8), seed=seed)
        bench.gate, bench.memory.open_share = rng.choice([0.2, 1.0]), rng.choice([0.3, 1.0])
        bench.start()
        at = 0
        for _ in range(60):
            run = rng.choice([0, 1, 2, 5, 20])
            run = min(run, 150 - at)
            bench.check(bench.take(run), range(at, at + run))
            for _ in range(rng.randrange(6)):
                bench.step(ready=False)
            at = rng.choice([rng.randrange(150), max(0, at - 3), (at + 32) % 150])
            bench.jump(at)


def test_jumps_back_to_back():
    bench = Bench(128, count=100)
    bench.start()
    for target in (50, 3, 99, 35, 67):
        bench.jump(target)
    bench.check(bench.take(10), range(67, 77))


def test_a_loop_that_fits_runs_from_the_cache():
    bench = Bench(128, count=40, open_share=1.0, latency=20)
    bench.start()
    bench.take(14)
    for _ in range(100):
        bench.step(ready=False)
    reads = len(bench.memory.reads)
    for _ in range(5):
        bench.jump(2)
        before = bench.cycle
        bench.check(bench.take(12), range(2, 14))
        assert bench.cycle - before == 3 + 2 * 11, "the first after 3 cycles, then one in 2"
    assert len(bench.memory.reads) == reads


@pytest.mark.parametrize("latency", [1, 20, 60])
def test_straight_code_on_a_bus_of_16_bytes(latency):
    bench = Bench(128, count=200, open_share=1.0, latency=latency)
    bench.start()
    bench.take(200)
    first = bench.got[0][0]
    assert bench.got[-1][0] - first <= 200 * 4 + 3 * latency


def test_it_does_not_read_far_ahead():
    bench = Bench(128, count=200, base=0)
    bench.start()
    for _ in range(400):
        bench.step(ready=False)
    lines = [address // LINE_BYTES for address, _ in bench.memory.reads]
    assert lines == list(range(AHEAD + 1))


def test_a_start_reads_memory_again():
    bench = Bench(128, count=30, latency=10)
    for cycles in range(60):  # while lines are on their way, or are not
        bench.start()
        for _ in range(cycles):
            bench.step(ready=False)
        bench.memory.content = bench.content = bench.rng.randbytes(len(bench.content))
        bench.start()
        bench.check(bench.take(6), range(6))


def test_the_end():
    bench = Bench(128, count=6)
    bench.start()
    bench.take(6)
    for _ in range(3):
        assert bench.take(1)[0]["trap"] == Trap.END
    bench.jump(5)
    bench.check(bench.take(1), [5])
    bench.jump((1 << 33) - 1)
    assert bench.take(1)[0]["trap"] == Trap.END
    bench.start(count=0)
    assert bench.take(1)[0]["trap"] == Trap.END


def test_errors_stay_with_their_line():
    bench = Bench(128, count=40, base=0)
    bench.memory.bad = range(4 * 128 + 40, 4 * 128 + 41)
    bench.start()
    bench.check(bench.take(16), range(16))
    assert [each["trap"] for each in bench.take(4)] == [Trap.READ] * 4
    bench.check(bench.take(20), range(20, 40))
    bench.memory.bad = range(0)
    bench.jump(16)
    assert bench.take(1)[0]["trap"] == Trap.READ, "it is not read again"
    bench.start()
    bench.check(bench.take(30), range(30))


@pytest.mark.parametrize(
    ("changes", "trap"),
    [
        ({"base": 65}, Trap.ADDRESS),
        ({"base": 80}, Trap.ADDRESS),
        ({"base": 1 << 40}, Trap.ADDRESS),
        ({"memory_bytes": 64 + 32 * 20 - 1}, Trap.ADDRESS),
        ({"memory_bytes": 64 + 32 * 20}, Trap.NONE),
        ({"count": (1 << 32) - 1}, Trap.ADDRESS),
        ({"base": (1 << 40) - 32, "memory_bytes": 1 << 40}, Trap.ADDRESS),
        ({"base": (1 << 40) - 32, "memory_bytes": 1 << 40, "count": 1}, Trap.READ),
    ],
)
def test_programs_outside_memory(changes, trap):
    bench = Bench(128, count=20)
    bench.start(**changes)
    assert bench.take(1)[0]["trap"] == trap
    assert bool(bench.memory.reads) == (trap != Trap.ADDRESS)


def test_sizes_that_cannot_be():
    for bus_bits in (16, 48, 2048):
        with pytest.raises(ValueError, match=r"bus_bits must be a power of two in 32\.\.1024"):
            Fetch(bus_bits=bus_bits)
    with pytest.raises(ValueError, match="lines must be a power of two of at least 8, not 4"):
        Fetch(bus_bits=128, lines=4)
