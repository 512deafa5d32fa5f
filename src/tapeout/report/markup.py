"""Elements of HTML and SVG: everything that is not an element is text, and is escaped."""

import unicodedata
from xml.etree.ElementTree import Element, tostring

Child = Element | str


def element(tag: str, *children: Child, **attributes: str | float) -> Element:
    """An element; `class_` means class, other underscores in names of attributes are dashes."""
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    made = Element(tag, {name: _value(value) for name, value in names.items()})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + printable(child)
        else:
            made.text = (made.text or "") + printable(child)
    return made


def printable(text: str) -> str:
    """Text in which characters that steer a terminal or a reader's eye show as their numbers."""
    return "".join(_shown(c) for c in text)


def html(root: Element) -> str:
    """A whole HTML document."""
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def svg(root: Element, style: str) -> str:
    """A picture as a file of its own, with its style."""
    alone = element("svg", element("style", style), *root, xmlns="http://www.w3.org/2000/svg")
    alone.attrib |= root.attrib
    return tostring(alone, encoding="unicode") + "\n"


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co"):
        return character
    return f"[U+{ord(character):04X}]"


def _value(value: str | float) -> str:
    return printable(value) if isinstance(value, str) else f"{value:.6g}"
