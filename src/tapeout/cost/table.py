"""Reports as plain text: aligned columns, then notes and the figures used."""

from collections.abc import Iterable, Sequence

from tapeout.cost.die_report import DieReport
from tapeout.cost.token_report import TokenReport
from tapeout.cost.uncertainty import Swing
from tapeout.facts import Range, fact_lines
from tapeout.units import si

SWINGS = 8
"""Inputs listed of those that move a price most."""


def die_lines(report: DieReport) -> list[str]:
    """A die and its package as text."""
    blocks = [[name, _span(r, "mm2")] for name, r in report.blocks_mm2.items()]
    yields = [[f"yield, {one.law}", _percent(one.good_share)] for one in report.yields]
    items = [[name, _span(r, "USD")] for name, r in report.package_usd.items()]
    totals = [
        ["package, tested", _span(report.total_usd, "USD")],
        ["package, p50 [p5 to p95]", _span(report.drawn_usd, "USD")],
    ]
    wafer = [
        ["dies on a wafer, counted", str(report.gross_dies)],
        ["dies on a wafer, closed form", _span(report.gross_dies_closed, "")],
        *yields,
        ["yield used (SRAM repaired)", _percent(report.good_share)],
    ]
    return [
        f"{report.chip} on {report.node}, mid [low to high]",
        "",
        *_columns([*blocks, ["die", _span(report.area_mm2, "mm2")]]),
        "",
        *_columns(wafer),
        "",
        *_columns([*items, *totals]),
        *_swing_lines(report.swings, "USD a package"),
        *_end(report.notes, report.figures),
    ]


def token_lines(report: TokenReport) -> list[str]:
    """Prices of tokens as text."""
    head = ["platform", "chips", "decode step", "tokens/s", "USD/h a chip", "USD/Mtok"]
    rows = [
        [
            f"{row.platform} ({row.basis})",
            str(row.chips),
            _seconds(row.step_s),
            _span(row.tokens_per_s, ""),
            _span(row.usd_per_hour, ""),
            _span(row.usd_per_mtoken, ""),
            _span(row.drawn_usd_per_mtoken, ""),
            row.bound_by,
        ]
        for row in report.rows
    ]
    return [
        report.traffic,
        "mid [low to high]",
        "",
        *_columns([[*head, "p50 [p5 to p95]", "bound by"], *rows]),
        "",
        f"NRE, on top of the built chip: {_span(report.nre_usd_per_mtoken, 'USD/Mtok')}",
        *_swing_lines(report.swings, "USD/Mtok of the built chip"),
        *_end(report.notes, report.figures),
    ]


def _end(notes: Iterable[str], figures: Iterable[str]) -> list[str]:
    listed = [f"  {line}" for line in fact_lines(figures)]
    return ["", "notes", *(f"  {note}" for note in notes), "", "figures (fact show NAME)", *listed]


def _swing_lines(swings: Sequence[Swing], unit: str) -> list[str]:
    rows = [
        [f"  {one.name}", f"{_number(one.at_low_usd)} to {_number(one.at_high_usd)}"]
        for one in swings[:SWINGS]
    ]
    return ["", f"what moves it most: {unit} at the figure's low to its high", *_columns(rows)]


def _span(r: Range, unit: str) -> str:
    return f"{_number(r.mid)} [{_number(r.low)} to {_number(r.high)}] {unit}".rstrip()


def _number(value: float) -> str:
    """Three digits, or all digits before the point: 0.683, 42.1, 4,240."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _percent(r: Range) -> str:
    return f"{r.mid:.1%} [{r.low:.1%} to {r.high:.1%}]"


def _seconds(r: Range) -> str:
    return f"{si(r.mid, 's')} [{si(r.low, 's')} to {si(r.high, 's')}]"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
