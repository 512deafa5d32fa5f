"""The special-function unit: one table lookup, one quadratic interpolation, one rounding.

All functions share the interpolator: `value = c0 + c1 t + c2 t^2` in units of 2^-52, exact, as
`tapeout.numerics.tables` defines it. What differs is how an operand becomes a segment of a table
and a position in it, and which power of two the value is multiplied by.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics import TABLE_NAMES, sfu_table
from tapeout.numerics.fp32 import NAN_BITS
from tapeout.numerics.tables import COEFFICIENT_BITS, POSITION_BITS, RESULT_BITS, SQUARE_BITS

from .component import Component
from .fp32 import BIAS, FRACTION, INFINITY, ROUND_CUTS, normalise, parts, round_to_fp32
from .pipe import check_stages, close, stream_pipe

ONE = BIAS << FRACTION
SFU_CUTS = 5 + ROUND_CUTS
VALUE_BITS = RESULT_BITS + 2  # an interpolated value is below 2^53 + a little
TOP = BIAS + VALUE_BITS - 1 - RESULT_BITS  # exponent field of the top bit of a value as it is
QUARTER_BITS = 30  # bits of a quarter of a turn


class Function(IntEnum):
    """What a beat asks for; the two of a turn take a uint32 phase instead of FP32."""

    EXP2 = 0
    RECIP = 1
    RSQRT = 2
    SIN_TURNS = 3
    COS_TURNS = 4
    NORMAL_CDF = 5


TABLE_OF = {
    Function.EXP2: "exp2",
    Function.RECIP: "recip",
    Function.RSQRT: "rsqrt",
    Function.SIN_TURNS: "sin",
    Function.COS_TURNS: "sin",
    Function.NORMAL_CDF: "normal_tail",
}
REQUEST = data.StructLayout({"function": 3, "x": 32})

EXP2_END = 0x43180000  # 152: 2^x overflows, or is below half of the least subnormal
RECIP_END = 0x00200000  # 2^-128: 1 / x overflows
CDF_END = 0x40C00000  # 6: the tail rounds to 0
FIXED_FIELD = 134  # exponent field of numbers in [128, 256), the largest that become fixed point
CDF_FRACTION = 29  # fraction bits of the operand of normal_cdf; exp2 has one less


class SpecialFunctions(Component):
    """exp2, 1/x, 1/sqrt(x), sine, cosine and the normal distribution, one per cycle.

    Values: `tapeout.numerics.exp2`, `recip`, `rsqrt`, `sin_turns`, `cos_turns`, `normal_cdf`.

    Latency `stages` cycles; throughput 1 value per cycle, functions in any mixture; stalls when
    `result` is not ready. The result of a function number that is not used is unspecified.

    Parameters
    ----------
    stages : int
        Pipeline registers; 1..7.

    Members
    -------
    requests : In(stream of {function: Function, x: 32 bits})
    result : Out(stream of 32 bits), FP32
    """

    def __init__(self, *, stages: int = SFU_CUTS):
        check_stages(stages, SFU_CUTS)
        self.stages = stages
        ports = {
            "requests": In(stream.Signature(REQUEST)),
            "result": Out(stream.Signature(unsigned(32))),
        }
        super().__init__(ports, name=f"sfu_{stages}")

    def build(self, m: Module) -> None:
        """Choose segment and position, look up, multiply, add, round."""
        pipe = stream_pipe(m, self.requests, self.result, cuts=SFU_CUTS, stages=self.stages)
        function, x = self.requests.payload.function, self.requests.payload.x
        operand = parts(x)
        normal, places = normalise(m, operand.significand)
        field = (operand.exponent - places).as_signed()
        fixed = _fixed_point(m, operand)
        x, function, fraction, field, fixed = pipe.cut(x, function, normal[:FRACTION], field, fixed)

        of = _Operand(x=x, fraction=fraction, field=field, fixed=fixed)
        where = [_WHERE[f](of) for f in Function]
        place = Signal(PLACE)
        with m.Switch(function):
            for f in Function:
                with m.Case(f):
                    m.d.comb += [p.eq(w) for p, w in zip(_members(place), where[f], strict=True)]
        has_word, word = _special(m, x, function)
        complement = (function == Function.NORMAL_CDF) & ~x[31]
        *place, function, complement, has_word, word = pipe.cut(
            *_members(place), function, complement, has_word, word
        )
        segment, position, *also = place
        also += [has_word, word]

        c0, c1, c2 = self._coefficients(m, function, segment)
        upper = position[POSITION_BITS - SQUARE_BITS :]
        square = (upper * upper)[SQUARE_BITS:]
        c0, c1, c2, position, square, complement, *also = pipe.cut(
            c0, c1, c2, position, square, complement, *also
        )
        c0, linear, quadratic, complement, *also = pipe.cut(
            c0, c1 * position, c2 * square, complement, *also
        )
        value = Signal(signed(VALUE_BITS + 1), name="value")
        quadratic = quadratic << (RESULT_BITS - COEFFICIENT_BITS - SQUARE_BITS)
        m.d.comb += value.eq((c0 << POSITION_BITS) + linear + quadratic)
        value = Mux(complement, (1 << RESULT_BITS) - value, value)[:VALUE_BITS]
        value, top, sign, *also = pipe.cut(value, *also)

        bits, sign, *also = round_to_fp32(m, pipe, value, top, sign & value.any(), *also)
        has_word, word = also
        close(m, pipe, self.result, Mux(has_word, word, Cat(bits, sign)))

    def _coefficients(self, m: Module, function: Any, segment: Any) -> tuple[Any, Any, Any]:
        """Read the row of the function's table."""
        rows = {}
        for name in TABLE_NAMES:
            table = sfu_table(name)
            init = [dict(zip(ROW.members, map(int, row), strict=True)) for row in table]
            m.submodules[f"{name}_table"] = store = memory.Memory(
                shape=ROW, depth=len(table), init=init
            )
            port = store.read_port(domain="comb")
            m.d.comb += port.addr.eq(segment)
            rows[name] = port.data
        chosen = Signal(ROW, name="row")
        with m.Switch(function):
            for f in Function:
                with m.Case(f):
                    m.d.comb += chosen.eq(rows[TABLE_OF[f]])
        return chosen.c0, chosen.c1, chosen.c2


