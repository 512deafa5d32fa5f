"""Chunks of FP32 numbers with their factors, to codes in L1."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import GRANULE_BYTES
from tapeout.numerics import BLOCK, FORMATS

from .component import Component
from .encode import ENCODE_CUTS, FACTOR, RULE, WORD_BITS, Encoder
from .group_maxima import SUB, sub_groups
from .ports import write_port
from .scale_writer import tail_blocks_bits

WIDTHS = tuple(sorted({fmt.element_bits for fmt in FORMATS}))
WIDTH_BITS = 3
ROW_BYTES_BITS = 20


class ChunkCodes(Component):
    """Encodes chunk after chunk and writes the codes. Value: the elements of `numerics.to_bytes`.

    Latency 5 cycles; throughput 1 chunk per cycle, with 4 lanes and 6-bit codes 14 in 16 cycles;
    stalls as a whole when a write does not pass.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk; a power of two, at least 4.
    address_bits : int
        Of an address in L1, in granules.

    Members
    -------
    start : In(1), the next chunk begins a tile at `address`; nothing is under way
    address, pitch : In(address_bits), constant as are:
    rule : In(RULE), of the elements
    width : In(3), index into WIDTHS
    tail_blocks : In, blocks of 32 columns in the last chunk of a row
    chunks : In(stream of {values: [lanes] 32 bits, factors: [lanes / 16] FACTOR, row_end, final})
    write : write_port of 4 * lanes bytes
    finished : Out(1), the last write of a `final` chunk passes
    """

    def __init__(self, *, lanes: int, address_bits: int):
        self.lanes, self.address_bits = lanes, address_bits
        chunk = data.StructLayout(
            {
                "values": data.ArrayLayout(WORD_BITS, lanes),
                "factors": data.ArrayLayout(FACTOR, sub_groups(lanes)),
                "row_end": 1,
                "final": 1,
            }
        )
        granules = lanes * 4 // GRANULE_BYTES
        ports = {
            "start": In(1),
            "address": In(address_bits),
            "pitch": In(address_bits),
            "rule": In(RULE),
            "width": In(WIDTH_BITS),
            "tail_blocks": In(tail_blocks_bits(lanes)),
            "chunks": In(stream.Signature(chunk)),
            "write": Out(write_port(granules=granules, address_bits=address_bits)),
            "finished": Out(1),
        }
        super().__init__(ports, name=f"chunk_codes_{lanes}_{address_bits}")

    def build(self, m: Module) -> None:
        """Lanes side by side, then their codes packed and turned to their place."""
        advance = Signal()
        valid, row_end, final = self._flags(m, advance)
        words = self._lanes(m, advance)
        row, offset = Signal(self.address_bits), Signal(ROW_BYTES_BITS)
        window, mask, step = self._window(m, words, row_end, offset)
        with m.If(self.start):
            m.d.sync += [row.eq(self.address), offset.eq(0)]
        with m.Elif(advance & valid):
            m.d.sync += offset.eq(Mux(row_end, 0, offset + step))
            with m.If(row_end):
                m.d.sync += row.eq(row + self.pitch)
        address = Signal(self.address_bits)
        m.d.comb += address.eq(row + (offset >> 4))
        self._write(m, advance, valid, final, (address, window, mask))

    def _flags(self, m: Module, advance: Signal) -> tuple[Any, Any, Any]:
        """valid, row_end and final of the chunk whose codes leave the lanes."""
        chunk = self.chunks.payload
        m.d.comb += self.chunks.ready.eq(advance)
        flags = Cat(self.chunks.valid, chunk.row_end, chunk.final)
        for step in range(ENCODE_CUTS):
            later = Signal(len(flags), name=f"flags{step}")
            with m.If(advance):
                m.d.sync += later.eq(flags)
            flags = later
        return flags[0], flags[1], flags[2]

    def _lanes(self, m: Module, advance: Signal) -> list[Any]:
        """The code of each lane."""
        chunk, words = self.chunks.payload, []
        factors = Signal(data.ArrayLayout(FACTOR, sub_groups(self.lanes)), reset_less=True)
        with m.If(advance & self.chunks.valid):
            m.d.sync += factors.eq(chunk.factors)
        for i in range(self.lanes):
            m.submodules[f"lane{i}"] = lane = Encoder()
            m.d.comb += [
                lane.advance.eq(advance),
                lane.x.eq(chunk.values[i]),
                lane.factor.eq(factors[i // SUB]),
                lane.rule.eq(self.rule),
            ]
            words.append(lane.word)
        return words

    def _window(self, m: Module, words: Any, row_end: Any, offset: Any) -> tuple[Any, Any, Any]:
        """Codes where they belong, which bytes they are, and how many a whole chunk has.

        Only widths of which a chunk is no multiple of a granule start within one.
        """
        window_bytes = max(4 * self.lanes, 2 * GRANULE_BYTES)
        turned, turned_mask = self._turned(m, words, offset)
        window, mask = Signal(8 * window_bytes), Signal(window_bytes)
        step = Signal(range(4 * self.lanes + 1))
        m.d.comb += [window.eq(turned), mask.eq(turned_mask)]
        with m.Switch(self.width):
            for number, bits in enumerate(WIDTHS):
                with m.Case(number):
                    m.d.comb += step.eq(self.lanes * bits // 8)
                    if self._aligned(bits):
                        m.d.comb += window.eq(Cat(*(word[:bits] for word in words)))
                        m.d.comb += mask.eq(self._mask(bits, row_end))
        return window, mask, step

    def _aligned(self, bits: int) -> bool:
        return self.lanes * bits // 8 % GRANULE_BYTES == 0

    def _mask(self, bits: int, row_end: Any) -> Any:
        """The bytes of a chunk, cut at the end of a row."""
        if self.lanes <= BLOCK:
            size = self.lanes * bits // 8
            return Const((1 << size) - 1, size)
        blocks = range(self.lanes // BLOCK)
        present = Cat(*(~row_end | (self.tail_blocks > block) for block in blocks))
        return Cat(*(present[block].replicate(4 * bits) for block in blocks))

    def _turned(self, m: Module, words: Any, offset: Any) -> tuple[Any, Any]:
        """The codes and their mask, moved up to their place within a granule."""
        widths = [bits for bits in WIDTHS if not self._aligned(bits)]
        if not widths:
            return Const(0, 1), Const(0, 1)
        most = self.lanes * max(widths) // 8
        codes, mask = Signal(8 * most, name="codes"), Signal(most, name="codes_mask")
        with m.Switch(self.width):
            for bits in widths:
                with m.Case(WIDTHS.index(bits)):
                    m.d.comb += codes.eq(Cat(*(word[:bits] for word in words)))
                    m.d.comb += mask.eq(self._mask(bits, Const(0, 1)))
        least = (self.lanes // 4).bit_length() - 1  # offsets are multiples of 2^least
        moved, moved_mask = codes, mask
        for step in range(least, 4):
            moved = Mux(offset[step], moved << (8 << step), moved)
            moved_mask = Mux(offset[step], moved_mask << (1 << step), moved_mask)
        return moved, moved_mask

    def _write(self, m: Module, advance: Any, valid: Any, final: Any, window: Any) -> None:
        """The write, and of a window of one granule the one after it, if codes reach there."""
        request, out = self.write.request, self.write.request.payload
        width, size = len(out.data), len(out.mask)
        address, codes, mask = window
        was_final, spill = Signal(), Signal()
        more, more_mask = Signal(len(codes) - width), Signal(len(mask) - size)
        m.d.comb += advance.eq(~request.valid | (request.ready & ~spill))
        m.d.comb += self.finished.eq(request.valid & request.ready & was_final & ~spill)
        with m.If(advance):
            m.d.sync += request.valid.eq(valid)
            with m.If(valid):
                m.d.sync += [
                    was_final.eq(final),
                    out.address.eq(address),
                    out.data.eq(codes),
                    out.mask.eq(mask),
                ]
                if len(more):
                    m.d.sync += [more.eq(codes[width:]), more_mask.eq(mask[size:])]
                    m.d.sync += spill.eq(mask[size:].any())
        if len(more):
            with m.Elif(request.ready):
                m.d.sync += [out.address.eq(out.address + 1), spill.eq(0)]
                m.d.sync += [out.data.eq(more), out.mask.eq(more_mask)]
