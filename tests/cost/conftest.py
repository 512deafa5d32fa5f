"""Chips and plain inputs for the tests of costs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tapeout.chip import Chip, load_chip
from tapeout.cost.token import figures_of
from tapeout.cost.values import Array
from tapeout.facts import fact

CHIPS = Path(__file__).parents[2] / "chips"

Inputs = Callable[[Chip], dict[str, Array]]


@pytest.fixture
def full() -> Chip:
    return load_chip(CHIPS / "full.toml")


@pytest.fixture(params=["full", "mid", "nano", "small"])
def chip(request: pytest.FixtureRequest) -> Chip:
    return load_chip(CHIPS / f"{request.param}.toml")


@pytest.fixture
def inputs() -> Inputs:
    """`inputs(chip)`: all inputs of the formulas at the values of their figures."""
    return lambda one: {n: np.asarray(fact(key).value) for n, key in figures_of(one).items()}
