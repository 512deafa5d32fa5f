"""Sums in FP32, in the order in which the terms arrive."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from .component import Component
from .fp32 import ADD_CUTS, add
from .pipe import Pipe, check_stages
from .stream import SkidBuffer

MINUS_ZERO = 1 << 31  # -0 + x is x, also when x is +0 or -0


class Accumulator(Component):
    """Adds terms to entries of a memory. Value: `tapeout.numerics.matmul` over several blocks.

    A term that is the `first` of a sum replaces what its entry holds; the others are added to it,
    each rounded to FP32. The sum leaves with the `last` term; the entry keeps it, so that a later
    term may continue. Sums leave in the order of their last terms.

    Latency `stages` + 1 cycles; throughput 1 term per cycle as long as terms of the same entry are
    `stages` + 1 cycles apart: so many interleaved sums hide the adder. A term whose entry is
    still in the adder waits, and those behind it. Stalls when `sums` is not ready.

    Parameters
    ----------
    entries : int
        Sums that it holds; at least 2.
    stages : int
        Pipeline registers of the adder; 1..4.

    Members
    -------
    terms : In(stream of {value: 32 bits, entry, first, last})
    sums : Out(stream of {value: 32 bits, entry})
    """

    def __init__(self, *, entries: int, stages: int = ADD_CUTS):
        if entries < 2:
            raise ValueError(f"entries must be at least 2, not {entries}")
        check_stages(stages, ADD_CUTS)
        self.entries = entries
        self.stages = stages
        entry = range(entries)
        self.term = data.StructLayout({"value": 32, "entry": entry, "first": 1, "last": 1})
        self.sum = data.StructLayout({"value": 32, "entry": entry})
        ports = {"terms": In(stream.Signature(self.term)), "sums": Out(stream.Signature(self.sum))}
        super().__init__(ports, name=f"accumulate_{entries}_{stages}")

    def build(self, m: Module) -> None:
        """Read, add, write back; an entry is busy from the first to the last of these."""
        m.submodules.buffer = buffer = SkidBuffer(self.term)
        connect(m, flipped(self.terms), buffer.input)
        m.submodules.store = store = memory.Memory(shape=32, depth=self.entries, init=[])
        read, write = store.read_port(domain="comb"), store.write_port()
        head, term = buffer.output, buffer.output.payload
        busy = Signal(self.entries)
        advance, issue = Signal(), Signal()
        m.d.comb += [
            issue.eq(head.valid & ~busy.bit_select(term.entry, 1)),
            head.ready.eq(advance & ~busy.bit_select(term.entry, 1)),
            read.addr.eq(term.entry),
        ]
        pipe = Pipe(m, cuts=ADD_CUTS, stages=self.stages, advance=advance, valid=issue)
        before = Mux(term.first, Const(MINUS_ZERO, 32), read.data)
        total, entry, last = add(m, pipe, before, term.value, term.entry, term.last)
        pipe.done()
        m.d.comb += [
            self.sums.valid.eq(pipe.valid & last),
            self.sums.payload.value.eq(total),
            self.sums.payload.entry.eq(entry),
            advance.eq(~self.sums.valid | self.sums.ready),
            write.addr.eq(entry),
            write.data.eq(total),
            write.en.eq(pipe.valid & advance),
        ]
        taken = Signal(self.entries)
        freed = Signal(self.entries)
        m.d.comb += [
            taken.eq((issue & advance) << term.entry),
            freed.eq(write.en << entry),
        ]
        m.d.sync += busy.eq((busy | taken) & ~freed)
