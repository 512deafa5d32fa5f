"""The report on a token: a chip of ours beside GPUs, each with its range, and what moves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapeout.chip import Chip
from tapeout.cost import token
from tapeout.cost.die import die_cost
from tapeout.cost.die_report import check_reticle, named, ranges_of
from tapeout.cost.token import HOURS_PER_YEAR, hour_cost, recovery, usd_per_mtoken
from tapeout.cost.uncertainty import Formula, Spread, Swing, spread
from tapeout.cost.values import Array, Values
from tapeout.facts import Range, facts

SPEED = "tokens_per_s"
NRE = ("nre_usd", "chip_volume", "capital_cost_per_year", "system_life_years")
BASES = {"rented": "rent_usd_per_hour", "owned": "owned_usd_per_hour"}
NOTES = (
    "USD per million output tokens; the prompts that come with them are paid for in it",
    "built: package, server, site and energy at cost with a design partner's margin; NRE apart",
    "owned: an operator's cost per hour, with power, from a closed model; rented: market price",
    "GPU steps: shares of peak measured on kernels, whole steps are slower; our chip's: assumed",
    "no queueing, speculative decoding or shared prompts; every sequence is prefilled alone",
    "low and high: all figures at one end at once; p5, p50, p95: 10,000 independent draws",
)


class TimedStep(Protocol):
    """A step's time with the term that binds it."""

    @property
    def total_s(self) -> Range:
        """Seconds of the step."""
        ...

    @property
    def binds(self) -> str:
        """The term that decides the time."""
        ...


class ServedSpeed(Protocol):
    """How fast a group of chips serves the workload: what `tapeout.perf` finds."""

    @property
    def name(self) -> str:
        """The platform."""
        ...

    @property
    def chips(self) -> int:
        """Chips of one group."""
        ...

    @property
    def decode(self) -> TimedStep:
        """The step that makes a token for each sequence."""
        ...

    @property
    def tokens_per_s(self) -> Range:
        """Output tokens of the group per second."""
        ...

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures behind it."""
        ...


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """A platform: how long a decode step takes, and what a million output tokens cost."""

    platform: str
    basis: str
    chips: int
    step_s: Range
    tokens_per_s: Range
    usd_per_hour: Range
    usd_per_mtoken: Range
    drawn_usd_per_mtoken: Range
    bound_by: str


@dataclass(frozen=True, kw_only=True)
class TokenReport:
    """Price of tokens on a chip and on GPUs; `swings` are those of the chip, widest first.

    `nre_usd_per_mtoken` is what engineering adds to the chip's price at the volume of the figures.
    """

    traffic: str
    rows: tuple[TokenRow, ...]
    nre_usd_per_mtoken: Range
    swings: tuple[Swing, ...]
    notes: tuple[str, ...]
    figures: tuple[str, ...]


def token_report(
    chip: Chip, speeds: Sequence[ServedSpeed], *, utilisation: float, traffic: str
) -> TokenReport:
    """Price a million output tokens; the first of `speeds` is the chip's, the others are GPUs.

    Raises:
        ConfigError: if the chip's die is larger than the reticle.
    """
    ours, *gpus = speeds
    names = token.figures_of(chip)
    check_reticle(chip, float(die_cost(chip, _middle(ranges_of(names))).area_mm2))
    built = _built(chip, names, ours, utilisation)
    priced = [(one, basis, key) for one in gpus for basis, key in _prices(one.name)]
    nre = spread(lambda x: _nre(x, ours.chips, utilisation), _with_speed({n: n for n in NRE}, ours))
    rows = [_row(ours, "built", spread(_hour(chip), ranges_of(names)).interval, built)]
    for one, basis, key in priced:
        price = facts()[key].range
        rows.append(_row(one, basis, price, _hired(one, key, utilisation)))
    used = [*names.values(), *NRE, *(key for _, _, key in priced)]
    used += [figure for one in speeds for figure in one.figures]
    return TokenReport(
        traffic=traffic,
        rows=tuple(rows),
        nre_usd_per_mtoken=nre.interval,
        swings=named(built.swings, names),
        notes=NOTES,
        figures=tuple(dict.fromkeys([*used, "reticle_mm2"])),
    )


def _prices(platform: str) -> list[tuple[str, str]]:
    keys = {basis: f"{platform}_{suffix}" for basis, suffix in BASES.items()}
    return [(basis, key) for basis, key in keys.items() if key in facts()]


def _built(chip: Chip, names: Mapping[str, str], one: ServedSpeed, utilisation: float) -> Spread:
    def formula(x: Values) -> Array:
        hourly = one.chips * hour_cost(chip, x).total_usd
        return usd_per_mtoken(hourly, tokens_per_s=x[SPEED], utilisation=utilisation)

    return spread(formula, _with_speed(names, one))


def _hired(one: ServedSpeed, key: str, utilisation: float) -> Spread:
    def formula(x: Values) -> Array:
        return usd_per_mtoken(one.chips * x[key], tokens_per_s=x[SPEED], utilisation=utilisation)

    return spread(formula, _with_speed({key: key}, one))


def _nre(x: Values, chips: int, utilisation: float) -> Array:
    yearly = x["nre_usd"] / x["chip_volume"]
    yearly = yearly * recovery(x["capital_cost_per_year"], x["system_life_years"])
    return usd_per_mtoken(
        chips * yearly / HOURS_PER_YEAR, tokens_per_s=x[SPEED], utilisation=utilisation
    )


def _hour(chip: Chip) -> Formula:
    return lambda x: hour_cost(chip, x).total_usd


def _with_speed(names: Mapping[str, str], one: ServedSpeed) -> dict[str, Range]:
    return ranges_of(names) | {SPEED: one.tokens_per_s}


def _row(one: ServedSpeed, basis: str, usd_per_hour: Range, price: Spread) -> TokenRow:
    return TokenRow(
        platform=one.name,
        basis=basis,
        chips=one.chips,
        step_s=one.decode.total_s,
        tokens_per_s=one.tokens_per_s,
        usd_per_hour=usd_per_hour,
        usd_per_mtoken=price.interval,
        drawn_usd_per_mtoken=price.drawn,
        bound_by=one.decode.binds,
    )


def _middle(ranges: Mapping[str, Range]) -> dict[str, Array]:
    return {name: np.asarray(one.mid) for name, one in ranges.items()}
