"""Numbers of chunks one by one: what becomes the scalar of whole rows."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component
from .vector_walk import COUNT_BITS

SPREAD = data.StructLayout({"on": 1, "numbers": COUNT_BITS, "repeats": COUNT_BITS})
"""Groups of `numbers` numbers, each of which is written `repeats` times; both at least 1."""


class Spread(Component):
    """Takes chunks from a ring and writes their numbers, repeated, into the ring of scalars.

    A group begins with a chunk, lane 0 first, and uses no more of its last chunk than it needs;
    groups follow each other until the next start.

    Latency 2 cycles from `take` to `write`; throughput 1 number per cycle, also from chunk to
    chunk; stalls when there is no chunk, or no room.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk; a power of two, at least 2.

    Members
    -------
    start : In(1); config : In(SPREAD), in the cycle of start
    ready : In(1); take : Out(1); values : In(chunk), from the cycle after take to the next take
    room : In(1); reserve : Out(1); write : Out(1); data : Out(32)
    """

    def __init__(self, *, lanes: int):
        if lanes < 2 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two of at least 2, not {lanes}")
        self.lanes = lanes
        ports = {name: In(1) for name in ("start", "ready", "room")}
        ports |= {name: Out(1) for name in ("take", "reserve", "write")}
        ports |= {"config": In(SPREAD), "values": In(32 * lanes), "data": Out(32)}
        super().__init__(ports, name=f"vector_spread_{lanes}")

    def build(self, m: Module) -> None:
        """The place in the chunk, the numbers that are left in the group, and the repeats."""
        on, held = Signal(), Signal()
        kept = Signal(SPREAD, reset_less=True)
        left, again = Signal(COUNT_BITS, reset_less=True), Signal(COUNT_BITS, reset_less=True)
        lane = Signal(range(self.lanes), reset_less=True)
        word = Signal(32, reset_less=True)
        go, next_number, last, spent = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            go.eq(held & self.room),
            next_number.eq(again == 1),
            last.eq(left == 1),
            spent.eq(go & next_number & (last | lane.all())),
            self.take.eq(on & self.ready & (~held | spent)),
            self.reserve.eq(go),
            self.data.eq(word),
        ]
        m.d.sync += [self.write.eq(go), held.eq(self.take | (held & ~spent))]
        with m.If(go):
            m.d.sync += word.eq(self.values.word_select(lane, 32))
            m.d.sync += again.eq(Mux(next_number, kept.repeats, again - 1))
        with m.If(go & next_number):
            m.d.sync += lane.eq(Mux(last, 0, lane + 1))
            m.d.sync += left.eq(Mux(last, kept.numbers, left - 1))
        with m.If(self.start):
            m.d.sync += [on.eq(self.config.on), held.eq(0), self.write.eq(0)]
            m.d.sync += [kept.eq(self.config), lane.eq(0)]
            m.d.sync += [left.eq(self.config.numbers), again.eq(self.config.repeats)]
