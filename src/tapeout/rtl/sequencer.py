"""The part of a core that reads its program and starts its units."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .component import Component
from .counters import PEEK, SOURCES, Counters
from .halt import CYCLES_BITS, Halt
from .ports import MEMORY_BITS, memory_read
from .processor import QUEUES, Processor
from .queue import UNIT, InstructionQueue
from .registers import LOOK, SCALAR
from .sent import EVENT, NUMBER_BITS, SENT, TRAPPED


class Router(Component):
    """Passes each instruction to its queue.

    Latency 1 cycle; throughput one instruction in 2 cycles; the input stalls while one is held.

    Members
    -------
    input : In(stream of SENT)
    outputs : Out(stream of SENT), for each queue, from LD on
    """

    def __init__(self) -> None:
        ports = {
            "input": In(stream.Signature(SENT)),
            "outputs": Out(stream.Signature(SENT)).array(QUEUES),
        }
        super().__init__(ports, name="router")

    def build(self, m: Module) -> None:
        """One instruction in a register."""
        held, valid = Signal(SENT, reset_less=True), Signal(QUEUES)
        m.d.comb += self.input.ready.eq(valid == 0)
        with m.If(self.input.ready):
            m.d.sync += held.eq(self.input.payload)
        for i, output in enumerate(self.outputs):
            m.d.comb += [output.valid.eq(valid[i]), output.payload.eq(held)]
            with m.If(self.input.ready):
                m.d.sync += valid[i].eq(self.input.valid & (self.input.payload.queue == i + 1))
            with m.Elif(output.ready):
                m.d.sync += valid[i].eq(0)


class Sequencer(Component):
    """Command processor, counters, the four queues, and what stops them.

    An instruction leaves through `sent`, is checked outside, and comes back through `checked`.

    Parameters
    ----------
    bus_bits : int
        Width of the bus; a power of two in 32..1024.
    depth : int
        Instructions that wait in a queue; at least 2.
    lines : int
        Lines of 128 bytes of the instruction cache; a power of two of at least 8.

    Members
    -------
    start, base, count, memory_bytes, scalar, idle, ended, at_barrier, resume, program, scalars :
        as of `Processor`; `start` is ignored unless `idle`
    watchdog_cycles : In(CYCLES_BITS), 0: no watchdog; it rests at a barrier
    sent : Out(stream of SENT), loses its valid after a trap
    checked : In(stream of SENT), in the same order
    refused : In(TRAPPED), what the check outside found, for one cycle
    units : Out(UNIT), for each queue from LD on
    halted : Out(1), a trap is kept until reset; nothing more is sent or started
    trap : Out(TRAPPED), the first
    stepped : Out(EVENT), an instruction of the command processor has run, or another was sent
    started, retired : Out(EVENT), for each queue
    waiting : Out(a bit for each queue), as of `InstructionQueue`
    registers : In(LOOK)
    counters : In(PEEK)
    """

    def __init__(self, *, bus_bits: int, depth: int, lines: int = 64):
        ports = {
            "start": In(1),
            "base": In(MEMORY_BITS + 1),
            "count": In(NUMBER_BITS),
            "memory_bytes": In(MEMORY_BITS + 1),
            "scalar": In(SCALAR),
            "idle": Out(1),
            "ended": Out(1),
            "at_barrier": Out(1),
            "resume": In(1),
            "watchdog_cycles": In(CYCLES_BITS),
            "program": Out(memory_read(bus_bits=bus_bits)),
            "scalars": Out(memory_read(bus_bits=bus_bits)),
            "sent": Out(stream.Signature(SENT)),
            "checked": In(stream.Signature(SENT)),
            "refused": In(TRAPPED),
            "units": Out(UNIT).array(QUEUES),
            "halted": Out(1),
            "trap": Out(TRAPPED),
            "stepped": Out(EVENT),
            "started": Out(EVENT).array(QUEUES),
            "retired": Out(EVENT).array(QUEUES),
            "waiting": Out(QUEUES),
            "registers": In(LOOK),
            "counters": In(PEEK),
        }
        super().__init__(ports, name=f"sequencer_{bus_bits}_{depth}_{lines}")
        self.bus_bits, self.depth, self.lines = bus_bits, depth, lines

    def build(self, m: Module) -> None:
        """Wires between the parts."""
        m.submodules.processor = processor = Processor(
            bus_bits=self.bus_bits, depth=self.depth, lines=self.lines
        )
        m.submodules.counters = counters = Counters()
        m.submodules.router = router = Router()
        queues = [InstructionQueue(depth=self.depth, number=i + 1) for i in range(QUEUES)]
        for i, queue in enumerate(queues):
            m.submodules[f"queue{i + 1}"] = queue
        m.d.comb += counters.start.eq(self.start & processor.idle)
        wiring.connect(m, wiring.flipped(self.counters), counters.peek)
        wiring.connect(m, wiring.flipped(self.registers), processor.look)
        wiring.connect(m, wiring.flipped(self.checked), router.input)
        self._outside(m, processor)
        for i, source in enumerate([processor, *queues]):
            wiring.connect(m, source.takes, counters.takes[i])
            wiring.connect(m, source.signals, counters.signals[i])
        assert len(queues) + 1 == SOURCES
        for i, queue in enumerate(queues):
            wiring.connect(m, router.outputs[i], queue.input)
            wiring.connect(m, wiring.flipped(self.units[i]), queue.unit)
            m.d.comb += [self.started[i].eq(queue.started), self.retired[i].eq(queue.retired)]
        m.d.comb += processor.started.eq(Cat(queue.started.valid for queue in queues))
        m.d.comb += processor.retired.eq(Cat(queue.retired.valid for queue in queues))
        m.d.comb += self.waiting.eq(Cat(queue.waiting for queue in queues))
        self._halt(m, processor, counters, queues)

    def _outside(self, m: Module, processor: Processor) -> None:
        """The ports that are the processor's."""
        for name in ("scalar", "program", "scalars", "sent"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(processor, name))
        for name in ("start", "base", "count", "memory_bytes", "resume"):
            m.d.comb += getattr(processor, name).eq(getattr(self, name))
        for name in ("idle", "ended", "at_barrier", "stepped"):
            m.d.comb += getattr(self, name).eq(getattr(processor, name))

    def _halt(self, m: Module, processor: Processor, counters: Counters, queues: list[Any]) -> None:
        """Collect traps, and stop everything."""
        traps = [processor.trap, self.refused, counters.trap, *(q.trap for q in queues)]
        m.submodules.halt = halt = Halt(sources=len(traps))
        m.d.comb += [port.eq(trap) for port, trap in zip(halt.traps, traps, strict=True)]
        events = [self.stepped, *self.started, *self.retired]
        m.d.comb += [
            halt.running.eq(~processor.idle & ~processor.at_barrier),
            halt.moved.eq(Cat(event.valid for event in events).any()),
            halt.watchdog_cycles.eq(self.watchdog_cycles),
            halt.number.eq(processor.number),
            self.trap.eq(halt.trap),
            self.halted.eq(halt.halted),
            processor.halt.eq(halt.halted),
            *(queue.halt.eq(halt.halted) for queue in queues),
        ]
