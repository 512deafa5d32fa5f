"""Reports: rows, ranges in order, every figure named, large dies refused."""

import dataclasses
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from tapeout.chip import Chip
from tapeout.cost import (
    die_cost,
    die_lines,
    die_report,
    hour_cost,
    package_usd,
    token_lines,
    token_report,
)
from tapeout.cost.token import figures_of
from tapeout.cost.values import Array
from tapeout.errors import ConfigError
from tapeout.facts import Range, fact


@dataclass(frozen=True)
class Step:
    total_s: Range
    binds: str = "memory"


@dataclass(frozen=True)
class Served:
    name: str
    chips: int
    decode: Step
    tokens_per_s: Range
    figures: tuple[str, ...]


def served(name: str, chips: int = 1) -> Served:
    return Served(
        name=name,
        chips=chips,
        decode=Step(Range(low=0.01, mid=0.02, high=0.04)),
        tokens_per_s=Range(low=500, mid=1000, high=2000),
        figures=("pue",),
    )


class Watched(dict[str, Array]):
    """Inputs that remember which of them were read."""

    def __init__(self, values: dict[str, Array]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Array:
        self.read.add(key)
        return super().__getitem__(key)


def test_every_listed_figure_is_used(chip: Chip):
    names = figures_of(chip)
    x = Watched({name: np.asarray(fact(key).value) for name, key in names.items()})
    hour_cost(chip, x)
    assert x.read == set(names)


def test_a_die_report_adds_up(full: Chip):
    report = die_report(full)
    assert sum(r.mid for r in report.blocks_mm2.values()) == pytest.approx(report.area_mm2.mid)
    assert sum(r.mid for r in report.package_usd.values()) == pytest.approx(report.total_usd.mid)
    assert report.area_mm2.mid < report.reticle_mm2
    assert report.total_usd.low < report.drawn_usd.low < report.drawn_usd.mid
    assert report.drawn_usd.mid < report.drawn_usd.high < report.total_usd.high
    assert {y.law for y in report.yields} == {"Poisson", "Murphy", "negative binomial", "Seeds"}
    for name in report.figures:
        assert fact(name).source


def test_a_die_report_matches_the_formulas(full: Chip):
    x = {name: np.asarray(fact(key).value) for name, key in figures_of(full).items()}
    report, die = die_report(full), die_cost(full, x)
    assert report.die_usd.mid == pytest.approx(float(die.die_usd))
    assert report.total_usd.mid == pytest.approx(float(package_usd(full, die, x).total_usd))


def test_a_die_report_as_text(full: Chip):
    text = "\n".join(die_lines(die_report(full)))
    assert text.startswith("full on N2")
    for word in (
        "matrix",
        "package, tested",
        "yield, Murphy",
        "wafer_n2_usd",
        "no die is salvaged",
    ):
        assert word in text


def test_a_die_beyond_the_reticle_is_refused(full: Chip):
    l2 = dataclasses.replace(full.l2, capacity_bytes=4 << 30)
    huge = dataclasses.replace(full, l2=l2)
    for report in (lambda: die_report(huge), lambda: tokens(huge)):
        with pytest.raises(ConfigError, match=r"at most 858 mm2 \(one reticle\), not \d") as caught:
            report()
        assert caught.value.where == "chip full on N2"
        assert "chiplets" in caught.value.hint


def tokens(chip: Chip, utilisation: float = 0.5):
    speeds = [served(chip.name, 2), served("a100"), served("h100", 4)]
    return token_report(chip, speeds, utilisation=utilisation, traffic="some traffic")


def test_rows_of_a_token_report(full: Chip):
    report = tokens(full)
    assert [(row.platform, row.basis) for row in report.rows] == [
        ("full", "built"),
        ("a100", "rented"),
        ("h100", "rented"),
        ("h100", "owned"),
    ]
    owned = report.rows[3]
    rate = fact("h100_owned_usd_per_hour")
    assert owned.usd_per_mtoken.mid == pytest.approx(4 * rate.value * 1e6 / 3600 / 1000 / 0.5)
    assert owned.usd_per_mtoken.low == pytest.approx(4 * rate.low * 1e6 / 3600 / 2000 / 0.5)
    assert owned.usd_per_mtoken.high == pytest.approx(4 * rate.high * 1e6 / 3600 / 500 / 0.5)
    assert {"pue", "h100_owned_usd_per_hour", "nre_usd", "wafer_n2_usd"} <= set(report.figures)


def test_nre_stands_apart(full: Chip):
    """545 MUSD over 100,000 chips, repaid over 4 years at 12 %, on two chips at 1000 tokens/s."""
    yearly_usd = 545e6 / 100_000 * 0.12 / (1 - 1.12**-4)
    expected = 2 * yearly_usd / 8760 * 1e6 / (3600 * 1000 * 0.5)
    assert tokens(full).nre_usd_per_mtoken.mid == pytest.approx(expected)


def test_idle_hours_are_paid(full: Chip):
    busy, idle = tokens(full, 1.0).rows[0], tokens(full, 0.25).rows[0]
    assert idle.usd_per_mtoken.mid == pytest.approx(4 * busy.usd_per_mtoken.mid)


def test_a_token_report_as_text(full: Chip):
    text = "\n".join(token_lines(tokens(full)))
    for word in ("some traffic", "h100 (owned)", "USD/Mtok", "NRE", "what moves it most", "notes"):
        assert word in text


def test_swings_are_named_by_figures(full: Chip):
    report = tokens(full)
    names = {one.name for one in report.swings}
    assert {"tokens_per_s", "wafer_n2_usd", "hbm4_usd_per_gb"} <= names
    widths = [one.width_usd for one in report.swings]
    assert widths == sorted(widths, reverse=True)


def test_a_report_is_json(full: Chip):
    import msgspec

    table = cast(dict[str, object], msgspec.json.decode(msgspec.json.encode(tokens(full))))
    assert table["traffic"] == "some traffic"
