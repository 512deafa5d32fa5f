"""Sums of rows from the sums of their blocks, which are added one after another."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .component import Component
from .fp32 import ADD_CUTS, MINUS_ZERO
from .sum_tree import SumAdder

SLOTS = ADD_CUTS
"""Rows that are added at a time: a sum leaves the adder when its row's turn comes again."""

PLACES = 4 * SLOTS  # totals that are being made or wait for those before them


def entry_layout(parts: int) -> data.StructLayout:
    """Sums of consecutive blocks: the first `count` + 1 of them are there; `ends`: of their row."""
    return data.StructLayout({"sums": 32 * parts, "count": range(max(2, parts)), "ends": 1})


class SerialSums(Component):
    """Adds the sums of a row's blocks in ascending order, for SLOTS rows in turns.

    Row after row goes to slot after slot. A slot has a queue of entries, in which rows follow one
    another; an entry is promised (`reserve`) before it is written. A row starts from its first
    block, or from the scalar that comes in the cycle after its `admit`, which needs room and is no
    later than the `reserve` of its first entry. Totals leave in the order of the rows.

    The adder turns: it gives back a row's sum just when the row's slot is visited again. A slot
    that has nothing to add adds -0, which changes nothing.

    Latency 8 + SLOTS * (blocks - 1) cycles from the entry of a row to its total, and up to
    SLOTS - 1 more; throughput 1 block per cycle, of one row 1 block in SLOTS cycles. A slot that
    has no `room` stalls its rows; without `take` all slots have PLACES totals and stall.

    Parameters
    ----------
    parts : int
        Sums of an entry: a power of two.
    depth : int
        Entries of a slot's queue: a power of two.

    Members
    -------
    clear : In(1); initial : In(1), rows start from scalars
    slot : In(range(SLOTS)), of the row that is admitted, and of the entry that is reserved
    admit : In(1); scalar : In(32); reserve : In(1); room : Out(SLOTS), one more may be reserved
    write : In(1); write_slot : In(range(SLOTS)); entry : In(entry_layout)
    ready : Out(1), a total is there; take : In(1); total : Out(32)
    """

    def __init__(self, *, parts: int, depth: int):
        self.parts, self.depth = parts, depth
        self.index_bits = exact_log2(depth)
        ports = {name: In(1) for name in ("clear", "initial", "admit", "reserve", "write", "take")}
        ports |= {"slot": In(range(SLOTS)), "write_slot": In(range(SLOTS))}
        ports |= {"scalar": In(32), "entry": In(entry_layout(parts))}
        ports |= {"room": Out(SLOTS), "ready": Out(1), "total": Out(32)}
        super().__init__(ports, name=f"serial_sums_{parts}x{depth}")

    def build(self, m: Module) -> None:
        """Visit a slot, choose a sum of its entry, add it, keep the total."""
        self._promised, self._written, self._read = (
            Array(Signal(self.index_bits + 1, name=f"{name}{i}") for i in range(SLOTS))
            for name in ("promised", "written", "read")
        )
        self._begun = Array(Signal(name=f"begun{i}") for i in range(SLOTS))
        self._part = Array(Signal(range(max(2, self.parts)), name=f"part{i}") for i in range(SLOTS))
        self._turn = Array(Signal(range(PLACES // SLOTS), name=f"turn{i}") for i in range(SLOTS))
        for i in range(SLOTS):
            used = (self._promised[i] - self._read[i])[: self.index_bits + 1]
            m.d.comb += self.room[i].eq(used != self.depth)
        freed = self._totals_taken(m)
        visit = self._visit(m, freed)
        operation = self._choose(m, *visit)
        self._add(m, *operation)
        with m.If(self.clear):
            each = (*self._promised, *self._written, *self._read, *self._begun, *self._part)
            m.d.sync += [signal.eq(0) for signal in (*each, *self._turn)]
            m.d.sync += [self._head.eq(0), self._held.eq(0), self._full.eq(0)]

    def _queue(self, m: Module, visit: Any, go: Any, starts: Any) -> tuple[Any, Any]:
        """What the visited slot reads: (entry, scalar), in the next cycle."""
        depth, low = SLOTS * self.depth, self.index_bits
        m.submodules.entries = entries = memory.Memory(
            shape=self.entry.shape(), depth=depth, init=[]
        )
        m.submodules.scalars = scalars = memory.Memory(shape=32, depth=depth, init=[])
        entry_write, scalar_write = entries.write_port(), scalars.write_port()
        entry_read, scalar_read = entries.read_port(), scalars.read_port()
        admitted, admitted_at = Signal(), Signal(range(depth), reset_less=True)
        m.d.sync += admitted.eq(self.admit)
        with m.If(self.admit):
            m.d.sync += admitted_at.eq(Cat(self._promised[self.slot][:low], self.slot))
        read_at = Signal(range(depth))
        m.d.comb += [
            read_at.eq(Cat(self._read[visit][:low], visit)),
            entry_write.addr.eq(Cat(self._written[self.write_slot][:low], self.write_slot)),
            entry_write.data.eq(self.entry),
            entry_write.en.eq(self.write),
            entry_read.addr.eq(read_at),
            entry_read.en.eq(go),
            scalar_write.addr.eq(admitted_at),
            scalar_write.data.eq(self.scalar),
            scalar_write.en.eq(admitted),
            scalar_read.addr.eq(read_at),
            scalar_read.en.eq(go & starts & self.initial),
        ]
        with m.If(self.reserve):
            m.d.sync += self._promised[self.slot].eq(self._promised[self.slot] + 1)
        with m.If(self.write):
            m.d.sync += self._written[self.write_slot].eq(self._written[self.write_slot] + 1)
        return entry_read.data, scalar_read.data

    def _visit(self, m: Module, freed: Any) -> tuple[Any, ...]:
        """Look into one slot: (slot, it adds, it starts a row, entry, scalar) of the one before."""
        visit, go, starts = Signal(range(SLOTS)), Signal(), Signal()
        place = Cat(visit, self._turn[visit])
        m.d.sync += visit.eq(visit + 1)
        m.d.comb += [
            starts.eq(~self._begun[visit]),
            go.eq(
                (self._written[visit] != self._read[visit])
                & ~(starts & self._held.bit_select(place, 1))
            ),
        ]
        held = Mux(go & starts, Const(1, PLACES) << place, 0)[:PLACES]
        m.d.sync += self._held.eq((self._held & ~freed) | held)
        entry, scalar = self._queue(m, visit, go, starts)
        visited, gone, started = Signal(range(SLOTS)), Signal(), Signal()
        m.d.sync += [visited.eq(visit), gone.eq(go), started.eq(starts)]
        return visited, gone, started, entry, scalar

    def _choose(
        self, m: Module, slot: Any, go: Any, starts: Any, entry: Any, scalar: Any
    ) -> tuple[Any, ...]:
        """One sum of the entry: (it starts a row, from what, sum, it is the row's last, place)."""
        final, last = Signal(), Signal()
        part = self._part[slot]
        block = entry.sums
        if self.parts > 1:
            block = block.word_select(part, 32)
            m.d.comb += final.eq(part == entry.count)
        else:
            m.d.comb += final.eq(1)
        m.d.comb += last.eq(go & final & entry.ends)
        started, finished = Signal(), Signal()
        start, term = Signal(32, reset_less=True), Signal(32, reset_less=True)
        place = Signal(range(PLACES), reset_less=True)
        m.d.sync += [started.eq(go & starts), finished.eq(last)]
        m.d.sync += term.eq(Mux(go, block, MINUS_ZERO))
        with m.If(go):
            m.d.sync += [
                self._begun[slot].eq(~last),
                start.eq(Mux(self.initial, scalar, MINUS_ZERO)),
                place.eq(Cat(slot, self._turn[slot])),
            ]
            if self.parts > 1:
                m.d.sync += part.eq(Mux(final, 0, part + 1))
            with m.If(final):
                m.d.sync += self._read[slot].eq(self._read[slot] + 1)
            with m.If(last):
                m.d.sync += self._turn[slot].eq(self._turn[slot] + 1)
        return started, start, term, finished, place

    def _add(self, m: Module, starts: Any, start: Any, term: Any, last: Any, place: Any) -> None:
        """Add to what comes out of the adder; what is a total goes to its place."""
        m.submodules.adder = adder = SumAdder()
        lasts = Signal(SLOTS)
        m.d.sync += lasts.eq(Cat(last, lasts[:-1]))
        m.d.comb += [
            adder.on.eq(Cat(*self._begun, last, lasts[:-1]).any()),
            adder.left.eq(Mux(starts, start, adder.total)),
            adder.right.eq(term),
        ]
        for i in range(SLOTS):
            later = Signal(range(PLACES), name=f"place{i}", reset_less=True)
            with m.If(lasts[i - 1] if i else last):
                m.d.sync += later.eq(place)
            place = later
        m.d.comb += [
            self._made.eq(lasts[-1]),
            self._made_at.eq(place),
            self._made_total.eq(adder.total),
        ]

    def _totals_taken(self, m: Module) -> Any:
        """Totals wait for those of the rows before; returns the place that is free again."""
        self._held, self._full = Signal(PLACES, name="held"), Signal(PLACES, name="full")
        self._head = Signal(range(PLACES), name="head")
        self._made, self._made_at = Signal(name="made"), Signal(range(PLACES), name="made_at")
        self._made_total = Signal(32, name="made_total")
        m.submodules.totals = totals = memory.Memory(shape=32, depth=PLACES, init=[])
        write, read = totals.write_port(), totals.read_port(domain="comb")
        freed = Signal(PLACES)
        m.d.comb += [
            write.addr.eq(self._made_at),
            write.data.eq(self._made_total),
            write.en.eq(self._made),
            read.addr.eq(self._head),
            self.total.eq(read.data),
            self.ready.eq(self._full.bit_select(self._head, 1)),
            freed.eq(Mux(self.take, Const(1, PLACES) << self._head, 0)),
        ]
        filled = Mux(self._made, Const(1, PLACES) << self._made_at, 0)[:PLACES]
        m.d.sync += [
            self._full.eq((self._full & ~freed) | filled),
            self._head.eq(self._head + self.take),
        ]
        return freed
