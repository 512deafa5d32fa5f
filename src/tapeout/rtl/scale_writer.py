"""Scales of rows as consecutive bytes in the scale memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import GRANULE_BYTES
from tapeout.numerics import BLOCK

from .component import Component
from .group_maxima import GROUP_BITS, SIZES, SUB, sub_groups
from .group_scale import SCALE_BITS
from .ports import GRANULE_BITS, write_port

BYTES_BITS = 14  # of the scales of a row


def tail_blocks_bits(lanes: int) -> Any:
    """Shape of the number of blocks of 32 in the last chunk of a row."""
    return range(max(1, lanes // BLOCK) + 1)


class ScaleWriter(Component):
    """Writes the scales of chunk after chunk. Value: the scales of `numerics.to_bytes`.

    Latency 1 cycle; throughput 1 chunk per cycle, with more than 256 lanes and two bytes for each
    32 of them, or one for each 16, one per lanes / 256 cycles; stalls when a write does not pass.

    Parameters
    ----------
    lanes : int
        Columns of a chunk; a power of two.
    address_bits : int
        Of an address in the scale memory, in granules.

    Members
    -------
    start : In(1), the next chunk begins a tile at `address`; nothing is under way
    address, pitch : In(address_bits), constant as are:
    words : In(1), scales have two bytes
    group : In(2), index into group_maxima.SIZES, or 3: one scale from this chunk
    tail_blocks : In, blocks of 32 columns in the last chunk of a row
    chunks : In(stream of {scales: [lanes / 16] 16 bits, row_end: 1})
    write : write_port of a granule
    empty : Out(1), all writes have passed
    """

    def __init__(self, *, lanes: int, address_bits: int):
        self.lanes, self.address_bits = lanes, address_bits
        self.parts = max(1, lanes // SUB // GRANULE_BYTES)  # granules of a chunk
        scales = data.ArrayLayout(SCALE_BITS, sub_groups(lanes))
        ports = {
            "start": In(1),
            "address": In(address_bits),
            "pitch": In(address_bits),
            "words": In(1),
            "group": In(GROUP_BITS),
            "tail_blocks": In(tail_blocks_bits(lanes)),
            "chunks": In(stream.Signature(data.StructLayout({"scales": scales, "row_end": 1}))),
            "write": Out(write_port(granules=1, address_bits=address_bits)),
            "empty": Out(1),
        }
        super().__init__(ports, name=f"scale_writer_{lanes}_{address_bits}")

    def build(self, m: Module) -> None:
        """The bytes of a chunk repeat all over a granule; the mask says where they belong."""
        request, out, row_end = self.write.request, self.write.request.payload, Signal()
        free, taken = Signal(), Signal()
        row, offset = Signal(self.address_bits), Signal(BYTES_BITS)
        line, count, parts = self._line(m, row_end)
        part, last_part = Signal(range(max(2, self.parts))), Signal()
        ones = Signal(range(GRANULE_BYTES + 1))
        if self.parts == 1:
            m.d.comb += [last_part.eq(1), ones.eq(count)]
        else:
            start = part << 4
            left = Mux(count > start, count - start, 0)
            m.d.comb += last_part.eq(part == parts - 1)
            m.d.comb += ones.eq(Mux(left > GRANULE_BYTES, GRANULE_BYTES, left))
        m.d.comb += [
            row_end.eq(self.chunks.payload.row_end),
            free.eq(~request.valid | request.ready),
            self.chunks.ready.eq(free & last_part),
            taken.eq(self.chunks.valid & free),
            self.empty.eq(~request.valid),
        ]
        mask = ((1 << ones) - 1)[:GRANULE_BYTES] << offset[:4]
        with m.If(free):
            m.d.sync += request.valid.eq(self.chunks.valid)
        with m.If(taken):
            m.d.sync += [
                out.address.eq(row + (offset >> 4)),
                out.data.eq(line.word_select(part, GRANULE_BITS)),
                out.mask.eq(mask),
                part.eq(Mux(last_part, 0, part + 1)),
                offset.eq(Mux(last_part & row_end, 0, offset + ones)),
            ]
            with m.If(last_part & row_end):
                m.d.sync += row.eq(row + self.pitch)
        with m.If(self.start):
            m.d.sync += [row.eq(self.address), offset.eq(0), part.eq(0)]

    def _line(self, m: Module, row_end: Any) -> tuple[Any, Any, Any]:
        """The scales of a chunk, repeated to fill granules; their bytes, and granules if whole."""
        line = Signal(GRANULE_BITS * self.parts)
        count = Signal(range(GRANULE_BYTES * self.parts + 1))
        parts = Signal(range(self.parts + 1))
        for words, number, size in self._kinds():
            picked = range(0, sub_groups(self.lanes), max(1, size // SUB))
            bits = Cat(*(self.chunks.payload.scales[i][: 8 << words] for i in picked))
            blocks = Mux(row_end, self.tail_blocks, max(1, self.lanes // BLOCK))
            groups = (blocks * BLOCK + size - 1) // size if len(picked) > 1 else 1
            with m.If((self.words == words) & (self.group == number)):
                m.d.comb += [
                    line.eq(bits.replicate(max(1, len(line) // len(bits)))),
                    count.eq(groups << words),
                    parts.eq(max(1, len(bits) // GRANULE_BITS)),
                ]
        return line, count, parts

    def _kinds(self) -> list[tuple[int, int, int]]:
        """What scales there may be: (words, group, its size); a row is as one chunk."""
        sizes = [*enumerate(SIZES), (len(SIZES), self.lanes)]
        return [
            (words, number, min(size, self.lanes)) for words in (0, 1) for number, size in sizes
        ]
