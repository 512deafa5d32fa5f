"""Where the dollars of a million tokens go: the price of an hour, taken apart."""

import numpy as np

from tapeout.chip import Chip
from tapeout.cost import DieReport, ServedSpeed, hour_cost, usd_per_mtoken
from tapeout.cost.token import figures_of
from tapeout.facts import fact


def price_items(
    chip: Chip, die: DieReport, speed: ServedSpeed, *, utilisation: float
) -> dict[str, float]:
    """USD per million output tokens by item, all figures at their middle; they sum to the price."""
    x = {name: np.asarray(fact(figure).value) for name, figure in figures_of(chip).items()}
    hour = hour_cost(chip, x)
    package = {name: one.mid for name, one in die.package_usd.items()}
    die_usd, memory_usd = package.pop("die"), package.pop("memory")
    chip_usd = die_usd + memory_usd + sum(package.values())
    capital = {
        "die": die_usd,
        "memory": memory_usd,
        "rest of the package": sum(package.values()),
        "design partner": chip_usd * (float(x["partner_markup"]) - 1),
        "server and network": float(x["system_usd"]),
    }
    share = float(hour.capital_usd) / sum(capital.values())
    hourly = {name: usd * share for name, usd in capital.items()} | {
        "site": float(hour.facility_usd),
        "operations": float(hour.operations_usd),
        "energy": float(hour.energy_usd),
    }
    return {
        name: float(
            usd_per_mtoken(
                speed.chips * usd, tokens_per_s=speed.tokens_per_s.mid, utilisation=utilisation
            )
        )
        for name, usd in hourly.items()
    }
