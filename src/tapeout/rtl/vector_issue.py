"""Chooses, for a unit of the element engine, which node of the graph goes in a cycle."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component
from .vector_graph import RINGS, SLOT, SOURCE_BITS, WAITED
from .vector_walk import COUNT_BITS

ISSUE = data.StructLayout(
    {"on": 1, "a": SOURCE_BITS, "b": SOURCE_BITS, "op": 3, "number": 32, "to": len(RINGS)}
)
"""An operation on its way: sources, `AluOp` or `SfuOp`, immediate, and rings of its result."""

HEADS = data.StructLayout({"total": COUNT_BITS, "unit": COUNT_BITS})
"""How often a node with `twist` uses the same pair of b: total / unit times, rounded up."""


class VectorIssue(Component):
    """Lets one node of a unit go when its sources are there and its result has room.

    In the cycle of the choice the rings are read, freed and reserved; `issue` is out in the next,
    when the rings' values are.

    Latency 1 cycle; throughput 1 operation per cycle; never stalls.

    Parameters
    ----------
    slots : int
        Nodes; of those that can go, the last goes.
    twist, hold : bool
        Whether nodes may have these.

    Members
    -------
    start : In(1), a graph begins; slots : In(array of SLOT); heads : In(HEADS)
    ready, pair : In(WAITED), sources with one, two beats; room : In(rings)
    read, pop : Out(WAITED); reserve : Out(rings)
    ahead, pop_pair : Out(WAITED), with `twist`
    issue : Out(ISSUE)
    """

    def __init__(self, *, slots: int, twist: bool, hold: bool):
        self.count, self.twist, self.hold = slots, twist, hold
        ports = {
            "start": In(1),
            "slots": In(data.ArrayLayout(SLOT, slots)),
            "heads": In(HEADS),
            "ready": In(WAITED),
            "pair": In(WAITED),
            "room": In(len(RINGS)),
            **{name: Out(WAITED) for name in ("read", "pop")},
            "reserve": Out(len(RINGS)),
            "issue": Out(ISSUE),
        }
        if twist:
            ports |= {name: Out(WAITED) for name in ("ahead", "pop_pair")}
        kind = "_twist" * twist + "_hold" * hold
        super().__init__(ports, name=f"vector_issue_{slots}{kind}")

    def build(self, m: Module) -> None:
        """One place counter for each node; the last that can go goes."""
        places = [Signal(2, name=f"place{i}") for i in range(self.count)]
        can = [self._can(m, i, places[i]) for i in range(self.count)]
        m.d.sync += self.issue.on.eq(0)
        for i in reversed(range(self.count)):
            with m.If(can[i]) if i == self.count - 1 else m.Elif(can[i]):
                self._go(m, self.slots[i], places[i])
        with m.If(self.start):
            m.d.sync += [place.eq(0) for place in places]

    def _can(self, m: Module, i: int, place: Any) -> Any:
        slot = self.slots[i]
        can, waits, to = Signal(name=f"can{i}"), Signal(WAITED), Signal(len(RINGS))
        m.d.comb += [
            waits.eq(slot.a_waits | slot.b_waits),
            to.eq(Mux(place[0], slot.odd_to, slot.to)),
        ]
        there = ~(waits & ~self.ready).any()
        if self.twist:
            there &= ~(slot.twist & (waits & ~self.pair).any())
        m.d.comb += can.eq(slot.on & there & ~(to & ~self.room).any())
        return can

    def _go(self, m: Module, slot: Any, place: Any) -> None:
        odd = place[0]
        to = Mux(odd, slot.odd_to, slot.to)
        m.d.comb += [
            self.read.eq(slot.a_waits | slot.b_waits),
            self.reserve.eq(to),
            self.pop.eq(slot.a_waits | slot.b_waits),
        ]
        m.d.sync += [
            place.eq(place + 1),
            self.issue.on.eq(1),
            self.issue.a.eq(slot.a),
            self.issue.b.eq(slot.b),
            self.issue.op.eq(Mux(odd, slot.odd_op, slot.op)),
            self.issue.number.eq(slot.number),
            self.issue.to.eq(to),
        ]
        if self.hold:
            with m.If(slot.hold & ~odd):
                m.d.comb += self.pop.eq(0)
        if self.twist:
            with m.If(slot.twist):
                self._twist(m, slot, place)

    def _twist(self, m: Module, slot: Any, place: Any) -> None:
        """Places 0..3 take chunks 0, 1, 0, 1 of a, and 0, 1, 1, 0 of b."""
        left = Signal(COUNT_BITS, name="heads_left")
        running = Signal(name="heads_running")
        now = Mux(running, left, self.heads.total)
        last = now <= self.heads.unit
        m.d.comb += [
            self.ahead.eq(
                Mux(place[0], slot.a_waits, 0) | Mux(place[0] ^ place[1], slot.b_waits, 0)
            ),
            self.pop.eq(0),
        ]
        with m.If(place == 3):
            m.d.comb += self.pop_pair.eq(slot.a_waits | Mux(last, slot.b_waits, 0))
            m.d.sync += [left.eq(now - self.heads.unit), running.eq(~last)]
