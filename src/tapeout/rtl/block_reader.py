"""Stored blocks of 32 elements, one after the other, as the dequantiser takes them."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import GRANULE_BYTES
from tapeout.numerics import BLOCK

from .chunk_codes import WIDTHS
from .command import ROWS_BITS
from .component import Component
from .encode import WORD_BITS
from .group_scale import SCALE_BITS
from .ports import GRANULE_BITS, read_port
from .row_chunks import COLUMNS_BITS

BLOCK_GRANULES = BLOCK * WORD_BITS // GRANULE_BITS
BLOCKS_BITS = COLUMNS_BITS - 5

STORED_BLOCK = data.StructLayout(
    {
        "codes": BLOCK * WORD_BITS,
        "scale": SCALE_BITS,
        "columns": range(BLOCK + 1),
        "row_end": 1,
        "final": 1,
    }
)
"""A block. codes: packed, in the low bits; scale: one of two bytes, one of a byte, or two of a
byte; columns: elements that are not padding; row_end, final: the last one of its row, of the tile.
"""


def stored_layout(*, address_bits: int, scale_address_bits: int) -> data.StructLayout:
    """A tile of blocks: rows of codes, rows of scales.

    scaled: it has scales; halves: a block has two scales of a byte; words: one of two bytes;
    shared: four blocks have one; width: index into WIDTHS.
    """
    return data.StructLayout(
        {
            "address": address_bits,
            "pitch": address_bits,
            "scale": scale_address_bits,
            "scale_pitch": scale_address_bits,
            "rows": ROWS_BITS,
            "columns": COLUMNS_BITS,
            "scaled": 1,
            "halves": 1,
            "words": 1,
            "shared": 1,
            "width": range(len(WIDTHS)),
        }
    )


class BlockReader(Component):
    """Reads the blocks of a tile with their scales.

    One block at a time: 4 cycles and the latency of a read, with fewer than 32 lanes one more for
    each read beyond the first; stalls when `blocks` is not ready.

    Parameters
    ----------
    granules : int
        Of a window of L1; a power of two.
    address_bits, scale_address_bits : int
        Of addresses in L1 and in the scale memory, in granules.

    Members
    -------
    tile : In(stored_layout), with at least one row; constant until the last block has passed
    start : In(1), begin with this tile; everything has passed
    read : read_port of `granules` of L1
    read_scale : read_port of a granule of the scale memory
    blocks : Out(stream of STORED_BLOCK)
    """

    def __init__(self, *, granules: int, address_bits: int, scale_address_bits: int):
        self.granules = granules
        self.address_bits, self.scale_address_bits = address_bits, scale_address_bits
        self.layout = stored_layout(
            address_bits=address_bits, scale_address_bits=scale_address_bits
        )
        super().__init__(
            {
                "tile": In(self.layout),
                "start": In(1),
                "read": Out(read_port(granules=granules, address_bits=address_bits)),
                "read_scale": Out(read_port(granules=1, address_bits=scale_address_bits)),
                "blocks": Out(stream.Signature(STORED_BLOCK)),
            },
            name=f"block_reader_{granules}_{address_bits}_{scale_address_bits}",
        )

    def build(self, m: Module) -> None:
        """Find the place of the block, ask for its windows, collect them, offer it."""
        block, rows = Signal(BLOCKS_BITS), Signal(ROWS_BITS)
        row, scale_row = Signal(self.address_bits), Signal(self.scale_address_bits)
        placed, collected = Signal(), Signal()
        last = Signal()
        m.d.comb += last.eq(block == (self.tile.columns - 1) >> 5)
        self._codes(m, placed, block, row)
        self._scale(m, placed, block, scale_row)
        m.d.comb += collected.eq(self._codes_here & self._scale_here)
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [block.eq(0), rows.eq(self.tile.rows), row.eq(self.tile.address)]
                m.d.sync += scale_row.eq(self.tile.scale)
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.comb += placed.eq(1)
                m.next = "FETCH"
            with m.State("FETCH"), m.If(collected):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.blocks.valid.eq(1)
                with m.If(self.blocks.ready):
                    m.d.sync += block.eq(Mux(last, 0, block + 1))
                    with m.If(last):
                        m.d.sync += [rows.eq(rows - 1), row.eq(row + self.tile.pitch)]
                        m.d.sync += scale_row.eq(scale_row + self.tile.scale_pitch)
                    m.next = "PLACE"
                    with m.If(self.blocks.payload.final):
                        m.next = "IDLE"
        out = self.blocks.payload
        m.d.comb += [
            out.columns.eq(Mux(last, ((self.tile.columns - 1)[:5] + 1), BLOCK)),
            out.row_end.eq(last),
            out.final.eq(last & (rows == 1)),
        ]

    def _codes(self, m: Module, placed: Any, block: Any, row: Any) -> None:
        """Windows of L1 side by side, from the granule in which the block begins."""
        windows = max(1, BLOCK_GRANULES // self.granules)
        used = min(BLOCK_GRANULES, self.granules) * GRANULE_BITS
        buffer = [Signal(used, name=f"window{i}", reset_less=True) for i in range(windows)]
        asks, answers = Signal(range(windows + 1)), Signal(range(windows + 1))
        address, half, wanted = Signal(self.address_bits), Signal(), Signal(range(windows + 1))
        request, self._codes_here = self.read.request, answers == wanted
        m.d.comb += [request.valid.eq(asks != 0), request.payload.eq(address)]
        with m.Switch(self.tile.width):
            for number, bits in enumerate(WIDTHS):
                with m.Case(number):
                    place = block * (BLOCK * bits // 8)
                    granules = -(-bits * BLOCK // GRANULE_BITS)
                    m.d.comb += wanted.eq(-(-granules // self.granules))
                    with m.If(placed):
                        m.d.sync += address.eq(row + (place >> 4))
                        m.d.sync += half.eq(place[3])
        with m.If(placed):
            m.d.sync += [asks.eq(wanted), answers.eq(0)]
        with m.Elif(request.valid & request.ready):
            m.d.sync += [asks.eq(asks - 1), address.eq(address + self.granules)]
        with m.If(self.read.data_valid):
            m.d.sync += answers.eq(answers + 1)
            for i, window in enumerate(buffer):
                with m.If(answers == i):
                    m.d.sync += window.eq(self.read.data[:used])
        codes = Cat(*buffer)
        m.d.comb += self.blocks.payload.codes.eq(Mux(half, codes >> (GRANULE_BITS // 2), codes))

    def _scale(self, m: Module, placed: Any, block: Any, row: Any) -> None:
        """The granule that holds the scales, and these out of it."""
        tile, request = self.tile, self.read_scale.request
        place, byte = Signal(BLOCKS_BITS + 1), Signal(range(GRANULE_BYTES))
        asks, here = Signal(), Signal()
        address = Signal(self.scale_address_bits)
        self._scale_here = here
        number = Mux(tile.shared, block >> 2, block)
        m.d.comb += [
            place.eq(Mux(tile.words | tile.halves, number << 1, number)),
            request.valid.eq(asks),
            request.payload.eq(address),
        ]
        with m.If(placed):
            m.d.sync += [address.eq(row + (place >> 4)), byte.eq(place[:4])]
            m.d.sync += [asks.eq(tile.scaled), here.eq(~tile.scaled)]
        with m.Elif(request.ready):
            m.d.sync += asks.eq(0)
        scale = Signal(SCALE_BITS, reset_less=True)
        m.d.comb += self.blocks.payload.scale.eq(scale)
        with m.If(self.read_scale.data_valid):
            m.d.sync += [scale.eq(self.read_scale.data >> (byte << 3)), here.eq(1)]
