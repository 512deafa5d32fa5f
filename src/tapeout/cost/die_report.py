"""The report on a die and its package: blocks, yields, prices, notes and figures used."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.chip import Chip
from tapeout.cost import die, package
from tapeout.cost.die import AREAS, die_cost
from tapeout.cost.package import package_usd
from tapeout.cost.uncertainty import Swing, spread
from tapeout.cost.values import Array, Values
from tapeout.cost.wafer import gross_dies
from tapeout.cost.yields import murphy, negative_binomial, poisson, seeds
from tapeout.errors import ConfigError
from tapeout.facts import Range, fact

ITEMS = ("die", "memory", "interposer", "substrate", "test", "lost")
NOTES = (
    "areas are formulas, not a layout; measured synthesis backs the matrix lanes only",
    "no die is salvaged: a defect outside repaired SRAM loses it, wafer sort finds every bad die",
    "ranges: every figure at its kind or at its harsh end at once, which is wider than likely",
)


@dataclass(frozen=True, kw_only=True)
class Yield:
    """Share of good dies by one law."""

    law: str
    good_share: Range


@dataclass(frozen=True, kw_only=True)
class DieReport:
    """What a chip's die and package are and cost, with ranges.

    `blocks_mm2` and `package_usd` are items that sum to `area_mm2` and `total_usd` at mid.
    The laws of `yields` count every defect; `good_share` counts SRAM repair and sets the price.
    """

    chip: str
    node: str
    blocks_mm2: dict[str, Range]
    area_mm2: Range
    reticle_mm2: float
    gross_dies: int
    gross_dies_closed: Range
    yields: tuple[Yield, ...]
    good_share: Range
    die_usd: Range
    package_usd: dict[str, Range]
    total_usd: Range
    drawn_usd: Range
    swings: tuple[Swing, ...]
    notes: tuple[str, ...]
    figures: tuple[str, ...]


def die_report(chip: Chip) -> DieReport:
    """Area, yield and price of a chip's die and package.

    Raises:
        ConfigError: if the die is larger than the reticle.
    """
    names = die.figures_of(chip) | package.figures_of(chip)
    ranges = ranges_of(names)

    def over(formula: Callable[[Values], Array]) -> Range:
        return spread(formula, ranges).interval

    area = over(lambda x: die_cost(chip, x).area_mm2)
    reticle_mm2 = check_reticle(chip, area.mid)
    side = math.sqrt(area.mid)
    total = spread(lambda x: package_usd(chip, die_cost(chip, x), x).total_usd, ranges)
    return DieReport(
        chip=chip.name,
        node=chip.process.node,
        blocks_mm2={
            name: over(lambda x, name=name: die_cost(chip, x).blocks_mm2[name]) for name in AREAS
        },
        area_mm2=area,
        reticle_mm2=reticle_mm2,
        gross_dies=gross_dies(
            side,
            side,
            wafer_mm=ranges["wafer_diameter_mm"].mid,
            edge_mm=ranges["wafer_edge_mm"].mid,
            scribe_mm=ranges["scribe_mm"].mid,
        ),
        gross_dies_closed=over(lambda x: die_cost(chip, x).gross_dies),
        yields=_yields(chip, ranges),
        good_share=over(lambda x: die_cost(chip, x).good_share),
        die_usd=over(lambda x: die_cost(chip, x).die_usd),
        package_usd={name: over(_item(chip, name)) for name in ITEMS},
        total_usd=total.interval,
        drawn_usd=total.drawn,
        swings=named(total.swings, names),
        notes=(*NOTES, *_reticle_note(area, reticle_mm2)),
        figures=(*names.values(), "reticle_mm2"),
    )


def ranges_of(names: Mapping[str, str]) -> dict[str, Range]:
    """Ranges of the figures behind the inputs of a formula, by the names of the inputs."""
    return {name: fact(figure).range for name, figure in names.items()}


def named(swings: tuple[Swing, ...], names: Mapping[str, str]) -> tuple[Swing, ...]:
    """The swings with the names of the figures in place of those of the inputs."""
    return tuple(
        Swing(
            name=names.get(one.name, one.name),
            at_low_usd=one.at_low_usd,
            at_high_usd=one.at_high_usd,
        )
        for one in swings
    )


def check_reticle(chip: Chip, area_mm2: float) -> float:
    """Return the reticle's area.

    Raises:
        ConfigError: if the die is larger than that.
    """
    limit_mm2 = fact("reticle_mm2").value
    if area_mm2 > limit_mm2:
        raise ConfigError(
            f"the die must be at most {limit_mm2:g} mm2 (one reticle), not {area_mm2:.0f}",
            where=f"chip {chip.name} on {chip.process.node}",
            hint="use fewer cores or less SRAM, or split the chip into chiplets",
        )
    return limit_mm2


def _item(chip: Chip, name: str) -> Callable[[Values], Array]:
    def formula(x: Values) -> Array:
        return np.asarray(getattr(package_usd(chip, die_cost(chip, x), x), f"{name}_usd"))

    return formula


def _yields(chip: Chip, ranges: Mapping[str, Range]) -> tuple[Yield, ...]:
    def nb(area: Array, x: Values) -> Array:
        return negative_binomial(area, x["defects_per_cm2"], x["yield_alpha"])

    laws: dict[str, Callable[[Array, Values], Array]] = {
        "Poisson": lambda area, x: poisson(area, x["defects_per_cm2"]),
        "Murphy": lambda area, x: murphy(area, x["defects_per_cm2"]),
        "negative binomial": nb,
        "Seeds": lambda area, x: seeds(area, x["defects_per_cm2"]),
    }

    def formula(law: Callable[[Array, Values], Array]) -> Callable[[Values], Array]:
        return lambda x: law(die_cost(chip, x).area_mm2, x)

    return tuple(
        Yield(law=name, good_share=spread(formula(law), ranges).interval)
        for name, law in laws.items()
    )


def _reticle_note(area: Range, reticle_mm2: float) -> tuple[str, ...]:
    if area.high <= reticle_mm2:
        return ()
    return (f"the high end of the area, {area.high:.0f} mm2, is more than one reticle",)
