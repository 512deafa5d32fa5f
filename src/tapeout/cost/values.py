"""Inputs of the formulas: arrays by name, so that one formula prices a point or many draws."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import ConfigError

Array = NDArray[np.float64]
Values = Mapping[str, Array]


def at_least_zero(name: str, value: Array | float) -> None:
    """Refuse a negative or undefined quantity; raises `ConfigError`."""
    if not np.all(np.asarray(value) >= 0):
        raise ConfigError(f"{name} must be at least 0, not {np.min(value):g}")


def share(name: str, value: Array | float) -> None:
    """Refuse a share or probability outside 0..1; raises `ConfigError`."""
    at_least_zero(name, value)
    if not np.all(np.asarray(value) <= 1):
        raise ConfigError(f"{name} must be at most 1, not {np.max(value):g}")


def positive(name: str, value: Array | float) -> None:
    """Refuse a quantity that is not above 0; raises `ConfigError`."""
    if not np.all(np.asarray(value) > 0):
        raise ConfigError(f"{name} must be above 0, not {np.min(value):g}")
