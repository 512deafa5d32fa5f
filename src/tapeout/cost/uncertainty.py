"""Ranges of results from ranges of inputs: corners, one at a time, and random draws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.cost.values import Array, Values
from tapeout.facts import Range

DRAWS = 10_000
SEED = 20_261_121
Formula = Callable[[Values], Array]


@dataclass(frozen=True, kw_only=True)
class Swing:
    """The result when one input goes to its low and to its high, the others at their values."""

    name: str
    at_low_usd: float
    at_high_usd: float

    @property
    def width_usd(self) -> float:
        """How far this input alone moves the result."""
        return abs(self.at_high_usd - self.at_low_usd)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A result with all inputs at their values, at their kindest, at their harshest, and drawn.

    `interval` is the widest that the ranges allow if the result is monotone in each input;
    `drawn` is the 5th, 50th and 95th percentile of independent PERT draws.
    """

    interval: Range
    drawn: Range
    swings: tuple[Swing, ...]


def spread(formula: Formula, ranges: Mapping[str, Range]) -> Spread:
    """Range of `formula` over the ranges of its inputs; widest swing first.

    Correlation is not modelled: inputs that move together would widen the drawn range.
    """
    swings = _swings(formula, ranges)
    rises = {s.name: s.at_high_usd >= s.at_low_usd for s in swings}
    kind = {n: r.low if rises[n] else r.high for n, r in ranges.items()}
    harsh = {n: r.high if rises[n] else r.low for n, r in ranges.items()}
    middle = {n: r.mid for n, r in ranges.items()}
    low, mid, high = (_at(formula, point) for point in (kind, middle, harsh))
    p5, p50, p95 = np.percentile(formula(draw(ranges)), (5, 50, 95))
    return Spread(
        interval=Range(low=low, mid=mid, high=high),
        drawn=Range(low=float(p5), mid=float(p50), high=float(p95)),
        swings=tuple(sorted(swings, key=lambda s: -s.width_usd)),
    )


def draw(ranges: Mapping[str, Range]) -> dict[str, Array]:
    """`DRAWS` independent PERT draws of every input: mode at mid, mean (low + 4 mid + high) / 6."""
    random = np.random.default_rng(SEED)
    return {name: _pert(random, one) for name, one in ranges.items()}


def _pert(random: np.random.Generator, one: Range) -> Array:
    width = one.high - one.low
    if width == 0:
        return np.full(DRAWS, one.mid)
    up, down = 4 * (one.mid - one.low) / width, 4 * (one.high - one.mid) / width
    return one.low + width * random.beta(1 + up, 1 + down, DRAWS)


def _swings(formula: Formula, ranges: Mapping[str, Range]) -> list[Swing]:
    middle = {name: one.mid for name, one in ranges.items()}
    return [
        Swing(
            name=name,
            at_low_usd=_at(formula, middle | {name: one.low}),
            at_high_usd=_at(formula, middle | {name: one.high}),
        )
        for name, one in ranges.items()
    ]


def _at(formula: Formula, point: Mapping[str, float]) -> float:
    return float(formula({name: np.asarray(value) for name, value in point.items()}))
