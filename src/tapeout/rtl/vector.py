"""The vector unit: engines that take turns at its ports."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import Out, connect, flipped

from tapeout.isa import Dequantise, Quantise, Sample, Softmax

from .command import COMMAND
from .component import Component
from .dequantiser import Dequantiser
from .gate import gated
from .ports import memory_read, memory_write, read_port, unit_ports, write_port
from .quantiser import Quantiser
from .sampler import Sampler
from .vector_engine import ElementEngine
from .vector_scales import SCALE_WINDOW

ENGINES = ("elements", "quantiser", "dequantiser", "sampler")


class VectorUnit(Component):
    """Executes the instructions of the VU, one after the other.

    A command goes to the engine that has its operation; a Softmax also to the quantiser, which
    takes the probabilities. The clock of an engine runs while it has something to do. Latency of
    an engine and 3 cycles.

    Parameters
    ----------
    lanes : int
        FP32 numbers of a chunk: a power of two, 4..512.
    l1_granules, scale_granules : int
        Sizes of L1 and of the scale memory.
    accumulators : int
        FP32 numbers in one half of the accumulators.
    bus_bits : int
        Width of the bus.

    Members
    -------
    commands, done, trap, busy : `unit_ports`
    read_a, read_b : Out(read_port), L1; read_acc : Out(read_port), the accumulators
    write : Out(write_port), L1
    read_scale : Out(read_port of SCALE_WINDOW granules), the scale memory
    write_scale : Out(write_port of a granule), likewise
    memory : Out(memory_read); results : Out(memory_write)
    """

    def __init__(
        self,
        *,
        lanes: int,
        l1_granules: int,
        scale_granules: int,
        accumulators: int,
        bus_bits: int,
    ):
        sizes = {"lanes": lanes, "l1_granules": l1_granules, "scale_granules": scale_granules}
        self.elements = ElementEngine(**sizes, accumulators=accumulators)
        addresses = {
            "address_bits": (l1_granules - 1).bit_length(),
            "scale_address_bits": (scale_granules - 1).bit_length(),
        }
        self.quantiser = Quantiser(lanes=lanes, **addresses)
        self.dequantiser = Dequantiser(lanes=lanes, **addresses)
        self.sampler = Sampler(bus_bits=bus_bits)
        window = {"granules": lanes // 4}
        l1 = {**window, "address_bits": (l1_granules - 1).bit_length()}
        acc = {**window, "address_bits": (accumulators // 2 - 1).bit_length()}
        scale_bits = (scale_granules - 1).bit_length()
        super().__init__(
            {
                **unit_ports(COMMAND),
                "read_a": Out(read_port(**l1)),
                "read_b": Out(read_port(**l1)),
                "read_acc": Out(read_port(**acc)),
                "read_scale": Out(read_port(granules=SCALE_WINDOW, address_bits=scale_bits)),
                "write": Out(write_port(**l1)),
                "write_scale": Out(write_port(granules=1, address_bits=scale_bits)),
                "memory": Out(memory_read(bus_bits=bus_bits)),
                "results": Out(memory_write(bus_bits=bus_bits)),
            },
            name=f"vector_{lanes}_{l1_granules}_{scale_granules}_{accumulators}_{bus_bits}",
        )

    def build(self, m: Module) -> None:
        """One command in a register; its engines' streams on the ports."""
        command = Signal(COMMAND, reset_less=True)
        self._working = {name: Signal(name=f"{name}_works") for name in ENGINES}
        self._offered = {name: Signal(name=f"{name}_offered") for name in ENGINES}
        working = list(self._working.values())
        any_works = Signal()
        m.d.comb += any_works.eq(sum(working) != 0)
        m.d.comb += [self.commands.ready.eq(~any_works), self.busy.eq(any_works | self.done)]
        starts = self._starts(self.commands.payload.opcode)
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += command.eq(self.commands.payload)
            for name in ENGINES:
                m.d.sync += [
                    self._working[name].eq(starts[name]), self._offered[name].eq(starts[name])
                ]  # fmt: skip
        m.d.sync += self.done.eq(any_works & self._last_ends(m, command))
        self._connect_ports(m)

    def _starts(self, opcode: Any) -> dict[str, Any]:
        """Which engines an operation needs."""
        quantises = (opcode == Quantise.opcode) | (opcode == Softmax.opcode)
        alone = {
            "quantiser": opcode == Quantise.opcode,
            "dequantiser": opcode == Dequantise.opcode,
            "sampler": opcode == Sample.opcode,
        }
        others = alone["quantiser"] | alone["dequantiser"] | alone["sampler"]
        return {**alone, "quantiser": quantises, "elements": ~others}

    def _last_ends(self, m: Module, command: Any) -> Any:
        """Whether every engine that works has ended by the end of this cycle."""
        still, traps = [], []
        for name in ENGINES:
            engine = getattr(self, name)
            works, offered = self._working[name], self._offered[name]
            gated(m, name, engine, works | engine.busy)
            m.d.comb += [
                engine.commands.valid.eq(offered), engine.commands.payload.eq(command)
            ]  # fmt: skip
            with m.If(offered & engine.commands.ready):
                m.d.sync += offered.eq(0)
            with m.If(engine.done):
                m.d.sync += works.eq(0)
            still.append(works & ~engine.done)
            traps.append(Mux(works, engine.trap, 0))
        trap = traps[0]
        for other in traps[1:]:
            trap = trap | other
        m.d.sync += self.trap.eq(trap)
        last = Signal(name="last_ends")
        m.d.comb += last.eq(sum(still) == 0)
        return last

    def _connect_ports(self, m: Module) -> None:
        elements, quantiser = self.elements, self.quantiser
        connect(m, elements.probabilities, quantiser.probabilities)
        connect(m, flipped(self.write_scale), quantiser.write_scale)
        connect(m, flipped(self.read_b), elements.read_b)
        connect(m, flipped(self.read_acc), elements.read_acc)
        connect(m, flipped(self.memory), self.sampler.read)
        connect(m, flipped(self.results), self.sampler.write)
        reads = [("elements", elements.read_a), ("quantiser", quantiser.read)]
        reads.append(("dequantiser", self.dequantiser.read))
        self._share_read(m, self.read_a, reads)
        scales = [("elements", elements.read_scale), ("dequantiser", self.dequantiser.read_scale)]
        self._share_read(m, self.read_scale, scales)
        self._share_write(m, [e.write for e in (elements, quantiser, self.dequantiser)])

    def _share_read(self, m: Module, port: Any, ends: list[tuple[str, Any]]) -> None:
        """Only one of the engines reads through a port at a time: the one that works."""
        m.d.comb += port.request.valid.eq(sum(end.request.valid for _, end in ends) != 0)
        address: Any = 0
        for _, end in ends:
            address = address | Mux(end.request.valid, end.request.payload, 0)
        m.d.comb += port.request.payload.eq(address)
        for name, end in ends:
            m.d.comb += [
                end.request.ready.eq(port.request.ready),
                end.data.eq(port.data),
                end.data_valid.eq(port.data_valid & self._working[name]),
            ]

    def _share_write(self, m: Module, ends: list[Any]) -> None:
        """The first engine that writes goes first; a request that waits stays."""
        port = self.write.request
        asks, goes = Signal(len(ends), name="asks"), Signal(len(ends), name="goes")
        kept = Signal(len(ends), name="goes_on")  # who waits for its request to pass
        m.d.comb += [
            asks.eq(Cat(end.request.valid for end in ends)),
            goes.eq(Mux(kept.any(), kept, asks & -asks)),
            port.valid.eq(asks.any()),
        ]
        m.d.sync += kept.eq(Mux(port.ready, 0, goes))
        chosen: Any = ends[-1].request.payload.as_value()
        for i, end in reversed(list(enumerate(ends[:-1]))):
            chosen = Mux(goes[i], end.request.payload.as_value(), chosen)
        m.d.comb += port.payload.as_value().eq(chosen)
        for i, end in enumerate(ends):
            first = ~asks[:i].any() if i else Const(1, 1)
            m.d.comb += end.request.ready.eq(port.ready & Mux(kept.any(), kept[i], first))
