"""Registers of a netlist as `always_ff` blocks, one for all that have the same enable and reset."""

from collections.abc import Iterator
from typing import Any

from .layout import constant_text, wrapped
from .netlist import Cell, Signal

KINDS = ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce")


class Register:
    """A register with a clock, perhaps an enable, perhaps a synchronous reset."""

    def __init__(self, cell: Cell) -> None:
        if cell.kind not in KINDS or not cell.number("CLK_POLARITY"):
            raise ValueError(f"no Verilog for {cell.kind}")
        self.q, self.data, self.clock = cell.ports["Q"], cell.ports["D"], cell.ports["CLK"]
        self.enable, self.reset = cell.ports.get("EN"), cell.ports.get("SRST")
        self.enable_level = cell.number("EN_POLARITY") if self.enable else 1
        self.reset_level = cell.number("SRST_POLARITY") if self.reset else 1
        self.value = cell.parameters.get("SRST_VALUE", "0")
        self.value_bits = cell.bits("SRST_VALUE") if self.reset else ""
        self.enable_first = cell.kind == "$sdffce"

    def reads(self) -> Iterator[Signal]:
        """What it depends on."""
        for signal in (self.data, self.enable, self.reset):
            if signal is not None:
                yield signal
        yield from (self.clock, self.clock)  # twice: an edge needs a name

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for registers that belong into one block."""
        levels = (self.enable_level, self.reset_level, self.enable_first)
        return (self.clock, self.enable, self.reset, levels)


def register_blocks(registers: list[Register], writer: Any) -> list[str]:
    """The blocks of a module's registers."""
    groups: dict[tuple[Any, ...], list[Register]] = {}
    for register in registers:
        groups.setdefault(register.key, []).append(register)
    return [line for group in groups.values() for line in _block(group, writer)]


def _block(group: list[Register], writer: Any) -> list[str]:
    first = group[0]
    targets = [writer.variable(register.q, "held") for register in group]
    loads = [f"{t} <= {writer.text_of(r.data)};" for t, r in zip(targets, group, strict=True)]
    lines = [f"always_ff @(posedge {writer.text_of(first.clock)})"]
    enable = _condition(first.enable, first.enable_level, writer)
    reset = _condition(first.reset, first.reset_level, writer)
    if not reset:
        return lines + _guarded(f"if ({enable})" if enable else "", loads, "  ")
    clears = [f"{t} <= {constant_text(r.value_bits)};" for t, r in zip(targets, group, strict=True)]
    if first.enable_first:
        return [
            *lines, f"  if ({enable}) begin", *_guarded(f"if ({reset})", clears, "    "),
            *_guarded("else", loads, "    "), "  end",
        ]  # fmt: skip
    otherwise = f"else if ({enable})" if enable else "else"
    cleared = _guarded(f"if ({reset})", clears, "  ")
    loaded = _guarded(otherwise, loads, "  ")
    if cleared[-1] == "  end":
        loaded[0] = f"{cleared.pop()} {loaded[0].strip()}"
    return [*lines, *cleared, *loaded]


def _condition(signal: Signal | None, level: int, writer: Any) -> str:
    if signal is None:
        return ""
    text = writer.expression(signal)
    return text.text if level else f"~{text.inside()}"


def _guarded(head: str, statements: list[str], indent: str) -> list[str]:
    """Statements under a condition."""
    head = f"{head} " if head else ""
    if len(statements) == 1:
        return wrapped(head + statements[0], indent)
    inner = [line for each in statements for line in wrapped(each, indent + "  ")]
    return [f"{indent}{head}begin", *inner, f"{indent}end"]
