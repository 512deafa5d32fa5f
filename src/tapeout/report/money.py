"""The section on dollars: tokens on each platform, what a price is made of, the die."""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from tapeout.cost import Swing
from tapeout.facts import Range
from tapeout.report.charts import Bar, bar_chart
from tapeout.report.markup import element
from tapeout.report.results import Results

SWINGS = 8
"""Figures shown of those that move the price most."""


def section(results: Results) -> list[Element]:
    """Price of a million tokens by platform, by item and by figure; the die and its package."""
    tokens, die, name = results.tokens, results.die, results.product.name
    rows = [
        Bar(
            label=f"{row.platform} ({row.basis})",
            parts=(row.usd_per_mtoken.mid,),
            value=_dollars(row.usd_per_mtoken),
            range=row.usd_per_mtoken,
        )
        for row in tokens.rows
    ]
    area = sum(one.mid for one in die.blocks_mm2.values())
    return [
        element("h2", "Where dollars go"),
        element("p", f"A million output tokens of {results.model}, {tokens.traffic}."),
        _figure("USD per million output tokens", rows),
        element("h3", f"What a million tokens of {name} pay for"),
        _figure("Items of the price", _items(results.usd_per_mtoken)),
        element("h3", f"What moves the price on {name} most"),
        _swings(tokens.swings[:SWINGS], tokens.rows[0].usd_per_mtoken.mid),
        element("h3", f"The package of {name}: {_dollars(die.total_usd)}"),
        _figure("Items of the package", _ranges(die.package_usd, "USD")),
        element("h3", f"The die of {name}: {area:.0f} mm² on {die.node}"),
        _figure("Blocks of the die", _ranges(die.blocks_mm2, "mm²")),
        element("h3", "How to read these"),
        element("ul", *(element("li", note) for note in (*tokens.notes, *die.notes))),
    ]


def _figure(title: str, bars: list[Bar]) -> Element:
    return element("figure", bar_chart(title, bars))


def _items(items: Mapping[str, float]) -> list[Bar]:
    total = sum(items.values())
    return [
        Bar(label=name, parts=(usd,), value=f"${usd:.3g}, {usd / total:.0%}")
        for name, usd in items.items()
    ]


def _ranges(items: Mapping[str, Range], unit: str) -> list[Bar]:
    return [
        Bar(
            label=name,
            parts=(one.mid,),
            value=f"{_number(one.mid)} {unit}  [{_number(one.low)} to {_number(one.high)}]",
        )
        for name, one in items.items()
    ]


def _swings(swings: tuple[Swing, ...], middle_usd: float) -> Element:
    bars = [
        Bar(
            label=one.name,
            parts=(),
            value=f"${one.at_low_usd:.3g} to ${one.at_high_usd:.3g}",
            range=Range(
                low=min(one.at_low_usd, one.at_high_usd),
                mid=middle_usd,
                high=max(one.at_low_usd, one.at_high_usd),
            ),
        )
        for one in swings
    ]
    return element("figure", bar_chart("Swings of the price", bars, rule=middle_usd))


def _dollars(r: Range) -> str:
    return f"${_number(r.mid)}  [{_number(r.low)} to {_number(r.high)}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
