"""The reciprocal of a count, for means."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from .component import Component
from .fp32 import BIAS, FRACTION

MAX_BITS = 18


class Reciprocal(Component):
    """1 / number, rounded to nearest even: the factor of means in `numerics.rms_norm`.

    Division bit by bit: the quotient's first 1, the 23 bits after it, and one that rounds. What
    remains is never 0 where that one is 1, so there are no ties. Of number 0 the value is anything.

    Latency: `ready` is 0 from the cycle after start for at most bits + 26 cycles; a start during
    these begins again.

    Parameters
    ----------
    bits : int
        Bits of the number; 2..18.

    Members
    -------
    start : In(1); number : In(bits), in the cycle of start
    ready : Out(1), the value is there; value : Out(32), FP32, until the next start
    """

    def __init__(self, *, bits: int):
        if not 2 <= bits <= MAX_BITS:
            raise ValueError(f"bits must be in 2..{MAX_BITS}, not {bits}")
        self.bits = bits
        ports = {"start": In(1), "number": In(bits), "ready": Out(1), "value": Out(32)}
        super().__init__(ports, name=f"reciprocal_{bits}")

    def build(self, m: Module) -> None:
        """The quotient moves up until its first 1 is at the top."""
        dividing = Signal()
        divisor = Signal(self.bits, reset_less=True)
        rest = Signal(self.bits + 1, reset_less=True)  # below twice the divisor
        quotient, field = Signal(FRACTION + 2, reset_less=True), Signal(8, reset_less=True)
        value = Signal(31, reset_less=True)
        difference, bit = Signal(self.bits + 2), Signal()
        m.d.comb += [
            difference.eq(rest - divisor),
            bit.eq(~difference[-1]),
            self.value.eq(value),
        ]
        with m.If(self.start):
            m.d.sync += [dividing.eq(1), divisor.eq(self.number), rest.eq(1)]
            m.d.sync += [quotient.eq(0), field.eq(BIAS), self.ready.eq(0)]
        with m.Elif(dividing & quotient[-1]):
            m.d.sync += value.eq(Cat(quotient[1:-1], field) + quotient[0])
            m.d.sync += [dividing.eq(0), self.ready.eq(1)]
        with m.Elif(dividing):
            with m.If(bit):
                m.d.sync += rest.eq(difference << 1)
            with m.Else():
                m.d.sync += rest.eq(rest << 1)
            m.d.sync += quotient.eq(Cat(bit, quotient))
            with m.If(~quotient.any() & ~bit):
                m.d.sync += field.eq(field - 1)
