"""A scratchpad does every request as if when it passes, and lets nobody wait for long."""

import numpy as np
import pytest

from rtl.scratchpad_bench import Bytes
from tapeout.rtl.check import random_gates
from tapeout.rtl.ports import READ_LATENCY
from tapeout.rtl.scratchpad import Scratchpad

NANO = Scratchpad(
    banks=4,
    bank_granules=4,
    granules=4096,
    reads=(("st", 1), ("mu_a", 4), ("mu_b", 4), ("vu_a", 2), ("vu_b", 2)),
    writes=(("ld", 1), ("vu", 2)),
)
WIDE = Scratchpad(
    banks=8,
    bank_granules=4,
    granules=96,  # three rows: not a power of two
    reads=(("st", 8), ("mu_a", 4), ("vu_a", 16)),
    writes=(("ld", 8), ("vu", 16)),
)
SCALE = Scratchpad(
    banks=16,
    bank_granules=1,
    granules=80,
    reads=(("st", 8), ("mu_a", 1), ("mu_b", 1), ("vu_a", 1), ("vu_b", 1)),
    writes=(("ld", 8), ("vu", 1)),
)
SMALL = Scratchpad(
    banks=4, bank_granules=2, granules=8, reads=(("x", 4), ("y", 1)), writes=(("z", 4), ("w", 2))
)
ONE = Scratchpad(banks=1, bank_granules=1, granules=3, reads=(("x", 1),), writes=(("z", 1),))
ALL = [NANO, WIDE, SCALE, SMALL, ONE]
BEATS = 1500


def anywhere(memory, names, *, span=1.0, seed=1):
    """Random addresses for ports: in a part of the memory, and around its end."""
    rng = np.random.default_rng(seed)
    top = 1 << memory.shape.address_bits
    inside = {name: rng.integers(0, max(1, int(span * top)), BEATS) for name in names}
    ends = {name: np.minimum(memory.shape.granules - rng.integers(-3, 16, BEATS), top - 1)
            for name in names}  # fmt: skip
    return {name: np.where(rng.random(BEATS) < 0.9, inside[name], np.maximum(ends[name], 0))
            for name in names}  # fmt: skip


@pytest.mark.parametrize("span", [0.02, 1.0])
@pytest.mark.parametrize("memory", ALL, ids=lambda m: m.module_name[:20])
def test_random_requests(memory, span):
    bytes_ = Bytes(memory)
    names = [*bytes_.reads, *bytes_.writes]
    for seed, share in enumerate((1, 0.7, 0.2)):
        gates = random_gates(names, open_share=share, seed=seed)
        bytes_.run(anywhere(memory, names, span=span, seed=seed), gates=gates, probe=True)


@pytest.mark.parametrize("memory", ALL, ids=lambda m: m.module_name[:20])
def test_every_byte_after_random_writes(memory):
    bytes_ = Bytes(memory)
    bytes_.run(anywhere(memory, bytes_.writes))
    name = bytes_.reads[0]
    bytes_.run({name: np.arange(0, memory.shape.granules, bytes_.windows[name])})


def test_ports_that_touch_different_banks_pass_every_cycle():
    bytes_ = Bytes(NANO)
    rows = np.arange(BEATS) % 256 * 16
    apart = {"st": rows, "mu_a": rows + 4, "mu_b": rows + 8, "vu_a": rows + 14,
             "ld": rows + 5, "vu": rows + 10}  # fmt: skip
    done = bytes_.run(apart)
    for name in apart:
        assert done.cycle_of[name].tolist() == list(range(BEATS)), name
        if name in bytes_.reads:
            latency = done.cycle_of[f"{name}_data"] - done.cycle_of[name]
            assert (latency == 3).all()


def test_a_reader_and_a_writer_of_one_bank_pass_every_cycle():
    done = Bytes(NANO).run({"mu_a": np.full(BEATS, 1), "vu": np.full(BEATS, 3)})
    for name in ("mu_a", "vu"):
        assert done.cycle_of[name].tolist() == list(range(BEATS)), name


def test_a_window_over_two_banks_passes_every_cycle():
    done = Bytes(NANO).run({"mu_a": np.arange(BEATS) % 4000 + 1})
    assert done.cycle_of["mu_a"].tolist() == list(range(BEATS))


@pytest.mark.parametrize("memory", ALL, ids=lambda m: m.module_name[:20])
def test_nobody_waits_longer_than_the_number_of_ports(memory):
    bytes_ = Bytes(memory)
    names = [*bytes_.reads, *bytes_.writes]
    done = bytes_.run(anywhere(memory, names, span=0.01))
    for name in names:
        assert np.diff(done.cycle_of[name]).max() <= len(names), name
        if name in bytes_.reads:
            latency = done.cycle_of[f"{name}_data"] - done.cycle_of[name]
            assert latency.min() >= READ_LATENCY
            assert latency.max() < 3 + len(names)


def test_those_who_share_a_bank_take_turns():
    bytes_ = Bytes(NANO)
    done = bytes_.run({name: np.zeros(BEATS, int) for name in bytes_.reads})
    for name in bytes_.reads:
        assert (np.diff(done.cycle_of[name])[1:] == len(bytes_.reads)).all(), name


def test_a_write_is_seen_from_the_next_cycle_on():
    bytes_ = Bytes(SMALL)
    closed = np.zeros(4099, np.uint8)
    for late in range(4):
        for early in range(3):
            gates = {"x": closed.copy(), "z": closed.copy(), "w": closed.copy()}
            for start in range(0, 4000, 40):
                gates["x"][start + late], gates["z"][start + early] = 1, 1
                gates["w"][start] = 1
            beats = {"x": np.full(100, 1), "z": np.full(100, 2), "w": np.full(100, 3)}
            bytes_.run(beats, gates=gates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"banks": 3}, "banks must be a power of two, not 3"),
        ({"bank_granules": 0}, "bank_granules must be a power of two, not 0"),
        ({"granules": 4100}, "granules must be a multiple of 16, not 4100"),
        ({"reads": (("x", 16),)}, "window x must be at most 13 granules, not 16"),
        ({"writes": (("y", 3),)}, "window y must be a power of two, not 3 granules"),
    ],
)
def test_shapes_that_do_not_work_are_refused(change, message):
    sizes = {"banks": 4, "bank_granules": 4, "granules": 4096, "reads": (), "writes": ()}
    with pytest.raises(ValueError, match=message):
        Scratchpad(**{**sizes, **change})
