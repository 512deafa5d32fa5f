"""Counters: takes and signals in some legal order, whatever comes at once."""

import random
from collections import Counter

import pytest

from rtl.components import started
from rtl.sequencer_bench import Wires, fields_of, word_of
from tapeout.rtl.counters import SIGNAL, SOURCES, TAKES, Counters
from tapeout.rtl.sent import TRAPPED
from tapeout.rtl.trap import Trap


class Bench:
    """Counters, and integers that do the same, step by step."""

    def __init__(self):
        self.w = w = Wires(started(Counters()))
        self.values = [0] * 64
        self.takes = [None] * SOURCES  # [(counter, count), (counter, count)]
        self.signals = [None] * SOURCES  # (counter, number)
        w["start"] = w["peek_number"] = 0
        self.offer()
        w.reset()
        self.start()

    def start(self):
        self.w["start"] = 1
        self.w.tick()
        self.w["start"] = 0
        for _ in range(64):
            self.offer()
            assert not any(self.ready(f"takes_{i}") for i in range(SOURCES))
            assert not any(self.ready(f"signals_{i}") for i in range(SOURCES))
            self.w.tick()
        self.values = [0] * 64

    def ready(self, port):
        return self.w[f"{port}_ready"]

    def offer(self):
        w = self.w
        for i, take in enumerate(self.takes):
            (c0, n0), (c1, n1) = take or [(random.randrange(64), 255)] * 2
            w[f"takes_{i}_valid"] = take is not None
            w[f"takes_{i}_payload"] = word_of(
                TAKES, wait0_counter=c0, wait0_count=n0, wait1_counter=c1, wait1_count=n1
            )
        for i, signal in enumerate(self.signals):
            counter, number = signal or (random.randrange(64), 0)
            w[f"signals_{i}_valid"] = signal is not None
            w[f"signals_{i}_payload"] = word_of(SIGNAL, counter=counter, number=number)
        w.settle()

    def cycle(self):
        """Sources that took, and sources that signalled; the integers follow."""
        self.offer()
        took = [i for i in range(SOURCES) if self.takes[i] and self.ready(f"takes_{i}")]
        told = [i for i in range(SOURCES) if self.signals[i] and self.ready(f"signals_{i}")]
        for i in took:
            for counter, count in self.takes[i]:
                self.values[counter] -= count
                assert self.values[counter] >= 0, f"{counter} holds too little"
            self.takes[i] = None
        for i in told:
            counter, _ = self.signals[i]
            self.values[counter] += self.values[counter] < 255
            self.signals[i] = None
        self.w.tick()
        return took, told

    def peek(self):
        out = []
        for number in range(64):
            self.w["peek_number"] = number
            self.w.settle()
            out.append(self.w["peek_value"])
        return out

    def code(self):
        return fields_of(TRAPPED, self.w["trap"])["code"]

    def possible(self, take):
        needed = Counter()
        for counter, count in take:
            needed[counter] += count
        return all(self.values[counter] >= count for counter, count in needed.items())


def random_take(rng, counters):
    second = (rng.choice(counters), rng.choice([0, 0, 1, 2, 3]))
    return [(rng.choice(counters), rng.randrange(1, 4)), second if second[1] else (0, 0)]


def run_at_random(seed, cycles):
    rng = random.Random(seed)
    bench = Bench()
    counters = rng.sample(range(64), rng.choice([2, 3, 8]))
    waited = [0] * SOURCES
    for _ in range(cycles):
        for i in range(SOURCES):
            if bench.takes[i] is None and rng.random() < 0.3:
                bench.takes[i] = random_take(rng, counters)
            if bench.signals[i] is None and rng.random() < 0.2:
                bench.signals[i] = rng.choice(counters), 0
        can = [take is not None and bench.possible(take) for take in bench.takes]
        took, told = bench.cycle()
        assert len(took) <= 1
        assert len(told) <= 1
        for i in range(SOURCES):
            waited[i] = waited[i] + 1 if can[i] and not took else 0
            assert waited[i] <= 3, "nothing passes although something could"
        assert bench.code() == 0 or max(bench.values) == 255
    assert bench.peek() == bench.values


