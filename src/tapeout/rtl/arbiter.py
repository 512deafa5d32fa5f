"""The core's AXI4 master, shared by all that read and write memory."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi import BUFFERABLE, ERROR_BIT, INCREMENTING, UNPRIVILEGED, axi4
from .component import Component
from .ports import BURST, memory_read, memory_write
from .stream import Fifo, SkidBuffer

WRITES = 8  # bursts whose data may follow later


class RoundRobin(Component):
    """Passes one of several streams of bursts, with its number.

    Latency 2 cycles; throughput 1 burst per cycle. An input waits for at most one turn of each of
    the others.

    Parameters
    ----------
    inputs : int
        Streams; at least 1.

    Members
    -------
    inputs : In(stream of BURST), each
    output : Out(stream of {burst, source})
    """

    def __init__(self, *, inputs: int):
        self.count = inputs
        self.layout = data.StructLayout({"burst": BURST, "source": range(max(2, inputs))})
        ports = {
            "inputs": In(stream.Signature(BURST)).array(inputs),
            "output": Out(stream.Signature(self.layout)),
        }
        super().__init__(ports, name=f"round_robin_{inputs}")

    def build(self, m: Module) -> None:
        """A buffer for each input, so that its ready is a register's; then the choice."""
        heads = []
        for number, port in enumerate(self.inputs):
            m.submodules[f"input{number}"] = buffer = SkidBuffer(BURST)
            connect(m, flipped(port), buffer.input)
            heads.append(buffer.output)
        chosen = Signal(range(max(2, self.count)))
        last = Signal.like(chosen)
        free, found = Signal(), Signal()
        valids = Cat(head.valid for head in heads)
        with m.Switch(last):
            for turn in range(self.count):
                with m.Case(turn):
                    for distance in reversed(range(1, self.count + 1)):  # the next one wins
                        with m.If(valids[(turn + distance) % self.count]):
                            m.d.comb += chosen.eq((turn + distance) % self.count)
        m.d.comb += [free.eq(~self.output.valid | self.output.ready), found.eq(valids.any())]
        for number, head in enumerate(heads):
            m.d.comb += head.ready.eq(free & (chosen == number))
        with m.If(free):
            bursts = Array(head.payload.as_value() for head in heads)
            m.d.sync += [
                self.output.valid.eq(found),
                self.output.payload.burst.eq(bursts[chosen]),
                self.output.payload.source.eq(chosen),
            ]
            with m.If(found):
                m.d.sync += last.eq(chosen)


