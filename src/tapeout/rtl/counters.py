"""The 64 counters of a core, which all order between its queues comes from."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import HEADER
from tapeout.isa.fields import COUNTER_MAX, COUNTERS

from .component import Component
from .sent import NUMBER_BITS, TRAPPED
from .trap import Trap

COUNTER_BITS = HEADER["wait0_counter"]
COUNT_BITS = HEADER["wait0_count"]
SOURCES = 5  # the command processor and its queues LD, ST, MU, VU, by their numbers

TAKES = data.StructLayout({name: bits for name, bits in HEADER.items() if name.startswith("wait")})
"""What an instruction waits for; a count of 0 is no wait."""

SIGNAL = data.StructLayout({"counter": COUNTER_BITS, "number": NUMBER_BITS})
"""A counter to add one to, and the number of the instruction that is done."""

PEEK = wiring.Signature({"number": Out(COUNTER_BITS), "value": In(COUNT_BITS)})
"""A look at a counter; its value is there in the same cycle."""


class Counters(Component):
    """Takes from counters and adds to them, both counts of a take at once.

    In each cycle at most one take is done, then one signal; of several that could be done, the
    lowest source's. Latency: a take passes one cycle after its counters hold enough, a signal at
    once. Throughput: a take every second cycle, which is more often than instructions are sent; a
    signal per cycle. A take stalls until its counters hold enough, a signal while a lower source
    has one; both while the counters are cleared, in the 64 cycles after `start`.

    Members
    -------
    start : In(1)
    takes : In(stream of TAKES), for each of the SOURCES
    signals : In(stream of SIGNAL), for each of the SOURCES
    trap : Out(TRAPPED), for one cycle, when a counter would pass 255
    peek : In(PEEK)
    """

    def __init__(self) -> None:
        ports = {
            "start": In(1),
            "takes": In(stream.Signature(TAKES)).array(SOURCES),
            "signals": In(stream.Signature(SIGNAL)).array(SOURCES),
            "trap": Out(TRAPPED),
            "peek": In(PEEK),
        }
        super().__init__(ports, name="counters")

    def build(self, m: Module) -> None:
        """Find who may take; change what the chosen take and signal name."""
        m.submodules.store = self._store = memory.Memory(shape=COUNT_BITS, depth=COUNTERS, init=[])
        left = Signal(range(COUNTERS + 1))  # counters to clear
        with m.If(self.start):
            m.d.sync += left.eq(COUNTERS)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        idle = Signal()
        m.d.comb += [idle.eq(left == 0), self.peek.value.eq(self._read(m, self.peek.number))]
        take, taking = self._chosen_take(m, idle)
        signal, signalling = self._chosen_signal(m, idle)
        taken = self._take(m, take, taking, signal, signalling, left)
        self._add(m, taken, signal, signalling)

    def _read(self, m: Module, counter: Any) -> Any:
        port = self._store.read_port(domain="comb")
        m.d.comb += port.addr.eq(counter)
        return port.data

    def _write(self, m: Module, enable: Any, counter: Any, value: Any) -> None:
        port = self._store.write_port()
        m.d.comb += [port.en.eq(enable), port.addr.eq(counter), port.data.eq(value)]

    def _chosen_take(self, m: Module, idle: Signal) -> tuple[Any, Signal]:
        """The lowest take whose counters hold enough, if they have not changed since the look."""
        enough, fresh, taking = Signal(SOURCES), Signal(), Signal()
        take = Signal(TAKES)
        for i, source in enumerate(self.takes):
            wanted = source.payload
            same = wanted.wait0_counter == wanted.wait1_counter
            first = wanted.wait0_count + Mux(same, wanted.wait1_count, 0)
            holds = (self._read(m, wanted.wait0_counter) >= first) & (
                self._read(m, wanted.wait1_counter) >= wanted.wait1_count
            )
            m.d.sync += enough[i].eq(source.valid & holds)
            m.d.comb += source.ready.eq(fresh & enough[i] & ~enough[:i].any())
        for i, source in reversed(list(enumerate(self.takes))):
            with m.If(enough[i]):
                m.d.comb += [take.eq(source.payload), taking.eq(fresh & source.valid)]
        m.d.sync += fresh.eq(idle & ~taking & ~self.start)
        return take, taking

    def _chosen_signal(self, m: Module, idle: Signal) -> tuple[Any, Signal]:
        """The lowest signal there is."""
        signal, signalling = Signal(SIGNAL), Signal()
        lower: Any = Const(0)
        for source in self.signals:
            m.d.comb += source.ready.eq(idle & ~lower)
            lower |= source.valid
        m.d.comb += signalling.eq(idle & lower)
        m.d.sync += self.trap.queue.eq(0)
        for i, source in reversed(list(enumerate(self.signals))):
            with m.If(source.valid):
                m.d.comb += signal.eq(source.payload)
                m.d.sync += self.trap.queue.eq(i)
        return signal, signalling

    def _take(
        self, m: Module, take: Any, taking: Signal, signal: Any, signalling: Signal, left: Signal
    ) -> Signal:
        """Write what a take leaves; returns what is left in the counter that the signal names."""
        same, second = Signal(), Signal()
        rest0, rest1 = Signal(COUNT_BITS), Signal(COUNT_BITS)
        first = take.wait0_count + Mux(same, take.wait1_count, 0)
        hits = [
            signalling & (signal.counter == counter)
            for counter in (take.wait0_counter, take.wait1_counter)
        ]
        m.d.comb += [
            same.eq(take.wait0_counter == take.wait1_counter),
            second.eq(taking & (take.wait1_count != 0) & ~same),
            rest0.eq(self._read(m, take.wait0_counter) - first),
            rest1.eq(self._read(m, take.wait1_counter) - take.wait1_count),
        ]
        clear = left != 0
        self._write(
            m,
            clear | (taking & ~hits[0]),
            Mux(clear, left[:COUNTER_BITS], take.wait0_counter),
            Mux(clear, 0, rest0),
        )
        self._write(m, second & ~hits[1], take.wait1_counter, rest1)
        taken = Signal(COUNT_BITS)
        m.d.comb += taken.eq(self._read(m, signal.counter))
        with m.If(taking & hits[0]):
            m.d.comb += taken.eq(rest0)
        with m.Elif(second & hits[1]):
            m.d.comb += taken.eq(rest1)
        return taken

    def _add(self, m: Module, taken: Signal, signal: Any, signalling: Signal) -> None:
        """Write what a signal makes of its counter, or trap."""
        full = taken == COUNTER_MAX
        self._write(m, signalling & ~full, signal.counter, taken + 1)
        m.d.sync += [
            self.trap.code.eq(Mux(signalling & full, Trap.COUNTER, Trap.NONE)),
            self.trap.number.eq(signal.number),
        ]
