"""The scale of a group of elements, and the factor that its elements are multiplied by."""

from fractions import Fraction
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from tapeout.numerics import Format, ScaleMode
from tapeout.numerics.blocks import LARGEST
from tapeout.numerics.codes import BF16_NAN, E4M3_NAN, E8M0_NAN, LAYOUTS

from .component import Component
from .encode import (
    FACTOR,
    ONE,
    RULE,
    element_rule,
    exponent_base,
    nearest_magnitude,
    shortened,
    top_place,
)
from .fp32 import BIAS, FIELD_MAX, FRACTION, INFINITY, MUL_CUTS, SIGNIFICAND, mul, normalise
from .pipe import Pipe

MAGNITUDE_BITS = 31
SCALE_BITS = 16
BF16_FRACTION = 7
E4M3 = LAYOUTS["e4m3"]
E4M3_BIAS = 1 - E4M3.min_exponent
SATURATING = -64  # a base with which every element that is not zero saturates
SCALE_STAGES = MUL_CUTS + 1  # the first stage of the multiplier is with the second
MODE_BITS = 2
BASE = FACTOR.members["base"]

SCALE_RULE = data.StructLayout(
    {
        "e8m0": 1,
        "bf16": 1,
        "e4m3": 1,
        "mode": MODE_BITS,
        "max_exponent": 4,
        "round_up": 6,
        "max_fraction": 6,
        "inverse": 32,
        "base": BASE,
    }
)
"""How a scale follows from the largest magnitude; without a scale the first three are 0.

round_up: what `ScaleMode.EVEN` adds, in units of 2^16; max_fraction: in units of 2^17; inverse:
FP32(1 / largest element); base: `FACTOR.base` of the scale code 0 (e8m0), of an exponent field of 0
(bf16, e4m3), or of the factor 1.
"""


def scale_rule(fmt: Format) -> dict[str, int]:
    """The fields of SCALE_RULE for a format, but for the mode."""
    rule = {name: 0 for name in SCALE_RULE.members if name != "mode"}
    rule["base"] = exponent_base(fmt.element)
    if fmt.scale == "none":
        return rule
    rule[fmt.scale] = 1
    if fmt.scale == "e8m0":
        layout = LAYOUTS[fmt.element]
        largest = _fp32_bits(LARGEST[fmt.element] * 2.0**fmt.unit_exponent)
        mantissa_bits = layout.bits - 2 if layout.mantissa_bits < 0 else layout.mantissa_bits
        rule["max_exponent"] = (largest >> FRACTION) - BIAS
        rule["round_up"] = 1 << (FRACTION - 1 - mantissa_bits - 16)
        rule["max_fraction"] = largest % (1 << FRACTION) >> (FRACTION - 6)
        rule["base"] = top_place(fmt.element) + fmt.unit_exponent
    else:
        rule["inverse"] = _fp32_bits(1 / LARGEST[fmt.element])
        rule["base"] -= BIAS if fmt.scale == "bf16" else E4M3_BIAS
    return rule


def _fp32_bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


