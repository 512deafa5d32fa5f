"""Area of a chip file and price of a die."""

import dataclasses
from collections.abc import Callable
from math import fsum

import numpy as np
import pytest

from tapeout.chip import Chip
from tapeout.cost import AREAS, area_mm2, die_cost
from tapeout.cost.values import Array
from tapeout.errors import ConfigError

Inputs = Callable[[Chip], dict[str, Array]]


def test_the_blocks_are_the_die(chip: Chip, inputs: Inputs):
    cost = die_cost(chip, inputs(chip))
    assert tuple(cost.blocks_mm2) == AREAS
    assert fsum(float(v) for v in cost.blocks_mm2.values()) == pytest.approx(
        float(cost.area_mm2), rel=1e-12
    )


def test_blocks_by_hand(full: Chip, inputs: Inputs):
    """16 cores of 32 x 32 units; 384 MiB of L1 and L2, 4 MiB of scales, 8 MiB of accumulators."""
    x = inputs(full)
    blocks = area_mm2(full, x)
    matrix_um2 = 16 * 1024 * (32 * 14.9 + 300)
    assert float(blocks["matrix"]) == pytest.approx(matrix_um2 / 0.70 / 1e6)
    assert float(blocks["vector"]) == pytest.approx(16 * 128 * 4000 / 0.70 / 1e6)
    assert float(blocks["sram"]) == pytest.approx(396 * 2**20 * 8 / 1e6 / 38.1 * 1.4)
    assert float(blocks["hbm phy"]) == 4 * 19
    bare = sum(float(blocks[name]) for name in ("matrix", "vector", "sram", "hbm phy"))
    assert float(blocks["noc"]) == pytest.approx(0.13 * bare / (1 - 0.13 - 0.14 - 0.04 - 0.09))


def test_a_die_costs_its_share_of_the_wafer(full: Chip, inputs: Inputs):
    x = inputs(full)
    cost = die_cost(full, x)
    good = float(cost.gross_dies) * float(cost.good_share)
    assert float(cost.die_usd) * good == pytest.approx(30_000)


def test_repair_helps_as_far_as_there_is_sram(full: Chip, inputs: Inputs):
    x = inputs(full)
    shares = [
        float(die_cost(full, x | {"sram_defect_weight": np.asarray(w)}).good_share)
        for w in (0.0, 0.5, 1.0)
    ]
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize(
    "name",
    ["wafer_usd", "defects_per_cm2", "mac8_um2", "sram_overhead", "hbm_phy_mm2", "noc_share"],
)
def test_worse_figures_never_make_a_die_cheaper(full: Chip, inputs: Inputs, name: str):
    x = inputs(full)
    worse = x | {name: x[name] * 1.2}
    assert float(die_cost(full, worse).die_usd) > float(die_cost(full, x).die_usd)


def test_more_cores_are_more_area(full: Chip, inputs: Inputs):
    double = dataclasses.replace(full, cores=32)
    assert float(die_cost(double, inputs(full)).area_mm2) > float(
        die_cost(full, inputs(full)).area_mm2
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("wafer_usd", -1, "wafer price must be at least 0, not -1"),
        ("defects_per_cm2", -0.1, "defect density must be at least 0"),
        ("noc_share", 1.5, "noc_share must be at most 1, not 1.5"),
        ("sram_defect_weight", 2, "sram_defect_weight must be at most 1, not 2"),
        ("noc_share", 0.9, "share of the die that overheads leave must be above 0"),
        ("hbm_phy_mm2", 20_000, "dies on a wafer must be above 0"),
    ],
)
def test_nonsense_is_refused(full: Chip, inputs: Inputs, name: str, value: float, problem: str):
    with pytest.raises(ConfigError, match=problem):
        die_cost(full, inputs(full) | {name: np.asarray(value)})
