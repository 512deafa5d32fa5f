"""FP32 from an element and its scale: one lane of the dequantiser."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tapeout.numerics import Format
from tapeout.numerics.codes import E8M0_NAN, LAYOUTS

from .component import Component
from .decode import BF16_FRACTION, element_facts, unit_exponent
from .encode import WORD_BITS
from .fp32 import BIAS, ROUND_CUTS, parts, round_to_fp32, special
from .pipe import Pipe

MAGNITUDE_BITS = 7
FACTOR_BITS = 8  # of the significand of an element or of a scale
PRODUCT_BITS = 2 * FACTOR_BITS
EXPONENT_BITS = 11
DECODE_CUTS = 1 + ROUND_CUTS
E4M3 = LAYOUTS["e4m3"]

ELEMENT = data.StructLayout(
    {
        "wide": 1,
        "bf16": 1,
        "integer": 1,
        "bits": 4,
        "mantissa_bits": 2,
        "most": MAGNITUDE_BITS,
        "infinite": 1,
    }
)
"""How elements are read. wide: bf16 or fp32, then only `bf16` counts; most: the largest magnitude
that is not NaN; infinite: it is an infinity.
"""

SCALING = data.StructLayout({"e8m0": 1, "bf16": 1, "e4m3": 1, "top": signed(EXPONENT_BITS)})
"""How scales are read. top: the exponent field of a number whose product of significands has its
top bit, if the scale's exponent field and the element's shift are 0.
"""

SCALE = data.StructLayout(
    {"significand": FACTOR_BITS, "top": signed(EXPONENT_BITS), "negative": 1, "nan": 1}
)
"""A scale; `top` as in SCALING, the scale's exponent included."""


def element_layout(fmt: Format) -> dict[str, int]:
    """The fields of ELEMENT for a format."""
    if fmt.family == "wide":
        return {"wide": 1, "bf16": int(fmt.element == "bf16")}
    layout, facts = LAYOUTS[fmt.element], element_facts(fmt.element)
    integer = layout.mantissa_bits < 0
    return {
        "integer": int(integer),
        "bits": layout.bits,
        "mantissa_bits": max(layout.mantissa_bits, 0),
        "most": layout.max_code + facts.infinities if facts.nans else (1 << MAGNITUDE_BITS) - 1,
        "infinite": int(facts.infinities),
    }


def scaling(fmt: Format) -> dict[str, int]:
    """The fields of SCALING for a format."""
    if fmt.family == "wide":
        return {}
    kind = {} if fmt.scale == "none" else {fmt.scale: 1}
    return {**kind, "top": PRODUCT_BITS - 1 + BIAS + unit_exponent(fmt)}


def decoded_scale(m: Module, word: Any, rule: Any) -> Any:
    """A scale's code as SCALE; `rule` is a view of SCALING. Value: `numerics.decode_scale`."""
    out = Signal(SCALE, name="scale")
    narrow, full = E4M3.mantissa_bits, E4M3.bits - 1
    code = Signal(15, name="scale_code")  # an exponent field of 8 bits above a fraction of 7
    m.d.comb += code.eq(Mux(rule.e4m3, Cat(Const(0, BF16_FRACTION - narrow), word[:full]), word))
    fraction, field = code[:BF16_FRACTION], code[BF16_FRACTION:]
    shift = Mux(field.any(), field, 1)
    # In E4M3 fraction the places that BF16 has more are zeros, and shift is a field, not less one.
    lower = BF16_FRACTION - narrow + 1
    with m.If(rule.e8m0):
        m.d.comb += [out.significand.eq(1), out.top.eq(rule.top + word[:8])]
        m.d.comb += out.nan.eq(word[:8] == E8M0_NAN)
    with m.Elif(rule.bf16 | rule.e4m3):
        m.d.comb += [
            out.significand.eq(Cat(fraction, field.any())),
            out.top.eq(rule.top + shift - Mux(rule.e4m3, lower, 0)),
            out.negative.eq(Mux(rule.e4m3, word[full], word[15])),
            out.nan.eq(Mux(rule.e4m3, word[:full] > E4M3.max_code, field.all())),
        ]
    with m.Else():
        m.d.comb += [out.significand.eq(1), out.top.eq(rule.top)]
    return out


class ElementDecoder(Component):
    """One element times its scale. Value: `numerics.dequantise`.

    Latency 3 steps, one for each cycle in which `advance` is 1; throughput 1 element per step.

    Members
    -------
    advance : In(1)
    code : In(32), an element of any width in the low bits, zeros above
    scale : In(SCALE)
    element : In(ELEMENT), constant while elements are in the pipeline
    value : Out(32), FP32
    """

    def __init__(self) -> None:
        ports = {"advance": In(1), "code": In(WORD_BITS), "scale": In(SCALE)}
        super().__init__(
            {**ports, "element": In(ELEMENT), "value": Out(WORD_BITS)}, name="element_decoder"
        )

    def build(self, m: Module) -> None:
        """Take the element apart and multiply; normalise; round."""
        pipe = Pipe(m, cuts=DECODE_CUTS, stages=DECODE_CUTS, advance=self.advance, valid=Const(1))
        element, scale = self.element, self.scale
        significand, shift, sign, nan, infinite = self._narrow(m)
        word = Signal(WORD_BITS, name="wide")
        m.d.comb += word.eq(Mux(element.bf16, self.code << 16, self.code))
        product, top = Signal(PRODUCT_BITS, name="product"), Signal(scale.top.shape(), name="top")
        m.d.comb += [product.eq(significand * scale.significand), top.eq(scale.top + shift)]
        wide = element.wide
        product, top, sign, nan, infinite, word = pipe.cut(
            product,
            top,
            Mux(wide, word[31], sign ^ scale.negative),
            Mux(wide, parts(word).nan, nan | scale.nan),
            infinite & ~wide,
            word[:31],
        )
        magnitude, sign, nan, infinite, word = round_to_fp32(
            m, pipe, product, top, sign, nan, infinite, word
        )
        pipe.done()
        m.d.comb += self.value.eq(special(Mux(wide, word, magnitude), sign, nan, infinite))

    def _narrow(self, m: Module) -> tuple[Any, Any, Any, Any, Any]:
        """(significand, shift, sign, is NaN, is infinite) of an element of at most 8 bits."""
        element, code, sign = self.element, self.code, Signal(name="sign")
        m.d.comb += sign.eq(Mux(element.bits[3], code[7], Mux(element.bits[1], code[5], code[3])))
        bits = Mux(element.bits[3], 0x7F, Mux(element.bits[1], 0x1F, 0x07))
        magnitude, field = Signal(MAGNITUDE_BITS, name="magnitude"), Signal(5, name="field")
        ones = ((1 << element.mantissa_bits) - 1)[:MAGNITUDE_BITS]
        m.d.comb += magnitude.eq(code & bits)
        m.d.comb += field.eq(magnitude >> element.mantissa_bits)
        normal = field.any()
        number = (magnitude & ones) | (normal << element.mantissa_bits)
        whole = Mux(sign, (bits + 1) - magnitude, magnitude)
        significand = Mux(element.integer, whole, number)[:FACTOR_BITS]
        shift = Mux(element.integer | ~normal, 0, field - normal)[:5]
        nan = ~element.integer & (magnitude > element.most)
        return significand, shift, sign, nan, element.infinite & (magnitude == element.most)
