"""Maxima of rows of chunks, each with a number from before."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .chunk_packer import ChunkPacker, LaneCount, Turns
from .component import Component
from .vector_lane import of_key, order_key
from .vector_walk import COUNT_BITS

MAXIMA = data.StructLayout({"on": 1, "numbers": COUNT_BITS, "rows": COUNT_BITS})
"""Numbers of a row and rows of a group, both at least 1."""

BEAT = data.StructLayout({"on": 1, "first": 1, "last": 1})
"""A chunk on its way through the tree: whether there is one, and it begins, ends a row."""


class LargestKey(Component):
    """The largest of two or four keys (`vector_lane.order_key`), or of two numbers.

    Latency 1 cycle; throughput 1 per cycle; never stalls.

    Parameters
    ----------
    count : int
        Keys: 2 or 4.
    numbers : bool
        Whether what comes are FP32 numbers.

    Members
    -------
    on : In(1), they are there; values : In(32 * count); largest : Out(32), a key
    """

    def __init__(self, *, count: int, numbers: bool = False):
        self.count, self.numbers = count, numbers
        ports = {"on": In(1), "values": In(32 * count), "largest": Out(32)}
        kind = "number" if numbers else "key"
        super().__init__(ports, name=f"largest_{kind}_{count}")

    def build(self, m: Module) -> None:
        """Comparators and a register."""
        keys = [self.values.word_select(i, 32) for i in range(self.count)]
        if self.numbers:
            keys = [order_key(word) for word in keys]
        while len(keys) > 1:
            keys = [larger_key(*keys[i : i + 2]) for i in range(0, len(keys), 2)]
        largest = Signal(32, reset_less=True)
        with m.If(self.on):
            m.d.sync += largest.eq(keys[0])
        m.d.comb += self.largest.eq(largest)


def larger_key(a: Any, b: Any) -> Any:
    """The larger of two keys."""
    return Mux(a.as_signed() < b.as_signed(), b, a)


class Maxima(Component):
    """Maxima of rows and of an initial number for each, packed into chunks.

    Value: `numerics.maximum` of that number and of `numerics.reduce_max` of the row.

    A row is ceil(numbers / lanes) chunks, with -inf behind its numbers. Maxima fill the lanes of a
    chunk from lane 0 on; it is written when it is full or a group ends. Lanes that are not filled
    hold anything. The initial numbers come in chunks that are filled alike. Each maximum also
    leaves alone.

    Latency 4 + ceil((log2(lanes) - 1) / 2) cycles from the take of a row's last chunk to the write
    of the chunk, one less to that of the row's maximum;
    throughput 1 chunk per cycle. Stalls before a row that begins a chunk, until its initial numbers
    are there, and before the end of a row, when there is no room.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk: a power of two, at least 4.

    Members
    -------
    start : In(1); config : In(MAXIMA), with `start`
    ready : In(1); take : Out(1); values : In(32 * lanes), from the cycle after `take`
    initial_ready : In(1); initial_take : Out(1); initial : In(32 * lanes), likewise
    room : In(1); reserve : Out(1); write : Out(1); data : Out(32 * lanes)
    row_room : In(1); row_reserve : Out(1); row_write : Out(1); row_data : Out(32)
    """

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        ports = {name: In(1) for name in ("start", "ready", "initial_ready", "room", "row_room")}
        ports |= {"config": In(MAXIMA), "values": In(32 * lanes), "initial": In(32 * lanes)}
        made = ("take", "initial_take", "reserve", "write", "row_reserve", "row_write")
        ports |= {**{name: Out(1) for name in made}, "row_data": Out(32)}
        super().__init__(ports | {"data": Out(32 * lanes)}, name=f"vector_maxima_{lanes}")

    def build(self, m: Module) -> None:
        """Take chunks, find the largest of each, then of each row."""
        config, began = Signal(MAXIMA), Signal()
        m.d.sync += began.eq(self.start)  # the counters begin when the configuration is kept
        with m.If(self.start):
            m.d.sync += config.eq(self.config)
        m.submodules.chunks = chunks = Turns(bits=COUNT_BITS)
        m.submodules.rows = rows = LaneCount(lanes=self.lanes)
        m.submodules.packer = packer = ChunkPacker(lanes=self.lanes)
        promises, begins = chunks.last & rows.first, chunks.first & rows.first
        free = ~(self.start | began)
        m.d.comb += [
            chunks.start.eq(began),
            chunks.length.eq((config.numbers - 1)[:COUNT_BITS] >> exact_log2(self.lanes)),
            chunks.step.eq(self.take),
            rows.start.eq(began),
            rows.rows.eq(config.rows),
            rows.step.eq(self.take & chunks.last),
            self.take.eq(
                config.on
                & free
                & self.ready
                & (self.initial_ready | ~begins)
                & (self.room | ~promises)
                & (self.row_room | ~chunks.last)
            ),
            self.initial_take.eq(self.take & begins),
            self.reserve.eq(self.take & promises),
            self.row_reserve.eq(self.take & chunks.last),
            packer.start.eq(began),
            packer.rows.eq(config.rows),
            self.write.eq(packer.write),
            self.data.eq(packer.data),
        ]
        beat, lane = Signal(BEAT), Signal.like(rows.lane)
        m.d.sync += [
            beat.on.eq(self.take),
            beat.first.eq(chunks.first),
            beat.last.eq(chunks.last),
            lane.eq(rows.lane),
        ]
        initial = order_key(self.initial.word_select(lane, 32))
        key, beat, initial = self._largest(m, beat, initial)
        best = Signal(32, reset_less=True)
        with m.If(beat.on):
            m.d.sync += best.eq(larger_key(Mux(beat.first, initial, best), key))
        m.d.sync += packer.push.eq(beat.on & beat.last)
        m.d.comb += [
            packer.word.eq(of_key(best)),
            self.row_write.eq(packer.push),
            self.row_data.eq(packer.word),
        ]

    def _largest(self, m: Module, beat: Any, initial: Any) -> tuple[Any, Any, Any]:
        """The key of the largest number of a chunk, and what goes along with it."""
        words: list[Any] = [self.values.word_select(i, 32) for i in range(self.lanes)]
        stage = 0
        while len(words) > 1:
            count = 2 if stage == 0 or len(words) == 2 else 4
            largest: list[Any] = []
            for i in range(0, len(words), count):
                each = LargestKey(count=count, numbers=stage == 0)
                m.submodules[f"stage{stage}_{i // count}"] = each
                m.d.comb += [each.on.eq(beat.on), each.values.eq(Cat(words[i : i + count]))]
                largest.append(each.largest)
            later = Signal(BEAT, name=f"beat{stage}")
            kept = Signal(32, name=f"initial{stage}", reset_less=True)
            m.d.sync += later.eq(beat)
            with m.If(beat.on & beat.first):
                m.d.sync += kept.eq(initial)
            words, beat, initial, stage = largest, later, kept, stage + 1
        return words[0], beat, initial
