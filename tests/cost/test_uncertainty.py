"""Ranges of results against closed forms."""

import numpy as np
import pytest

from tapeout.cost import spread
from tapeout.cost.uncertainty import DRAWS, draw
from tapeout.facts import Range

A, B = Range(low=1, mid=2, high=6), Range(low=3, mid=4, high=5)


def pert_mean(r: Range) -> float:
    return (r.low + 4 * r.mid + r.high) / 6


def pert_quantile(r: Range, share: float) -> float:
    """Quantile of the PERT distribution by summing its density on a fine grid."""
    t = (np.arange(200_000) + 0.5) / 200_000
    up, down = 4 * (r.mid - r.low) / (r.high - r.low), 4 * (r.high - r.mid) / (r.high - r.low)
    weight = np.cumsum(t**up * (1 - t) ** down)
    return float(r.low + (r.high - r.low) * t[np.searchsorted(weight, share * weight[-1])])


def test_draws_have_the_moments_of_their_distribution():
    x = draw({"a": A, "b": B})
    error = 4 * (A.high - A.low) / 6 / np.sqrt(DRAWS)
    assert float(x["a"].mean()) == pytest.approx(pert_mean(A), abs=error)
    assert float((x["a"] * x["b"]).mean()) == pytest.approx(pert_mean(A) * pert_mean(B), rel=0.02)
    assert float(x["a"].min()) >= A.low
    assert float(x["a"].max()) <= A.high


def test_percentiles_match_quadrature():
    found = spread(lambda x: 10 * x["a"], {"a": A}).drawn
    for value, share in ((found.low, 0.05), (found.mid, 0.5), (found.high, 0.95)):
        assert value == pytest.approx(10 * pert_quantile(A, share), rel=0.03)


def test_the_interval_of_a_quotient_uses_opposite_ends():
    found = spread(lambda x: x["a"] / x["b"], {"a": A, "b": B})
    assert found.interval == Range(low=1 / 5, mid=2 / 4, high=6 / 3)
    assert [s.name for s in found.swings] == ["a", "b"]
    assert found.swings[1].at_low_usd == pytest.approx(2 / 3)
    assert found.swings[1].at_high_usd == pytest.approx(2 / 5)


def test_the_same_question_has_the_same_answer():
    first, second = (spread(lambda x: x["a"] * x["b"], {"a": A, "b": B}) for _ in range(2))
    assert first == second


def test_an_exact_input_stays_exact():
    exact = Range(low=3, mid=3, high=3)
    assert spread(lambda x: x["a"], {"a": exact}).drawn == exact
