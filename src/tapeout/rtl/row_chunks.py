"""The chunks of a tile in the order in which the quantiser takes them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK

from .command import ROWS_BITS
from .component import Component

COLUMNS_BITS = 17
FLAGS = ("measure", "store", "closes", "ends", "row_end", "final")
GROUP_CHUNKS = 32  # chunks of a group at most: 128 elements in chunks of 4


def chunk_index_bits(lanes: int) -> int:
    """Bits of a chunk's number within its row."""
    return max(1, COLUMNS_BITS - (lanes.bit_length() - 1))


def chunk_layout(*, lanes: int, address_bits: int) -> data.StructLayout:
    """A chunk of `lanes` columns: where it lies and what is done with it.

    count: columns that it has, the others are padding; measure: it counts for the largest
    magnitude of its group; store: its elements are wanted; closes, ends: it is the last one of its
    group to be measured, or stored; row_end: it is the last one of its row; final: the last one of
    all that are stored.
    """
    return data.StructLayout(
        {"address": address_bits, "count": range(lanes + 1), **{name: 1 for name in FLAGS}}
    )


def walk_layout(*, address_bits: int) -> data.StructLayout:
    """A tile to be walked through.

    group_mask: chunks of a group less one; per_row: each row is measured, then stored.
    """
    return data.StructLayout(
        {
            "address": address_bits,
            "pitch": address_bits,
            "rows": ROWS_BITS,
            "columns": COLUMNS_BITS,
            "group_mask": range(GROUP_CHUNKS),
            "per_row": 1,
        }
    )


class RowChunks(Component):
    """Cuts a tile into chunks of `lanes` columns, rows padded to a multiple of 32.

    Chunks that are padding only have the address of the last one that is not. Latency 1 cycle;
    throughput 1 chunk per cycle; stalls when `chunks` is not ready.

    Parameters
    ----------
    lanes : int
        Columns of a chunk; a power of two.
    address_bits : int
        Of an address in granules.

    Members
    -------
    tile : In(walk_layout), with at least one row; constant until the last chunk has passed
    start : In(1), begin with this tile; everything has passed
    chunks : Out(stream of chunk_layout)
    """

    def __init__(self, *, lanes: int, address_bits: int):
        self.lanes, self.address_bits = lanes, address_bits
        self.layout = chunk_layout(lanes=lanes, address_bits=address_bits)
        ports = {
            "tile": In(walk_layout(address_bits=address_bits)),
            "start": In(1),
            "chunks": Out(stream.Signature(self.layout)),
        }
        super().__init__(ports, name=f"row_chunks_{lanes}_{address_bits}")

    def build(self, m: Module) -> None:
        """Counters of rows, of chunks and, with one scale a row, of the two passes."""
        tile, chunk, shift = self.tile, self.chunks.payload, self.lanes.bit_length() - 1
        index = Signal(chunk_index_bits(self.lanes))
        storing, active = Signal(), Signal()
        rows = Signal(ROWS_BITS)
        last_column = Signal(COLUMNS_BITS)
        last_chunk, last_real = Signal.like(index), Signal.like(index)
        address, row_address = Signal(self.address_bits), Signal(self.address_bits)
        m.d.comb += [
            last_column.eq(tile.columns - 1),
            last_real.eq(last_column >> shift),
            last_chunk.eq((last_column | (BLOCK - 1)) >> shift),
        ]
        last, group_end = Signal(), Signal()
        mask = tile.group_mask
        m.d.comb += [
            last.eq(index == last_chunk),
            group_end.eq(last | (~tile.per_row & ((index & mask) == mask))),
            self.chunks.valid.eq(active),
            chunk.address.eq(address),
            chunk.count.eq(
                Mux(index < last_real, self.lanes,
                    Mux(index == last_real, last_column[:shift] + 1, 0))
            ),
            chunk.measure.eq(~(tile.per_row & storing)),
            chunk.store.eq(~tile.per_row | storing),
            chunk.closes.eq(chunk.measure & group_end),
            chunk.ends.eq(chunk.store & group_end),
            chunk.row_end.eq(last),
            chunk.final.eq(chunk.store & last & (rows == 1)),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [active.eq(1), rows.eq(tile.rows), index.eq(0), storing.eq(0)]
            m.d.sync += [address.eq(tile.address), row_address.eq(tile.address)]
        with m.Elif(active & self.chunks.ready):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
            with m.If(last & tile.per_row & ~storing):
                m.d.sync += [storing.eq(1), address.eq(row_address)]
            with m.Elif(last):
                following = (row_address + tile.pitch)[: self.address_bits]
                m.d.sync += [storing.eq(0), address.eq(following), row_address.eq(following)]
                m.d.sync += [rows.eq(rows - 1), active.eq(rows != 1)]
            with m.Elif(index < last_real):
                m.d.sync += address.eq(address + self.lanes // 4)
