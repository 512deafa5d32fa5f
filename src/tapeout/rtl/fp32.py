"""FP32 adder and multiplier, and the rounder that everything ending in FP32 shares.

Round to nearest even, gradual underflow, every NaN is 0x7FC00000: `tapeout.numerics.fp32`.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics.fp32 import NAN_BITS

from .component import Component
from .pipe import Pipe, check_stages, close, stream_pipe

FRACTION = 23
SIGNIFICAND = FRACTION + 1
BIAS = 127
FIELD_MAX = 255
INFINITY = FIELD_MAX << FRACTION
MINUS_ZERO = 1 << 31  # -0 + x is x, also when x is +0 or -0

PAIR = data.StructLayout({"a": 32, "b": 32})
ADD_CUTS = 4
MUL_CUTS = 4
ROUND_CUTS = 2


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An FP32 number taken apart."""

    sign: Any
    exponent: Any
    """Biased; 1 for subnormals, whose significand is below 2^23."""
    significand: Any
    nan: Any
    infinite: Any
    zero: Any


def parts(word: Any) -> Parts:
    """Take the 32 bits of an FP32 number apart."""
    fraction, field, sign = word[:FRACTION], word[FRACTION:31], word[31]
    normal, top = field.any(), field.all()
    return Parts(
        sign=sign,
        exponent=Cat(field[0] | ~normal, field[1:]),
        significand=Cat(fraction, normal),
        nan=top & fraction.any(),
        infinite=top & ~fraction.any(),
        zero=~normal & ~fraction.any(),
    )


def shift_right_sticky(m: Module, value: Any, amount: Any) -> Any:
    """`value >> amount`, its last bit also 1 if a 1 was shifted out; any amount."""
    width = len(value)
    for step in range(len(amount)):
        shift = min(1 << step, width)
        shifted = Cat(value[shift:], Const(0, shift))
        lost = Cat(shifted[0] | value[:shift].any(), shifted[1:])
        after = Signal(width, name=f"aligned{step}")
        m.d.comb += after.eq(Mux(amount[step], lost, value))
        value = after
    return value


def normalise(m: Module, value: Any, *, keep: int = 0) -> tuple[Any, Any]:
    """Shift left until the top bit is 1; returns (value, places). Zero stays zero.

    With `keep`, only so many top bits of the result count, the last of them standing for all that
    lies below: what the remaining steps cannot lift into them is collapsed before each step.
    """
    places: list[Any] = []
    for step in reversed(range((len(value) - 1).bit_length())):
        shift = 1 << step
        needed = keep + 2 * shift - 1
        if keep and len(value) > needed:
            value = Cat(value[: 1 - needed].any(), value[1 - needed :])
        empty = Signal(name=f"empty{step}")
        after = Signal(len(value), name=f"normal{step}")
        m.d.comb += empty.eq(~value[-shift:].any())
        m.d.comb += after.eq(Mux(empty, value << shift, value))
        value, places = after, [empty, *places]
    return value, Cat(*places)


def rounded(m: Module, value: Any, base: Any) -> Any:
    """Round `value`, 24 bits and more below them, to nearest even; returns the 31 bits.

    `base` is the exponent field less one: the top bit of a normal `value` adds the one.
    """
    kept, last, half, below = value[-SIGNIFICAND:], value[-SIGNIFICAND], value[-25], value[:-25]
    magnitude = Signal(FRACTION + len(base) + 1, name="magnitude")
    up = half & (last | below.any())
    m.d.comb += magnitude.eq(Cat(Const(0, FRACTION), base) + kept + up)
    return Mux(magnitude >= INFINITY, INFINITY, magnitude[:31])


def round_to_fp32(m: Module, pipe: Pipe, magnitude: Any, top: Any, *also: Any) -> tuple[Any, ...]:
    """Round `magnitude`, any number of bits, once to FP32; two cuts of `pipe`.

    `top` (signed) is the exponent field that the number has if its top bit is 1. Returns the 31
    bits without sign, and `also` as they are after the cuts.
    """
    value, places = normalise(m, magnitude, keep=SIGNIFICAND + 2)
    value, field, *also = pipe.cut(value, _signed(top - places), *also)

    # The sticky bit stands for all that lies below 24 bits and the half.
    short = value if len(value) <= 26 else Cat(value[:-25].any(), value[-25:])
    if len(short) < 26:
        short = Cat(Const(0, 26 - len(short)), short)
    below = Signal(len(field), name="below")  # places under the least normal exponent
    m.d.comb += below.eq(Mux(field < 1, 1 - field, 0))
    amount = Mux(below[5:].any(), 31, below[:5])
    short = shift_right_sticky(m, short, amount)
    base = Signal(len(field), name="base")
    m.d.comb += base.eq(Mux((field < 1) | ~value[-1], 0, field - 1))
    return pipe.cut(rounded(m, short, base), *also)


def _signed(value: Any) -> Any:
    return value.as_signed() if not value.shape().signed else value


def special(magnitude: Any, sign: Any, nan: Any, infinite: Any) -> Any:
    """The 32 bits of a result, with its special cases."""
    number = Cat(Mux(infinite, Const(INFINITY, 31), magnitude), sign)
    return Mux(nan, Const(NAN_BITS, 32), number)


