"""Figures that come from outside: value, range, unit, date, kind, source, confidence.

In:  the tables in facts/*.toml.   Out: `Fact`s by name, warnings about old ones, docs/figures.md.
"""

from tapeout.facts.check import Warnings, check_facts
from tapeout.facts.fact import Fact, Range, fact, facts, read_facts
from tapeout.facts.page import fact_lines, fact_text, figures_page

__all__ = [
    "Fact",
    "Range",
    "Warnings",
    "check_facts",
    "fact",
    "fact_lines",
    "fact_text",
    "facts",
    "figures_page",
    "read_facts",
]