def _row_layout() -> data.StructLayout:
    """A row of any table, no wider than the coefficients need."""
    tables = [sfu_table(name) for name in TABLE_NAMES]
    widths = [
        max(
            max(int(t[:, i].max()).bit_length(), (-1 - int(t[:, i].min())).bit_length())
            for t in tables
        )
        for i in range(3)
    ]
    return data.StructLayout({f"c{i}": signed(width + 1) for i, width in enumerate(widths)})


ROW = _row_layout()
PLACE = data.StructLayout(
    {"segment": 8, "position": POSITION_BITS, "top": signed(11), "sign": 1},
)
"""Where a function finds its value, and what becomes of it: `_WHERE`."""


def _fixed_point(m: Module, operand: Any) -> Any:
    """Magnitude of an FP32 number below 256 in units of 2^-CDF_FRACTION, cut towards zero."""
    shift = Signal(9, name="shift")
    m.d.comb += shift.eq(FIXED_FIELD - operand.exponent)
    places = CDF_FRACTION + FIXED_FIELD - BIAS - FRACTION
    return Cat(Const(0, places), operand.significand) >> Mux(shift[6:].any(), 63, shift[:6])


@dataclass(frozen=True, kw_only=True)
class _Operand:
    """An operand, seen in the ways that the functions need."""

    x: Any
    fraction: Any
    """Of its normalised significand, also if it is subnormal."""
    field: Any
    """Its exponent field; below 1 if it is subnormal."""
    fixed: Any
    """Its magnitude in units of 2^-CDF_FRACTION."""


