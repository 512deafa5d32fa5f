"""Reciprocals of counts, beside numpy's division."""

import numpy as np
import pytest

from rtl.components import started
from tapeout.rtl.reciprocal import MAX_BITS, Reciprocal

SMALL_BITS = 14


def check(bits, numbers):
    """Start with each number, wait as long as it takes at most, compare."""
    model = started(Reciprocal(bits=bits))
    expected = (np.float32(1) / np.asarray(numbers).astype(np.float32)).view(np.uint32)
    for number, want in zip(map(int, numbers), map(int, expected), strict=True):
        model.set("number", number)
        model.set("start", 1)
        model.tick()
        model.set("start", 0)
        model.set("number", number ^ 1)
        assert model.get("ready") == 0
        model.tick(bits + 26)
        assert model.get("ready") == 1
        assert model.get("value") == want, number


def test_every_reciprocal_of_14_bits():
    check(SMALL_BITS, np.arange(1, 1 << SMALL_BITS))


@pytest.mark.slow
def test_every_reciprocal_of_18_bits():
    check(MAX_BITS, np.arange(1, 1 << MAX_BITS))


@pytest.mark.parametrize("bits", [2, 5, MAX_BITS])
def test_reciprocals_of_any_width(bits):
    numbers = np.random.default_rng(bits).integers(1, 1 << bits, 300)
    powers = 1 << np.arange(bits)
    near = np.concatenate([powers, powers + 1, powers - 1, (1 << bits) - powers])
    check(bits, np.concatenate([near[(near > 0) & (near < 1 << bits)], numbers]))


def test_ready_comes_with_the_value_and_both_stay():
    model = started(Reciprocal(bits=SMALL_BITS))
    assert model.get("ready") == 0
    for number in (1, 3, 4096, 16383):
        want = int((np.float32(1) / np.float32(number)).view(np.uint32))
        for cycles in (5, SMALL_BITS + 26 + 50):  # the first is cut short
            model.set("number", number if cycles > 5 else 7)
            model.set("start", 1)
            model.tick()
            model.set("start", 0)
            for _ in range(cycles):
                if model.get("ready"):
                    assert model.get("value") == want
                model.tick()
        assert model.get("ready") == 1


def test_a_reciprocal_of_nothing_ends():
    model = started(Reciprocal(bits=SMALL_BITS))
    model.set("start", 1)
    model.tick()
    model.set("start", 0)
    model.tick(SMALL_BITS + 26)
    assert model.get("ready") == 1


def test_widths_are_checked():
    for bits in (1, MAX_BITS + 1):
        with pytest.raises(ValueError, match=f"not {bits}"):
            Reciprocal(bits=bits)
