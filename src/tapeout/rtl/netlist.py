"""Yosys' netlists as data: modules of wires and cells, read from RTLIL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

TOKEN = re.compile(r'\{|\}|\[\d+(?::\d+)?\]|"(?:[^"\\]|\\.)*"|\S+')
INTEGER_BITS = 32  # of a constant that is written as a plain number


class Chunk(NamedTuple):
    """Neighbouring bits of a wire; or a constant, of `bits`, lowest first."""

    wire: str
    low: int
    width: int
    bits: str = ""


Signal = tuple[Chunk, ...]
"""Lowest bits first."""


class Wire(NamedTuple):
    """A net of a module; `direction` is input, output or nothing."""

    name: str
    width: int
    direction: str
    port: int


@dataclass
class Cell:
    """An operation, register, memory or instance."""

    kind: str
    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Signal] = field(default_factory=dict)

    def number(self, parameter: str) -> int:
        """A parameter as a number."""
        text = self.parameters[parameter]
        return int(text.split("'")[1], 2) if "'" in text else int(text)

    def bits(self, parameter: str) -> str:
        """A parameter as bits, lowest first."""
        return constant(self.parameters[parameter]).bits


@dataclass
class Netlist:
    """One module."""

    name: str
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    joins: list[tuple[Signal, Signal]] = field(default_factory=list)
    """Signals and what they are equal to."""
    blackbox: bool = False


def constant(text: str) -> Chunk:
    """The constant that RTLIL writes so."""
    if "'" not in text:
        number = int(text) & ((1 << INTEGER_BITS) - 1)
        bits = f"{number:0{INTEGER_BITS}b}"
    else:
        width, bits = text.split("'")
        bits = bits * int(width) if bits == "x" else bits
    return Chunk("", 0, len(bits), bits[::-1])


def read_rtlil(text: str) -> dict[str, Netlist]:
    """The modules of a text; only what remains after `proc` and `memory_collect`."""
    modules: dict[str, Netlist] = {}
    module, cell, blackbox = Netlist(""), None, False
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "attribute":
            blackbox |= rest.startswith("\\blackbox")
        elif word == "module":
            module = modules[rest[1:]] = Netlist(rest[1:], blackbox=blackbox)
            blackbox = False
        elif word == "wire":
            _add_wire(module, rest)
        elif word == "cell":
            cell = Cell(*rest.split(" "))
            module.cells.append(cell)
        elif word == "parameter":
            assert cell is not None
            name, value = rest.removeprefix("signed ").split(" ", 1)
            cell.parameters[name[1:]] = value
        elif word == "connect" and cell is not None:
            name, value = rest.split(" ", 1)
            cell.ports[name[1:]] = _signal(value, module)
        elif word == "connect":
            module.joins.append(_join(rest, module))
        elif word == "end":
            cell = None
    return modules


def _add_wire(module: Netlist, text: str) -> None:
    words = text.split(" ")
    width, direction, port = 1, "", 0
    for before, word in pairwise(words):
        if before == "width":
            width = int(word)
        elif before in ("input", "output"):
            direction, port = before, int(word)
    module.wires[words[-1]] = Wire(words[-1], width, direction, port)


def _join(text: str, module: Netlist) -> tuple[Signal, Signal]:
    tokens = iter(TOKEN.findall(text))
    parts = list(_signals(tokens, module))
    return _merged(parts[0]), _merged(tuple(_all(parts[1:])))


def _signal(text: str, module: Netlist) -> Signal:
    parts = _signals(iter(TOKEN.findall(text)), module)
    return _merged(tuple(_all(list(parts))))


def _all(parts: list[Signal]) -> Iterator[Chunk]:
    for part in parts:
        yield from part


def _signals(tokens: Iterator[str], module: Netlist) -> Iterator[Signal]:
    """The signals until the end or a closing brace."""
    last: Signal | None = None
    for token in tokens:
        if token.startswith("["):
            assert last is not None
            high, _, low = token[1:-1].partition(":")
            start = int(low or high)
            (chunk,) = last
            last = (Chunk(chunk.wire, start, int(high) - start + 1),)
            continue
        if last is not None:
            yield last
        if token == "}":
            return
        if token == "{":
            inner = list(_signals(tokens, module))
            last = tuple(_all(inner[::-1]))
        elif token[0] in "\\$":
            last = (Chunk(token, 0, module.wires[token].width),)
        else:
            last = (constant(token),)
    if last is not None:
        yield last


def _merged(signal: Signal) -> Signal:
    """The same with neighbours in one chunk."""
    out: list[Chunk] = []
    for chunk in signal:
        before = out[-1] if out else None
        if not chunk.width:
            continue
        if before and chunk.wire == before.wire and not chunk.wire:
            bits = before.bits + chunk.bits
            out[-1] = Chunk("", 0, len(bits), bits)
        elif before and chunk.wire == before.wire and before.low + before.width == chunk.low:
            out[-1] = Chunk(chunk.wire, before.low, before.width + chunk.width)
        else:
            out.append(chunk)
    return tuple(out)


def width(signal: Signal) -> int:
    """Bits of a signal."""
    return sum(chunk.width for chunk in signal)


def part(signal: Signal, low: int, count: int) -> Signal:
    """`count` bits of a signal, from `low` on."""
    out: list[Chunk] = []
    at = 0
    for chunk in signal:
        first, last = max(low - at, 0), min(low + count - at, chunk.width)
        if first < last:
            bits = chunk.bits[first:last]
            out.append(
                Chunk(chunk.wire, chunk.low + first if chunk.wire else 0, last - first, bits)
            )
        at += chunk.width
    return tuple(out)


def single_bits(signal: Signal) -> list[Signal]:
    """Each bit of a signal, lowest first."""
    return [
        (Chunk(chunk.wire, chunk.low + i if chunk.wire else 0, 1, chunk.bits[i : i + 1]),)
        for chunk in signal
        for i in range(chunk.width)
    ]


def resized(signal: Signal, count: int, *, signed: bool) -> Signal:
    """A number with other bits: cut, or extended by zeros or by its sign."""
    missing = count - width(signal)
    if missing <= 0:
        return part(signal, 0, count)
    if not signed:
        return _merged((*signal, Chunk("", 0, missing, "0" * missing)))
    top = part(signal, width(signal) - 1, 1)[0]
    return _joined_constants((*signal, *[top] * missing))


def joined(*signals: Signal) -> Signal:
    """Signals one after the other, lowest first."""
    return _merged(tuple(chunk for signal in signals for chunk in signal))


def _joined_constants(signal: Signal) -> Signal:
    """As `_merged`, but copies of a bit stay apart."""
    out: list[Chunk] = []
    for chunk in signal:
        if out and not chunk.wire and not out[-1].wire:
            bits = out[-1].bits + chunk.bits
            out[-1] = Chunk("", 0, len(bits), bits)
        else:
            out.append(chunk)
    return tuple(out)


def constant_bits(signal: Signal) -> str | None:
    """The bits of a constant signal, lowest first; None for others."""
    if any(chunk.wire for chunk in signal):
        return None
    return "".join(chunk.bits for chunk in signal)
