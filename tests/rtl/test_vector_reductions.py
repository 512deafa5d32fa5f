"""Sums and maxima of rows of chunks: values, and what they take and promise."""

import random
from collections import deque

import numpy as np
import pytest

from rtl.components import started
from tapeout import numerics
from tapeout.rtl.serial_sums import SLOTS
from tapeout.rtl.vector_maxima import MAXIMA, Maxima
from tapeout.rtl.vector_sums import SUMS, Sums

LANES = [4, 8, 16, 32, 64, 128]
QUICK = (4, 32, 64)  # lanes whose sums compile fast, and have pairs, one tree, two sets
UNITS = [
    pytest.param(unit, lanes, marks=[] if unit is Maxima or lanes in QUICK else pytest.mark.slow)
    for unit in (Sums, Maxima)
    for lanes in LANES
]
WIDE = [
    pytest.param(unit, lanes, marks=pytest.mark.slow)
    for unit, lanes in ((Sums, 256), (Maxima, 256), (Maxima, 512))
]
SPECIAL = np.array(
    [0, 0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x4B800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000,
     0x7F800001, 0x7FFFFFFF], np.uint32,
)  # fmt: skip


def words(rng, shape, kind):
    """Numbers as bits: of any size, near one another, special, tiny, zeros of both signs."""
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    match kind:
        case "near":
            exponent = rng.integers(120, 134, shape, dtype=np.uint32)
            return bits & np.uint32(0x807FFFFF) | exponent << np.uint32(23)
        case "special":
            return rng.choice(SPECIAL, shape) | bits & np.uint32(0x80000000)
        case "tiny":
            return bits & np.uint32(0x80FFFFFF)
        case "finite":
            return np.where(bits >> 23 & 0xFF == 0xFF, np.uint32(0x7F7FFFFF), bits)
        case "few":  # mostly harmless numbers
            rare = rng.random(shape) < 0.01
            return np.where(rare, rng.choice(SPECIAL, shape), words(rng, shape, "near"))
        case "zeros":
            return bits & np.uint32(0x80000000)
        case _:
            return bits


KINDS = ("near", "special", "tiny", "finite", "few", "zeros", "any")


