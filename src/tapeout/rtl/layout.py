"""Small pieces of Verilog text."""

import textwrap

LINE = 98  # characters, inside a module


def constant_text(bits: str) -> str:
    """A constant; its bits come lowest first."""
    if set(bits) <= {"0", "1"}:
        return f"{len(bits)}'h{int(bits[::-1], 2):x}"
    return f"{len(bits)}'hx" if set(bits) == {"x"} else f"{len(bits)}'b{bits[::-1]}"


def declaration(kind: str, bits: int, name: str) -> str:
    """The declaration of a vector, or of a single bit."""
    return f"{kind} {name};" if bits == 1 else f"{kind} [{bits - 1}:0] {name};"


def wrapped(text: str, indent: str = "") -> list[str]:
    """A statement on as many lines as it needs."""
    if len(text) + len(indent) <= LINE:
        return [indent + text]
    return textwrap.wrap(
        text, LINE, initial_indent=indent, subsequent_indent=indent + "    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
