"""Which figures are too old to trust."""

import datetime
from collections.abc import Mapping

from tapeout.facts.fact import Fact, Kind, facts

SHELF_LIFE_DAYS: dict[Kind, int] = {
    "measured": 1095,
    "vendor": 3650,
    "estimate": 730,
    "assumption": 1095,
}
PRICE_LIFE_DAYS = 270
"""Prices of accelerator hours move by a third within months."""

Warnings = tuple[str, ...]


def check_facts(
    today: datetime.date, *, known: Mapping[str, Fact] | None = None
) -> tuple[int, Warnings]:
    """Count the figures; warn of those past the shelf life of their kind or from the future.

    Ranges, sources and keys are checked when the tables are read.
    """
    known = facts() if known is None else known
    warnings = [text for name, one in known.items() if (text := _warning(name, one, today))]
    return len(known), tuple(warnings)


def _warning(name: str, one: Fact, today: datetime.date) -> str:
    age_days = (today - one.as_of).days
    life_days = PRICE_LIFE_DAYS if one.unit == "usd/h" else SHELF_LIFE_DAYS[one.kind]
    if age_days < 0:
        return f"{name}: as of {one.as_of}, which is in the future"
    if age_days > life_days:
        return f"{name}: {age_days} days old, a figure of its kind is good for {life_days}"
    return ""
