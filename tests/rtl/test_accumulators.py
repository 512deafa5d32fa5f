"""Accumulators give tiles at every pitch, and windows whatever the tiles do meanwhile."""

import numpy as np
import pytest

from rtl.accumulators_bench import GRANULE_NUMBERS, Numbers
from tapeout.rtl.accumulators import Accumulators
from tapeout.rtl.check import random_gates

SIZES = [
    (1, 4, 32, 1),
    (2, 8, 64, 8),
    (4, 4, 1024, 2),
    (8, 4, 512, 32),  # a window is many blocks
    (16, 4, 64, 4),  # a half is one tile
]
SLOW = [(16, 8, 128, 4), (8, 8, 4096, 8), (32, 4, 4096, 16), (64, 8, 2048, 64), (4, 32, 1024, 1)]
STREAMS = ("tile_write", "tile_read", "read")


def named(sizes):
    rows, columns, accumulators, granules = sizes
    return Accumulators(
        rows=rows, columns=columns, accumulators=accumulators, lane_granules=granules
    )


def windows(it, n):
    """Random windows, some over the end of a half or of the memory."""
    most = it.groups * it.columns // GRANULE_NUMBERS
    address = it.rng.integers(0, most, n)
    edges = np.clip(it.rng.choice([most // 2, most], n) - it.rng.integers(0, 8, n), 0, most - 1)
    return np.where(it.rng.random(n) < 0.8, address, edges)


def check(sizes, n):
    it = Numbers(named(sizes))
    it.run(writes=it.places(n))
    it.run(reads=it.places(n), windows=windows(it, n))
    for seed, share in enumerate((1, 0.5, 0.2)):
        gates = random_gates(list(STREAMS), open_share=share, seed=seed)
        it.run(writes=it.places(n), reads=it.places(n), windows=windows(it, n), gates=gates)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_tiles_and_windows(sizes):
    check(sizes, 150)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [*SIZES, *SLOW], ids=str)
def test_many_tiles_and_windows(sizes):
    check(sizes, min(1000, 40000 // (sizes[0] * sizes[1])))


@pytest.mark.parametrize("sizes", SIZES[1:4], ids=str)
def test_every_tile_of_every_pitch(sizes):
    it = Numbers(named(sizes))
    places = [
        (base + column, pitch, it.rows)
        for pitch in range((it.groups // 2 // it.rows).bit_length())
        for base in range(0, it.groups, it.rows << pitch)
        for column in range(1 << pitch)
    ]
    some = [places[i] for i in it.rng.permutation(len(places))[:600]]
    place = tuple(np.array(part) for part in zip(*some, strict=True))
    it.run(writes=place)
    it.run(reads=place)


def test_windows_pass_every_cycle_beside_tiles_of_the_other_half():
    it = Numbers(named((4, 4, 1024, 2)))
    n = 200
    address = it.rng.integers(0, 256 // 2, n) * 2  # within blocks of the lower half
    upper = (np.full(n, 256), np.full(n, 3), np.full(n, 4))
    done = it.run(windows=address, reads=upper, writes=upper)
    assert (np.diff(done.cycle_of["read"]) == 1).all()
    assert (done.cycle_of["window"] - done.cycle_of["read"] == 3).all()


def test_a_window_takes_a_cycle_for_each_block():
    it = Numbers(named((4, 4, 1024, 2)))
    done = it.run(windows=np.arange(200) * 4 + 3)  # the last granule of a block and the next
    assert (np.diff(done.cycle_of["read"])[1:] == 2).all()


def test_windows_wait_while_tiles_of_their_half_are_read():
    it = Numbers(named((4, 4, 1024, 2)))
    lower = (np.zeros(500, int), np.full(500, 3), np.full(500, 4))
    done = it.run(windows=np.arange(0, 20, 2), reads=lower)
    assert done.cycle_of["window"][0] > 500


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 4, 64, 1), r"rows must be a power of two in 1\.\.64, not 3"),
        ((4, 64, 512, 1), r"columns must be a power of two in 4\.\.32, not 64"),
        ((8, 8, 32, 1), r"accumulators must be a power of two in 64\.\..*, not 32"),
        ((4, 4, 64, 3), "a window must be a power of two, not 3 granules"),
    ],
)
def test_sizes_that_do_not_work_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        named(sizes)
