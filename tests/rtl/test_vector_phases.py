"""Phases of rows of frequencies, beside 64-bit integers."""

import numpy as np
import pytest

from rtl.ring_bench import CHUNK, SCALARS, RingBench, chunks_of, words_of
from tapeout import numerics
from tapeout.rtl.vector_phases import Phases

SLOW = [pytest.param(lanes, marks=pytest.mark.slow) for lanes in (32, 64, 256, 512)]
LANES = [4, 8, 16, 128, *SLOW]
TURN = 1 << 32
EDGES = [0, 1, 0xFFFF, 0x10000, 0xFFFF_FFFF, 1 << 32, (1 << 48) - 1, (1 << 63) - 1, (1 << 64) - 1]
POSITIONS = [0, 1, 0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]


def row(rng, head_dim):
    """Frequencies of a row, and a position: random bits and edges."""
    wide = rng.integers(0, 1 << 64, head_dim // 2, dtype=np.uint64)
    frequencies = np.where(
        rng.random(len(wide)) < 0.3, rng.choice(np.array(EDGES, np.uint64), len(wide)), wide
    )
    position = rng.choice(POSITIONS) if rng.random() < 0.5 else rng.integers(0, TURN)
    return frequencies, int(position)


def phases(frequencies, position):
    """As `numerics.rope` defines them."""
    return [int(each) * position % (1 << 64) >> 32 for each in frequencies]


def run_rows(bench, lanes, head_dim, rows):
    """Send rows (frequencies, position); compares what comes."""
    chunks, positions, expected = [], [], []
    for frequencies, position in rows:
        mine = chunks_of(frequencies.view(np.uint32), lanes, bench.rng)
        chunks += mine
        positions += [position] * len(mine)
        expected.append(phases(frequencies, position))
    bench.start(chunks, positions, on=1, numbers=head_dim)
    each = -(-head_dim // 2 // lanes)
    bench.run(each * len(rows))
    for i, want in enumerate(expected):
        got = np.concatenate([words_of(chunk, lanes) for chunk in bench.out[i * each :][:each]])
        assert np.array_equal(got[: len(want)], want), (head_dim, i)


def bench_of(lanes, **options):
    return RingBench(Phases(lanes=lanes), sources=(CHUNK, SCALARS), **options)


@pytest.mark.parametrize("share", [1, 0.6, 0.2])
@pytest.mark.parametrize("lanes", LANES)
def test_rows_of_phases(lanes, share):
    bench = bench_of(lanes, share=share, seed=lanes)
    edges = {8, lanes - 8, lanes, lanes + 8, 2 * lanes, 2 * lanes + 8, 64, 128, 256}
    for head_dim in sorted(size for size in edges if size > 0 and size % 8 == 0):
        run_rows(bench, lanes, head_dim, [row(bench.rng, head_dim) for _ in range(4)])
        assert bench.drained()


def test_the_frequencies_of_a_model():
    bench = bench_of(16, share=0.7)
    inverse = 500_000.0 ** -(np.arange(64) / 64)
    frequencies = numerics.frequencies_q64(inverse)
    run_rows(bench, 16, 128, [(frequencies, position) for position in (0, 1, 4095, 131_071)])


@pytest.mark.parametrize("lanes", [4, 8, 16, 128])
def test_every_multiplier_works_in_every_cycle(lanes):
    bench = bench_of(lanes)
    run_rows(bench, lanes, 2 * lanes, [row(bench.rng, 2 * lanes) for _ in range(10)])
    steps = lanes // max(1, lanes // 8)
    assert np.array_equal(np.diff(bench.cycles), [steps] * 9)
    assert bench.cycles[0] == bench.takes[0] + steps + 4


def test_a_chunk_that_has_begun_needs_no_more_room():
    bench = bench_of(16, depth=1)
    frequencies, position = row(bench.rng, 32)
    chunks = chunks_of(frequencies.view(np.uint32), 16, bench.rng)
    bench.start(chunks, [position] * 2, on=1, numbers=32)
    while not bench.promised:
        bench.step()
    bench.depth = 0
    bench.run(1, limit=20)
    assert np.array_equal(words_of(bench.out[0], 16), phases(frequencies, position))


def test_a_start_forgets_what_was_and_off_does_nothing():
    bench = bench_of(16)
    for cycles in range(1, 40):
        head_dim = int(bench.rng.choice([8, 24, 32, 40, 64]))
        many = [row(bench.rng, head_dim) for _ in range(20)]
        chunks = [chunk for f, _ in many for chunk in chunks_of(f.view(np.uint32), 16, bench.rng)]
        bench.start(chunks, [1] * len(chunks), on=1, numbers=head_dim)
        for _ in range(cycles):
            bench.step()
        if cycles % 2:
            run_rows(bench, 16, 48, [row(bench.rng, 48) for _ in range(2)])
        else:
            bench.start(chunks, [1] * len(chunks), on=0, numbers=head_dim)
            assert bench.drained()
            assert not bench.out
            assert not bench.takes
