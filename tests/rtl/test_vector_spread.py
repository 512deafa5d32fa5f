"""Numbers of chunks one by one, beside numpy."""

import numpy as np
import pytest

from rtl.ring_bench import RingBench, chunks_of
from tapeout.rtl.vector_spread import Spread

SLOW = [pytest.param(lanes, marks=pytest.mark.slow) for lanes in (16, 32, 64, 512)]
LANES = [4, 8, 128, *SLOW]


def groups(rng, lanes, numbers, count):
    """Words of some groups, and their chunks."""
    words = [rng.integers(0, 1 << 32, numbers, dtype=np.uint32) for _ in range(count)]
    return words, [chunk for group in words for chunk in chunks_of(group, lanes, rng)]


def sizes(rng, lanes):
    """(numbers, repeats) of some campaigns."""
    fixed = [(1, 1), (lanes, 1), (lanes + 1, 1), (2 * lanes - 1, 3), (3 * lanes, 2), (1, 40)]
    return fixed + [tuple(map(int, rng.integers(1, (3 * lanes, 7)))) for _ in range(3)]


@pytest.mark.parametrize("share", [1, 0.6, 0.2])
@pytest.mark.parametrize("lanes", LANES)
def test_every_number_of_a_group_is_repeated(lanes, share):
    rng = np.random.default_rng(lanes)
    bench = RingBench(Spread(lanes=lanes), share=share, seed=lanes)
    for numbers, repeats in sizes(rng, lanes):
        words, chunks = groups(rng, lanes, numbers, 3)
        bench.start(chunks, on=1, numbers=numbers, repeats=repeats)
        expected = np.concatenate(words).repeat(repeats)
        bench.run(len(expected))
        assert bench.drained()
        assert np.array_equal(bench.out, expected)


@pytest.mark.parametrize("lanes", [4, 8, 128])
@pytest.mark.parametrize(("numbers", "repeats"), [(1, 1), (1, 2), (3, 1), (16, 1), (9, 2)])
def test_a_number_in_every_cycle(lanes, numbers, repeats):
    bench = RingBench(Spread(lanes=lanes))
    words, chunks = groups(np.random.default_rng(1), lanes, numbers, 20)
    bench.start(chunks, on=1, numbers=numbers, repeats=repeats)
    bench.run(20 * numbers * repeats)
    assert np.array_equal(bench.out, np.concatenate(words).repeat(repeats))
    assert bench.cycles == list(range(bench.takes[0] + 2, bench.takes[0] + 2 + len(bench.out)))


def test_large_counts_are_counted():
    bench = RingBench(Spread(lanes=4))
    repeats = (1 << 18) - 1
    bench.start(chunks_of([1, 2], 4, bench.rng), on=1, numbers=2, repeats=repeats)
    bench.set("room", 1)
    bench.set("ready", 1)
    bench.model.set("rst", 0)
    bench.model.tick()
    bench.set("values", bench.queues[0].popleft())
    bench.model.tick(repeats)
    assert bench.get("data") == 1
    bench.model.tick()
    assert bench.get("write")
    assert bench.get("data") == 2


def test_a_start_forgets_what_was_and_off_does_nothing():
    rng = np.random.default_rng(3)
    bench = RingBench(Spread(lanes=8), share=0.6)
    for numbers, repeats, stop in ((17, 3, 8), (5, 7, 11), (8, 1, 3)):
        _, chunks = groups(rng, 8, numbers, 2)
        bench.start(chunks, on=1, numbers=numbers, repeats=repeats)
        bench.run(stop)
        words, chunks = groups(rng, 8, 11, 1)
        bench.start(chunks, on=1, numbers=11, repeats=2)
        bench.run(22)
        assert np.array_equal(bench.out, words[0].repeat(2))
        bench.start(chunks, on=0, numbers=numbers, repeats=repeats)
        assert bench.drained()
        assert not bench.out
        assert len(bench.queues[0]) == 2
