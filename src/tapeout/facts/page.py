"""Figures as text: a line each, one in full, and the page docs/figures.md."""

from collections.abc import Iterable

from tapeout.facts.fact import Fact, facts


def fact_lines(names: Iterable[str] | None = None) -> list[str]:
    """One line for each figure: name, value, range, unit, date, kind, confidence."""
    chosen = facts() if names is None else {name: facts()[name] for name in names}
    width = max((len(name) for name in chosen), default=0)
    return [
        f"{name:<{width}}  {_amount(one)}  ({one.as_of}, {one.kind}, confidence {one.confidence})"
        for name, one in chosen.items()
    ]


def fact_text(name: str, one: Fact) -> str:
    """A figure in full, with its source."""
    return "\n".join([*_title(name, one), f"  source: {one.source}"])


def figures_page() -> str:
    """The page docs/figures.md: every figure with its range, date, kind and source."""
    head = [
        "# Figures from outside",
        "",
        "Every figure that the cost and platform models use. `tapeout fact show NAME` prints one,",
        "`tapeout fact check` warns of old ones. Kind: measured, vendor (stated by who makes or",
        "sells it), estimate (by a named analyst) or assumption (no source; the reason is given).",
        "",
        "| figure | value | low to high | unit | as of | kind | confidence | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [
        f"| `{name}` | {one.value:g} | {one.low:g} to {one.high:g} | {one.unit} | {one.as_of}"
        f" | {one.kind} | {one.confidence} | {one.source.replace('|', '/')} |"
        for name, one in facts().items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def _title(name: str, one: Fact) -> list[str]:
    dated = f"  as of {one.as_of}, {one.kind}, confidence {one.confidence}"
    return [f"{name} = {_amount(one)}", dated]


def _amount(one: Fact) -> str:
    return f"{one.value:g} [{one.low:g} to {one.high:g}] {one.unit}"
