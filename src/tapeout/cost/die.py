"""Area of a chip file from plain formulas, and the price of a good die."""

from dataclasses import dataclass

import numpy as np

from tapeout.chip import Chip
from tapeout.cost.values import Array, Values, at_least_zero, positive, share
from tapeout.cost.wafer import gross_dies_closed
from tapeout.cost.yields import negative_binomial

UM2_PER_MM2 = 1e6
BITS_PER_MBIT = 1e6
ACCUMULATOR_BYTES = 4
SHARES = {"noc": "noc_share", "links": "link_share", "control": "control_share"}
AREAS = ("matrix", "vector", "sram", "hbm phy", "noc", "links", "control", "spare")
"""Blocks of a die, in the order of the tables."""

COMMON = (
    "yield_alpha",
    "wafer_diameter_mm",
    "wafer_edge_mm",
    "scribe_mm",
    "mac8_um2",
    "dot_unit_um2",
    "vector_lane_um2",
    "placement_density",
    "sram_overhead",
    "sram_defect_weight",
    "hbm_phy_mm2",
    "noc_share",
    "link_share",
    "control_share",
    "spare_share",
)


@dataclass(frozen=True, kw_only=True)
class DieCost:
    """A die by blocks, and what a good one costs; each entry is an array over the draws."""

    blocks_mm2: dict[str, Array]
    area_mm2: Array
    gross_dies: Array
    good_share: Array
    die_usd: Array


def figures_of(chip: Chip) -> dict[str, str]:
    """Inputs of `die_cost` by name, each with the name of its figure for the chip's node."""
    node = chip.process.node.lower()
    return {name: name for name in COMMON} | {
        "wafer_usd": f"wafer_{node}_usd",
        "defects_per_cm2": f"defects_{node}_per_cm2",
        "logic_scale": f"logic_scale_{node}",
        "sram_mb_per_mm2": f"sram_{node}_mb_per_mm2",
    }


def area_mm2(chip: Chip, x: Values) -> dict[str, Array]:
    """Area of every block of `AREAS`; the die is their sum.

    Matrix and vector logic is cell area over placement density; SRAM is every byte on the die over
    the macro density; network, links, control and spare area are shares of the finished die.
    """
    for name in ("placement_density", "noc_share", "link_share", "control_share", "spare_share"):
        share(name, x[name])
    units = chip.cores * chip.matrix.rows * chip.matrix.columns
    lanes = chip.cores * chip.vector.lanes
    macs = chip.cores * chip.matrix.macs_per_cycle
    per_cell = x["logic_scale"] / x["placement_density"] / UM2_PER_MM2
    sram_mbit = 8 * sram_bytes(chip) / BITS_PER_MBIT
    blocks = {
        "matrix": (macs * x["mac8_um2"] + units * x["dot_unit_um2"]) * per_cell,
        "vector": lanes * x["vector_lane_um2"] * per_cell,
        "sram": sram_mbit / x["sram_mb_per_mm2"] * x["sram_overhead"],
        "hbm phy": chip.hbm.stacks * x["hbm_phy_mm2"],
    }
    overhead = x["noc_share"] + x["link_share"] + x["control_share"] + x["spare_share"]
    positive("the share of the die that overheads leave", 1 - overhead)
    total = sum(blocks.values()) / (1 - overhead)
    blocks |= {name: x[key] * total for name, key in SHARES.items()}
    return blocks | {"spare": x["spare_share"] * total}


def sram_bytes(chip: Chip) -> int:
    """Bytes of SRAM on the die: L1, scales and accumulators (two banks) of all cores, and L2."""
    accumulators = 2 * ACCUMULATOR_BYTES * chip.matrix.accumulators
    return chip.l2.capacity_bytes + chip.cores * (
        chip.core.l1_bytes + chip.core.scale_bytes + accumulators
    )


def die_cost(chip: Chip, x: Values) -> DieCost:
    """Price of a good die: wafer over good dies. Bad dies are found at wafer sort, none is reused.

    Yield is negative binomial, with SRAM counted at `sram_defect_weight` of its area.
    """
    at_least_zero("the wafer price", x["wafer_usd"])
    share("sram_defect_weight", x["sram_defect_weight"])
    blocks = area_mm2(chip, x)
    area = np.add.reduce(list(blocks.values()))
    critical = area - (1 - x["sram_defect_weight"]) * blocks["sram"]
    good = negative_binomial(critical, x["defects_per_cm2"], x["yield_alpha"])
    gross = gross_dies_closed(
        area,
        wafer_mm=x["wafer_diameter_mm"],
        edge_mm=x["wafer_edge_mm"],
        scribe_mm=x["scribe_mm"],
    )
    positive("dies on a wafer", gross)
    return DieCost(
        blocks_mm2=blocks,
        area_mm2=area,
        gross_dies=gross,
        good_share=good,
        die_usd=x["wafer_usd"] / (gross * good),
    )
