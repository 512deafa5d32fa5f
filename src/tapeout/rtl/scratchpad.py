"""A banked memory with many ports: L1, and with narrower banks the scale memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, connect, flipped

from .bank_arbiter import BankArbiter
from .component import Component
from .ports import GRANULE_BITS, read_port, write_port
from .sram import Sram
from .windows import BankShape, ReadEnd, WriteEnd

Windows = tuple[tuple[str, int], ...]
"""Ports by name, and the granules of their windows."""


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
            bank = Sram(
                width=self.shape.bank_granules * GRANULE_BITS, depth=max(2, self.shape.rows), part=8
            )
            m.submodules[f"bank{number}"] = bank
            m.d.comb += [
                bank.read_enable.eq(Cat(_uses(end, number) for end in readers).any()),
                bank.read_line.eq(self._line(readers, number)),
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
        return _of_user(ends, bank, [end.held.row + end.held.wraps[bank] for end in ends])

    def _write(self, m: Module, ends: list[Any], bank: Any, number: int) -> None:
        """Write what the granted request has for a bank; nothing beyond the end."""
        width = self.shape.bank_granules
        places = range(number * width, (number + 1) * width)
        words = [Cat(end.data[place % end.granules] for place in places) for end in ends]
        masks = [Cat(end.mask[place] for place in places) for end in ends]
        line = Signal(self.shape.row_bits + 1, name=f"write_line{number}")
        m.d.comb += [
            line.eq(self._line(ends, number)),
            bank.write_enable.eq(
                Cat(_uses(end, number) for end in ends).any() & (line < self.shape.rows)
            ),
            bank.write_line.eq(line),
            bank.write_data.eq(_of_user(ends, number, words)),
            bank.mask.eq(_of_user(ends, number, masks)),
        ]


def _uses(end: Any, bank: int) -> Any:
    """Whether a port is served with this bank."""
    return end.held.granted & end.held.banks[bank]


def _of_user(ends: list[Any], bank: int, values: list[Any]) -> Any:
    """The value that belongs to the port which is served with this bank, if there is one."""
    value = values[-1]
    for end, other in zip(ends[-2::-1], values[-2::-1], strict=True):
        value = Mux(_uses(end, bank), other, value)
    return value
