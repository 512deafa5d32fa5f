"""Figures as text."""

from tapeout.facts import fact, fact_lines, fact_text, facts, figures_page


def test_the_page_has_every_figure_with_its_source():
    page = figures_page()
    for name, one in facts().items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert one.source in row
        assert str(one.as_of) in row
        assert row.count(" | ") == 7


def test_one_figure_in_full():
    text = fact_text("reticle_mm2", fact("reticle_mm2"))
    assert text.startswith("reticle_mm2 = 858 [858 to 858] mm2\n  as of 2026-11-01, vendor")
    assert "26 mm x 33 mm" in text


def test_lines_of_some_figures():
    (line,) = fact_lines(["pue"])
    assert line.startswith("pue  1.44 [1.09 to 1.54] 1  (2025-07-01, measured")
