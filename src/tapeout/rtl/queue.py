"""The queue before a unit: instructions wait in it, start in order, and signal when done."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .command import COMMAND
from .component import Component
from .counters import SIGNAL, TAKES
from .sent import EVENT, NUMBER_BITS, SENT, TRAPPED
from .stream import Fifo

MAX_STARTED = 8  # instructions that have started and are not done

UNIT = wiring.Signature(
    {
        "commands": Out(stream.Signature(COMMAND)),
        "done": In(1),
        "trap": In(8),
    }
)
"""A unit, seen from its queue."""

STARTED = data.StructLayout(
    {
        "signal_counter": SIGNAL["counter"].shape,
        "signal_count": 1,
        "number": NUMBER_BITS,
        "nop": 1,
    }
)
"""What is left of an instruction once its unit has it."""


class InstructionQueue(Component):
    """Instructions of one queue, in order.

    The head starts when its waits are met: its command goes to the unit as soon as that is ready,
    before the one ahead of it is done. A Nop starts by itself, and is done when everything ahead of
    it is. What is done signals, then it is retired.

    Latency: a command two cycles after its instruction if there are no waits; throughput one
    instruction per cycle without waits. The input stalls while `depth` instructions have not
    started. No more than MAX_STARTED are started and not retired. While `halt` is 1, nothing takes
    or starts: `takes` and `unit.commands` lose their valid.

    Parameters
    ----------
    depth : int
        Instructions that wait in it; at least 2.
    number : int
        Which queue it is, for traps.

    Members
    -------
    input : In(stream of SENT)
    takes : Out(stream of TAKES)
    signals : Out(stream of SIGNAL)
    unit : Out(UNIT)
    halt : In(1)
    trap : Out(TRAPPED), the unit's, with the oldest instruction that is not done
    started, retired : Out(EVENT)
    empty : Out(1), nothing waits and nothing is started
    waiting : Out(1), nothing is started, and the head waits for a counter
    """

    def __init__(self, *, depth: int, number: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        ports = {
            "input": In(stream.Signature(SENT)),
            "takes": Out(stream.Signature(TAKES)),
            "signals": Out(stream.Signature(SIGNAL)),
            "unit": Out(UNIT),
            "halt": In(1),
            "trap": Out(TRAPPED),
            "started": Out(EVENT),
            "retired": Out(EVENT),
            "empty": Out(1),
            "waiting": Out(1),
        }
        super().__init__(ports, name=f"queue{number}_{depth}")
        self.depth, self.number = depth, number

    def build(self, m: Module) -> None:
        """A memory of those that wait, a short queue of those that have started."""
        m.submodules.started = started = Fifo(STARTED, depth=min(self.depth, MAX_STARTED))
        start = Signal()
        head, held, waiting = self._waiting(m, start)
        self._start(m, head, held, start, started)
        self._retire(m, started)
        m.d.comb += [
            self.empty.eq((waiting == 0) & (started.level == 0)),
            self.waiting.eq(self.takes.valid & ~self.takes.ready & (started.level == 0)),
        ]

    def _waiting(self, m: Module, start: Signal) -> tuple[Any, Signal, Signal]:
        """The head, whether there is one, and how many wait with it."""
        m.submodules.store = store = memory.Memory(shape=SENT, depth=self.depth, init=[])
        writing, reading = store.write_port(), store.read_port()
        waiting, stored = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        push, held = Signal(), Signal()
        m.d.comb += [
            self.input.ready.eq(waiting != self.depth),
            push.eq(self.input.valid & self.input.ready),
            writing.en.eq(push),
            writing.data.eq(self.input.payload),
            reading.en.eq((~held | start) & (stored != 0)),
        ]
        m.d.sync += [
            waiting.eq(waiting + push - start),
            stored.eq(stored + push - reading.en),  # in the memory, not yet the head
        ]
        for port, moved in ((writing, push), (reading, reading.en)):
            with m.If(moved):
                last = port.addr == self.depth - 1
                place = Signal(range(self.depth), name="place")
                m.d.sync += place.eq(Mux(last, 0, place + 1))
            m.d.comb += port.addr.eq(place)
        with m.If(reading.en):
            m.d.sync += held.eq(1)
        with m.Elif(start):
            m.d.sync += held.eq(0)
        return reading.data, held, waiting

    def _start(self, m: Module, head: Any, held: Signal, start: Signal, started: Fifo) -> None:
        """Take what the head waits for, and give it to the unit."""
        taken, may_start = Signal(), Signal()
        has_waits = head.wait0_count != 0
        m.d.comb += [
            self.takes.valid.eq(held & has_waits & ~taken & ~self.halt),
            may_start.eq(held & (taken | ~has_waits) & ~self.halt & started.input.ready),
            self.unit.commands.valid.eq(may_start & ~head.nop),
            self.unit.commands.payload.eq(head.command),
            start.eq(may_start & (self.unit.commands.ready | head.nop)),
            started.input.valid.eq(start),
            self.started.valid.eq(start),
            self.started.number.eq(head.number),
        ]
        m.d.comb += [getattr(self.takes.payload, name).eq(head[name]) for name in TAKES.members]
        entry = data.View(STARTED, started.input.payload)
        m.d.comb += [entry[name].eq(head[name]) for name in STARTED.members]
        with m.If(start):
            m.d.sync += taken.eq(0)
        with m.Elif(self.takes.valid & self.takes.ready):
            m.d.sync += taken.eq(1)

    def _retire(self, m: Module, started: Fifo) -> None:
        """Signal for each instruction that is done, in order."""
        oldest = data.View(STARTED, started.output.payload)
        done = Signal(range(MAX_STARTED + 1))  # of those that have started, without Nops
        is_done, retire = Signal(), Signal()
        m.d.comb += [
            is_done.eq(started.output.valid & (oldest.nop | (done != 0))),
            self.signals.valid.eq(is_done & oldest.signal_count),
            self.signals.payload.counter.eq(oldest.signal_counter),
            self.signals.payload.number.eq(oldest.number),
            retire.eq(is_done & (self.signals.ready | ~oldest.signal_count)),
            started.output.ready.eq(retire),
            self.retired.valid.eq(retire),
            self.retired.number.eq(oldest.number),
            self.trap.code.eq(self.unit.trap),
            self.trap.queue.eq(self.number),
            self.trap.number.eq(oldest.number),
        ]
        m.d.sync += done.eq(done + self.unit.done - (retire & ~oldest.nop))
