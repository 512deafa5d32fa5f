"""A radix histogram of order keys: finds, digit by digit, where a count or a sum ends."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from .component import Component
from .weights import WEIGHT_BITS

COUNT_BITS = 20
SUM_BITS = COUNT_BITS + WEIGHT_BITS
DIGIT_BITS = 8
BINS = 1 << DIGIT_BITS

ENTRY = data.StructLayout({"digit": DIGIT_BITS, "weight": WEIGHT_BITS})
BIN = data.StructLayout({"count": COUNT_BITS, "sum": SUM_BITS})


class Histogram(Component):
    """Bins of counts and sums of weights, and a scan from the largest digit down.

    The scan stops counting at the first bin with which the running total reaches `wanted`; `digit`
    is that bin and `before` the total above it, from the cycle in which `found` is 1. A scan takes
    258 cycles and leaves all bins empty. Entries: 1 per cycle, none during a scan. After reset a
    scan must come first.

    Members
    -------
    entries : In(stream of ENTRY), always ready but in a scan
    scan : In(1), starts a scan
    by_sum : In(1), whether sums are totalled or counts
    start : In(SUM_BITS), total to begin with
    wanted : In(SUM_BITS)
    found : Out(1), for one cycle, at the end of the scan
    digit : Out(8); before : Out(SUM_BITS)
    """

    def __init__(self) -> None:
        ports = {
            "entries": In(stream.Signature(ENTRY)),
            "scan": In(1),
            "by_sum": In(1),
            "start": In(SUM_BITS),
            "wanted": In(SUM_BITS),
            "found": Out(1),
            "digit": Out(DIGIT_BITS),
            "before": Out(SUM_BITS),
        }
        super().__init__(ports, name="histogram")

    def build(self, m: Module) -> None:
        """Read a bin in one cycle, write it back or empty it in the next."""
        m.submodules.store = store = memory.Memory(shape=BIN, depth=BINS, init=[])
        write = store.write_port()
        read = store.read_port(transparent_for=(write,))
        scanning, at, entry = Signal(), Signal(DIGIT_BITS + 1), Signal(ENTRY)
        adding, looking = Signal(), Signal()
        looked = Signal(DIGIT_BITS)
        m.d.comb += [
            self.entries.ready.eq(~scanning),
            read.addr.eq(Mux(scanning, at, self.entries.payload.digit)),
            write.addr.eq(Mux(looking, looked, entry.digit)),
            write.en.eq(adding | looking),
        ]
        m.d.sync += [
            entry.eq(self.entries.payload),
            adding.eq(self.entries.valid & self.entries.ready),
            looking.eq(scanning & ~at[-1]),
            looked.eq(at),
        ]
        with m.If(~looking):
            m.d.comb += [
                write.data.count.eq(read.data.count + 1),
                write.data.sum.eq(read.data.sum + entry.weight),
            ]
        self._scan(m, read.data, scanning, at, looking, looked)

    def _scan(
        self, m: Module, bin_: Any, scanning: Signal, at: Signal, looking: Signal, looked: Signal
    ) -> None:
        total, reached = Signal(SUM_BITS + 1), Signal()
        here = Signal(SUM_BITS + 1)
        m.d.comb += here.eq(total + Mux(self.by_sum, bin_.sum, bin_.count))
        m.d.sync += self.found.eq(0)
        with m.If(self.scan):
            m.d.sync += [scanning.eq(1), at.eq(BINS - 1), total.eq(self.start), reached.eq(0)]
        with m.Elif(scanning & ~at[-1]):
            m.d.sync += at.eq(at - 1)  # wraps to all ones after bin 0
        with m.Elif(scanning & ~looking):
            m.d.sync += [scanning.eq(0), self.found.eq(1)]
        with m.If(looking & ~reached):
            with m.If(here >= self.wanted):
                m.d.sync += [reached.eq(1), self.digit.eq(looked), self.before.eq(total)]
            with m.Else():
                m.d.sync += total.eq(here)