def _exp2(of: _Operand) -> tuple[Any, ...]:
    """2^(n + f): the table holds 2^f."""
    turned = Mux(of.x[31], -of.fixed[1:], of.fixed[1:])
    point = CDF_FRACTION - 1
    segment, position = turned[point - 6 : point], turned[: point - 6]
    return segment, Cat(Const(0, 2), position), turned[point:].as_signed() + TOP, Const(0, 1)


def _recip(of: _Operand) -> tuple[Any, ...]:
    """1 / (2^n m): the table holds 1 / m."""
    return of.fraction[16:], Cat(Const(0, 8), of.fraction[:16]), TOP + BIAS - of.field, of.x[31]


def _rsqrt(of: _Operand) -> tuple[Any, ...]:
    """1 / sqrt(2^n m): the table holds 1 / sqrt(m) for even n, then those for odd n."""
    exponent = of.field - BIAS
    segment = Cat(of.fraction[16:], exponent[0])
    return segment, Cat(Const(0, 8), of.fraction[:16]), TOP - (exponent >> 1), Const(0, 1)


def _sin(of: _Operand) -> tuple[Any, ...]:
    """Sine of a phase: the table holds a quarter of a turn."""
    quarter = Cat(of.x[:QUARTER_BITS], Const(0, 1))
    mirrored = ((1 << QUARTER_BITS) - of.x[:QUARTER_BITS])[: QUARTER_BITS + 1]
    place = Mux(of.x[QUARTER_BITS], mirrored, quarter)
    return place[23:], Cat(Const(0, 1), place[:23]), Const(TOP, 10), of.x[31]


def _cos(of: _Operand) -> tuple[Any, ...]:
    """Cosine: the sine a quarter of a turn later."""
    return _sin(replace(of, x=(of.x + (1 << QUARTER_BITS))[:32]))


def _cdf(of: _Operand) -> tuple[Any, ...]:
    """The tail beyond |x|; the sign says which side, and is dropped with the complement."""
    return of.fixed[POSITION_BITS:], of.fixed[:POSITION_BITS], Const(TOP, 10), Const(0, 1)


_WHERE = {
    Function.EXP2: _exp2,
    Function.RECIP: _recip,
    Function.RSQRT: _rsqrt,
    Function.SIN_TURNS: _sin,
    Function.COS_TURNS: _cos,
    Function.NORMAL_CDF: _cdf,
}
"""By function: (segment, position, exponent field of the value's top bit, sign)."""


def _members(place: Any) -> list[Any]:
    return [place[name] for name in PLACE.members]


def _special(m: Module, x: Any, function: Any) -> tuple[Any, Any]:
    """(whether the result needs no table, the result then)."""
    operand = parts(x)
    magnitude, negative = x[:31], x[31]
    infinity = Cat(Const(INFINITY, 31), negative)
    cases = {
        Function.EXP2: [
            (operand.nan, NAN_BITS),
            (magnitude >= EXP2_END, Mux(negative, 0, INFINITY)),
        ],
        Function.RECIP: [
            (operand.nan, NAN_BITS),
            (operand.infinite, Cat(Const(0, 31), negative)),
            (magnitude <= RECIP_END, infinity),
        ],
        Function.RSQRT: [
            (operand.zero, infinity),
            (operand.nan | negative, NAN_BITS),
            (operand.infinite, 0),
        ],
        Function.NORMAL_CDF: [
            (operand.nan, NAN_BITS),
            (magnitude >= CDF_END, Mux(negative, 0, ONE)),
        ],
    }
    found, word = Signal(name="has_word"), Signal(32, name="word")
    with m.Switch(function):
        for f, rules in cases.items():
            with m.Case(f):
                for condition, value in reversed(rules):  # of two that hold, the first counts
                    with m.If(condition):
                        m.d.comb += [found.eq(1), word.eq(value)]
    return found, word
