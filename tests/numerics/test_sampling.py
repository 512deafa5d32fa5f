from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics.exact import fp32_arrays, from_bits
from numerics.streamed import streamed_sample
from tapeout.errors import TapeoutError
from tapeout.numerics import (
    TOP_P_OFF,
    argmax,
    exp2,
    inverse_temperature,
    random_bits64,
    sample,
    top_p_to_q32,
    weights,
)
from tapeout.numerics.fp32 import F32

ONE = inverse_temperature(1.0)

logits = st.one_of(
    fp32_arrays(min_size=1, max_size=40),
    # few distinct values: many ties
    st.lists(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0]), min_size=1, max_size=40).map(
        lambda x: np.array(x, np.float32)
    ),
)
inverse_temperatures = st.sampled_from([0.0, 0.01, 0.7, 1.4426951, 20.0])
top_ks = st.integers(0, 45)
top_ps = st.one_of(st.just(TOP_P_OFF), st.integers(1, TOP_P_OFF))
counters = st.integers(0, 2**128 - 1)


def exact_sample(x: F32, w: list[int], *, top_k: int, top_p: Fraction, r: int) -> int:
    """The documented choice by definition: whole lists, fractions, no shortcuts."""
    order = sorted(range(len(x)), key=lambda i: (-float(x[i]), i) if x[i] == x[i] else (np.inf, i))
    order = [i for i in order if x[i] == x[i]][: top_k or None]
    total = sum(w[i] for i in order)
    prefix: list[int] = []
    for i in order:
        prefix.append(i)
        if sum(w[j] for j in prefix) >= top_p * total:
            break
    threshold = Fraction(r, 2**64) * sum(w[i] for i in prefix)
    running = 0
    for i in sorted(prefix):
        running += w[i]
        if running > int(threshold):
            return i
    return 0


@given(x=logits)
def test_argmax_is_the_first_largest_number(x: F32):
    numbers = [(-float(value), i) for i, value in enumerate(x) if value == value]
    assert argmax(x) == (min(numbers)[1] if numbers else 0)


def test_argmax_of_nan_and_infinities():
    nan, inf = np.nan, np.inf
    for values, expected in [
        ([nan, -inf, -inf], 1),
        ([nan, nan], 0),
        ([-inf, nan], 0),
        ([1, inf, inf], 1),
        ([-0.0, 0.0], 0),
    ]:
        assert argmax(np.array(values, np.float32)) == expected


@given(x=logits, inv_t=inverse_temperatures)
def test_weights_are_floored_powers(x: F32, inv_t: float):
    w = weights(x, inv_t)
    best = x[argmax(x)]
    with np.errstate(all="ignore"):
        p = exp2((x - best) * np.float32(inv_t))
    for value, weight, power in zip(x, w.tolist(), p, strict=True):
        if value == best:
            assert weight == 1 << 30
        elif np.isnan(power):
            assert weight == 0
        else:
            assert weight == int(Fraction(float(power)) * 2**30)


@given(x=logits, inv_t=inverse_temperatures, top_k=top_ks, top_p=top_ps, counter=counters)
def test_sample_is_its_definition(x: F32, inv_t: float, top_k: int, top_p: int, counter: int):
    drawn = sample(x, inv_t=inv_t, seed=7, counter=counter, top_k=top_k, top_p_q32=top_p)
    w, r = weights(x, inv_t).tolist(), random_bits64(7, counter)
    assert drawn == exact_sample(x, w, top_k=top_k, top_p=Fraction(top_p, TOP_P_OFF), r=r)


@given(x=logits, inv_t=inverse_temperatures, top_k=top_ks, top_p=top_ps, counter=counters)
def test_sample_can_be_streamed_in_any_order(
    x: F32, inv_t: float, top_k: int, top_p: int, counter: int
):
    drawn = sample(x, inv_t=inv_t, seed=7, counter=counter, top_k=top_k, top_p_q32=top_p)
    w, r = weights(x, inv_t).tolist(), random_bits64(7, counter)
    for seed in range(2):
        streamed = streamed_sample(x, w, top_k=top_k, top_p_q32=top_p, r=r, seed=seed)
        assert streamed == drawn


@given(x=logits, counter=counters)
def test_temperature_zero_and_top_1_are_argmax(x: F32, counter: int):
    cold = inverse_temperature(0.0)
    assert sample(x, inv_t=cold, seed=1, counter=counter) == argmax(x)
    assert sample(x, inv_t=ONE, seed=1, counter=counter, top_k=1) == argmax(x)
    assert sample(x, inv_t=ONE, seed=1, counter=counter, top_p_q32=1) == argmax(x)


