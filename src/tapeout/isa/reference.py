"""The reference page of the instruction set, made from the code."""

import inspect
import re
from collections.abc import Iterable
from enum import IntEnum

from tapeout.isa import assembly, operands, program
from tapeout.isa import instructions as definitions
from tapeout.isa.encoding import HEADER, HEADER_BITS, WORD_BYTES, fields
from tapeout.isa.fields import COUNTER_MAX, COUNTERS, Queue
from tapeout.isa.instructions import OPERATIONS, RESERVED, Operation
from tapeout.numerics import FORMATS, ScaleMode

HEADER_MEANING = {
    "opcode": "the operation",
    "queue": "the queue that runs it",
    "context": "the command processor's context",
    "wait0_counter": "first counter to wait for",
    "wait0_count": "what it must hold, and what is taken from it; 0: no wait",
    "wait1_counter": "second counter to wait for",
    "wait1_count": "as wait0_count; 0 if wait0_count is 0",
    "signal_counter": "counter to add one to when done",
    "signal_count": "1: signal; 0: do not, and signal_counter is 0",
}


def isa_page() -> str:
    """The whole page, as Markdown."""
    parts = [
        "# Instruction set",
        "This page is made from `src/tapeout/isa`; change it there.",
        _text(definitions.__doc__),
        _word(),
        "## Synchronisation",
        _text(definitions.Instruction.__doc__),
        f"A wait: {_text(definitions.Take.__doc__)}",
        f"A core has {COUNTERS} counters, each of 0..{COUNTER_MAX}.",
        "## Text form",
        _text(assembly.__doc__),
        "## Program file",
        _text(program.__doc__),
        "## Operations",
        _overview(),
        *(_section(cls) for cls in OPERATIONS),
        "## Values of fields",
        *(_enum(kind) for kind in (Queue, *_kinds())),
        _formats(),
        _scale_modes(),
        "## Reserved opcodes",
        _table(
            ("opcode", "kept for"),
            ((_opcodes(opcodes), use) for opcodes, use in RESERVED.items()),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _word() -> str:
    rows: list[tuple[str, ...]] = []
    low = 0
    for name, bits in HEADER.items():
        rows.append((_bits(low, bits), f"`{name}`", HEADER_MEANING[name]))
        low += bits
    rows.append((_bits(low, HEADER_BITS - low), "", "zero"))
    rows.append((_bits(HEADER_BITS, 8 * WORD_BYTES - HEADER_BITS), "", "fields of the operation"))
    return "\n\n".join(
        (
            "## Word",
            f"An instruction has {WORD_BYTES} bytes, little-endian. A field's lowest bit comes"
            " first; bits that no field covers must be zero, and a word that breaks a rule of this"
            " page is refused.",
            _table(("bits", "field", "meaning"), rows),
        )
    )


def _overview() -> str:
    rows = ((f"`{c.opcode:#04x}`", f"`{c.__name__}`", _queue(c), _summary(c)) for c in OPERATIONS)
    return _table(("opcode", "operation", "queue", "what it does"), rows)


def _section(cls: type[Operation]) -> str:
    parts = [
        f"### {cls.__name__}",
        f"Opcode `{cls.opcode:#04x}`, queue {_queue(cls)}.",
        _text(cls.__doc__),
        f"```\n{operands.form(cls)}\n```",
    ]
    rows: list[tuple[str, ...]] = []
    low = HEADER_BITS
    for name, field in fields(cls).items():
        meaning = operands.notations(cls)[name].meaning
        if operands.is_added_register(cls, name):
            meaning = f"register added to `{name.removesuffix('_reg')}`"
        rows.append((_bits(low, field.bits), f"`{name}`", str(field.unit), meaning))
        low += field.bits
    if rows:
        parts.append(_table(("bits", "field", "unit", "meaning"), rows))
    return "\n\n".join(parts)


def _kinds() -> list[type[IntEnum]]:
    """The enumerations that fields hold, each once, in the order of their use."""
    kinds = (field.kind for cls in OPERATIONS for field in fields(cls).values())
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def _enum(kind: type[IntEnum]) -> str:
    comments = dict(re.findall(r"^ +(\w+) = \d+ +# (.+)$", inspect.getsource(kind), re.MULTILINE))
    parts = [f"### {kind.__name__}", _text(kind.__doc__)]
    if comments:
        rows = ((str(int(m)), f"`{m.name}`", f"`{comments[m.name]}`") for m in kind)
        return "\n\n".join((*parts, _table(("value", "name", "result"), rows)))
    rows = ((str(int(m)), f"`{m.name}`") for m in kind)
    return "\n\n".join((*parts, _table(("value", "name"), rows)))


def _formats() -> str:
    rows = (
        (str(f.code), f"`{f.name}`", f.element, f.scale, str(f.group) if f.group else "")
        for f in FORMATS
    )
    columns = ("value", "name", "element", "scale", "elements of a scale")
    return "\n\n".join(("### Number formats", _table(columns, rows)))


def _scale_modes() -> str:
    rows = ((str(int(mode)), f"`{mode.name}`") for mode in ScaleMode)
    text = _text(ScaleMode.__doc__)
    return "\n\n".join(("### Scale rounding", text, _table(("value", "name"), rows)))


def _queue(cls: type[Operation]) -> str:
    return "any" if cls.queue is None else cls.queue.name


def _summary(cls: type[Operation]) -> str:
    return _text(cls.__doc__).partition("\n")[0].replace("|", "\\|")


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def _opcodes(opcodes: range) -> str:
    first, last = f"`{opcodes[0]:#04x}`", f"`{opcodes[-1]:#04x}`"
    return first if first == last else f"{first}..{last}"


def _bits(low: int, count: int) -> str:
    return f"{low}" if count == 1 else f"{low}..{low + count - 1}"


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
