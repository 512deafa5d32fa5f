"""A lane of the vector unit: multiplier, adder and special functions of FP32 numbers."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from tapeout.numerics.fp32 import NAN_BITS

from .component import Component
from .fp32 import ADD_CUTS, INFINITY, MUL_CUTS, add, mul, parts
from .pipe import Pipe
from .sfu import SFU_CUTS, Function, SpecialFunctions

MINUS_INFINITY = 0xFF800000


class AluOp(IntEnum):
    """What the adder computes from a and b."""

    ADD = 0
    SUB = 1
    MAX = 2  # numerics.maximum
    LEFT = 3  # a, bit for bit
    RIGHT = 4  # b, bit for bit
    SCORE = 5  # a - b; -inf if a is -inf
    DECAY = 6  # a - b; +0 if both have the same bits


class SfuOp(IntEnum):
    """What the special functions compute: those of `Function`, and 1 / x but 0 of zeros."""

    EXP2 = Function.EXP2
    RECIP = Function.RECIP
    RSQRT = Function.RSQRT
    SIN = Function.SIN_TURNS
    COS = Function.COS_TURNS
    CDF = Function.NORMAL_CDF
    INVERSE = 6  # numerics.softmax_inverse


MUL_LATENCY, ALU_LATENCY, SFU_LATENCY = MUL_CUTS, ADD_CUTS, SFU_CUTS


class VectorLane(Component):
    """One number of each operand: a product, an `AluOp` and a `SfuOp`, each in its own pipe.

    Values: `numerics.mul`, `add`, `sub`, `maximum`, and those of `sfu.SpecialFunctions`.

    Latency MUL_LATENCY, ALU_LATENCY and SFU_LATENCY cycles; throughput 1 of each per cycle; never
    stalls. `mul_on` and `alu_on` let their pipes move; they are 1 while something is in them.

    Parameters
    ----------
    (none)

    Members
    -------
    mul_on : In(1); mul_a, mul_b : In(32); product : Out(32)
    alu_on : In(1); alu_op : In(AluOp); alu_a, alu_b : In(32); total : Out(32)
    sfu_on : In(1), x is there; sfu_op : In(SfuOp); sfu_x : In(32); function : Out(32)
    """

    def __init__(self) -> None:
        ports = {name: In(1) for name in ("mul_on", "alu_on", "sfu_on")}
        ports |= {name: In(3) for name in ("alu_op", "sfu_op")}
        ports |= {name: In(32) for name in ("mul_a", "mul_b", "alu_a", "alu_b", "sfu_x")}
        ports |= {name: Out(32) for name in ("product", "total", "function")}
        super().__init__(ports, name="vector_lane")

    def build(self, m: Module) -> None:
        """Three pipes that know nothing of each other."""
        pipe = Pipe(m, cuts=MUL_CUTS, stages=MUL_CUTS, advance=self.mul_on, valid=Const(0, 1))
        (product,) = mul(m, pipe, self.mul_a, self.mul_b)
        m.d.comb += self.product.eq(product)
        self._alu(m)
        self._sfu(m)

    def _alu(self, m: Module) -> None:
        pipe = Pipe(m, cuts=ADD_CUTS, stages=ADD_CUTS, advance=self.alu_on, valid=Const(0, 1))
        a, b, op = self.alu_a, self.alu_b, self.alu_op
        known, word = Signal(), Signal(32)
        with m.Switch(op):
            with m.Case(AluOp.MAX):
                m.d.comb += [known.eq(1), word.eq(larger(a, b))]
            with m.Case(AluOp.LEFT):
                m.d.comb += [known.eq(1), word.eq(a)]
            with m.Case(AluOp.RIGHT):
                m.d.comb += [known.eq(1), word.eq(b)]
            with m.Case(AluOp.SCORE):
                m.d.comb += [known.eq(a == MINUS_INFINITY), word.eq(MINUS_INFINITY)]
            with m.Case(AluOp.DECAY):
                m.d.comb += [known.eq(a == b), word.eq(0)]
        minus = (op == AluOp.SUB) | (op == AluOp.SCORE) | (op == AluOp.DECAY)
        total, known, word = add(m, pipe, a, Cat(b[:31], b[31] ^ minus), known, word)
        m.d.comb += self.total.eq(Mux(known, word, total))

    def _sfu(self, m: Module) -> None:
        m.submodules.sfu = sfu = SpecialFunctions()
        request = sfu.requests
        inverse = self.sfu_op == SfuOp.INVERSE
        nothing = inverse & ~self.sfu_x[:31].any()  # 1 / inf is the 0 that is wanted of zeros
        m.d.comb += [
            request.valid.eq(self.sfu_on),
            request.payload.function.eq(Mux(inverse, Function.RECIP, self.sfu_op)),
            request.payload.x.eq(Mux(nothing, INFINITY, self.sfu_x)),
            sfu.result.ready.eq(1),
            self.function.eq(sfu.result.payload),
        ]


def order_key(word: Any) -> Any:
    """32 bits that order, as signed integers, like FP32 numbers; NaN is above all, canonical."""
    flipped = Cat(word[:31] ^ word[31].replicate(31), word[31])
    return Mux(parts(word).nan, Const(NAN_BITS, 32), flipped)


def of_key(key: Any) -> Any:
    """The FP32 number with this `order_key`."""
    return Cat(key[:31] ^ key[31].replicate(31), key[31])


def larger(a: Any, b: Any) -> Any:
    """`numerics.maximum` of two words."""
    x, y = order_key(a), order_key(b)
    return of_key(Mux(x.as_signed() < y.as_signed(), y, x))
