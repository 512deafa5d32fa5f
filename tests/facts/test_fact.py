"""Figures: strict tables, ranges in order, names that help."""

import pytest

from tapeout.errors import ConfigError
from tapeout.facts import Range, fact, facts, read_facts

GOOD = """
[wafer_usd]
value = 2.0
low = 1.0
high = 3.0
unit = "usd"
as_of = 2025-10-01
kind = "estimate"
confidence = "low"
source = "a named analyst, 10/2025"
"""


def test_a_table_is_read():
    one = read_facts([("a.toml", GOOD)])["wafer_usd"]
    assert one.range == Range(low=1, mid=2, high=3)
    assert (one.unit, one.kind, str(one.as_of)) == ("usd", "estimate", "2025-10-01")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("value = 2.0", "value = 4.0", "value must be in low..high"),
        ("low = 1.0", "low = -1.0", "low at least 0"),
        ("low = 1.0", "low = nan", "value must be in low..high"),
        ("low = 1.0", 'low = "cheap"', "Expected `float`"),
        ('unit = "usd"', 'unit = ""', "length >= 1"),
        ('unit = "usd"', 'unit = "1/year"', "a share per year must be at most 1"),
        ('kind = "estimate"', 'kind = "guess"', "Invalid enum value 'guess'"),
        ('source = "a named analyst, 10/2025"', "", "missing required field `source`"),
        ('source = "a named analyst, 10/2025"', 'source = "press"', "length >= 12"),
        ("value = 2.0", "valeu = 2.0", "unknown key `valeu`; did you mean `value`?"),
        ("as_of = 2025-10-01", "as_of = 2025-13-01", "Expected"),
        ("[wafer_usd]", "[wafer_usd", "Expected"),
    ],
)
def test_a_malformed_figure_is_refused(old: str, new: str, problem: str):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        read_facts([("a.toml", GOOD.replace(old, new))])
    assert problem in caught.value.problem or "Invalid" in caught.value.problem
    assert caught.value.where.startswith("a.toml")


def test_a_figure_given_twice_is_refused():
    with pytest.raises(ConfigError, match="figure `wafer_usd` is given twice") as caught:
        read_facts([("a.toml", GOOD), ("b.toml", GOOD)])
    assert caught.value.where == "b.toml"


def test_a_figure_must_be_a_table():
    with pytest.raises(ConfigError, match="a figure must be a table"):
        read_facts([("a.toml", "wafer_usd = 3")])


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean `wafer_n2_usd`"):
        fact("wafer_n2_us")


def test_assumptions_say_that_they_are():
    for name, one in facts().items():
        assert (one.kind == "assumption") == one.source.startswith("assumption: "), name


def test_a_range_is_in_order():
    with pytest.raises(ValueError, match=r"mid 5 must be in 1\.\.3"):
        Range(low=1, mid=5, high=3)
