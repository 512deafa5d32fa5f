"""Memories of a netlist as arrays, and tables as `case`."""

from collections.abc import Iterator
from typing import Any

from .netlist import Cell, Signal, part, single_bits, width


class Memory:
    """An array with ports that read, at once or at the clock, and ports that write.

    What an array holds at first is not written down: no macro keeps it. A memory that is never
    written is a table.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.bits, self.size = cell.number("WIDTH"), cell.number("SIZE")
        self.readers, self.writers = cell.number("RD_PORTS"), cell.number("WR_PORTS")
        self.address_bits = cell.number("ABITS")
        for wide in ("RD_WIDE_CONTINUATION", "WR_WIDE_CONTINUATION"):
            if "1" in cell.bits(wide):
                raise ValueError("no Verilog for a memory with ports of several lines")

    def _port(self, name: str, number: int, bits: int) -> Signal:
        return part(self.cell.ports[name], number * bits, bits)

    def _flag(self, name: str, number: int) -> bool:
        return self.cell.bits(name)[number] == "1"

    def _address(self, name: str, number: int) -> Signal:
        needed = max(1, (self.size - 1).bit_length())
        return part(self._port(name, number, self.address_bits), 0, needed)

    def _parts(self, number: int) -> Iterator[tuple[int, int, Signal]]:
        """Low bit, bits and enable of each part of a line that a port writes."""
        enables = single_bits(self._port("WR_EN", number, self.bits))
        low = 0
        for i in range(1, self.bits + 1):
            if i == self.bits or enables[i] != enables[low]:
                yield low, i - low, enables[low]
                low = i

    def _seen(self, reader: int) -> list[int]:
        """The ports whose writes a read in the same cycle sees."""
        mask = self.cell.bits("RD_TRANSPARENCY_MASK")
        return [w for w in range(self.writers) if mask[reader * self.writers + w] == "1"]

    def parts_written(self, writer: int) -> int:
        """Parts of a line that a port writes each by itself."""
        return len(list(self._parts(writer)))

    @property
    def clocked(self) -> bool:
        """Whether all ports read at the clock."""
        return all(self._flag("RD_CLK_ENABLE", reader) for reader in range(self.readers))

    @property
    def new_data(self) -> bool:
        """Whether a port reads what is written in the same cycle."""
        return any(self._seen(reader) for reader in range(self.readers))

    def reads(self) -> Iterator[Signal]:
        """What it depends on."""
        for reader in range(self.readers):
            yield self._address("RD_ADDR", reader)
            if self._flag("RD_CLK_ENABLE", reader):
                yield from (self._port("RD_CLK", reader, 1),) * 2
                yield self._port("RD_EN", reader, 1)
                for writer in self._seen(reader):
                    yield self._address("RD_ADDR", reader)
                    yield from self._write_reads(writer)
        for writer in range(self.writers):
            yield from (self._port("WR_CLK", writer, 1),) * 2
            yield from self._write_reads(writer)

    def _write_reads(self, writer: int) -> Iterator[Signal]:
        for low, bits, enable in self._parts(writer):
            yield self._address("WR_ADDR", writer)
            yield enable
            yield part(self._port("WR_DATA", writer, self.bits), low, bits)

    def lines(self, writer: Any) -> tuple[list[str], list[str]]:
        """Its declaration, and its blocks."""
        if not self.writers:
            blocks = [line for r in range(self.readers) for line in self._table(writer, r)]
            return [], blocks
        name = writer.names.instance(self.cell.name)
        declared = [f"reg [{self.bits - 1}:0] {name} [{self.size - 1}:0];"]
        blocks: list[str] = []
        for number in range(self.writers):
            blocks += self._write(writer, name, number)
        for number in range(self.readers):
            blocks += self._read(writer, name, number)
        return declared, blocks

    def _write(self, writer: Any, name: str, number: int) -> list[str]:
        data = self._port("WR_DATA", number, self.bits)
        address = writer.text_of(self._address("WR_ADDR", number))
        lines = []
        for low, bits, enable in self._parts(number):
            place = "" if bits == self.bits else f"[{low + bits - 1}:{low}]"
            text = writer.text_of(part(data, low, bits))
            lines.append(f"  if ({writer.text_of(enable)}) {name}[{address}]{place} <= {text};")
        clock = writer.text_of(self._port("WR_CLK", number, 1))
        return _block(clock, lines)

    def _read(self, writer: Any, name: str, number: int) -> list[str]:
        address = writer.text_of(self._address("RD_ADDR", number))
        result = self._port("RD_DATA", number, self.bits)
        if not self._flag("RD_CLK_ENABLE", number):
            target = writer.variable(result, f"{name}_data")
            return ["always_comb", f"  {target} = {name}[{address}];"]
        target = writer.variable(result, f"{name}_data")
        lines = [f"{target} <= {name}[{address}];"]
        for other in self._seen(number):
            written = writer.text_of(self._address("WR_ADDR", other))
            data = self._port("WR_DATA", other, self.bits)
            for low, bits, enable in self._parts(other):
                place = "" if bits == self.bits else f"[{low + bits - 1}:{low}]"
                hit = f"{writer.expression(enable).inside()} & ({written} == {address})"
                text = writer.text_of(part(data, low, bits))
                lines.append(f"if ({hit}) {target}{place} <= {text};")
        enable = writer.text_of(self._port("RD_EN", number, 1))
        clock = writer.text_of(self._port("RD_CLK", number, 1))
        if enable == "1'h1":
            return _block(clock, [f"  {line}" for line in lines])
        if len(lines) == 1:
            return _block(clock, [f"  if ({enable}) {lines[0]}"])
        inner = [f"  if ({enable}) begin", *(f"    {line}" for line in lines), "  end"]
        return _block(clock, inner)

    def _table(self, writer: Any, number: int) -> list[str]:
        from .writer import constant_text

        bits = self.cell.bits("INIT")
        address = self._address("RD_ADDR", number)
        name = writer.names.instance(self.cell.name)
        target = writer.variable(self._port("RD_DATA", number, self.bits), name)
        digits = width(address)
        clocked = self._flag("RD_CLK_ENABLE", number)
        sign = "<=" if clocked else "="
        rows = [
            f"    {digits}'h{i:x}: {target} {sign} "
            f"{constant_text(bits[i * self.bits : (i + 1) * self.bits])};"
            for i in range(self.size)
        ]
        rows.append(f"    default: {target} {sign} {self.bits}'hx;")
        body = [f"  case ({writer.text_of(address)})", *rows, "  endcase"]
        if not clocked:
            return ["always_comb", *body]
        enable = writer.text_of(self._port("RD_EN", number, 1))
        clock = writer.text_of(self._port("RD_CLK", number, 1))
        guard = [] if enable == "1'h1" else [f"  if ({enable})"]
        return [f"always_ff @(posedge {clock})", *guard, *body]


def _block(clock: str, lines: list[str]) -> list[str]:
    head = f"always_ff @(posedge {clock})"
    if len(lines) == 1:
        return [head, *lines]
    return [f"{head} begin", *lines, "end"]