def test_draws_follow_the_softmax():
    x = np.array([0.0, 1.0, -1.0, 2.0, -np.inf, np.nan, 0.5], np.float32)
    draws = Counter(sample(x, inv_t=ONE, seed=3, counter=i) for i in range(8000))
    p = np.exp(np.nan_to_num(x, nan=-np.inf, neginf=-np.inf).astype(np.float64))
    expected = p / p.sum() * 8000
    assert draws.keys() == {0, 1, 2, 3, 6}
    chi_squared = sum((draws[i] - expected[i]) ** 2 / expected[i] for i in draws)
    assert chi_squared < 23.5  # 4 degrees of freedom, one chance in 10^4


def test_top_k_and_top_p_keep_what_they_say():
    x = np.log(np.array([0.1, 0.4, 0.1, 0.25, 0.15], np.float32))

    def drawn(top_k: int, top_p: float) -> set[int]:
        q = top_p_to_q32(top_p)
        return {
            sample(x, inv_t=ONE, seed=0, counter=i, top_k=top_k, top_p_q32=q) for i in range(400)
        }

    assert drawn(0, 1.0) == {0, 1, 2, 3, 4}
    assert drawn(4, 1.0) == {0, 1, 3, 4}  # of the equal tails the lower index stays
    assert drawn(0, 0.39) == {1}
    assert drawn(0, 0.6) == {1, 3}
    assert drawn(0, 0.85) == {0, 1, 3, 4}
    assert drawn(3, 0.95) == {1, 3, 4}  # 0.65 of the kept 0.8 is too little
    assert drawn(9, 1.0) == {0, 1, 2, 3, 4}


def test_among_many_equals_the_lowest_indices_stay():
    x = np.tile(np.array([0, 1, 2, 1], np.float32), 300)
    drawn = {sample(x, inv_t=ONE, seed=0, counter=i, top_k=310) for i in range(3000)}
    ones = np.flatnonzero(x == 1)[:10]
    assert drawn == {*np.flatnonzero(x == 2).tolist(), *ones.tolist()}


def test_top_p_is_compared_exactly():
    x = np.zeros(3, np.float32)
    above_a_third = -(-TOP_P_OFF // 3)
    for top_p, kept in [(above_a_third - 1, {0}), (above_a_third, {0, 1})]:
        drawn = {sample(x, inv_t=ONE, seed=0, counter=i, top_p_q32=top_p) for i in range(40)}
        assert drawn == kept


@pytest.mark.parametrize(("r", "expected"), [(0, 1), (2**63 - 1, 1), (2**63, 3), (2**64 - 1, 3)])
def test_running_weight_must_exceed_the_threshold(
    monkeypatch: pytest.MonkeyPatch, r: int, expected: int
):
    def fixed_bits(seed: int, counter: int) -> int:
        return r + 0 * seed * counter

    monkeypatch.setattr("tapeout.numerics.sampling.random_bits64", fixed_bits)
    x = np.array([-np.inf, 0, -np.inf, 0], np.float32)
    assert sample(x, inv_t=ONE, seed=0, counter=0) == expected


def test_masked_and_broken_logits():
    infinite = np.array([1, np.inf, -np.inf, np.inf], np.float32)
    assert {sample(infinite, inv_t=ONE, seed=0, counter=i) for i in range(50)} == {1, 3}
    masked = np.array([-np.inf, -np.inf, -5, -np.inf], np.float32)
    assert {sample(masked, inv_t=ONE, seed=0, counter=i) for i in range(50)} == {2}
    assert sample(from_bits([0x7FC00000] * 3), inv_t=ONE, seed=0, counter=0, top_k=2) == 0


def test_inverse_temperature_rounds_twice():
    third = np.float32(1 / 0.3)
    assert inverse_temperature(0.3) == third * np.float32(1.4426950408889634)
    assert inverse_temperature(0.0) == inverse_temperature(1e-60) == np.inf
    assert inverse_temperature(np.inf) == 0
    assert top_p_to_q32(1.0) == TOP_P_OFF
    assert top_p_to_q32(0.25) == 1 << 30


@pytest.mark.parametrize("temperature", [-0.5, np.nan])
def test_temperature_must_not_be_negative(temperature: float):
    with pytest.raises(TapeoutError, match="temperature must be at least 0, not"):
        inverse_temperature(temperature)


@pytest.mark.parametrize("top_p", [0.0, 1.5, np.nan])
def test_top_p_must_be_a_fraction(top_p: float):
    with pytest.raises(TapeoutError, match="top_p must be above 0 and at most 1, not"):
        top_p_to_q32(top_p)
