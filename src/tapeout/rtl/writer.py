"""Netlists to readable Verilog: plain names, short expressions, `case`, registers by their enable.

Every operand has the width of its place, and bits that nobody reads are listed in `unused`, so
that the strictest lint has nothing to say.
"""

from .clocked import register_blocks
from .expressions import (
    HINTS,
    PREFIXES,
    Operation,
    Text,
)
from .graph import Graph, gaps
from .layout import constant_text, declaration, wrapped
from .names import Names, escaped
from .netlist import Cell, Chunk, Netlist, Signal, constant_bits, width

INLINE = 80  # characters of an expression that may stand inside another
IDLE = ("clk", "rst")  # ports that a module without registers does not need


def to_text(
    netlists: dict[str, Netlist], top: str, headers: dict[str, str], cells: dict[str, str]
) -> dict[str, str]:
    """The text of each module, `top` last; `headers` are comments, `cells` what is written."""
    without_idle_ports(netlists, top)
    texts: dict[str, str] = {}
    for name in _leaves_first(netlists, top):
        text = cells[name] if name in cells else Writer(netlists, name).text()
        texts[name] = _comment(headers.get(name, "")) + text
    return texts


def without_idle_ports(netlists: dict[str, Netlist], top: str) -> None:
    """Take away the clock and the reset of modules that use neither, and of their instances."""
    for name in _leaves_first(netlists, top):
        module = netlists[name]
        for cell in module.cells:
            child = netlists.get(cell.kind[1:])
            if child is not None:
                for port in IDLE:
                    if f"\\{port}" not in child.wires:
                        cell.ports.pop(port, None)
        if module.blackbox or name == top:
            continue
        read = {c.wire for cell in module.cells for each in cell.ports.values() for c in each}
        read |= {c.wire for _, source in module.joins for c in source}
        for port in IDLE:
            if f"\\{port}" not in read:
                module.wires.pop(f"\\{port}", None)


def _leaves_first(netlists: dict[str, Netlist], top: str) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order:
            return
        for cell in netlists[name].cells:
            if cell.kind[1:] in netlists and cell.kind[0] == "\\":
                visit(cell.kind[1:])
        order[name] = None

    visit(top)
    return list(order)


def _comment(text: str) -> str:
    return "".join(f"// {line}".rstrip() + "\n" for line in text.splitlines())


