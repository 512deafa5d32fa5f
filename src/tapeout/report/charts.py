"""Horizontal bars with labels, values and ranges, as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tapeout.facts import Range
from tapeout.report.markup import element

WIDTH = 800
LABEL = 176
PLOT = 400
ROW, MINOR = 22, 17
TOP = 6

CHART_STYLE = """
.label { fill: var(--ink); } .value { fill: var(--soft); font-size: 12px; }
.range { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.axis { stroke: var(--line); stroke-width: 1; } .rule { stroke: var(--ink); stroke-dasharray: 4 3; }
.part0 { fill: var(--series0); } .part1 { fill: var(--series1); } .part2 { fill: var(--series2); }
.part3 { fill: var(--series3); } .part4 { fill: var(--series4); } .part5 { fill: var(--series5); }
.part6 { fill: var(--series6); } .part7 { fill: var(--series7); }
""".strip()

Amount = float
"""A value in the chart's own unit."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row: parts that are stacked, and the range of their sum; `value` is printed behind it.

    A `minor` row belongs to the one above it.
    """

    label: str
    parts: tuple[Amount, ...]
    value: str
    range: Range | None = None
    minor: bool = False


def bar_chart(
    title: str,
    bars: Sequence[Bar],
    *,
    parts: Sequence[str] = (),
    rule: Amount | None = None,
) -> Element:
    """Bars from zero to the largest value or range; `parts` names the colours in a legend.

    `rule` is a value that a dashed line marks.
    """
    ends = [max(sum(bar.parts), bar.range.high if bar.range else 0) for bar in bars]
    scale = PLOT / max([*ends, rule or 0, 1e-300])
    drawn, y = [element("title", title)], float(TOP)
    for bar in bars:
        y += 6 if not bar.minor and any(one.minor for one in bars) else 0
        drawn += _row(bar, y, lambda value: LABEL + value * scale)
        y += MINOR if bar.minor else ROW
    drawn.append(element("line", class_="axis", x1=LABEL, x2=LABEL, y1=TOP - 4, y2=y))
    if rule is not None:
        x = LABEL + rule * scale
        drawn.append(element("line", class_="rule", x1=x, x2=x, y1=TOP - 4, y2=y))
    drawn += _legend(parts, y + 16)
    box = f"0 0 {WIDTH} {y + (ROW if parts else 0) + 4:g}"
    return element("svg", *drawn, class_="chart", viewBox=box, role="img", aria_label=title)


def _row(bar: Bar, y: float, at: Callable[[Amount], float]) -> list[Element]:
    height = (MINOR if bar.minor else ROW) - 7
    middle = y + 3 + height / 2
    kind = "value" if bar.minor else "label"
    drawn = [_text(bar.label, kind, LABEL - 8, middle, "end")]
    start = 0.0
    for i, part in enumerate(bar.parts):
        width = at(start + part) - at(start)
        shape = {"x": at(start), "y": y + 3, "width": width, "height": height}
        drawn.append(element("rect", class_=f"part{i}", **shape))
        start += part
    end = at(start)
    if bar.range is not None:
        low, high = at(bar.range.low), at(bar.range.high)
        ends = f"M{low:.4g} {middle - 4}v8M{high:.4g} {middle - 4}v8"
        drawn.append(element("path", class_="range", d=f"{ends}M{low:.4g} {middle}H{high:.4g}"))
        end = max(end, high)
    return [*drawn, _text(bar.value, "value", end + 8, middle)]


def _legend(parts: Sequence[str], y: float) -> list[Element]:
    drawn: list[Element] = []
    x = float(LABEL)
    for i, name in enumerate(parts):
        drawn.append(element("rect", class_=f"part{i}", x=x, y=y - 5, width=10, height=10))
        drawn.append(_text(name, "value", x + 14, y))
        x += 30 + 7 * len(name)
    return drawn


def _text(text: str, kind: str, x: float, middle: float, anchor: str = "start") -> Element:
    return element("text", text, class_=kind, x=x, y=middle + 4, text_anchor=anchor)
