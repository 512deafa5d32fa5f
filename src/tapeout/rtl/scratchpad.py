"""A banked memory with many ports: L1, and with narrower banks the scale memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out, connect, flipped

from .bank_arbiter import BankArbiter
from .component import Component
from .ports import GRANULE_BITS, read_port, write_port
from .windows import BankShape, ReadEnd, WriteEnd

Windows = tuple[tuple[str, int], ...]
"""Ports by name, and the granules of their windows."""


class Bank(Component):
    """A memory with one port that reads and one that writes, by bytes.

    Latency 1 cycle. A line that is read and written in the same cycle is read as it was.

    Parameters
    ----------
    granules : int
        Width of a line.
    lines : int

    Members
    -------
    read : In({enable, line}); data : Out(granules)
    write : In({enable, line, data, mask}); mask : a bit for each byte
    """

    def __init__(self, *, granules: int, lines: int):
        self.granules, self.depth = granules, max(2, lines)
        line = range(self.depth)
        width = granules * GRANULE_BITS
        super().__init__(
            {
                "read": In(data.StructLayout({"enable": 1, "line": line})),
                "data": Out(width),
                "write": In(data.StructLayout({"line": line, "data": width, "mask": width // 8})),
            },
            name=f"bank_{granules}x{self.depth}",
        )

    def build(self, m: Module) -> None:
        """The memory itself."""
        store = memory.Memory(shape=len(self.data), depth=self.depth, init=[])
        m.submodules.store = store
        read, write = store.read_port(), store.write_port(granularity=8)
        m.d.comb += [
            read.en.eq(self.read.enable),
            read.addr.eq(self.read.line),
            self.data.eq(read.data),
            write.en.eq(self.write.mask),
            write.addr.eq(self.write.line),
            write.data.eq(self.write.data),
        ]


class Scratchpad(Component):
    """The memory of a core that units read and write by windows of granules.

    A window starts at any granule; its lines lie in neighbouring banks. A request passes into its
    port's register, and is served when nobody older waits for one of its banks. Effects are
    as if every request were done when it passes, of those that pass in the same cycle the reads
    first. Granules beyond the end read as anything, and what is written there is lost.

    Latency of a read 3 cycles, more when others want the same bank; throughput of a port 1 window
    per cycle. A port stalls while its last request waits for banks; `ready` follows the requests
    that wait, never what is offered.

    Parameters
    ----------
    banks, bank_granules : int
        Powers of two; granule a lies in bank a // bank_granules % banks.
    granules : int
        Of the whole memory: a multiple of banks * bank_granules.
    reads, writes : tuple of (name, granules)
        Ports and their windows: powers of two, which wherever they lie touch no bank twice.

    Members
    -------
    read_<name> : In(read_port)
    write_<name> : In(write_port)
    """

    def __init__(
        self, *, banks: int, bank_granules: int, granules: int, reads: Windows, writes: Windows
    ):
        self.shape = BankShape(banks=banks, bank_granules=bank_granules, granules=granules)
        self.reads, self.writes = reads, writes
        for name, window in (*reads, *writes):
            self.shape.check_window(name, window)
        bits = self.shape.address_bits
        super().__init__(
            {
                **{f"read_{n}": In(read_port(granules=w, address_bits=bits)) for n, w in reads},
                **{f"write_{n}": In(write_port(granules=w, address_bits=bits)) for n, w in writes},
            },
            name="_".join(
                [
                    f"scratchpad_{self.shape.name}",
                    *(f"r_{name}{window}" for name, window in reads),
                    *(f"w_{name}{window}" for name, window in writes),
                ]
            ),
        )

    def build(self, m: Module) -> None:
        """Ends of the ports, the arbiter between them, and the banks."""
        arbiter = BankArbiter(
            banks=self.shape.banks, reads=len(self.reads), writes=len(self.writes)
        )
        m.submodules.arbiter = arbiter
        readers = self._ends(m, "read", ReadEnd, self.reads, arbiter.reads)
        writers = self._ends(m, "write", WriteEnd, self.writes, arbiter.writes)
        lines = []
        for number in range(self.shape.banks):
            bank = Bank(granules=self.shape.bank_granules, lines=self.shape.rows)
            m.submodules[f"bank{number}"] = bank
            m.d.comb += [
                bank.read.enable.eq(
                    Cat(end.held.granted & end.held.banks[number] for end in readers).any()
                ),
                bank.read.line.eq(self._line(readers, number)),
            ]
            self._write(m, writers, bank, number)
            lines.append(bank.data)
        for end in readers:
            m.d.comb += end.lines.eq(Cat(lines))

    def _ends(
        self, m: Module, kind: str, end_of: Any, windows: Windows, requests: Any
    ) -> list[Any]:
        ends = []
        for i, (name, window) in enumerate(windows):
            end = end_of(self.shape, granules=window)
            m.submodules[f"{kind}_end_{name}"] = end
            connect(m, flipped(getattr(self, f"{kind}_{name}")), end.port)
            m.d.comb += [
                requests[i].waits.eq(end.held.waits),
                requests[i].enters.eq(end.held.enters),
                requests[i].banks.eq(end.held.banks),
                end.held.granted.eq(requests[i].granted),
            ]
            ends.append(end)
        return ends

    def _line(self, ends: list[Any], bank: int) -> Any:
        """The line that the granted request needs of a bank."""
        line: Any = self._line_of(ends[-1], bank)
        for end in reversed(ends[:-1]):
            line = Mux(end.held.granted & end.held.banks[bank], self._line_of(end, bank), line)
        return line

    def _line_of(self, end: Any, bank: int) -> Any:
        return end.held.row + end.held.wraps[bank]

    def _write(self, m: Module, ends: list[Any], bank: Any, number: int) -> None:
        """Write what the granted request has for a bank; nothing beyond the end."""
        width = self.shape.bank_granules
        words, masks = [], []
        for place in range(number * width, (number + 1) * width):
            word: Any = None
            mask: Any = 0
            for end in reversed(ends):
                here = end.held.granted & end.touched[place]
                other = place % end.granules
                word = end.data[other] if word is None else Mux(here, end.data[other], word)
                mask = Mux(here, end.mask[other], mask)
            words.append(word)
            masks.append(mask)
        line = Signal(self.shape.row_bits + 1, name=f"write_line{number}")
        inside = Signal(name=f"inside{number}")
        m.d.comb += [
            line.eq(self._line(ends, number)),
            inside.eq(line < self.shape.rows),
            bank.write.line.eq(line),
            bank.write.data.eq(Cat(words)),
            bank.write.mask.eq(Cat(Mux(inside, mask, 0) for mask in masks)),
        ]