def test_at_random():
    for seed in range(12):
        run_at_random(seed, 400)


def test_a_take_passes_two_cycles_after_its_signal_was_offered():
    bench = Bench()
    bench.takes[3] = [(7, 1), (9, 1)]
    bench.signals[1] = 7, 0
    bench.cycle()
    for _ in range(5):
        assert bench.cycle() == ([], [])
    bench.signals[4] = 9, 0
    assert [bench.cycle() for _ in range(3)] == [([], [4]), ([], []), ([3], [])]


def test_both_counts_of_one_counter_add_up():
    bench = Bench()
    bench.takes[2] = [(5, 2), (5, 1)]
    for _ in range(2):
        bench.signals[0] = 5, 0
        bench.cycle()
    for _ in range(5):
        assert bench.cycle() == ([], [])
    bench.signals[0] = 5, 0
    assert [bench.cycle()[0] for _ in range(3)] == [[], [], [2]]
    assert bench.peek() == [0] * 64
    bench.takes[2] = [(5, 255), (5, 1)]  # more than it can ever hold
    for _ in range(255):
        bench.signals[0] = 5, 0
        bench.cycle()
    for _ in range(5):
        assert bench.cycle() == ([], [])


@pytest.mark.parametrize("held", [3, 255])
def test_a_signal_in_the_cycle_of_a_take_comes_after_it(held):
    for take in ([(5, 1), (0, 0)], [(5, 2), (6, 2)], [(6, 2), (5, 1)], [(5, 1), (5, 1)]):
        bench = Bench()
        for counter, count in ((5, held), (6, 2)):
            for _ in range(count):
                bench.signals[0] = counter, 0
                bench.cycle()
        bench.takes[1] = take
        bench.cycle()
        bench.signals[2] = 5, 0
        assert bench.cycle() == ([1], [2])
        assert bench.code() == 0
        bench.cycle()
        assert bench.peek() == bench.values


def test_a_counter_that_passes_255_traps_and_stays():
    bench = Bench()
    for _ in range(255):
        bench.signals[0] = 63, 0
        bench.cycle()
        assert bench.code() == 0
    bench.signals[3] = 63, 0xABCD1234
    bench.cycle()
    trap = fields_of(TRAPPED, bench.w["trap"])
    assert trap == {"code": Trap.COUNTER, "queue": 3, "number": 0xABCD1234}
    bench.cycle()
    assert bench.code() == 0
    assert bench.peek()[63] == 255


def test_a_start_clears_them():
    bench = Bench()
    for counter in range(64):
        bench.signals[0] = counter, 0
        bench.cycle()
    assert bench.peek() == [1] * 64
    bench.takes[0], bench.signals[1] = [(3, 1), (0, 0)], (4, 0)
    bench.start()
    assert bench.peek() == [0] * 64
    assert bench.cycle() == ([], [1])


def test_ready_follows_neither_its_own_valid_nor_its_payload():
    rng = random.Random(3)
    bench = Bench()
    for _ in range(200):
        for i in range(SOURCES):
            if bench.signals[i] is None and rng.random() < 0.3:
                bench.signals[i] = rng.randrange(4), 0
            if bench.takes[i] is None:
                bench.takes[i] = random_take(rng, [0, 1, 2, 3])
        bench.offer()
        for port in (f"{kind}_{i}" for kind in ("takes", "signals") for i in range(SOURCES)):
            before, valid = bench.ready(port), bench.w[f"{port}_valid"]
            payload = bench.w[f"{port}_payload"]
            bench.w[f"{port}_valid"], bench.w[f"{port}_payload"] = not valid, payload ^ 0x15
            bench.w.settle()
            assert bench.ready(port) == before
            bench.w[f"{port}_valid"], bench.w[f"{port}_payload"] = valid, payload
            bench.w.settle()
        bench.cycle()


def test_a_take_that_is_withdrawn_takes_nothing():
    bench = Bench()
    bench.signals[0] = 5, 0
    bench.takes[1] = [(5, 1), (0, 0)]
    bench.cycle()
    bench.cycle()
    bench.takes[1] = None
    for _ in range(4):
        bench.cycle()
    assert bench.peek()[5] == 1