def add(m: Module, pipe: Pipe, a: Any, b: Any, *also: Any) -> tuple[Any, ...]:
    """`numerics.add` of two 32-bit words; ADD_CUTS cuts. Returns the sum, and `also` after them."""
    swap = Signal(name="swap")
    m.d.comb += swap.eq(a[:31] < b[:31])
    big, small = parts(Mux(swap, b, a)), parts(Mux(swap, a, b))
    distance = Signal(8, name="distance")
    m.d.comb += distance.eq(big.exponent - small.exponent)
    nan = big.nan | small.nan | (big.infinite & small.infinite & (big.sign ^ small.sign))
    both_zero = big.zero & small.zero
    sign = Mux(both_zero, big.sign & small.sign, big.sign)
    x, y, distance, minus, exponent, sign, both_zero, nan, infinite, *also = pipe.cut(
        big.significand, small.significand, distance, big.sign ^ small.sign, big.exponent,
        sign, both_zero, nan, big.infinite, *also,
    )  # fmt: skip

    # Three places below the significand: guard, round and sticky.
    far = Mux(distance[5:].any(), 31, distance[:5])
    aligned = shift_right_sticky(m, Cat(Const(0, 3), y), far)
    total = Signal(SIGNIFICAND + 4, name="total")
    m.d.comb += total.eq(Mux(minus, Cat(Const(0, 3), x) - aligned, Cat(Const(0, 3), x) + aligned))
    total, exponent, sign, both_zero, nan, infinite, *also = pipe.cut(
        total, exponent, sign, both_zero, nan, infinite, *also
    )

    # Left until the top bit is 1 or the exponent is the least; total's top bit is a carry.
    cancelled = ~total.any()
    value, places = normalise(m, total)
    least = Signal(name="least")
    m.d.comb += least.eq((places > exponent) | cancelled)
    shifted = Mux(least, (total << exponent[:5])[: len(total)], value)
    base = Mux(least, 0, exponent - places)
    value, base, sign, nan, infinite, *also = pipe.cut(
        shifted, base[:8], Mux(both_zero, sign, sign & ~cancelled), nan, infinite, *also
    )
    return pipe.cut(special(rounded(m, value, base), sign, nan, infinite), *also)


def mul(m: Module, pipe: Pipe, a: Any, b: Any, *also: Any) -> tuple[Any, ...]:
    """`numerics.mul` of two 32-bit words; MUL_CUTS cuts. Returns the product, and `also`."""
    x, y = parts(a), parts(b)
    nan = x.nan | y.nan | (x.infinite & y.zero) | (x.zero & y.infinite)
    infinite, sign = x.infinite | y.infinite, x.sign ^ y.sign
    xs, ys, xe, ye, *also = pipe.cut(
        x.significand, y.significand, x.exponent, y.exponent, sign, nan, infinite, *also
    )
    product = Signal(2 * SIGNIFICAND, name="product")
    top = Signal(signed(11), name="top")
    m.d.comb += [product.eq(xs * ys), top.eq(xe + ye + (1 - BIAS))]
    product, top, *also = pipe.cut(product, top, *also)
    magnitude, sign, nan, infinite, *also = round_to_fp32(m, pipe, product, top, *also)
    return (special(magnitude, sign, nan, infinite), *also)


class Adder(Component):
    """Sum of two FP32 numbers. Value: `tapeout.numerics.add`.

    Latency `stages` cycles; throughput 1 sum per cycle; stalls when `result` is not ready.

    Parameters
    ----------
    stages : int
        Pipeline registers; 1..4.

    Members
    -------
    operands : In(stream of {a, b: 32 bits})
    result : Out(stream of 32 bits)
    """

    def __init__(self, *, stages: int = ADD_CUTS):
        check_stages(stages, ADD_CUTS)
        self.stages = stages
        super().__init__(_PORTS, name=f"fp32_add_{stages}")

    def build(self, m: Module) -> None:
        """A pipe through `add`."""
        pipe = stream_pipe(m, self.operands, self.result, cuts=ADD_CUTS, stages=self.stages)
        (total,) = add(m, pipe, self.operands.payload.a, self.operands.payload.b)
        close(m, pipe, self.result, total)


class Multiplier(Component):
    """Product of two FP32 numbers. Value: `tapeout.numerics.mul`.

    Latency `stages` cycles; throughput 1 product per cycle; stalls when `result` is not ready.

    Parameters
    ----------
    stages : int
        Pipeline registers; 1..4.

    Members
    -------
    operands : In(stream of {a, b: 32 bits})
    result : Out(stream of 32 bits)
    """

    def __init__(self, *, stages: int = MUL_CUTS):
        check_stages(stages, MUL_CUTS)
        self.stages = stages
        super().__init__(_PORTS, name=f"fp32_mul_{stages}")

    def build(self, m: Module) -> None:
        """A pipe through `mul`."""
        pipe = stream_pipe(m, self.operands, self.result, cuts=MUL_CUTS, stages=self.stages)
        (product,) = mul(m, pipe, self.operands.payload.a, self.operands.payload.b)
        close(m, pipe, self.result, product)


_PORTS = {"operands": In(stream.Signature(PAIR)), "result": Out(stream.Signature(unsigned(32)))}
