"""The report: results as one HTML file that loads nothing and runs no script.

In:  `Results`, from a run or from the JSON that `write_results` left.
Out: `report_page`, the file's text; `block_diagram`, the picture of a chip.
"""

from tapeout.report.diagram import block_diagram, diagram_file
from tapeout.report.page import report_page
from tapeout.report.prices import price_items
from tapeout.report.results import (
    Critique,
    FormatQuality,
    Quality,
    Results,
    Span,
    Written,
    read_results,
    write_results,
    write_whole,
)

__all__ = [
    "Critique",
    "FormatQuality",
    "Quality",
    "Results",
    "Span",
    "Written",
    "block_diagram",
    "diagram_file",
    "price_items",
    "read_results",
    "report_page",
    "write_results",
    "write_whole",
]
