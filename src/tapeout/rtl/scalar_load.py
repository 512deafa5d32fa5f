"""A number of 32 bits from memory, for the command processor."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .component import Component
from .ports import MEMORY_BITS, memory_read

WORD_BITS = 32
WORD_BYTES = WORD_BITS // 8


class ScalarLoad(Component):
    """Reads 4 bytes at any address, little-endian.

    Latency: one read of a beat, two if the address is not a multiple of 4; one at a time. `done`
    stays 1, with the result, until the next start.

    Parameters
    ----------
    bus_bits : int
        Width of the bus; a power of two of at least 32.

    Members
    -------
    start : In(1)
    address : In(MEMORY_BITS); all 4 bytes lie in memory
    value : Out(32)
    error : Out(1)
    done : Out(1)
    memory : Out(memory_read)
    """

    def __init__(self, *, bus_bits: int):
        if bus_bits < WORD_BITS or bus_bits & (bus_bits - 1):
            raise ValueError(f"bus_bits must be a power of two of at least 32, not {bus_bits}")
        ports = {
            "start": In(1),
            "address": In(MEMORY_BITS),
            "value": Out(WORD_BITS),
            "error": Out(1),
            "done": Out(1),
            "memory": Out(memory_read(bus_bits=bus_bits)),
        }
        super().__init__(ports, name=f"scalar_load_{bus_bits}")
        self.bus_bits = bus_bits

    def build(self, m: Module) -> None:
        """Read the aligned words that hold the bytes, one after the other."""
        lane_bits = (self.bus_bits // WORD_BITS).bit_length() - 1
        at = Signal(MEMORY_BITS, reset_less=True)
        low = Signal(WORD_BITS, reset_less=True)  # the first of two words
        number = Signal(MEMORY_BITS - 2)  # of the word, in memory
        second, word = Signal(), Signal(WORD_BITS)
        request, beat = self.memory.request, self.memory.data.payload
        shift = at[:2]
        whole = shift == 0
        m.d.comb += [
            number.eq(at[2:] + second),
            word.eq(beat.data.word_select(number[:lane_bits], WORD_BITS)),
            request.payload.beats.eq(0),
            request.payload.address[2 + lane_bits :].eq(number[lane_bits:]),
            self.memory.data.ready.eq(1),
        ]
        with m.If(self.start):
            m.d.sync += [at.eq(self.address), second.eq(0), request.valid.eq(1)]
            m.d.sync += [self.done.eq(0), self.error.eq(0)]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(self.memory.data.valid):
            bytes_ = Mux(whole, word, Cat(low, word) >> Cat(Const(0, 3), shift))
            m.d.sync += [low.eq(word), self.value.eq(bytes_)]
            m.d.sync += self.error.eq(self.error | beat.error)
            with m.If(whole | second):
                m.d.sync += self.done.eq(1)
            with m.Else():
                m.d.sync += [second.eq(1), request.valid.eq(1)]
