"""A tested package: die, memory, interposer, substrate, and what is lost on the way."""

from dataclasses import dataclass

import numpy as np

from tapeout.chip import Chip
from tapeout.cost.die import DieCost
from tapeout.cost.values import Array, Values, at_least_zero, positive, share
from tapeout.cost.wafer import gross_dies_closed
from tapeout.cost.yields import negative_binomial

INTERPOSER_ALPHA = 6
"""Clustering on interposers. Source: Feng & Ma, Chiplet Actuary (DAC 2022)."""

BYTES_PER_GB = 1 << 30
"""Memory is sold in binary gigabytes."""

COMMON = ("bond_yield", "substrate_usd", "assembly_usd", "assembly_yield", "test_usd", "test_yield")
INTERPOSER = (
    "hbm_footprint_mm2",
    "interposer_margin",
    "interposer_wafer_usd",
    "interposer_defects_per_cm2",
)
YIELDS = ("bond_yield", "assembly_yield", "test_yield")


@dataclass(frozen=True, kw_only=True)
class PackageCost:
    """What one package costs by item; `lost_usd` is paid for packages that fail on the way.

    `memory_lost_usd` is the part of `lost_usd` that was good memory.
    """

    die_usd: Array
    memory_usd: Array
    interposer_usd: Array
    substrate_usd: Array
    test_usd: Array
    lost_usd: Array
    memory_lost_usd: Array

    @property
    def total_usd(self) -> Array:
        """Price of a package that passes its test: the sum of the items."""
        parts = (self.die_usd, self.memory_usd, self.interposer_usd, self.substrate_usd)
        return np.add.reduce([*parts, self.test_usd, self.lost_usd])


def figures_of(chip: Chip) -> dict[str, str]:
    """Inputs of `package_usd` by name, each with the name of its figure for the chip's memory."""
    names = COMMON + (INTERPOSER if chip.hbm.stacks else ())
    price = {"memory_usd_per_gb": f"{chip.hbm.generation.lower()}_usd_per_gb"}
    return {name: name for name in names} | price


def package_usd(chip: Chip, die: DieCost, x: Values) -> PackageCost:
    """Price of a package, chip last: good dies and stacks on a good interposer, then the rest.

    A failed bond loses everything on the interposer, a failed assembly or test the whole package.
    Without stacks there is no interposer, and the memory beside the package is bought apart.
    """
    for name in YIELDS:
        share(name, x[name])
    at_least_zero("the memory price", x["memory_usd_per_gb"])
    stacked = bool(chip.hbm.stacks)
    memory = chip.hbm.capacity_bytes / BYTES_PER_GB * x["memory_usd_per_gb"]
    interposer = _interposer_usd(chip, die, x) if stacked else np.zeros_like(memory)
    on_package = memory if stacked else np.zeros_like(memory)
    attached = 1 + chip.hbm.stacks
    bonded = x["bond_yield"] ** attached
    module = (interposer + die.die_usd + on_package) / bonded
    substrate = x["substrate_usd"] + x["assembly_usd"]
    mounted = (module + substrate) / x["assembly_yield"]
    total = (mounted + x["test_usd"]) / x["test_yield"] + memory - on_package
    parts = interposer + die.die_usd + memory + substrate + x["test_usd"]
    survives = bonded * x["assembly_yield"] * x["test_yield"]
    return PackageCost(
        die_usd=die.die_usd,
        memory_usd=memory,
        interposer_usd=interposer,
        substrate_usd=substrate,
        test_usd=x["test_usd"],
        lost_usd=total - parts,
        memory_lost_usd=on_package * (1 / survives - 1),
    )


def _interposer_usd(chip: Chip, die: DieCost, x: Values) -> Array:
    """Price of a good interposer for the die and its stacks."""
    footprint = die.area_mm2 + chip.hbm.stacks * x["hbm_footprint_mm2"]
    area = x["interposer_margin"] * footprint
    good = negative_binomial(area, x["interposer_defects_per_cm2"], INTERPOSER_ALPHA)
    gross = gross_dies_closed(
        area,
        wafer_mm=x["wafer_diameter_mm"],
        edge_mm=x["wafer_edge_mm"],
        scribe_mm=x["scribe_mm"],
    )
    positive("interposers on a wafer", gross)
    return x["interposer_wafer_usd"] / (gross * good)
