"""What is proved of queues in memories: rings, and those that instructions wait in."""

from amaranth.hdl import Assert, Assume, Signal
from amaranth.lib.wiring import In

from tapeout.rtl.stream_rules import StreamChecker


class SlowQueue(StreamChecker):
    """A queue whose beats may be on offer only some cycles after they came.

    Any one beat may be marked; how many are ahead of it is counted until it leaves. What is
    not offered for `latency` cycles although it is held, or not taken although less than `room`
    are held, is a fault.
    """

    def __init__(self, component, *, holds, room, latency):
        super().__init__(component, more={"mark": In(1)})
        self.holds, self.room, self.latency = holds, room, latency

    def build(self, m):
        super().build(m)
        source, sink = self.proved.input, self.proved.output
        push, pop = source.valid & source.ready, sink.valid & sink.ready
        held, ahead = Signal(range(self.holds + 2)), Signal(range(self.holds + 2))
        marked, kept = Signal(), Signal(len(source.payload))
        late = Signal(range(self.latency + 2))
        m.d.sync += held.eq(held + push - pop)
        with m.If(sink.valid | (held == 0)):
            m.d.sync += late.eq(0)
        with m.Else():
            m.d.sync += late.eq(late + 1)
        with m.If(self.mark & push & ~marked):
            m.d.sync += [marked.eq(1), ahead.eq(held - pop), kept.eq(source.payload)]
        with m.Elif(marked & pop):
            m.d.sync += [marked.eq(ahead != 0), ahead.eq(ahead - 1)]
        m.d.comb += [
            Assert(~sink.valid | (held != 0), "nothing is offered that did not come"),
            Assert(late < self.latency, "what is held is soon offered"),
            Assert(held <= self.holds, "no more is held than there is room for"),
            Assert(source.ready | (held >= self.room), "what there is room for is taken"),
            Assert(~(marked & (ahead == 0) & sink.valid) | (sink.payload == kept), "in order"),
            Assert(~marked | (ahead < held), "a marked beat is held"),
        ]


class RingRules(StreamChecker):
    """A ring whose user reserves, pushes, reads and pops only what it may.

    Any one beat may be marked, as in a queue; when it is read, it is expected in `value`.
    """

    def __init__(self, ring):
        super().__init__(ring, more={"mark": In(1)})
        self.depth = ring.depth

    def build(self, m):
        super().build(m)
        ring, depth = self.proved, self.depth
        held, promised = Signal(range(depth + 3)), Signal(range(depth + 3))
        here = Signal(range(depth + 4))
        m.d.sync += [
            held.eq(here - ring.pop),
            promised.eq(promised + ring.reserve - ring.push),
        ]
        with m.If(ring.clear):
            m.d.sync += [held.eq(0), promised.eq(0)]
        m.d.comb += [
            here.eq(held + ring.push),
            Assume(~ring.reserve | ring.room),
            Assume(~ring.push | (promised != 0)),
            Assume(ring.pop <= here),
            Assume(ring.pop <= 2),
            Assume(~ring.read | (here > ring.ahead)),
            Assert(held + promised <= depth, "promises do not overflow"),
            Assert(ring.room == (held + promised < depth), "what is free may be reserved"),
            Assert(ring.ready == (here >= 1), "a beat is there when it comes"),
            Assert(ring.pair == (here >= 2), "two beats are there when they come"),
        ]
        self._order(m, held)

    def _order(self, m, held):
        """Follow the marked beat, from the cycle in which it comes, and what was read last."""
        ring = self.proved
        kept_mark, kept_place = Signal(), Signal(range(self.depth + 3))
        marked, place = Signal(), Signal(range(self.depth + 3))
        kept, word = Signal(len(ring.data)), Signal(len(ring.data))
        shown, seen = Signal(), Signal(len(ring.data))
        m.d.comb += [marked.eq(kept_mark), place.eq(kept_place), word.eq(kept)]
        with m.If(~kept_mark & self.mark & ring.push):
            m.d.comb += [marked.eq(1), place.eq(held), word.eq(ring.data)]
        m.d.comb += Assert(~shown | (ring.value == seen), "what is read is what came, and stays")
        with m.If(ring.read):
            m.d.sync += [shown.eq(marked & (place == ring.ahead)), seen.eq(word)]
        m.d.sync += [
            kept_mark.eq(marked & (place >= ring.pop) & ~ring.clear),
            kept_place.eq(place - ring.pop),
            kept.eq(word),
        ]
