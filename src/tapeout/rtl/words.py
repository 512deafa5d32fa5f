"""A range of 32-bit numbers in memory as a stream."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from .component import Component
from .ports import BURST, MEMORY_BITS, memory_read
from .stream import SkidBuffer

WORD_BYTES = 4
BURST_BEATS = 16  # a burst ends on a multiple of so many beats, so never beyond 4 KiB
COUNT_BITS = 21

RANGE = data.StructLayout({"address": MEMORY_BITS, "words": COUNT_BITS})
WORD = data.StructLayout({"value": 32, "last": 1, "error": 1})


class WordReader(Component):
    """Reads `words` numbers from `address`, a multiple of 4; at least one.

    Latency that of memory; throughput 1 number per cycle; stalls when `words` is not ready. The
    next range is taken when the last number of the one before it has left.

    Parameters
    ----------
    bus_bits : int
        Width of the bus, at least 32.

    Members
    -------
    ranges : In(stream of RANGE)
    words : Out(stream of WORD), `last` with the last of a range
    memory : Out(memory_read)
    """

    def __init__(self, *, bus_bits: int):
        self.bus_bytes = bus_bits // 8
        ports = {
            "ranges": In(stream.Signature(RANGE)),
            "words": Out(stream.Signature(WORD)),
            "memory": Out(memory_read(bus_bits=bus_bits)),
        }
        super().__init__(ports, name=f"word_reader_{bus_bits}")

    def build(self, m: Module) -> None:
        """Requests run ahead; words are taken from one beat after the other."""
        active = Signal()
        m.d.comb += self.ranges.ready.eq(~active)
        self._requests(m, active)
        self._words(m, active)

    def _requests(self, m: Module, active: Signal) -> None:
        shift = (self.bus_bytes - 1).bit_length()
        at, left = Signal(MEMORY_BITS - shift), Signal(COUNT_BITS + 1)
        beats, known = Signal(range(BURST_BEATS + 1)), Signal()
        to_end = BURST_BEATS - at[: (BURST_BEATS - 1).bit_length()]
        m.submodules.requests = requests = SkidBuffer(BURST)
        connect(m, requests.output, flipped(self.memory.request))
        m.d.comb += [
            requests.input.valid.eq(known),
            requests.input.payload.address.eq(at << shift),
            requests.input.payload.beats.eq((beats - 1)[: len(beats)]),
        ]
        offset = self.ranges.payload.address[:shift]
        with m.If(self.ranges.valid & ~active):
            last = offset + self.ranges.payload.words * WORD_BYTES - 1
            m.d.sync += [
                at.eq(self.ranges.payload.address >> shift),
                left.eq((last >> shift) + 1),
                known.eq(0),
            ]
        with m.Elif(known & requests.input.ready):
            m.d.sync += [at.eq(at + beats), left.eq(left - beats), known.eq(0)]
        with m.Elif(left.any()):
            m.d.sync += [beats.eq(Mux(left < to_end, left, to_end)), known.eq(1)]

    def _words(self, m: Module, active: Signal) -> None:
        m.submodules.beats = beats = SkidBuffer(self.memory.data.payload.shape())
        connect(m, flipped(self.memory.data), beats.input)
        count = self.bus_bytes // WORD_BYTES
        place, left = Signal(range(count)), Signal(COUNT_BITS)
        beat = beats.output.payload
        words = Array(beat.data.word_select(i, 32) for i in range(count))
        m.d.comb += [
            self.words.valid.eq(active & beats.output.valid),
            self.words.payload.value.eq(words[place]),
            self.words.payload.last.eq(left == 1),
            self.words.payload.error.eq(beat.error),
            beats.output.ready.eq(active & self.words.ready & ((place == count - 1) | (left == 1))),
        ]
        with m.If(self.ranges.valid & ~active):
            m.d.sync += [
                active.eq(1),
                left.eq(self.ranges.payload.words),
                place.eq(self.ranges.payload.address[2 : 2 + len(place)]),
            ]
        with m.Elif(self.words.valid & self.words.ready):
            m.d.sync += [left.eq(left - 1), place.eq(Mux(place == count - 1, 0, place + 1))]
            with m.If(left == 1):
                m.d.sync += active.eq(0)
