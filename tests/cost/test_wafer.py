"""Dies on a wafer: published counts, bounds, a slow count by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.cost import gross_dies, gross_dies_closed
from tapeout.errors import ConfigError


@pytest.mark.parametrize(("area_mm2", "exact", "closed"), [(814, 67, 60.0), (840, 64, 57.8)])
def test_known_counts(area_mm2: float, exact: int, closed: float):
    """Dies as wide as the reticle, 26 mm; the closed form takes them as squares."""
    assert gross_dies(26, area_mm2 / 26) == exact
    assert float(gross_dies_closed(area_mm2)) == pytest.approx(closed, abs=0.05)


def slow_count(width: float, height: float, dx: float, dy: float, radius: float) -> int:
    """Dies of one grid position, each tested by its four corners."""
    span = range(-int(radius / min(width, height)) - 2, int(radius / min(width, height)) + 2)
    corners = [
        [(i + dx + a) * width + 1j * (j + dy + b) * height for a in (0, 1) for b in (0, 1)]
        for i in span
        for j in span
    ]
    return sum(max(map(abs, four)) <= radius for four in corners)


@given(st.floats(20, 60), st.floats(20, 60))
def test_the_count_is_the_best_of_single_positions(width: float, height: float):
    best = gross_dies(width, height, edge_mm=0, scribe_mm=0)
    single = [slow_count(width, height, dx, dy, 150) for dx in (0, 0.5) for dy in (0, 0.5)]
    assert max(single) <= best <= math.pi * 150**2 / (width * height)


@given(st.floats(1, 20), st.floats(0.1, 0.9))
def test_smaller_dies_are_more(side: float, factor: float):
    assert gross_dies(side * factor, side * factor) >= gross_dies(side, side)
    assert float(gross_dies_closed((side * factor) ** 2)) > float(gross_dies_closed(side**2))


def test_small_dies_approach_the_area():
    closed = float(gross_dies_closed(0.01, edge_mm=0, scribe_mm=0))
    assert closed == pytest.approx(math.pi * 150**2 / 0.01, rel=0.002)


def test_a_die_as_large_as_the_wafer_gives_none():
    assert gross_dies(250, 250) == 0
    assert float(gross_dies_closed(np.asarray(60_000.0))) == 0


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="width of a die must be above 0, not -1"):
        gross_dies(-1, 1)
    with pytest.raises(ConfigError, match="die area must be above 0, not 0"):
        gross_dies_closed(0)
