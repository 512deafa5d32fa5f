"""The section on what was written: each text with its verdicts."""

from xml.etree.ElementTree import Element

from tapeout.report.markup import element
from tapeout.report.results import Critique, Span, Written


def section(critique: Critique, chip: str) -> list[Element]:
    """Texts of the draft as the critic let them pass."""
    principles = (
        element("li", element("b", name), f": {sentence}")
        for name, sentence in critique.principles.items()
    )
    key = element(
        "p",
        element("span", "prompt", class_="prompt"),
        element("span", "released", class_="clear"),
        element("span", "held", class_="held"),
        class_="key",
    )
    return [
        element("h2", "Text under a critic"),
        element(
            "p",
            f"Model {critique.draft} wrote these texts on chip {chip} in {critique.recipe}; model"
            f" {critique.critic} read each span of tokens before it left. Of a held span nothing is"
            " told but its length, the principle it breaks and its score: its text never left.",
        ),
        element("ul", *principles),
        key,
        element("div", *(_written(one) for one in critique.texts), class_="texts"),
        element(
            "p",
            "Leaked: released without a clear verdict about exactly these tokens, counted from the"
            " log. On lines held later: released with a clear verdict, before the critic had seen"
            " enough of the line.",
            class_="soft",
        ),
    ]


def _written(one: Written) -> Element:
    found = one.audit
    counts = (
        f"{found.drafted_tokens} tokens drafted, {found.released_tokens} released,"
        f" {found.held_tokens} held, {found.leaked_tokens} leaked; {found.exposed_tokens} released"
        f" on lines held later; ended by {one.reason}"
    )
    return element(
        "div",
        element("h3", one.name),
        element("pre", element("span", one.prompt, class_="prompt"), *map(_span, one.spans)),
        element("div", counts, class_="soft"),
        class_="written",
    )


def _span(span: Span) -> Element:
    about = f"{span.principle} {span.score:.2f}"
    if span.text is None:
        attempt = f", attempt {span.attempt + 1}" if span.attempt else ""
        return element("span", f"held {span.tokens}: {about}{attempt}", class_="held")
    return element("span", span.text, class_="clear", title=f"{span.tokens} tokens, {about}")
