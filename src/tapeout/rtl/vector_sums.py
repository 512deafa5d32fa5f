"""Sums of rows of chunks."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.numerics.fp32 import SUM_BLOCK

from .chunk_packer import ChunkPacker, Turns
from .component import Component
from .serial_sums import SLOTS, SerialSums
from .sum_tree import BlockSums
from .vector_walk import COUNT_BITS

SUMS = data.StructLayout({"on": 1, "numbers": COUNT_BITS, "rows": COUNT_BITS, "initial": 1})
"""Numbers of a row and rows of a group, both at least 1; `initial`: rows start from scalars."""


class Sums(Component):
    """Sums of rows, packed into chunks. Value: `numerics.reduce_sum`; with `initial`, what
    `numerics.matmul_wide` makes of the products, its `acc` being the scalars.

    A row is ceil(numbers / lanes) chunks, with +0 behind its numbers; it takes one scalar, with
    its first chunk. Totals fill the lanes of a chunk from lane 0 on; it is written when it is full
    or a group ends. Lanes that are not filled hold anything.

    Latency 30 cycles from the take of a row of one block to the write of its total, up to SLOTS - 1
    more. Throughput 1 chunk per cycle if rows are short; of one row, a block of 32 in SLOTS
    cycles. Stalls when the queue of a row's slot is full, and in the end when there is no room.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk: a power of two, at least 4.

    Members
    -------
    start : In(1); config : In(SUMS), with `start`
    ready : In(1); take : Out(1); values : In(32 * lanes), from the cycle after `take`
    scalar_ready : In(1); scalar_take : Out(1); scalar : In(32), likewise
    room : In(1); reserve : Out(1); write : Out(1); data : Out(32 * lanes)
    """

    def __init__(self, *, lanes: int):
        self.lanes, self.parts = lanes, max(1, lanes // SUM_BLOCK)
        # Entries on their way through the trees, and a row's burst.
        self.depth = 16 if self.parts <= 2 else 8
        ports = {name: In(1) for name in ("start", "ready", "scalar_ready", "room")}
        ports |= {"config": In(SUMS), "values": In(32 * lanes), "scalar": In(32)}
        ports |= {name: Out(1) for name in ("take", "scalar_take", "reserve", "write")}
        super().__init__(ports | {"data": Out(32 * lanes)}, name=f"vector_sums_{lanes}")

    def build(self, m: Module) -> None:
        """Take chunks, sum blocks, deal them to the sets of slots, collect totals."""
        self._config = Signal(SUMS, name="kept")
        with m.If(self.start):
            m.d.sync += self._config.eq(self.config)
        self._began = Signal(name="began")  # the counters begin when the configuration is kept
        m.d.sync += self._began.eq(self.start)
        sets = [SerialSums(parts=self.parts, depth=self.depth) for _ in range(self.parts)]
        for i, each in enumerate(sets):
            m.submodules[f"set{i}"] = each
            m.d.comb += [
                each.clear.eq(self._began),
                each.initial.eq(self._config.initial),
                each.scalar.eq(self.scalar),
            ]
        ends = self._take(m, sets)
        self._deal(m, sets, ends)
        self._collect(m, sets)

    def _which(self, m: Module, name: str, step: Any) -> tuple[Any, Any]:
        """(set, slot) of a row: they go round, the set first."""
        count = Signal(exact_log2(self.parts * SLOTS), name=name)
        with m.If(self._began):
            m.d.sync += count.eq(0)
        with m.Elif(step):
            m.d.sync += count.eq(count + 1)
        low = exact_log2(self.parts)
        return count[:low], count[low:]

    def _take(self, m: Module, sets: list[Any]) -> Any:
        """Take a chunk if there is room for the entry that it completes, and for a scalar.

        Returns whether it ends a row.
        """
        m.submodules.chunks = chunks = Turns(bits=COUNT_BITS)
        ends, completes, room = Signal(), Signal(), Signal()
        which, slot = self._which(m, "in_row", ends)
        begins = chunks.first & self._config.initial
        m.d.comb += [
            chunks.start.eq(self._began),
            chunks.length.eq((self._config.numbers - 1)[:COUNT_BITS] >> exact_log2(self.lanes)),
            chunks.step.eq(self.take),
            ends.eq(self.take & chunks.last),
            completes.eq(chunks.last | self._block_is_full(m, chunks.last)),
            room.eq(Cat(each.room for each in sets).bit_select(Cat(slot, which), 1)),
            self.take.eq(
                self._config.on
                & ~(self.start | self._began)
                & self.ready
                & (room | ~(completes | begins))
                & (self.scalar_ready | ~begins)
            ),
            self.scalar_take.eq(self.take & begins),
        ]
        for i, each in enumerate(sets):
            mine = which == i
            m.d.comb += [
                each.slot.eq(slot),
                each.admit.eq(self.scalar_take & mine),
                each.reserve.eq(self.take & completes & mine),
            ]
        return ends

    def _block_is_full(self, m: Module, last: Any) -> Any:
        """Whether the next chunk completes a block of 32."""
        chunks = SUM_BLOCK // self.lanes
        if chunks <= 1:
            return 1
        place = Signal(exact_log2(chunks))
        with m.If(self._began):
            m.d.sync += place.eq(0)
        with m.Elif(self.take):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        return place.all()

    def _deal(self, m: Module, sets: list[Any], ends: Any) -> None:
        """Sums of blocks go to the row's set."""
        m.submodules.blocks = blocks = BlockSums(lanes=self.lanes)
        m.d.sync += [blocks.on.eq(self.take), blocks.ends.eq(ends)]
        m.d.comb += blocks.values.eq(self.values)
        which, slot = self._which(m, "dealt_row", blocks.done & blocks.done_ends)
        blocks_less_one = (self._config.numbers - 1)[:COUNT_BITS] >> exact_log2(SUM_BLOCK)
        count = Mux(blocks.done_ends, blocks_less_one & (self.parts - 1), self.parts - 1)
        for i, each in enumerate(sets):
            m.d.comb += [
                each.write.eq(blocks.done & (which == i)),
                each.write_slot.eq(slot),
                each.entry.sums.eq(blocks.sums),
                each.entry.count.eq(count),
                each.entry.ends.eq(blocks.done_ends),
            ]

    def _collect(self, m: Module, sets: list[Any]) -> None:
        """Totals in the order of the rows."""
        m.submodules.packer = packer = ChunkPacker(lanes=self.lanes)
        which, _ = self._which(m, "out_row", packer.push)
        m.d.comb += [
            packer.start.eq(self._began),
            packer.rows.eq(self._config.rows),
            packer.word.eq(Array(each.total for each in sets)[which]),
            packer.push.eq(Array(each.ready for each in sets)[which] & (self.room | ~packer.first)),
            self.reserve.eq(packer.push & packer.first),
            self.write.eq(packer.write),
            self.data.eq(packer.data),
        ]
        for i, each in enumerate(sets):
            m.d.comb += each.take.eq(packer.push & (which == i))
