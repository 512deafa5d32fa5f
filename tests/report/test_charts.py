from xml.etree.ElementTree import Element

from tapeout.facts import Range
from tapeout.report.charts import LABEL, PLOT, WIDTH, Bar, bar_chart


def rects(svg: Element, kind: str) -> list[Element]:
    return [one for one in svg.iter("rect") if one.get("class") == kind]


def number(shape: Element, name: str) -> float:
    return float(shape.attrib[name])


def test_parts_are_stacked_to_scale():
    bars = [Bar(label="a", parts=(1, 3), value=""), Bar(label="b", parts=(2,), value="")]
    chart = bar_chart("title", bars)
    first, second = rects(chart, "part0")
    (stacked,) = rects(chart, "part1")
    assert [number(first, "x"), number(first, "width")] == [LABEL, PLOT / 4]
    assert [number(stacked, "x"), number(stacked, "width")] == [LABEL + PLOT / 4, 3 * PLOT / 4]
    assert number(second, "width") == PLOT / 2
    assert number(second, "y") > number(first, "y")


def test_a_range_sets_the_scale_and_is_drawn():
    bar = Bar(label="a", parts=(1,), value="", range=Range(low=0.5, mid=1, high=4))
    chart = bar_chart("title", [bar])
    (shape,) = rects(chart, "part0")
    assert number(shape, "width") == PLOT / 4
    (path,) = (one.attrib["d"] for one in chart.iter("path"))
    assert path.endswith(f"H{LABEL + PLOT}")


def test_a_rule_stands_at_its_value():
    chart = bar_chart("title", [Bar(label="a", parts=(4,), value="")], rule=1)
    (rule,) = (one for one in chart.iter("line") if one.get("class") == "rule")
    assert number(rule, "x1") == number(rule, "x2") == LABEL + PLOT / 4


def test_an_empty_chart_and_one_of_zeros_are_drawn():
    assert bar_chart("title", []).get("aria-label") == "title"
    (shape,) = rects(bar_chart("title", [Bar(label="a", parts=(0,), value="")]), "part0")
    assert number(shape, "width") == 0


def test_legend_names_the_parts():
    chart = bar_chart("title", [Bar(label="a", parts=(1, 1), value="")], parts=("x", "y"))
    texts = [one.text for one in chart.iter("text")]
    assert texts[-2:] == ["x", "y"]
    assert chart.attrib["viewBox"].startswith(f"0 0 {WIDTH} ")
