import re
from html.parser import HTMLParser

import pytest

from sample_results import HOSTILE
from tapeout.report import Results, report_page
from tapeout.report.markup import printable

VOID = {"meta"}
MAX_BYTES = 1 << 20


class Page(HTMLParser):
    """Tags with their attributes and the text inside, in order; refuses what is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append((self.open[-1] if self.open else "", data))


@pytest.fixture(scope="module")
def text(results: Results) -> str:
    return report_page(results)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_is_one_whole_document(text: str, page: Page):
    assert page.open == []
    assert [tag for tag, _ in page.tags[:3]] == ["html", "head", "meta"]
    assert len(text.encode()) < MAX_BYTES


def test_loads_nothing_and_runs_nothing(page: Page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "a", "form"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "href", "xlink:href", "action", "style"}
    assert not [name for name in names if name.startswith("on")]
    style = next(data for tag, data in page.cells if tag == "style")
    assert not re.search(r"url\(|@import|expression", style)
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_shown_and_not_obeyed(page: Page):
    shown = [data for tag, data in page.cells if tag in ("span", "h3")]
    assert shown.count(printable(HOSTILE)) == 3  # name, prompt, text
    assert not any("\u202e" in data or "\x1b" in data for _, data in page.cells)


def test_a_held_span_tells_its_verdict(page: Page):
    held = [a for t, a in page.tags if t == "span" and a.get("class") == "held"]
    assert len(held) == 2  # the key, and the span
    assert ("span", "held 17: no-credentials 0.97") in page.cells


def test_every_figure_has_a_source(results: Results, page: Page):
    used = {*results.tokens.figures, *results.die.figures}
    assert used == set(results.figures)
    shown = {data for tag, data in page.cells if tag == "code"}
    assert used <= shown
    sources = [a for t, a in page.tags if t == "td" and a.get("class") == "source"]
    assert len(sources) == len(used)
    texts = {data for tag, data in page.cells if tag == "td"}
    assert all(printable(one.source) in texts for one in results.figures.values())


def test_pictures_have_names(page: Page):
    pictures = [a for t, a in page.tags if t == "svg"]
    assert all(a.get("aria-label") and a.get("role") == "img" for a in pictures)
    assert len(pictures) == 10


def test_every_colour_of_the_pictures_is_in_both_themes(text: str):
    light, dark = text.split("@media (prefers-color-scheme: dark)", 1)
    for name in sorted(set(re.findall(r"var\((--\w+)\)", text))):
        assert f"{name}: #" in light, name
        assert f"{name}: #" in dark.split("}", 1)[0], name


def test_headings_in_order(page: Page):
    headings = [data for tag, data in page.cells if tag == "h2"]
    assert headings == [
        "Text under a critic",
        "The chips",
        "Quality by format",
        "Where time goes",
        "Where bytes go",
        "Where dollars go",
        "Figures and their sources",
    ]
