"""From windows of an on-core memory to beats of memory."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.isa.fields import GRANULE_BYTES

from .component import Component


def piece_layout(*, bus_bytes: int) -> data.StructLayout:
    """The first `bytes` of a window, at `offset` in a beat; `ends`: their run of memory ends."""
    return data.StructLayout(
        {
            "data": 8 * bus_bytes,
            "bytes": range(bus_bytes + 1),
            "offset": exact_log2(bus_bytes),
            "ends": 1,
        }
    )


class Packer(Component):
    """Joins pieces that follow one another in memory into beats with strobes.

    Latency 2 cycles; throughput 1 piece per cycle, less one cycle where the last piece of a run
    reaches into another beat. Stalls when `beats` is not ready.

    Parameters
    ----------
    bus_bytes : int
        Bytes of a beat and of a window: a power of two, 16..128.

    Members
    -------
    pieces : In(stream of piece_layout)
    beats : Out(stream of {data, strobe})
    """

    def __init__(self, *, bus_bytes: int):
        self.bus_bytes = bus_bytes
        self.beat = data.StructLayout({"data": 8 * bus_bytes, "strobe": bus_bytes})
        ports = {
            "pieces": In(stream.Signature(piece_layout(bus_bytes=bus_bytes))),
            "beats": Out(stream.Signature(self.beat)),
        }
        super().__init__(ports, name=f"packer_{bus_bytes}")

    def build(self, m: Module) -> None:
        """Shift by bytes, then by granules; keep what does not fill a beat."""
        bus, fine_bits = self.bus_bytes, exact_log2(GRANULE_BYTES)
        piece = self.pieces.payload
        coarse_bits = exact_log2(bus) - fine_bits
        wide = bus + GRANULE_BYTES
        shifted, mask = Signal(8 * wide, reset_less=True), Signal(wide, reset_less=True)
        coarse = Signal(max(1, coarse_bits), reset_less=True)
        ends, valid = Signal(reset_less=True), Signal()
        take, out_free, spill = Signal(), Signal(), Signal()
        m.d.comb += [out_free.eq(~self.beats.valid | self.beats.ready)]
        m.d.comb += [take.eq(~valid | (out_free & ~spill)), self.pieces.ready.eq(take)]
        with m.If(take):
            used = ~(Const(-1, bus) << piece.bytes)
            kept = piece.data & ~(Const(-1, 8 * bus) << Cat(Const(0, 3), piece.bytes))[: 8 * bus]
            fine = piece.offset[:fine_bits]
            m.d.sync += [
                valid.eq(self.pieces.valid),
                shifted.eq(kept << Cat(Const(0, 3), fine)),
                mask.eq(used[:bus] << fine),
                coarse.eq(piece.offset[fine_bits:] if coarse_bits else 0),
                ends.eq(piece.ends),
            ]
        self._merge(m, (shifted, mask, coarse, ends, valid), out_free, spill)

    def _merge(self, m: Module, held: Any, out_free: Any, spill: Any) -> None:
        """Add the piece to what is kept; send what is full or ends."""
        shifted, mask, coarse, ends, valid = held
        bus = self.bus_bytes
        part = Signal(self.beat)
        moved, moved_mask = Signal(16 * bus), Signal(2 * bus)
        m.d.comb += [
            moved.eq(shifted << (coarse << 7)),
            moved_mask.eq(mask << (coarse << 4)),
        ]
        over = moved_mask[bus:]  # what reaches into the next beat
        full = moved_mask[bus - 1]
        sends = full | ends
        after_end = Signal()  # the next beat of a run that has ended waits in `part`
        m.d.comb += spill.eq(after_end)
        with m.If(out_free):
            m.d.sync += self.beats.valid.eq(after_end | (valid & sends))
            with m.If(after_end):
                m.d.sync += [self.beats.payload.eq(part), after_end.eq(0)]
                m.d.sync += [part.data.eq(0), part.strobe.eq(0)]
            with m.Elif(valid):
                merged = Cat(part.data | moved[: 8 * bus], part.strobe | moved_mask[:bus])
                m.d.sync += self.beats.payload.as_value().eq(merged)
                with m.If(sends):
                    m.d.sync += [part.data.eq(moved[8 * bus :]), part.strobe.eq(over)]
                    m.d.sync += after_end.eq(ends & over.any())
                with m.Else():
                    m.d.sync += part.as_value().eq(merged)
