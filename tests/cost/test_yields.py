"""Yield laws: published points, limits, order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.cost import murphy, negative_binomial, poisson, seeds
from tapeout.errors import ConfigError

H100_MM2, DEFECTS_PER_CM2 = 814, 0.1

areas = st.floats(0.1, 1000)
densities = st.floats(0.001, 1)


def test_known_points_at_814_mm2():
    """AD = 0.814; values worked out by hand from the textbook formulas."""
    assert float(poisson(H100_MM2, DEFECTS_PER_CM2)) == pytest.approx(0.443, abs=5e-4)
    assert float(murphy(H100_MM2, DEFECTS_PER_CM2)) == pytest.approx(0.468, abs=5e-4)
    assert float(seeds(H100_MM2, DEFECTS_PER_CM2)) == pytest.approx(0.551, abs=5e-4)
    for alpha, expected in ((3, 0.487), (10, 0.457)):
        found = negative_binomial(H100_MM2, DEFECTS_PER_CM2, alpha)
        assert float(found) == pytest.approx(expected, abs=5e-4)


@given(areas, densities)
def test_limits_of_the_clustered_law(area: float, density: float):
    assert np.allclose(negative_binomial(area, density, 1), seeds(area, density))
    assert np.allclose(negative_binomial(area, density, 1e9), poisson(area, density), rtol=1e-5)


@given(areas, densities)
def test_order_of_the_laws(area: float, density: float):
    low, high = float(poisson(area, density)), float(seeds(area, density))
    assert 0 < low <= float(murphy(area, density)) * (1 + 1e-12)
    assert float(murphy(area, density)) <= high * (1 + 1e-12)
    assert low <= float(negative_binomial(area, density, 3)) * (1 + 1e-12)
    assert float(negative_binomial(area, density, 3)) <= high * (1 + 1e-12)


@given(areas, densities, st.floats(1.01, 3))
def test_larger_or_dirtier_dies_yield_less(area: float, density: float, factor: float):
    for law in (poisson, murphy, seeds):
        assert float(law(area * factor, density)) < float(law(area, density))
        assert float(law(area, density * factor)) < float(law(area, density))


def test_no_defects_no_loss():
    for law in (poisson, murphy, seeds):
        assert float(law(800, 0)) == 1
    assert float(murphy(800, 1e-12)) == 1


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="die area must be at least 0, not -1"):
        poisson(-1, 0.1)
    with pytest.raises(ConfigError, match=r"defect density must be at least 0, not -0\.1"):
        seeds(100, -0.1)
    with pytest.raises(ConfigError, match="defect density must be at least 0, not nan"):
        seeds(100, float("nan"))
    with pytest.raises(ConfigError, match="alpha must be above 0, not 0"):
        negative_binomial(100, 0.1, 0)
