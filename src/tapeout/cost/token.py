"""From a package to the price of an hour, and from the hour to that of a million tokens."""

from dataclasses import dataclass

import numpy as np

from tapeout.chip import Chip
from tapeout.cost import die, package
from tapeout.cost.die import die_cost
from tapeout.cost.package import package_usd
from tapeout.cost.values import Array, Values, at_least_zero, positive, share

HOURS_PER_YEAR = 8760
COMMON = (
    "partner_markup",
    "system_usd",
    "capital_cost_per_year",
    "system_life_years",
    "facility_usd_per_w",
    "facility_life_years",
    "operations_per_year",
    "all_in_power",
    "electricity_usd_per_kwh",
)


@dataclass(frozen=True, kw_only=True)
class HourCost:
    """What one owned chip costs in each hour of its life, used or not."""

    capital_usd: Array
    facility_usd: Array
    operations_usd: Array
    energy_usd: Array

    @property
    def total_usd(self) -> Array:
        """The sum of the items."""
        return self.capital_usd + self.facility_usd + self.operations_usd + self.energy_usd


def figures_of(chip: Chip) -> dict[str, str]:
    """Inputs of `hour_cost` by name, each with the name of its figure."""
    own = {name: name for name in COMMON}
    return die.figures_of(chip) | package.figures_of(chip) | own


def recovery(rate_per_year: Array | float, years: Array | float) -> Array:
    """Share of a price to pay each year so that it is paid, with interest, after `years`.

    r / (1 - (1 + r)^-n); 1/n without interest.
    """
    at_least_zero("the cost of capital", rate_per_year)
    positive("the life in years", years)
    rate, life = np.broadcast_arrays(np.asarray(rate_per_year, np.float64), years)
    free = rate < 1e-9
    safe = np.where(free, 1.0, rate)
    return np.where(free, 1 / life, safe / -np.expm1(-life * np.log1p(safe)))


def hour_cost(chip: Chip, x: Values) -> HourCost:
    """Cost of an hour of one owned chip with its share of server and site; NRE is not in it.

    Energy: the chip file's power times `all_in_power`, which contains cooling, at all hours.
    """
    at_least_zero("the electricity price", x["electricity_usd_per_kwh"])
    chip_usd = package_usd(chip, die_cost(chip, x), x).total_usd
    system_usd = chip_usd * x["partner_markup"] + x["system_usd"]
    wall_w = chip.process.power_w * x["all_in_power"]
    rate = x["capital_cost_per_year"]
    site_usd = wall_w * x["facility_usd_per_w"]
    return HourCost(
        capital_usd=system_usd * recovery(rate, x["system_life_years"]) / HOURS_PER_YEAR,
        facility_usd=site_usd * recovery(rate, x["facility_life_years"]) / HOURS_PER_YEAR,
        operations_usd=system_usd * x["operations_per_year"] / HOURS_PER_YEAR,
        energy_usd=wall_w / 1000 * x["electricity_usd_per_kwh"],
    )


def usd_per_mtoken(
    usd_per_hour: Array | float, *, tokens_per_s: Array | float, utilisation: float
) -> Array:
    """Price of a million output tokens from that of an hour of the group that makes them.

    Utilisation is the share of the paid hours that serve. 1e6 usd/h / (3600 tokens/s u).
    """
    at_least_zero("the price of an hour", usd_per_hour)
    positive("tokens per second", tokens_per_s)
    positive("utilisation", utilisation)
    share("utilisation", utilisation)
    return np.asarray(usd_per_hour, np.float64) * 1e6 / (3600 * tokens_per_s * utilisation)