class Bench:
    """A unit between models of rings, which withhold what they have in a share of the cycles."""

    def __init__(self, unit, *, seed=0, withhold=0.0, depth=4):
        self.model, self.lanes, self.depth = started(unit), unit.lanes, depth
        self.rng, self.withhold, self.row_depth = random.Random(seed), withhold, 16
        self.wires = {name: self.model._bytes(name) for name in self.model.ports}
        self.has_scalar = "scalar" in self.wires
        self.layout = SUMS if self.has_scalar else MAXIMA
        self.more = "scalar" if self.has_scalar else "initial"  # the second source
        self.cycle, self.closed = 0, 0
        self.chunks, self.numbers, self.out = deque(), deque(), []
        self.rows_out, self.rows_promised, self.rows_held = [], 0, 0

    def get(self, name):
        return int(self.wires[name][0])

    def start(self, **config):
        word = sum(value << self.layout[name].offset for name, value in config.items())
        self.model.set("config", word)
        self.model.set("start", 1)
        self.step(offer=False)
        self.model.set("start", 0)
        self.model.set("config", self.rng.getrandbits(self.layout.size))

    def step(self, *, offer=True):
        """A cycle; rings offer what they have, or nothing."""
        for name, there in (("ready", offer and self.chunks), (f"{self.more}_ready", self.numbers),
                            ("room", self.held < self.depth),
                            ("row_room", self.rows_held < self.row_depth)):  # fmt: skip
            if name in self.wires:
                self.wires[name][0] = bool(there) and self.rng.random() >= self.withhold
        self.model.set("rst", 0)
        take, reserve, write = (self.get(name) for name in ("take", "reserve", "write"))
        more_take = self.get(f"{self.more}_take")
        assert take <= self.get("ready"), "takes a chunk that is not there"
        assert reserve <= self.get("room"), "reserves what has no room"
        assert more_take <= self.get(f"{self.more}_ready"), "takes numbers that are not there"
        if write:
            assert self.promised > 0, "writes what it has not promised"
            self.out.append(self.wires["data"].view(np.uint32).copy())
        self.promised += reserve - write
        self.held += reserve
        is_open = self.cycle >= self.closed and self.rng.random() >= self.withhold
        if is_open and len(self.out) > self.drained:
            self.drained, self.held = self.drained + 1, self.held - 1
        if not self.has_scalar:
            self.step_rows(is_open)
        self.model.tick()
        self.cycle += 1
        if take:
            self.wires["values"][:] = self.chunks.popleft()
        if more_take:
            self.wires[self.more][:] = self.numbers.popleft()

    def step_rows(self, is_open):
        """The ring of each row's maximum."""
        reserve, write = self.get("row_reserve"), self.get("row_write")
        assert reserve <= self.get("row_room"), "reserves what has no room"
        if write:
            assert self.rows_promised > 0, "writes what it has not promised"
            self.rows_out.append(int(self.wires["row_data"].view(np.uint32)[0]))
        self.rows_promised += reserve - write
        self.rows_held += reserve
        if is_open and self.rows_held > self.rows_promised:
            self.rows_held -= 1

    def run(self, rows, *, group, numbers_of_rows=None, beyond=0):
        """One result for each of `rows` [rows, numbers] as bits, in groups; counts cycles."""
        numbers = rows.shape[1]
        padded = np.full((len(rows), -(-numbers // self.lanes) * self.lanes), beyond, np.uint32)
        padded[:, :numbers] = rows
        self.chunks = deque(padded.reshape(-1, self.lanes).view(np.uint8))
        self.numbers = deque()
        if numbers_of_rows is not None:
            width = 1 if self.has_scalar else self.lanes
            groups = numbers_of_rows.reshape(-1, group)
            short = -(-group // width) * width - group
            filled = np.pad(groups, ((0, 0), (0, short)), constant_values=0x7FC00000)
            self.numbers = deque(filled.reshape(-1, width).view(np.uint8))
        self.out, self.held, self.promised, self.drained, self.cycle = [], 0, 0, 0, 0
        self.rows_out, self.rows_promised, self.rows_held = [], 0, 0
        initial = {"initial": int(numbers_of_rows is not None)} if self.has_scalar else {}
        self.start(on=1, numbers=numbers, rows=group, **initial)
        sizes = [min(self.lanes, group - i) for i in range(0, group, self.lanes)]
        sizes *= len(rows) // group
        assert len(rows) % group == 0
        limit = 2000 + 100 * len(self.chunks) + 50 * len(rows) + 3000 * len(sizes)
        while len(self.out) < len(sizes):
            self.step()
            assert self.cycle < limit, f"stuck: {len(self.out)} of {len(sizes)} chunks"
        cycles = self.cycle
        for _ in range(3):
            self.step()
        assert not self.chunks
        assert not self.numbers
        assert not self.promised
        assert not self.rows_promised
        assert len(self.out) == len(sizes), "more chunks than the groups have"
        made = np.concatenate([c[:n] for c, n in zip(self.out, sizes, strict=True)])
        assert self.has_scalar or self.rows_out == made.tolist(), "each maximum leaves alone, too"
        return made, cycles


def sums(rows, scalars):
    if scalars is None:
        return numerics.reduce_sum(rows.view(np.float32)).view(np.uint32)
    ones = np.ones((1, rows.shape[1]), np.float32)
    acc = scalars.view(np.float32)[:, None]
    return numerics.matmul_wide(rows.view(np.float32), ones, acc)[:, 0].view(np.uint32)


def maxima(rows, initial):
    largest = numerics.reduce_max(rows.view(np.float32))
    return numerics.maximum(largest, initial.view(np.float32)).view(np.uint32)


def check(bench, rows, *, group, scalars=None):
    """Compare with `numerics`; without `scalars` maxima start from numbers like those of rows."""
    if bench.has_scalar:
        got, cycles = bench.run(rows, group=group, numbers_of_rows=scalars)
        want = sums(rows, scalars)
    else:
        initial = rows[:, 0].copy() if scalars is None else scalars
        initial = np.roll(initial, 1)
        got, cycles = bench.run(rows, group=group, numbers_of_rows=initial, beyond=0xFF800000)
        want = maxima(rows, initial)
    wrong = np.flatnonzero(got != want)
    found = [f"row {i}: {got[i]:08x} not {want[i]:08x}" for i in wrong[:3]]
    assert not len(wrong), f"{len(wrong)} of {len(want)}, {rows.shape[1]} numbers: {found}"
    return cycles


def some_numbers(rng, lanes, count):
    """Lengths of rows about the ends of chunks and blocks, and any."""
    ends = [size * k + d for size in (lanes, 32) for k in (1, 2, 3) for d in (-1, 0, 1)]
    chosen = rng.choice([1, 2, 3, *(n for n in ends if n > 0)], count).tolist()
    longest = [300, 300, 3000]
    return [n if rng.random() < 0.6 else int(rng.integers(1, rng.choice(longest))) for n in chosen]


def campaign(unit, *, runs, seed, most=6000):
    """Runs with any sizes of rows and groups and any data; rings withhold at random."""
    rng = np.random.default_rng(seed)
    bench = Bench(unit, seed=seed)
    lanes = unit.lanes
    for numbers in some_numbers(rng, lanes, runs):
        group = int(rng.choice([1, 2, lanes - 1, lanes, lanes + 1, int(rng.integers(1, 40))]))
        chunks = -(-numbers // lanes)
        groups = max(1, min(int(rng.integers(1, 7)), most // (chunks * group * lanes)))
        rows = words(rng, (groups * group, numbers), rng.choice(KINDS))
        scalars = None
        if rng.random() < 0.5:
            scalars = words(rng, len(rows), rng.choice(KINDS))
        bench.withhold = float(rng.choice([0.0, 0.3, 0.8]))
        bench.depth = int(rng.choice([1, 2, 4]))
        bench.row_depth = int(rng.choice([1, 2, 16]))
        check(bench, rows, group=group, scalars=scalars)


@pytest.mark.parametrize(("unit", "lanes"), [*UNITS, *WIDE])
def test_rows_of_any_length_in_groups_of_any_size(unit, lanes):
    campaign(unit(lanes=lanes), runs=14, seed=lanes)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "lanes"), UNITS)
def test_a_long_campaign(unit, lanes):
    campaign(unit(lanes=lanes), runs=150, seed=1000 + lanes, most=20_000)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "lanes"), UNITS)
def test_every_length_up_to_300(unit, lanes):
    rng, bench = np.random.default_rng(lanes), Bench(unit(lanes=lanes), withhold=0.1)
    for numbers in range(1, 301):
        rows = words(rng, (6, numbers), KINDS[numbers % len(KINDS)])
        scalars = words(rng, 6, "any") if numbers % 3 == 0 else None
        check(bench, rows, group=3, scalars=scalars)


@pytest.mark.parametrize("lanes", QUICK)
def test_zeros_keep_their_signs(lanes):
    """-0 stays where nothing is added; a block that does not exist is not added."""
    bench = Bench(Sums(lanes=lanes))
    minus = np.uint32(0x80000000)
    for numbers in (1, 31, 32, 33, 63, 64, 96, 128):
        rows = np.full((5, numbers), minus)
        assert sums(rows, None)[0] == (0 if numbers % 32 else minus)
        check(bench, rows, group=5)
        check(bench, rows, group=5, scalars=np.full(5, minus))


@pytest.mark.parametrize("lanes", QUICK)
def test_every_nan_is_the_one_nan(lanes):
    bench = Bench(Sums(lanes=lanes))
    for nan in (0x7F800001, 0xFFC00001, 0x7FFFFFFF):
        rows = np.full((3, 33), 0x3F800000, np.uint32)
        rows[1, 32] = nan
        check(bench, rows, group=3)
        check(bench, rows, group=1, scalars=np.array([nan, 0, 0], np.uint32))
        check(bench, rows[:, 32:], group=3)


@pytest.mark.parametrize("unit", [Sums, Maxima])
def test_a_unit_that_is_off_takes_nothing(unit):
    bench = Bench(unit(lanes=4))
    rng = np.random.default_rng(0)
    check(bench, words(rng, (3, 20), "near"), group=3)
    bench.start(on=0, numbers=20, rows=3)
    bench.chunks = deque([np.zeros(16, np.uint8)] * 4)
    bench.out = []
    for _ in range(100):
        bench.step()
    assert len(bench.chunks) == 4
    assert not bench.out
    bench.chunks.clear()
    check(bench, words(rng, (7, 9), "near"), group=7)


@pytest.mark.parametrize("unit", [Sums, Maxima])
def test_a_row_waits_for_no_other(unit):
    """A group of one row gives its chunk although nothing follows."""
    bench = Bench(unit(lanes=32))
    for numbers in (1, 32, 80):
        check(bench, words(np.random.default_rng(numbers), (1, numbers), "near"), group=1)


@pytest.mark.parametrize(("unit", "lanes"), UNITS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_nothing_is_lost_while_results_have_no_room(unit, lanes, blocks):
    """Every queue fills up: nothing is taken any more."""
    rng, bench = np.random.default_rng(lanes), Bench(unit(lanes=lanes))
    bench.closed = 1500 if lanes >= 32 else 5000
    rows = words(rng, (300, 32 * blocks), "near")
    assert check(bench, rows, group=1) > bench.closed
    if unit is Sums:
        check(bench, rows, group=1, scalars=words(rng, len(rows), "any"))


@pytest.mark.parametrize("unit", [Sums, Maxima])
@pytest.mark.parametrize("lanes", QUICK)
def test_latency(unit, lanes):
    """The first chunk is taken two cycles after the start; docstrings say what follows."""
    bench = Bench(unit(lanes=lanes))
    cycles = check(bench, words(np.random.default_rng(1), (1, 1), "near"), group=1)
    levels = (lanes - 1).bit_length() - 1
    if unit is Maxima:
        assert cycles == 3 + 4 + -(-levels // 2)
    else:
        assert 3 + 30 <= cycles <= 3 + 30 + SLOTS - 1


@pytest.mark.parametrize(("unit", "lanes"), UNITS)
def test_many_rows_take_a_cycle_for_each_chunk(unit, lanes):
    rng, bench = np.random.default_rng(lanes), Bench(unit(lanes=lanes))
    for numbers, limit in ((128, 1.2), (32, 1.2)):
        rows = words(rng, (64, numbers), "near")
        chunks = 64 * -(-numbers // lanes)
        cycles = check(bench, rows, group=64)
        filled = cycles - (35 if unit is Sums else 12)  # the last row is on its way
        assert filled <= limit * chunks, f"{cycles} cycles for {chunks} chunks"


@pytest.mark.parametrize("lanes", QUICK)
def test_a_long_row_takes_a_turn_for_each_block(lanes):
    bench = Bench(Sums(lanes=lanes))
    cycles = check(bench, words(np.random.default_rng(1), (1, 8192), "near"), group=1)
    blocks, chunks = 8192 // 32, 8192 // lanes
    assert cycles <= max(SLOTS * blocks, chunks) + 45
