from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics.exact import same_bits
from tapeout.numerics import cos_turns, frequencies_q64, rope, sin_turns
from tapeout.numerics.fp32 import F32

TWO_PI = 2 * Fraction(Decimal("3.14159265358979323846264338327950288419716939937510"))
INV_FREQ = 10000.0 ** (-np.arange(32) / 32)


def random_rows(shape: tuple[int, int]) -> F32:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@given(inv_freq=st.floats(0, 6.28, allow_subnormal=False))
def test_frequency_is_the_nearest_integer(inv_freq: float):
    frequency = int(frequencies_q64(np.array([inv_freq]))[0])
    assert abs(Fraction(frequency) - Fraction(inv_freq) * 2**64 / TWO_PI) <= Fraction(1, 2)


def test_frequency_of_one_radian():
    with localcontext() as context:
        context.prec = 60
        one = Decimal(2) ** 64 / Decimal("6.28318530717958647692528676655900576839433879875021")
    assert frequencies_q64(np.array([1.0, 0.0])).tolist() == [int(one.to_integral_value()), 0]


@pytest.mark.parametrize("inv_freq", [-0.1, 6.2832, np.nan])
def test_frequency_must_be_below_one_turn(inv_freq: float):
    with pytest.raises(AssertionError, match="inv_freq must be in"):
        frequencies_q64(np.array([inv_freq]))


def test_rope_rounds_each_step_in_order():
    positions, freq = np.array([0, 1, 77, 2**31 + 5]), frequencies_q64(INV_FREQ[:4])
    x, factor = random_rows((4, 24)), np.float32(1.25)
    y = rope(x, positions, freq, head_dim=8, attention_factor=factor)
    for row, position in enumerate(positions.tolist()):
        for i in range(4):
            phase = np.array([position * int(freq[i]) % 2**64 >> 32], np.uint32)
            c, s = cos_turns(phase) * factor, sin_turns(phase) * factor
            for first in range(i, 24, 8):
                x1, x2 = x[row, first], x[row, first + 4]
                assert same_bits(y[row, [first]], x1 * c - x2 * s)
                assert same_bits(y[row, [first + 4]], x2 * c + x1 * s)


@pytest.mark.parametrize("position", [0, 1, 4095, 131071, 1_048_575, 10_000_019])
def test_angles_are_exact_at_every_position(position: int):
    x = np.zeros((1, 64), np.float32)
    x[0, :32] = 1
    y = rope(x, np.array([position]), frequencies_q64(INV_FREQ), head_dim=64)
    turns = [float(Fraction(value) * position / TWO_PI % 1) for value in INV_FREQ.tolist()]
    angles = 2 * np.pi * np.array(turns)
    reference = np.concatenate([np.cos(angles), np.sin(angles)])
    assert np.abs(y[0] - reference).max() <= 0.8 * 2**-24


def test_position_zero_changes_nothing():
    x = random_rows((2, 128))
    y = rope(x, np.zeros(2, np.int64), frequencies_q64(INV_FREQ), head_dim=64)
    np.testing.assert_array_equal(y, x)


def test_scores_depend_on_distance_only():
    freq = frequencies_q64(INV_FREQ)
    q, k = random_rows((2, 64)).astype(np.float32)

    def score(at: int, distance: int) -> float:
        left = rope(q[None], np.array([at + distance]), freq, head_dim=64)
        right = rope(k[None], np.array([at]), freq, head_dim=64)
        return float(left[0].astype(np.float64) @ right[0])

    assert score(0, 17) == pytest.approx(score(100_000, 17), abs=1e-5)
    assert score(0, 17) != pytest.approx(score(0, 18), abs=1e-2)


@given(start=st.integers(0, 2**40), rows=st.integers(0, 5))
def test_a_row_alone_has_the_same_bits_as_in_a_batch(start: int, rows: int):
    freq, positions = frequencies_q64(INV_FREQ), start + np.arange(rows)
    x = random_rows((rows, 192))
    batch = rope(x, positions, freq, head_dim=64)
    assert batch.shape == x.shape
    for row in range(rows):
        one = slice(row, row + 1)
        assert same_bits(batch[one], rope(x[one], positions[one], freq, head_dim=64))
        head = rope(x[one, 64:128].copy(), positions[one], freq, head_dim=64)
        assert same_bits(np.ascontiguousarray(batch[one, 64:128]), head)


def test_frequencies_must_match_the_head():
    with pytest.raises(AssertionError, match="freq must have shape"):
        rope(random_rows((1, 64)), np.array([0]), frequencies_q64(INV_FREQ), head_dim=32)
