"""Old figures are reported."""

import dataclasses
import datetime

import pytest

from tapeout.facts import Fact, check_facts, facts
from tapeout.facts.check import PRICE_LIFE_DAYS, SHELF_LIFE_DAYS
from tapeout.facts.fact import Kind

TODAY = datetime.date(2026, 11, 21)


def aged(days: int, kind: Kind, unit: str = "usd") -> Fact:
    one = next(iter(facts().values()))
    as_of = TODAY - datetime.timedelta(days=days)
    return dataclasses.replace(one, as_of=as_of, kind=kind, unit=unit)


@pytest.mark.parametrize("kind", SHELF_LIFE_DAYS)
def test_shelf_life_ends_after_its_last_day(kind: Kind):
    life_days = SHELF_LIFE_DAYS[kind]
    assert check_facts(TODAY, known={"a": aged(life_days, kind)}) == (1, ())
    count, (warning,) = check_facts(TODAY, known={"a": aged(life_days + 1, kind)})
    assert count == 1
    assert warning == f"a: {life_days + 1} days old, a figure of its kind is good for {life_days}"


def test_prices_of_hours_age_faster():
    _, warnings = check_facts(TODAY, known={"a": aged(PRICE_LIFE_DAYS + 1, "vendor", "usd/h")})
    assert len(warnings) == 1


def test_a_figure_from_the_future_is_reported():
    assert "in the future" in check_facts(TODAY, known={"a": aged(-1, "vendor")})[1][0]


def test_no_figure_is_from_the_future():
    assert not [w for w in check_facts(TODAY)[1] if "future" in w]
