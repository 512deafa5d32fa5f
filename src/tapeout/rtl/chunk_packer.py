"""Words into chunks: the results of rows, one to a lane, group after group."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .component import Component
from .vector_walk import COUNT_BITS


class Turns(Component):
    """Counts steps in turns of equal length.

    Latency 1 cycle; throughput 1 step per cycle; never stalls.

    Parameters
    ----------
    bits : int
        Bits of the length.

    Members
    -------
    start : In(1), a turn begins; length : In(bits), steps of a turn less one, constant after start
    step : In(1); first, last : Out(1), whether the next step begins, ends a turn
    """

    def __init__(self, *, bits: int):
        self.bits = bits
        ports = {"start": In(1), "length": In(bits), "step": In(1)}
        super().__init__(ports | {"first": Out(1), "last": Out(1)}, name=f"turns_{bits}")

    def build(self, m: Module) -> None:
        """Count down to zero."""
        left = Signal(self.bits, reset_less=True)
        m.d.comb += self.last.eq(left == 0)
        with m.If(self.start | (self.step & self.last)):
            m.d.sync += [left.eq(self.length), self.first.eq(1)]
        with m.Elif(self.step):
            m.d.sync += [left.eq(left - 1), self.first.eq(0)]


class LaneCount(Component):
    """Counts which lane of a chunk a row's result gets.

    Latency 1 cycle; throughput 1 row per cycle; never stalls.

    Parameters
    ----------
    lanes : int
        Lanes of a chunk: a power of two.

    Members
    -------
    start : In(1); rows : In(COUNT_BITS), rows of a group, which begins at lane 0; constant after
    start
    step : In(1), next row; lane : Out(range(lanes)), of the next row
    first, last : Out(1), whether the next row begins a chunk, ends one
    """

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        ports = {"start": In(1), "rows": In(COUNT_BITS), "step": In(1)}
        ports |= {"lane": Out(range(lanes)), "first": Out(1), "last": Out(1)}
        super().__init__(ports, name=f"lane_count_{lanes}")

    def build(self, m: Module) -> None:
        """The lane, and the rows that are left of the group."""
        m.submodules.group = group = Turns(bits=COUNT_BITS)
        m.d.comb += [
            group.start.eq(self.start),
            group.length.eq(self.rows - 1),
            group.step.eq(self.step),
            self.first.eq(self.lane == 0),
            self.last.eq(group.last | (self.lane == self.lanes - 1)),
        ]
        with m.If(self.start):
            m.d.sync += self.lane.eq(0)
        with m.Elif(self.step):
            m.d.sync += self.lane.eq(Mux(self.last, 0, self.lane + 1))


class ChunkPacker(Component):
    """Puts the results of rows into the lanes of chunks; a group of rows begins a chunk.

    A result that is `first` needs a chunk that has been promised. Lanes that no row fills keep
    what they held.

    Latency 1 cycle from the result that ends a chunk to `write`; throughput 1 result per cycle;
    never stalls.

    Parameters
    ----------
    lanes : int
        Lanes of a chunk: a power of two.

    Members
    -------
    start : In(1); rows : In(COUNT_BITS), rows of a group; constant after start
    push : In(1); word : In(32); first : Out(1), whether the next result begins a chunk
    write : Out(1); data : Out(32 * lanes)
    """

    def __init__(self, *, lanes: int):
        exact_log2(lanes)
        self.lanes = lanes
        ports = {"start": In(1), "rows": In(COUNT_BITS), "push": In(1), "word": In(32)}
        ports |= {"first": Out(1), "write": Out(1), "data": Out(32 * lanes)}
        super().__init__(ports, name=f"chunk_packer_{lanes}")

    def build(self, m: Module) -> None:
        """A register for each lane."""
        m.submodules.count = count = LaneCount(lanes=self.lanes)
        m.d.comb += [
            count.start.eq(self.start),
            count.rows.eq(self.rows),
            count.step.eq(self.push),
            self.first.eq(count.first),
        ]
        m.d.sync += self.write.eq(self.push & count.last)
        for i in range(self.lanes):
            lane = Signal(32, name=f"lane{i}", reset_less=True)
            with m.If(self.push & (count.lane == i)):
                m.d.sync += lane.eq(self.word)
            m.d.comb += self.data.word_select(i, 32).eq(lane)
