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

    Latency 1 cycle; throughput 1 burst in 2 cycles. An input waits for at most the others' turns.

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
        """A register, and who had the last turn."""
        chosen = Signal(range(max(2, self.count)), name="chosen")
        held = Signal(self.layout, reset_less=True)
        last = Signal.like(chosen, name="last")
        valids = Cat(port.valid for port in self.inputs)
        with m.Switch(last):
            for turn in range(self.count):
                with m.Case(turn):
                    # The one after the last has the first choice.
                    for distance in reversed(range(1, self.count + 1)):
                        with m.If(valids[(turn + distance) % self.count]):
                            m.d.comb += chosen.eq((turn + distance) % self.count)
        free = Signal(name="free")
        m.d.comb += [free.eq(~self.output.valid), self.output.payload.eq(held)]
        offered, fixed = Signal.like(chosen, name="offered"), Signal(name="fixed")
        # A turn is given one cycle before it is taken: ready comes from registers.
        with m.If(free & ~fixed & valids.any()):
            m.d.sync += [fixed.eq(1), offered.eq(chosen)]
        for number, port in enumerate(self.inputs):
            m.d.comb += port.ready.eq(fixed & (offered == number))
        with m.If(fixed):
            bursts = Array(port.payload.as_value() for port in self.inputs)
            m.d.sync += [
                held.burst.eq(bursts[offered]), held.source.eq(offered), last.eq(offered),
                fixed.eq(0), self.output.valid.eq(1),
            ]  # fmt: skip
        with m.Elif(self.output.ready):
            m.d.sync += self.output.valid.eq(0)


class Arbiter(Component):
    """Readers and writers of memory onto one AXI4 master; each has an ID of its own.

    Data of reads come back in any order of IDs. A reader that does not take its data holds up the
    others. The data of writes go out in the order of their addresses. Latency 3 cycles to an
    address, 1 cycle back; throughput 1 beat per cycle each way, 1 address in 2 cycles.

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

    def _address(self, m: Module, channel: str, turns: Any, also: Any = 1) -> None:
        """Drive an address channel from a round robin."""
        out = turns.output
        for name, value in (
            ("valid", out.valid & also), ("addr", out.payload.burst.address),
            ("len", out.payload.burst.beats), ("id", out.payload.source),
        ):  # fmt: skip
            m.d.comb += getattr(self.axi, f"{channel}{name}").eq(value)
        m.d.comb += out.ready.eq(getattr(self.axi, f"{channel}ready") & also)

    def _reads(self, m: Module) -> None:
        axi = self.axi
        ports = [getattr(self, f"read_{name}") for name in self.readers]
        m.submodules.read_turns = turns = RoundRobin(inputs=len(ports))
        for port, end in zip(ports, turns.inputs, strict=True):
            connect(m, flipped(port.request), end)
        self._address(m, "ar", turns)
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
        self._address(m, "aw", turns, also=order.input.ready)
        m.d.comb += [
            order.input.valid.eq(axi.awvalid & axi.awready),
            order.input.payload.eq(axi.awid),
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