class GroupScale(Component):
    """Scale and factor of a group. Value: the scales of `numerics.quantise`.

    Latency 5 cycles; throughput 1 group per cycle; never stalls.

    Members
    -------
    largest : In(31), the largest magnitude of the group, as FP32 bits without sign
    rule : In(SCALE_RULE), constant while groups are in the pipeline
    scale : Out(16), its code
    factor : Out(FACTOR)
    """

    def __init__(self) -> None:
        ports = {"largest": In(MAGNITUDE_BITS), "rule": In(SCALE_RULE)}
        ports |= {"scale": Out(SCALE_BITS), "factor": Out(FACTOR)}
        super().__init__(ports, name="group_scale")

    def build(self, m: Module) -> None:
        """Multiply by the inverse, round to a scale, look its reciprocal up."""
        rule = self.rule
        pipe = Pipe(m, cuts=SCALE_STAGES + 1, stages=SCALE_STAGES, advance=Const(1), valid=Const(1))
        broken = self.largest >= INFINITY
        power = _power_of_two(m, self.largest, rule)
        target, power, broken = mul(
            m, pipe, Cat(self.largest, Const(0, 1)), rule.inverse, power, broken
        )

        bf16 = Signal(SCALE_BITS, name="bf16")
        m.d.comb += bf16.eq((target + 0x7FFF + target[16]) >> 16)
        rounded = Mux(
            rule.bf16,
            Mux(broken, BF16_NAN, bf16),
            Mux(rule.e4m3, Mux(broken, E4M3_NAN, _e4m3(m, target)), power),
        )
        scale, broken = pipe.cut(rounded, broken)

        factor = self._factor(m, scale, broken)
        pipe_scale, significand, base, zero = pipe.cut(scale, *factor)
        pipe.done()
        m.d.comb += [
            self.scale.eq(pipe_scale),
            self.factor.significand.eq(significand),
            self.factor.base.eq(base),
            self.factor.zero.eq(zero),
        ]

    def _factor(self, m: Module, scale: Any, broken: Any) -> tuple[Any, Any, Any]:
        """(significand, base, zero) of FP32(1 / scale), of 2^-s, or of 1."""
        rule = self.rule
        fraction = Signal(BF16_FRACTION, name="fraction")
        field = Signal(8, name="field")
        narrow = BF16_FRACTION - E4M3.mantissa_bits
        m.d.comb += fraction.eq(
            Mux(rule.e4m3, scale[: E4M3.mantissa_bits] << narrow, scale[:BF16_FRACTION])
        )
        m.d.comb += field.eq(Mux(rule.e4m3, scale[E4M3.mantissa_bits : 7], scale[BF16_FRACTION:15]))
        normal = field.any()
        value, places = normalise(m, Cat(fraction, normal))
        inexact = value[:BF16_FRACTION].any()
        base = Signal(BASE, name="base")
        exponent = Cat(field[0] | ~normal, field[1:]) - places
        m.d.comb += base.eq(rule.base + exponent + inexact)
        # An infinite reciprocal: the scale is at most 2^-128, two below the least normal.
        infinite = rule.bf16 & ~normal & ((places > 2) | ((places == 2) & ~inexact))
        reciprocal = rule.bf16 | rule.e4m3
        significand = Mux(reciprocal, self._reciprocal(m, value[:BF16_FRACTION]), ONE)
        own_base = Mux(infinite, SATURATING, base)
        power_base = Mux(rule.e8m0, rule.base + scale[:8], rule.base)
        zero = (reciprocal | rule.e8m0) & (broken | (reciprocal & ~value[BF16_FRACTION]))
        return significand, Mux(reciprocal, own_base, power_base)[: len(base)].as_signed(), zero

    def _reciprocal(self, m: Module, fraction: Any) -> Any:
        """The significand of FP32(1 / 1.fraction)."""
        init = [reciprocal_significand(f) for f in range(1 << BF16_FRACTION)]
        m.submodules.table = table = memory.Memory(
            shape=SIGNIFICAND, depth=1 << BF16_FRACTION, init=init
        )
        port = table.read_port(domain="comb")
        m.d.comb += port.addr.eq(fraction)
        return port.data


def reciprocal_significand(fraction: int) -> int:
    """The 24 bits of FP32(1 / (1 + fraction / 128)), whatever its exponent."""
    one = 1 << BF16_FRACTION
    if fraction == 0:
        return ONE
    return round(Fraction(one << SIGNIFICAND, one + fraction))


def _power_of_two(m: Module, largest: Any, rule: Any) -> Any:
    """The E8M0 code: `numerics.blocks.e8m0_code`."""
    fraction, field = largest[:FRACTION], largest[FRACTION:]
    limit = Cat(Const(0, FRACTION - 6), rule.max_fraction)
    even = Signal(MAGNITUDE_BITS + 1, name="even")
    m.d.comb += even.eq(largest + Cat(Const(0, 16), rule.round_up))
    exponent = Signal(9, name="exponent")
    with m.Switch(rule.mode):
        with m.Case(ScaleMode.FLOOR):
            m.d.comb += exponent.eq(field)
        with m.Case(ScaleMode.CEIL):
            m.d.comb += exponent.eq(field + fraction.any())
        with m.Case(ScaleMode.EVEN):
            m.d.comb += exponent.eq(even[FRACTION:])
        with m.Case(ScaleMode.RCEIL):
            m.d.comb += exponent.eq(field + (fraction > limit))
    code = Signal(signed(10), name="code")
    m.d.comb += code.eq(exponent - rule.max_exponent)
    within = Mux(code < 0, 0, Mux(code >= E8M0_NAN, E8M0_NAN - 1, code))[:8]
    return Mux(field == FIELD_MAX, E8M0_NAN, within)


def _e4m3(m: Module, target: Any) -> Any:
    """The E4M3 code nearest to a positive FP32 number; what is subnormal there is far too small."""
    rule = data.View(RULE, Signal(RULE, name="e4m3_rule"))
    m.d.comb += [rule[name].eq(value) for name, value in element_rule("e4m3").items()]
    field = target[FRACTION:MAGNITUDE_BITS]
    place = Signal(signed(11), name="place")
    m.d.comb += place.eq(exponent_base("e4m3") - field)
    short = shortened(Cat(target[:FRACTION], Const(1, 1)))
    return Mux(field.any(), nearest_magnitude(m, short, place, rule), 0)