class Arbiter(Component):
    """Readers and writers of memory onto one AXI4 master; each has an ID of its own.

    Data of reads come back in any order of IDs. A reader that does not take its data holds up the
    others, so each must take what it has asked for without waiting for anything else of memory;
    and so must a writer send the data of what it has announced. The data of writes go out in the
    order of their addresses, whether or not memory has taken the address. Latency 2 cycles to an
    address, 3 to one of a write, 1 for data either way; throughput 1 beat per cycle each way and 1
    address per cycle.

    Parameters
    ----------
    bus_bits : int
        Width of the bus.
    readers, writers : tuple of str
        Names; the place of one is its ID.

    Members
    -------
    axi : Out(axi4)
    read_<name> : In(memory_read); write_<name> : In(memory_write)
    """

    def __init__(self, *, bus_bits: int, readers: tuple[str, ...], writers: tuple[str, ...]):
        self.bus_bits, self.readers, self.writers = bus_bits, readers, writers
        self.id_bits = max(1, (max(len(readers), len(writers)) - 1).bit_length())
        ports = {
            "axi": Out(axi4(bus_bits=bus_bits, id_bits=self.id_bits)),
            **{f"read_{name}": In(memory_read(bus_bits=bus_bits)) for name in readers},
            **{f"write_{name}": In(memory_write(bus_bits=bus_bits)) for name in writers},
        }
        super().__init__(ports, name="_".join([f"arbiter_{bus_bits}", *readers, "w", *writers]))

    def build(self, m: Module) -> None:
        """Constants of the protocol, then both directions."""
        size = (self.bus_bits // 8).bit_length() - 1
        for channel in ("ar", "aw"):
            for name, value in (
                ("size", size), ("burst", INCREMENTING), ("cache", BUFFERABLE),
                ("prot", UNPRIVILEGED),
            ):  # fmt: skip
                m.d.comb += getattr(self.axi, f"{channel}{name}").eq(value)
        self._reads(m)
        self._writes(m)

    def _address(self, m: Module, channel: str, turns: Any) -> None:
        """Drive an address channel from a stream of bursts with their sources."""
        for name, value in (
            ("valid", turns.valid), ("addr", turns.payload.burst.address),
            ("len", turns.payload.burst.beats), ("id", turns.payload.source),
        ):  # fmt: skip
            m.d.comb += getattr(self.axi, f"{channel}{name}").eq(value)
        m.d.comb += turns.ready.eq(getattr(self.axi, f"{channel}ready"))

    def _reads(self, m: Module) -> None:
        axi = self.axi
        ports = [getattr(self, f"read_{name}") for name in self.readers]
        m.submodules.read_turns = turns = RoundRobin(inputs=len(ports))
        for port, end in zip(ports, turns.inputs, strict=True):
            connect(m, flipped(port.request), end)
        self._address(m, "ar", turns.output)
        beat = data.StructLayout({"data": self.bus_bits, "last": 1, "error": 1, "id": self.id_bits})
        m.submodules.beats = beats = SkidBuffer(beat)
        into, out = beats.input, beats.output
        m.d.comb += [
            into.valid.eq(axi.rvalid), axi.rready.eq(into.ready),
            into.payload.data.eq(axi.rdata), into.payload.last.eq(axi.rlast),
            into.payload.error.eq(axi.rresp[ERROR_BIT]), into.payload.id.eq(axi.rid),
        ]  # fmt: skip
        taken: Any = 0
        for number, port in enumerate(ports):
            mine = out.payload.id == number
            taken = taken | (mine & port.data.ready)
            m.d.comb += [
                port.data.valid.eq(out.valid & mine),
                port.data.payload.data.eq(out.payload.data),
                port.data.payload.last.eq(out.payload.last),
                port.data.payload.error.eq(out.payload.error),
            ]
        m.d.comb += out.ready.eq(taken)

    def _writes(self, m: Module) -> None:
        axi = self.axi
        ports = [getattr(self, f"write_{name}") for name in self.writers]
        m.submodules.write_turns = turns = RoundRobin(inputs=len(ports))
        for port, end in zip(ports, turns.inputs, strict=True):
            connect(m, flipped(port.request), end)
        m.submodules.order = order = Fifo(self.id_bits, depth=WRITES)
        m.submodules.addresses = addresses = SkidBuffer(turns.layout)
        self._address(m, "aw", addresses.output)
        turn = turns.output
        m.d.comb += [
            addresses.input.valid.eq(turn.valid & order.input.ready),
            addresses.input.payload.eq(turn.payload),
            order.input.valid.eq(turn.valid & addresses.input.ready),
            order.input.payload.eq(turn.payload.source),
            turn.ready.eq(addresses.input.ready & order.input.ready),
        ]
        self._write_data(m, ports, order.output)
        answer = data.StructLayout({"error": 1, "id": self.id_bits})
        m.submodules.answers = answers = SkidBuffer(answer)
        into, out = answers.input, answers.output
        m.d.comb += [
            into.valid.eq(axi.bvalid), axi.bready.eq(into.ready),
            into.payload.error.eq(axi.bresp[ERROR_BIT]), into.payload.id.eq(axi.bid),
        ]  # fmt: skip
        taken: Any = 0
        for number, port in enumerate(ports):
            mine = out.payload.id == number
            taken = taken | (mine & port.response.ready)
            m.d.comb += [
                port.response.valid.eq(out.valid & mine),
                port.response.payload.error.eq(out.payload.error),
            ]
        m.d.comb += out.ready.eq(taken)

    def _write_data(self, m: Module, ports: list[Any], order: Any) -> None:
        """Beats of the burst whose address went out first."""
        axi = self.axi
        m.submodules.write_beats = beats = SkidBuffer(ports[0].data.payload.shape())
        into, out = beats.input, beats.output
        chosen: Any = ports[-1].data
        valid: Any = Mux(order.payload == len(ports) - 1, ports[-1].data.valid, 0)
        payload: Any = chosen.payload.as_value()
        last: Any = chosen.payload.last
        for number, port in reversed(list(enumerate(ports[:-1]))):
            mine = order.payload == number
            valid = Mux(mine, port.data.valid, valid)
            payload = Mux(mine, port.data.payload.as_value(), payload)
            last = Mux(mine, port.data.payload.last, last)
        m.d.comb += [
            into.valid.eq(order.valid & valid), into.payload.as_value().eq(payload),
            order.ready.eq(into.valid & into.ready & last),
            axi.wvalid.eq(out.valid), out.ready.eq(axi.wready), axi.wdata.eq(out.payload.data),
            axi.wstrb.eq(out.payload.strobe), axi.wlast.eq(out.payload.last),
        ]  # fmt: skip
        for number, port in enumerate(ports):
            m.d.comb += port.data.ready.eq(order.valid & into.ready & (order.payload == number))
