"""Operations of Yosys as Verilog expressions in which every operand has the width that it needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .netlist import Cell, Signal, joined, part, resized, width

INFIX = {
    "$and": "&", "$or": "|", "$xor": "^", "$add": "+", "$sub": "-", "$mul": "*",
    "$eq": "==", "$eqx": "==", "$ne": "!=", "$nex": "!=", "$lt": "<", "$le": "<=", "$gt": ">",
    "$ge": ">=",
}  # fmt: skip
COMPARE = ("$eq", "$eqx", "$ne", "$nex", "$lt", "$le", "$gt", "$ge")
ANY_ORDER = ("&", "|", "^")  # chains of one of these need no brackets
REDUCE = {"$reduce_and": "&", "$reduce_or": "|", "$reduce_xor": "^", "$reduce_bool": "|"}
UNARY = {"$not": "~", "$neg": "-"}
RIGHT = ("$shr", "$sshr", "$shift", "$shiftx")
SHIFTS = ("$shl", "$sshl", *RIGHT)

HINTS = {
    "$and": "both", "$or": "either", "$xor": "differing", "$add": "sum", "$sub": "difference",
    "$mul": "product", "$eq": "equal", "$ne": "unequal", "$lt": "less", "$le": "at_most",
    "$gt": "more", "$ge": "at_least", "$reduce_and": "all", "$reduce_or": "any",
    "$reduce_bool": "any", "$logic_not": "none", "$not": "inverse", "$neg": "negative",
    "$mux": "choice", "$pmux": "choice",
}  # fmt: skip
"""What a result without a name is called."""

PREFIXES = {
    "$logic_not": "no", "$not": "not", "$reduce_or": "any", "$reduce_bool": "any",
    "$reduce_and": "all",
}  # fmt: skip
"""What it is called when it comes from one named wire."""


@dataclass(frozen=True)
class Text:
    """An expression; `operator` says which one is outermost, empty for what needs no brackets."""

    text: str
    operator: str = ""

    def inside(self, operator: str = "") -> str:
        """As an operand of an operator."""
        if not self.operator or (self.operator == operator and operator in ANY_ORDER):
            return self.text
        return f"({self.text})"


@dataclass(frozen=True)
class Operation:
    """A result, what it is made of, and how it is written."""

    kind: str
    result: Signal
    operands: tuple[Signal, ...]
    write: Callable[[list[Text]], Text]
    """From the operands' texts to the result's."""
    values: tuple[tuple[int, ...], ...] = ()
    """Of a selection by a number: those of each choice."""

    def arms(self, texts: list[Text]) -> tuple[str, list[tuple[str, str]]]:
        """Of a selection: the number, if there is one; what stands before each choice, and it."""
        *choices, last = texts
        if self.values:
            subject, *choices = choices
            bits = width(self.operands[0])
            labels = [", ".join(f"{bits}'h{v:x}" for v in group) for group in self.values]
            rows = [(label, each.text) for label, each in zip(labels, choices, strict=True)]
            return subject.text, [*rows, ("default", last.text)]
        half = len(choices) // 2
        rows = []
        for condition, each in zip(choices[:half], choices[half:], strict=True):
            rows.append((f"{'else ' if rows else ''}if ({condition.text})", each.text))
        return "", [*rows, ("else", last.text)]


def operation(cell: Cell) -> Operation:
    """What a combinational cell computes.

    Raises:
        ValueError: if there is no Verilog for it here.
    """
    kind, result = cell.kind, cell.ports["Y"]
    a = cell.ports["A"]
    signed = cell.parameters.get("A_SIGNED", "0") != "0"
    if kind == "$mux":
        operands = (cell.ports["S"], cell.ports["B"], a)
        return Operation(kind, result, operands, _choice)
    if kind in UNARY:
        operands = (resized(a, width(result), signed=signed),)
        return Operation(kind, result, operands, _unary(UNARY[kind]))
    if kind in REDUCE or kind == "$logic_not":
        return _reduction(kind, a, result)
    b = cell.ports.get("B", ())
    if kind in SHIFTS:
        assert cell.parameters["B_SIGNED"] == "0", f"{kind} by a signed number"
        return _shift(kind, a, b, result, signed=signed)
    if kind not in INFIX:
        raise ValueError(f"no Verilog for {kind}")
    signed = signed and cell.parameters["B_SIGNED"] != "0"
    bits = max(width(a), width(b)) if kind in COMPARE else width(result)
    operands = (resized(a, bits, signed=signed), resized(b, bits, signed=signed))
    written = _infix(INFIX[kind], signed=signed and kind in COMPARE)
    return _extended(Operation(kind, result, operands, written), 1 if kind in COMPARE else 0)


def copy(result: Signal, source: Signal) -> Operation:
    """One signal as another."""
    return Operation("", result, (source,), lambda texts: texts[0])


def _extended(operation: Operation, bits: int) -> Operation:
    """An operation whose result has fewer bits than are asked for, if `bits` is given."""
    missing = width(operation.result) - bits
    if not bits or not missing:
        return operation
    plain = operation.write
    return Operation(
        operation.kind,
        operation.result,
        operation.operands,
        lambda texts: Text(f"{{{missing}'h0, {plain(texts).text}}}"),
    )


def _choice(texts: list[Text]) -> Text:
    condition, yes, no = texts
    otherwise = no.text if no.operator == "?" else no.inside()
    return Text(f"{condition.inside()} ? {yes.inside()} : {otherwise}", "?")


def _unary(symbol: str) -> Callable[[list[Text]], Text]:
    return lambda texts: Text(f"{symbol}{texts[0].inside()}", "" if symbol == "~" else symbol)


def _infix(symbol: str, *, signed: bool) -> Callable[[list[Text]], Text]:
    def write(texts: list[Text]) -> Text:
        if signed:
            return Text(f" {symbol} ".join(f"$signed({each.text})" for each in texts), symbol)
        return Text(f" {symbol} ".join(each.inside(symbol) for each in texts), symbol)

    return write


def _reduction(kind: str, a: Signal, result: Signal) -> Operation:
    """One bit from many; bits from different places are written as a chain."""
    if kind == "$logic_not":
        if width(a) == 1:
            return _extended(Operation("$not", result, (a,), _unary("~")), 1)
        zero = f"{width(a)}'h0"
        written = lambda texts: Text(f"{texts[0].inside('==')} == {zero}", "==")  # noqa: E731
        return _extended(Operation(kind, result, (a,), written), 1)
    symbol = REDUCE[kind]
    if all(chunk.width == 1 for chunk in a):
        operands = tuple((chunk,) for chunk in a)
        return _extended(Operation(kind, result, operands, _infix(symbol, signed=False)), 1)
    # Brackets around: `a & &b` reads badly, and `& &b` not at all.
    written = lambda texts: Text(f"{symbol}{texts[0].inside()}", "1")  # noqa: E731
    return _extended(Operation(kind, result, (a,), written), 1)


def _shift(kind: str, a: Signal, b: Signal, result: Signal, *, signed: bool) -> Operation:
    bits = width(result)
    if kind in ("$shl", "$sshl"):
        operands = (resized(a, bits, signed=signed), b)
        return Operation(kind, result, operands, _infix("<<", signed=False))
    whole = max(bits, width(a))
    operands = (resized(a, whole, signed=signed), b)

    def write(texts: list[Text]) -> Text:
        number, count = texts
        if kind == "$sshr" and signed:
            return Text(f"$unsigned($signed({number.text}) >>> {count.inside()})")
        return Text(f"{number.inside()} >> {count.inside()}", ">>")

    return Operation(kind, result, operands, write)


def one_of(cell: Cell) -> Operation | None:
    """A shift that takes one bit of a wire by a number that reaches all bits and no more."""
    a, b, result = (cell.ports[name] for name in "ABY")
    if width(result) != 1 or 1 << width(b) != width(a) or cell.kind == "$sshr":
        return None

    def write(texts: list[Text]) -> Text:
        return Text(f"{texts[0].text}[{texts[1].text}]")

    return Operation("index", result, (a, a, b), lambda texts: write([texts[0], texts[2]]))


def selection(cell: Cell, drivers: dict[str, Cell]) -> Operation:
    """One of many: by a number where every condition compares it with constants.

    `drivers`: the cells of wires that one cell drives as a whole.
    """
    result, conditions = cell.ports["Y"], cell.ports["S"]
    bits, count = width(result), width(conditions)
    choices = tuple(part(cell.ports["B"], i * bits, bits) for i in range(count))
    single = tuple(part(conditions, i, 1) for i in range(count))
    found = [_compared(each[0].wire, drivers) for each in single]
    subject = found[0][0] if found[0] else ()
    values = tuple(tuple(each[1]) for each in found if each and each[0] == subject)
    flat = [value for group in values for value in group]
    if len(values) < count or len(flat) != len(set(flat)):
        operands = (*single, *choices, cell.ports["A"])
        return Operation(cell.kind, result, operands, _no_text)
    operands = (subject, *choices, cell.ports["A"])
    return Operation(cell.kind, result, operands, _no_text, values)


def _no_text(texts: list[Text]) -> Text:
    raise AssertionError(f"a selection among {texts} is a block")


CONDITIONS = ("$eq", "$logic_not", "$or", "$reduce_or")
"""What a `case` may be made of."""

LOW_BITS = ("$and", "$or", "$xor", "$add", "$sub", "$mul", "$not", "$neg", "")
"""Operations of which the low bits depend on the low bits only."""


def narrowed(each: Operation, bits: int) -> Operation | None:
    """The low bits of an operation, where fewer bits are enough for them."""
    result = part(each.result, 0, bits)
    if each.kind in LOW_BITS:
        operands = tuple(part(operand, 0, bits) for operand in each.operands)
    elif each.kind == "$mux":
        condition, yes, no = each.operands
        operands = (condition, part(yes, 0, bits), part(no, 0, bits))
    elif each.kind == "$pmux":
        first = 1 if each.values else len(each.operands) // 2
        cut = (part(operand, 0, bits) for operand in each.operands[first:])
        operands = (*each.operands[:first], *cut)
    else:
        return None
    return replace(each, result=result, operands=operands)


def _compared(wire: str, drivers: dict[str, Cell]) -> tuple[Signal, list[int]] | None:
    """What a condition compares with which constants."""
    cell = drivers.get(wire)
    if cell is None:
        return None
    if cell.kind == "$logic_not" and width(cell.ports["Y"]) == 1:
        return cell.ports["A"], [0]
    if cell.kind == "$eq" and cell.parameters["A_SIGNED"] == "0":
        return _constant_side(cell)
    if cell.kind in ("$reduce_or", "$or"):
        sides = joined(*(cell.ports[name] for name in "AB" if name in cell.ports))
        if any(chunk.width != 1 for chunk in sides):
            return None
        parts = [_compared(chunk.wire, drivers) for chunk in sides]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and all(part[0] == known[0][0] for part in known):
            return known[0][0], [value for _, values in known for value in values]
    return None


def _constant_side(cell: Cell) -> tuple[Signal, list[int]] | None:
    a, b = cell.ports["A"], cell.ports["B"]
    if len(a) == 1 and not a[0].wire:
        a, b = b, a
    if len(b) != 1 or b[0].wire or set(b[0].bits) - {"0", "1"} or any(not c.wire for c in a):
        return None
    value = int(b[0].bits[::-1], 2)
    return (a, [value]) if value < 1 << width(a) else None