class Writer:
    """Writes one module."""

    def __init__(self, netlists: dict[str, Netlist], name: str) -> None:
        self.graph = graph = Graph(netlists, name)
        self.wires, self.operations = graph.wires, graph.operations
        self.names = Names(self.wires, graph.bits_read)
        for register in self.graph.registers:
            self.names.hint(register.data, register.q, "_next")
        for each in self.operations:
            if self.graph.whole(each.result):
                self.names.call(each.result[0].wire, self._hint(each))
        self.procedural: set[str] = set()
        self.lines: dict[str, list[str]] = {k: [] for k in ("memories", "wires", "blocks")}
        self._texts: dict[str, Text] = {}
        self._written: set[int] = set()

    # ---- expressions -------------------------------------------------------------------------

    def expression(self, signal: Signal) -> Text:
        """How a signal is written where it is read."""
        if len(signal) == 1:
            return self._chunk(signal[0])
        parts: list[tuple[str, int]] = []
        for chunk in reversed(signal):
            text = self._chunk(chunk).text
            if parts and chunk.width == 1 and parts[-1][0] == text:
                parts[-1] = (text, parts[-1][1] + 1)
            else:
                parts.append((text, 1))
        texts = [text if count == 1 else f"{{{count}{{{text}}}}}" for text, count in parts]
        return Text(f"{{{', '.join(texts)}}}" if len(texts) > 1 else texts[0])

    def text_of(self, signal: Signal) -> str:
        """The same, where brackets are not needed."""
        return self.expression(signal).text

    def _chunk(self, chunk: Chunk) -> Text:
        if not chunk.wire:
            return Text(constant_text(chunk.bits))
        if chunk.width < self.wires[chunk.wire].width:
            high = chunk.low + chunk.width - 1
            bits = str(high) if chunk.width == 1 else f"{high}:{chunk.low}"
            return Text(f"{self.names[chunk.wire]}[{bits}]")
        if self._may_inline(chunk.wire) and chunk.wire in self._producers:
            self._write(self._producers[chunk.wire])
        return self._texts.get(chunk.wire) or Text(self.names[chunk.wire])

    def _may_inline(self, wire: str) -> bool:
        return wire[0] == "$" and self.graph.reads[wire] == 1 and not self.graph.parts_read[wire]

    def _write(self, each: Operation) -> None:
        """Keep the text of an operation for where it is read, or write it down under a name."""
        if id(each) in self._written:
            return
        self._written.add(id(each))
        if each.kind == "$pmux":
            self._write_selection(each)
            return
        text = each.write([self.expression(operand) for operand in each.operands])
        short = len(text.text) <= INLINE
        if short and self.graph.whole(each.result) and self._may_inline(each.result[0].wire):
            self._texts[each.result[0].wire] = text
            return
        self.lines["wires"] += wrapped(f"assign {self._target(each.result)} = {text.text};")

    def _hint(self, each: Operation) -> str:
        """What a result without a name may be called."""
        named = [o[0].wire[1:] for o in each.operands if len(o) == 1 and o[0].wire[:1] == "\\"]
        value = constant_bits(each.operands[-1]) or ""
        if each.kind == "$eq" and len(named) == 1 and set(value) <= {"0", "1"} and value:
            return f"{named[0]}_is_{int(value[::-1], 2)}"
        if len(named) == len(each.operands) == 1 and each.kind in PREFIXES:
            return f"{PREFIXES[each.kind]}_{named[0]}"
        return HINTS.get(each.kind, "value")

    def _write_selection(self, each: Operation) -> None:
        target = self.variable(each.result, "choice")
        head, arms = each.arms([self.expression(operand) for operand in each.operands])
        lines = ["always_comb"]
        if head:
            lines.append(f"  case ({head})")
            for label, text in arms:
                lines += wrapped(f"{label}: {target} = {text};", "    ")
            lines.append("  endcase")
        else:
            for label, text in arms:
                lines += wrapped(f"{label} {target} = {text};", "  ")
        self.lines["blocks"] += lines

    # ---- where results go --------------------------------------------------------------------

    def _target(self, signal: Signal) -> str:
        """A signal on the left side."""
        texts = [
            self.names[chunk.wire]
            if chunk.width == self.wires[chunk.wire].width
            else self._chunk(chunk).text
            for chunk in reversed(signal)
        ]
        return texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}"

    def variable(self, signal: Signal, hint: str) -> str:
        """What a block writes a signal to: the wire itself, or a variable that drives its parts."""
        if self.graph.whole(signal):
            self.procedural.add(signal[0].wire)
            return self.names[signal[0].wire]
        named = [chunk.wire[1:] for chunk in signal if chunk.wire[0] == "\\"]
        name = self.names.fresh(f"{named[0]}_{hint}" if named else hint)
        self.lines["memories"].append(declaration("reg", width(signal), name))
        self.lines["wires"] += wrapped(f"assign {self._target(signal)} = {name};")
        return name

    # ---- the text ----------------------------------------------------------------------------

    def text(self) -> str:
        """The whole module."""
        self._producers = {
            each.result[0].wire: each for each in self.operations if self.graph.whole(each.result)
        }
        for each in self.operations:
            self._write(each)
        for memory in self.graph.memories:
            declared, blocks = memory.lines(self)
            self.lines["memories"] += declared
            self.lines["blocks"] += blocks
        self.lines["blocks"] += register_blocks(self.graph.registers, self)
        instances = [line for cell in self.graph.instances for line in self._instance(cell)]
        body = [
            *self._declarations(), *self.lines["memories"], *self._unused(), "",
            *self.lines["wires"], *self.lines["blocks"], *instances,
        ]  # fmt: skip
        inner = "\n".join(f"  {line}".rstrip() for line in body)
        return f"module {self.graph.module.name} (\n{self._ports()}\n);\n{inner}\nendmodule\n"

    def _ports(self) -> str:
        ports = sorted(
            (wire for wire in self.wires.values() if wire.direction),
            key=lambda wire: (wire.name not in ("\\clk", "\\rst"), wire.port),
        )
        rows = []
        for wire in ports:
            kind = f"{wire.direction} reg" if wire.name in self.procedural else wire.direction
            rows.append(f"  {declaration(kind, wire.width, escaped(wire.name[1:]))[:-1]}")
        return ",\n".join(rows)

    def _declarations(self) -> list[str]:
        wires = sorted(self.names.used, key=lambda name: name[0] == "$")
        return [
            declaration(
                "reg" if name in self.procedural else "wire",
                self.wires[name].width,
                self.names[name],
            )
            for name in wires
            if not self.wires[name].direction
        ]

    def _unused(self) -> list[str]:
        """Bits that nobody reads, all in one place."""
        left: list[Signal] = []
        ports = [wire.name for wire in self.wires.values() if wire.direction == "input"]
        for name in (*ports, *(n for n in self.names.used if not self.wires[n].direction)):
            wire, read = self.wires[name], self.graph.bits_read[name]
            if not read and not wire.direction:
                continue  # its name says so
            left += [(chunk,) for chunk in gaps(name, wire.width, read)]
        if not left:
            return []
        texts = ", ".join(self._chunk(signal[0]).text for signal in left)
        return wrapped(f"wire {self.names.fresh('unused')} = &{{1'b0, {texts}}};")

    def _instance(self, cell: Cell) -> list[str]:
        rows = []
        for port, signal in cell.ports.items():
            output = self.graph.direction(cell, port) == "output"
            text = self._target(signal) if output else self.text_of(signal)
            rows += wrapped(f".{escaped(port)}({text}),", "  ")
        if rows:
            rows[-1] = rows[-1].removesuffix(",")
        return [f"{cell.kind[1:]} {self.names.instance(cell.name)} (", *rows, ");"]
