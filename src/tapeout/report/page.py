"""The page: sections of text, tables and pictures in one HTML file that loads nothing."""

from importlib.resources import files
from xml.etree.ElementTree import Element

from tapeout.facts import Range
from tapeout.report import money, performance, writing
from tapeout.report.charts import CHART_STYLE
from tapeout.report.diagram import BOX_STYLE, block_diagram
from tapeout.report.markup import element, html
from tapeout.report.results import Results
from tapeout.units import si

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing, and it runs no script."""


def report_page(results: Results) -> str:
    """Results as HTML."""
    style = files("tapeout.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Tapeout report"),
        element("style", "\n".join((style, BOX_STYLE, CHART_STYLE))),
    )
    body = element(
        "body",
        element("h1", "Tapeout report"),
        element("p", f"Made by {results.command}.", class_="soft"),
        _tiles(results),
        *writing.section(results.critique, results.chip.name),
        *_chips(results),
        *performance.quality_section(results.quality),
        *performance.time_section(results),
        *performance.bytes_section(results),
        *money.section(results),
        *_sources(results),
    )
    return html(element("html", head, body, lang="en"))


def _tiles(results: Results) -> Element:
    critique, quality = results.critique, results.quality
    step, price = results.speeds[0].decode.total_s, results.tokens.rows[0].usd_per_mtoken
    best = min(quality.formats, key=lambda one: one.weight_bits)
    reference = f"{quality.reference_bits_per_byte:.3f} in FP32"
    return element(
        "div",
        _tile(str(critique.leaked_tokens), f"tokens leaked; {critique.held_tokens} held"),
        _tile(f"{best.bits_per_byte:.3f}", f"bits per byte in {best.recipe}; {reference}"),
        _tile(si(step.mid, "s"), f"per decode step on {results.product.name}, {_seconds(step)}"),
        _tile(f"${price.mid:.3g}", f"per million tokens, ${price.low:.3g} to ${price.high:.3g}"),
        class_="tiles",
    )


def _tile(value: str, meaning: str) -> Element:
    return element("div", element("b", value), element("span", meaning), class_="tile")


def _seconds(r: Range) -> str:
    return f"{si(r.low, 's')} to {si(r.high, 's')}"


def _chips(results: Results) -> list[Element]:
    pictures = {
        results.chip.name: (results.chip, "The chip that wrote the text, simulated to the bit."),
        results.product.name: (results.product, "The chip that is timed and priced below."),
    }
    figures = (
        element("figure", block_diagram(chip), element("figcaption", caption))
        for chip, caption in pictures.values()
    )
    return [element("h2", "The chips"), *figures]


def _sources(results: Results) -> list[Element]:
    names = ("figure", "value", "low to high", "unit", "as of", "kind", "confidence", "source")
    rows = [
        element(
            "tr",
            element("td", element("code", name)),
            element("td", f"{one.value:g}", class_="number"),
            element("td", f"{one.low:g} to {one.high:g}", class_="number"),
            element("td", one.unit),
            element("td", str(one.as_of), class_="date"),
            *(element("td", text) for text in (one.kind, one.confidence)),
            element("td", one.source, class_="source"),
        )
        for name, one in results.figures.items()
    ]
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name) for name in names))),
        element("tbody", *rows),
        id="figures",
    )
    about = "Kind: measured, vendor (stated by who makes or sells it), estimate or assumption."
    return [
        element("h2", "Figures and their sources"),
        element("p", f"{len(rows)} figures from outside are behind the times and prices. {about}"),
        element("div", table, class_="wide"),
    ]
