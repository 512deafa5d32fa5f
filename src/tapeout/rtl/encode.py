"""Elements of at most 8 bits, and BF16, from FP32: one lane of the quantiser."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tapeout.numerics.codes import BF16_NAN, LAYOUTS

from .component import Component
from .fp32 import BIAS, FRACTION, SIGNIFICAND, normalise, parts
from .pipe import Pipe

KEPT_BITS = 7  # of a significand, at most: those of a magnitude code
PLACE_BITS = 11
ENCODE_CUTS = 4
WORD_BITS = 32

RULE = data.StructLayout(
    {
        "wide": 1,
        "bf16": 1,
        "integer": 1,
        "bits": 4,
        "mantissa_bits": 2,
        "least_place": 3,
        "most_above": 5,
        "max_code": 7,
        "nan_code": 7,
    }
)
"""How elements are rounded. wide: bf16 or fp32, then only `bf16` counts; bits: of an element.

A float's codes count on through its exponents. least_place: places dropped, beyond those that
never count, from a normal element; most_above: the exponent of the largest, less the least one.
"""

FACTOR = data.StructLayout({"significand": SIGNIFICAND, "base": signed(PLACE_BITS - 1), "zero": 1})
"""What the elements of a group are multiplied by: 1.significand times a power of two.

base: the places that an element drops, beyond those that never count, if its exponent field is 0.
zero: all codes are zero.
"""

ONE = 1 << FRACTION


def element_rule(element: str) -> dict[str, int]:
    """The fields of RULE for an element."""
    if element not in LAYOUTS:
        bits = 16 if element == "bf16" else 32
        return {name: 0 for name in RULE.members} | {
            "wide": 1,
            "bf16": int(element == "bf16"),
            "bits": bits % 16,
        }
    layout = LAYOUTS[element]
    integer = layout.mantissa_bits < 0
    mantissa = max(layout.mantissa_bits, 0)
    return {
        "wide": 0,
        "bf16": 0,
        "integer": int(integer),
        "bits": layout.bits,
        "mantissa_bits": mantissa,
        "least_place": 0 if integer else KEPT_BITS - 1 - mantissa,
        "most_above": 0 if integer else (layout.max_code >> mantissa) - 1,
        "max_code": layout.max_code,
        "nan_code": layout.nan_code,
    }


def top_place(element: str) -> int:
    """Places that a value in [1, 2) drops beyond those that never count; 0 of what is wide."""
    if element not in LAYOUTS:
        return 0
    layout = LAYOUTS[element]
    return KEPT_BITS - 1 - max(layout.mantissa_bits, 0) + layout.min_exponent


def shortened(significand: Any) -> Any:
    """The bits of a significand that may count, one more, and one for all that lies below."""
    cut = SIGNIFICAND - KEPT_BITS - 1
    return Cat(significand[:cut].any(), significand[cut:SIGNIFICAND])


def nearest_magnitude(m: Module, short: Any, place: Any, rule: Any) -> Any:
    """The magnitude code nearest to a shortened significand with `place` (signed) places dropped.

    Value: `numerics.codes.nearest_code`, without sign. `rule` is a view of RULE.
    """
    normal, above = Signal(name="normal"), Signal(len(place), name="above")
    m.d.comb += normal.eq(place < rule.least_place)
    m.d.comb += above.eq(rule.least_place - place)
    most = KEPT_BITS + 1
    shift = Mux(normal, rule.least_place, Mux(place > most, most, place[:4]))
    spread = Signal(len(short) + most, name="spread")
    m.d.comb += spread.eq(Cat(Const(0, most), short) >> shift[:4])
    kept, half, below = spread[most + 2 :], spread[most + 1], spread[: most + 1].any()
    code = Signal(KEPT_BITS + 3, name="code")
    exponent = Mux(normal, above[:5], 0) << rule.mantissa_bits
    m.d.comb += code.eq(exponent[:8] + kept + (half & (below | kept[0])))
    too_large = (normal & (above > rule.most_above)) | (code > rule.max_code)
    return Mux(too_large, rule.max_code, code[:KEPT_BITS])


class Encoder(Component):
    """The code of one element. Value: `numerics.encode` of FP32(x * factor), or of x if it is wide.

    Latency 4 steps, one for each cycle in which `advance` is 1; throughput 1 element per step.

    Members
    -------
    advance : In(1)
    x : In(32), FP32
    factor : In(FACTOR), a step later than x
    rule : In(RULE), constant while elements are in the pipeline
    word : Out(32), the code in the low bits; what is above may hold anything if the rule is wide
    """

    def __init__(self) -> None:
        ports = {"advance": In(1), "x": In(32), "factor": In(FACTOR), "rule": In(RULE)}
        super().__init__({**ports, "word": Out(WORD_BITS)}, name="encoder")

    def build(self, m: Module) -> None:
        """Normalise, multiply, round to FP32, round to the element."""
        rule = self.rule
        pipe = Pipe(m, cuts=ENCODE_CUTS, stages=ENCODE_CUTS, advance=self.advance, valid=Const(1))
        x = parts(self.x)
        value, places = normalise(m, x.significand)
        field = Signal(signed(PLACE_BITS - 1), name="field")
        m.d.comb += field.eq(x.exponent - places)
        value, field, sign, nan, zero, wide = pipe.cut(
            value, field, x.sign, x.nan, x.zero, _wide_word(m, self.x, x.nan, rule)
        )

        product = Signal(2 * SIGNIFICAND, name="product")
        place = Signal(signed(PLACE_BITS), name="place")
        m.d.comb += product.eq(value * self.factor.significand)
        m.d.comb += place.eq(self.factor.base - field)
        product, place, sign, nan, zero, none, wide = pipe.cut(
            product, place, sign, nan, zero, self.factor.zero, wide
        )

        short, place = _rounded(m, product, place)
        short, place, sign, nan, zero, none, wide = pipe.cut(
            short, place, sign, nan, zero, none, wide
        )

        code = Signal(KEPT_BITS, name="magnitude")
        m.d.comb += code.eq(Mux(zero, 0, nearest_magnitude(m, short, place, rule)))
        number = Mux(rule.integer, Mux(sign, -code, code)[:8], _signed_code(code, sign, rule.bits))
        narrow = Mux(none, 0, Mux(nan, rule.nan_code, number))
        (word,) = pipe.cut(Mux(rule.wide, wide, narrow))
        pipe.done()
        m.d.comb += self.word.eq(word)


def _wide_word(m: Module, x: Any, nan: Any, rule: Any) -> Any:
    """x itself, or rounded to BF16."""
    rounded = Signal(17, name="bf16")
    m.d.comb += rounded.eq((x + 0x7FFF + x[16]) >> 16)
    return Mux(rule.bf16, Mux(nan, BF16_NAN, rounded[:16]), x)


def _rounded(m: Module, product: Any, place: Any) -> tuple[Any, Any]:
    """A product of two significands rounded to 24 bits, then shortened; its places."""
    top = product[-1]
    value = Signal(len(product), name="value")
    m.d.comb += value.eq(Mux(top, product, product << 1))
    kept, half, below = value[-SIGNIFICAND:], value[-SIGNIFICAND - 1], value[: -SIGNIFICAND - 1]
    rounded = Signal(SIGNIFICAND + 1, name="rounded")
    m.d.comb += rounded.eq(kept + (half & (below.any() | kept[0])))
    carry = rounded[-1]  # then all that is left is zero
    significand = Cat(rounded[: SIGNIFICAND - 1], rounded[SIGNIFICAND - 1] | carry)
    after = Signal(signed(PLACE_BITS), name="after")
    m.d.comb += after.eq(place - (top + carry))
    return shortened(significand), after


def _signed_code(code: Any, sign: Any, bits: Any) -> Any:
    """A magnitude of 3, 5 or 7 bits with its sign above."""
    return code | Mux(bits[3], sign << 7, Mux(bits[1], sign << 5, sign << 3))


def exponent_base(element: str) -> int:
    """`FACTOR.base` of the factor 1."""
    return top_place(element) + BIAS
