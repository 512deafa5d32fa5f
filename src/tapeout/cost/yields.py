"""Share of dies without a killer defect, by four laws. Areas in mm2, densities per cm2."""

import numpy as np

from tapeout.cost.values import Array, at_least_zero, positive

MM2_PER_CM2 = 100


def poisson(area_mm2: Array | float, defects_per_cm2: Array | float) -> Array:
    """Defects fall anywhere, one by one: exp(-AD), the most pessimistic law."""
    return np.exp(-_killers(area_mm2, defects_per_cm2))


def murphy(area_mm2: Array | float, defects_per_cm2: Array | float) -> Array:
    """Defect density varies over wafers as a triangle: ((1 - exp(-AD)) / AD)^2."""
    killers = _killers(area_mm2, defects_per_cm2)
    tiny = killers < 1e-9
    safe = np.where(tiny, 1.0, killers)
    return np.where(tiny, 1.0, (-np.expm1(-safe) / safe) ** 2)


def seeds(area_mm2: Array | float, defects_per_cm2: Array | float) -> Array:
    """Defect density varies exponentially: 1 / (1 + AD), the most optimistic of the four."""
    return 1 / (1 + _killers(area_mm2, defects_per_cm2))


def negative_binomial(
    area_mm2: Array | float, defects_per_cm2: Array | float, alpha: Array | float
) -> Array:
    """Clustered defects: (1 + AD/alpha)^-alpha. Alpha 1 is `seeds`, infinite alpha `poisson`."""
    positive("alpha", alpha)
    return (1 + _killers(area_mm2, defects_per_cm2) / alpha) ** -np.asarray(alpha, np.float64)


def _killers(area_mm2: Array | float, defects_per_cm2: Array | float) -> Array:
    """Mean number of killer defects on a die."""
    at_least_zero("the die area", area_mm2)
    at_least_zero("the defect density", defects_per_cm2)
    return np.asarray(area_mm2, np.float64) * defects_per_cm2 / MM2_PER_CM2
