"""A package is its parts and what is lost on the way."""

from collections.abc import Callable

import numpy as np
import pytest

from tapeout.chip import Chip
from tapeout.cost import die_cost, package_usd
from tapeout.cost.values import Array
from tapeout.errors import ConfigError

Inputs = Callable[[Chip], dict[str, Array]]
PERFECT = {name: np.asarray(1.0) for name in ("bond_yield", "assembly_yield", "test_yield")}


def test_nothing_is_lost_with_perfect_yields(chip: Chip, inputs: Inputs):
    x = inputs(chip) | PERFECT
    cost = package_usd(chip, die_cost(chip, x), x)
    assert float(cost.lost_usd) == pytest.approx(0, abs=1e-9)
    assert float(cost.memory_lost_usd) == 0


def test_the_formula_by_hand(full: Chip, inputs: Inputs):
    """((interposer + die + memory) / bonds^5 + substrate + assembly) / 0.98, then test / 0.98."""
    x = inputs(full)
    cost = package_usd(full, die_cost(full, x), x)
    module = float(cost.interposer_usd) + float(cost.die_usd) + 144 * 15.6
    expected = ((module / 0.99**5 + 210 + 100) / 0.98 + 600) / 0.98
    assert float(cost.total_usd) == pytest.approx(expected)
    assert float(cost.memory_usd) == pytest.approx(144 * 15.6)
    lost_share = 1 / (0.99**5 * 0.98 * 0.98) - 1
    assert float(cost.memory_lost_usd) == pytest.approx(144 * 15.6 * lost_share)


def test_a_chip_without_stacks_has_no_interposer(inputs: Inputs, chip: Chip):
    x = inputs(chip)
    cost = package_usd(chip, die_cost(chip, x), x)
    assert (float(cost.interposer_usd) == 0) == (chip.hbm.stacks == 0)


@pytest.mark.parametrize("name", ["bond_yield", "assembly_yield", "test_yield"])
def test_worse_yields_cost_more(full: Chip, inputs: Inputs, name: str):
    x = inputs(full)
    die = die_cost(full, x)
    worse = package_usd(full, die, x | {name: x[name] * 0.9}).total_usd
    assert float(worse) > float(package_usd(full, die, x).total_usd)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("bond_yield", 1.01, "bond_yield must be at most 1, not 1.01"),
        ("test_yield", -0.5, "test_yield must be at least 0, not -0.5"),
        ("memory_usd_per_gb", -3, "memory price must be at least 0, not -3"),
        ("interposer_margin", 40, "interposers on a wafer must be above 0"),
    ],
)
def test_nonsense_is_refused(full: Chip, inputs: Inputs, name: str, value: float, problem: str):
    x = inputs(full)
    with pytest.raises(ConfigError, match=problem):
        package_usd(full, die_cost(full, x), x | {name: np.asarray(value)})
