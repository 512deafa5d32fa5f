"""What a die, a package and a token cost, with the range that the figures allow.

In:  a Chip, speeds of platforms (plain numbers), figures of `tapeout.facts`.
Out: `DieReport`, `TokenReport`: rows, ranges, swings, notes, and the names of the figures used.
"""

from tapeout.cost.die import AREAS, DieCost, area_mm2, die_cost, figures_of
from tapeout.cost.die_report import DieReport, Yield, die_report
from tapeout.cost.package import PackageCost, package_usd
from tapeout.cost.table import die_lines, token_lines
from tapeout.cost.token import HourCost, hour_cost, recovery, usd_per_mtoken
from tapeout.cost.token_report import ServedSpeed, TokenReport, TokenRow, token_report
from tapeout.cost.uncertainty import Spread, Swing, spread
from tapeout.cost.wafer import gross_dies, gross_dies_closed
from tapeout.cost.yields import murphy, negative_binomial, poisson, seeds

__all__ = [
    "AREAS",
    "DieCost",
    "DieReport",
    "HourCost",
    "PackageCost",
    "ServedSpeed",
    "Spread",
    "Swing",
    "TokenReport",
    "TokenRow",
    "Yield",
    "area_mm2",
    "die_cost",
    "die_lines",
    "die_report",
    "figures_of",
    "gross_dies",
    "gross_dies_closed",
    "hour_cost",
    "murphy",
    "negative_binomial",
    "package_usd",
    "poisson",
    "recovery",
    "seeds",
    "spread",
    "token_lines",
    "token_report",
    "usd_per_mtoken",
]
