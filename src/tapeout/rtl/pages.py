"""Where the pages of a sequence lie: walks of its block table."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from tapeout.isa.encoding import fields
from tapeout.isa.instructions import LoadPages

from .command import ROWS_BITS
from .component import Component
from .memory_fifo import MemoryFifo
from .ports import MEMORY_BITS, memory_read
from .stream import Fifo

ENTRY_BYTES = 4
ENTRY_BITS = 8 * ENTRY_BYTES
PITCH_BITS = fields(LoadPages)["page_bytes"].bits
BUFFER_BYTES = 256  # of a table that are read ahead: enough for the latency of memory
WALKS = 4  # whose reads may have begun while an earlier one still goes on
DIGIT_BITS = 8  # of a page number: so many are multiplied in one cycle
DIGITS = ENTRY_BITS // DIGIT_BITS

WALK = data.StructLayout({"address": MEMORY_BITS, "entries": ROWS_BITS, "page_bytes": PITCH_BITS})
"""A part of a block table: 32-bit entries from a byte address on, and the size of a page."""

ENTRY = data.StructLayout({"number": ENTRY_BITS, "page_bytes": PITCH_BITS, "error": 1})

PAGE = data.StructLayout({"start": ENTRY_BITS + PITCH_BITS, "error": 1})
"""Bytes from the start of the pool to a page. error: memory refused the entry."""


class PageProduct(Component):
    """Multiplies page numbers by the size of a page, a digit per cycle.

    Latency 6 cycles; throughput 1 page in 6 cycles. Stalls until the product has been taken.

    Members
    -------
    entries : In(stream of ENTRY)
    pages : Out(stream of PAGE)
    """

    def __init__(self) -> None:
        ports = {"entries": In(stream.Signature(ENTRY)), "pages": Out(stream.Signature(PAGE))}
        super().__init__(ports, name="page_product")

    def build(self, m: Module) -> None:
        """Highest digit first: the sum moves up by a digit before each product is added."""
        entry, page = self.entries.payload, self.pages.payload
        digits = Signal(ENTRY_BITS, reset_less=True)
        size = Signal(PITCH_BITS, reset_less=True)
        product = Signal(PITCH_BITS + DIGIT_BITS, reset_less=True)
        step = Signal(range(DIGITS + 2))  # 0: no entry is held
        m.d.comb += self.entries.ready.eq((step == 0) & ~self.pages.valid)
        m.d.sync += product.eq(digits[-DIGIT_BITS:] * size)
        with m.If(self.pages.ready):
            m.d.sync += self.pages.valid.eq(0)
        with m.If(step == 0):
            m.d.sync += [digits.eq(entry.number), size.eq(entry.page_bytes)]
            with m.If(self.entries.valid & ~self.pages.valid):
                m.d.sync += [step.eq(1), page.error.eq(entry.error), page.start.eq(0)]
        with m.Else():
            m.d.sync += digits.eq(digits << DIGIT_BITS)
            m.d.sync += step.eq(step + 1)
            with m.If(step > 1):
                m.d.sync += page.start.eq((page.start << DIGIT_BITS) + product)
            with m.If(step == DIGITS + 1):
                m.d.sync += [step.eq(0), self.pages.valid.eq(1)]


class PageTable(Component):
    """Reads entries of block tables ahead, and multiplies each by the size of a page.

    Pages come in the order of the walks. Latency: that of memory and 11 cycles; throughput 1 page
    in 6 cycles. `table` is always ready for what it asked for; it asks for no more than what its
    buffer holds while `pages` is not ready.

    Parameters
    ----------
    bus_bytes : int
        Width of the bus: a power of two, 16..128.

    Members
    -------
    walks : In(stream of WALK), entries that lie in memory, at least 1
    pages : Out(stream of PAGE)
    table : Out(memory_read)
    """

    def __init__(self, *, bus_bytes: int):
        self.bus_bytes = bus_bytes
        self.depth = max(2, BUFFER_BYTES // bus_bytes)  # beats
        self.place = data.StructLayout(
            {
                "skew": 2,
                "word": exact_log2(bus_bytes // ENTRY_BYTES),
                "entries": ROWS_BITS,
                "page_bytes": PITCH_BITS,
            }
        )
        ports = {
            "walks": In(stream.Signature(WALK)),
            "pages": Out(stream.Signature(PAGE)),
            "table": Out(memory_read(bus_bits=8 * bus_bytes)),
        }
        super().__init__(ports, name=f"page_table_{bus_bytes}")

    def build(self, m: Module) -> None:
        """Requests run ahead; beats become entries, entries pages."""
        m.submodules.beats = beats = MemoryFifo(self.table.data.payload.shape(), depth=self.depth)
        m.submodules.places = places = Fifo(self.place, depth=WALKS)
        m.submodules.multiply = multiply = PageProduct()
        connect(m, flipped(self.table.data), beats.input)
        connect(m, multiply.pages, flipped(self.pages))
        taken = Signal()  # a beat is through
        m.d.comb += taken.eq(beats.output.valid & beats.output.ready)
        self._ask(m, taken, places.input)
        self._split(m, beats.output, places.output, multiply.entries)

    def _ask(self, m: Module, taken: Signal, places: Any) -> None:
        """Ask for the beats of a walk one by one, as long as there is room for them."""
        bus = exact_log2(self.bus_bytes)
        walk, request = self.walks.payload, self.table.request
        left = Signal(range((ENTRY_BYTES << ROWS_BITS) // self.bus_bytes + 2))
        beat = Signal(MEMORY_BITS - bus, reset_less=True)
        room = Signal(range(self.depth + 1), init=self.depth)
        asked = Signal()
        skewed = walk.address[:bus] + (walk.entries << 2)
        m.d.comb += [
            self.walks.ready.eq((left == 0) & places.ready),
            places.valid.eq(self.walks.valid & (left == 0)),
            places.payload.skew.eq(walk.address[:2]),
            places.payload.word.eq(walk.address[2:bus]),
            places.payload.entries.eq(walk.entries),
            places.payload.page_bytes.eq(walk.page_bytes),
            request.valid.eq((left != 0) & (room != 0)),
            request.payload.address.eq(Cat(Const(0, bus), beat)),
            asked.eq(request.valid & request.ready),
        ]
        m.d.sync += room.eq(room - asked + taken)
        with m.If(self.walks.valid & self.walks.ready):
            m.d.sync += beat.eq(walk.address[bus:])
            m.d.sync += left.eq((skewed + (self.bus_bytes - 1)) >> bus)
        with m.Elif(asked):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - 1)]

    def _split(self, m: Module, beats: Any, places: Any, entries: Any) -> None:
        """One word per cycle; an entry that is not aligned spans two of them."""
        words = self.bus_bytes // ENTRY_BYTES
        place = Signal(self.place, reset_less=True)
        busy, spans, free, step, finished = (Signal() for _ in range(5))
        begun = Signal()  # the first of two words has been seen
        before = Signal(ENTRY_BITS, reset_less=True)
        failed = Signal(reset_less=True)  # the beat of the word before
        word = beats.payload.data.word_select(place.word, ENTRY_BITS)
        pair = Cat(before, word) >> Cat(Const(0, 3), place.skew)
        m.d.comb += [
            free.eq(~entries.valid | entries.ready),
            spans.eq(place.skew != 0),
            step.eq(busy & beats.valid & free),
            finished.eq((begun | ~spans) & (place.entries == 1)),
            beats.ready.eq(busy & free & (finished | (place.word == words - 1))),
            places.ready.eq(~busy),
        ]
        with m.If(free):
            m.d.sync += [
                entries.valid.eq(step & (begun | ~spans)),
                entries.payload.number.eq(Mux(spans, pair, word)),
                entries.payload.page_bytes.eq(place.page_bytes),
                entries.payload.error.eq(beats.payload.error | (spans & failed)),
            ]
        with m.If(step):
            m.d.sync += [before.eq(word), failed.eq(beats.payload.error), begun.eq(1)]
            m.d.sync += [place.word.eq(place.word + 1), busy.eq(~finished)]
            with m.If(begun | ~spans):
                m.d.sync += place.entries.eq(place.entries - 1)
        with m.If(places.valid & places.ready):
            m.d.sync += [place.eq(places.payload), busy.eq(1), begun.eq(0)]
