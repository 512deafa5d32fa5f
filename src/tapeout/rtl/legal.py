"""What can be wrong with an instruction whatever its tiles are: fields, shapes, formats."""

from typing import Any, get_type_hints

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.isa.encoding import fields
from tapeout.isa.fields import (
    ACC_ROW_BYTES,
    GRANULE_BYTES,
    SCALE_WORD_BYTES,
    FormatCode,
    MapFn,
    ScaleModeCode,
    Space,
)
from tapeout.isa.instructions import LoadPages, Matmul, Operation, StorePages
from tapeout.isa.shapes import HEAD_UNIT, SIZES, scales_unit
from tapeout.isa.vector import Map, Rope, Sample, Softmax, VectorMatmul
from tapeout.numerics import ScaleMode
from tapeout.numerics.formats import BLOCK, FORMATS

from .command import COMMAND, payload, payload_layout
from .component import Component
from .tile_words import OPERATIONS
from .trap import Trap

DIGITS = 2  # bits of the dividend in a cycle
COLUMNS_BITS = fields(Rope)["columns"].bits
HEAD_BITS = fields(Rope)["head_dim"].bits
DIVISION_CYCLES = -(-COLUMNS_BITS // DIGITS)


class Legal(Component):
    """Checks an instruction's fields. Value: `tapeout.isa.shapes`, `tapeout.numerics.check_pair`.

    Latency 1 cycle after the last in which `busy` is 1: at once, or for `Rope`, whose columns are
    divided by head_dim, DIVISION_CYCLES cycles later.

    Parameters
    ----------
    None.

    Members
    -------
    command : In(COMMAND), which stays from `begin` until it has been checked
    begin : In(1), in the command's first cycle
    busy : Out(1)
    code : Out(8), `Trap.OPCODE`, `FIELD`, `FORMAT` or 0
    later : Out(8), what is wrong if there are rows and all tiles are within their memories:
        `Trap.ADDRESS` of a first token below 0, `ALIGNMENT` of a result, or 0
    """

    def __init__(self) -> None:
        ports = {
            "command": In(COMMAND),
            "begin": In(1),
            "busy": Out(1),
            "code": Out(8),
            "later": Out(8),
        }
        super().__init__(ports, name="legal")

    def build(self, m: Module) -> None:
        """Look at each operation's fields; take what is wrong with the one that it is."""
        code, later = Signal(8, name="code_now"), Signal(8, name="later_now")
        remainder = self._divide(m)
        m.d.comb += code.eq(Trap.OPCODE)
        with m.Switch(self.command.opcode):
            for cls in OPERATIONS:
                with m.Case(cls.opcode):
                    p = payload(self.command, cls)
                    field = _any(_fields(self.command, cls, p) + _shapes(cls, p))
                    formats = _any(_formats(cls, p) + _pairs(cls, p))
                    if cls is Rope:
                        field |= remainder.any() | p.head_dim[: exact_log2(HEAD_UNIT)].any()
                    m.d.comb += code.eq(
                        Mux(field, Trap.FIELD, Mux(formats, Trap.FORMAT, Trap.NONE))
                    )
                    m.d.comb += later.eq(self._later(m, cls, p))
        m.d.sync += [self.code.eq(code), self.later.eq(later)]

    def _later(self, m: Module, cls: type[Operation], p: Any) -> Any:
        """Traps that matter only with rows."""
        command = self.command
        if cls is Matmul:
            return Mux(_misaligned(m, p, command.rows), Trap.ALIGNMENT, Trap.NONE)
        if cls is LoadPages:
            reads = command.y.as_signed() < command.z.as_signed()
            return Mux(command.y[-1] & reads, Trap.ADDRESS, Trap.NONE)
        if cls is StorePages:
            return Mux(command.y[-1], Trap.ADDRESS, Trap.NONE)
        return Const(Trap.NONE)

    def _divide(self, m: Module) -> Signal:
        """The remainder of columns by head_dim, some digits in a cycle."""
        p = payload(self.command, Rope)
        remainder = Signal(HEAD_BITS, reset_less=True)
        digits = Signal(DIVISION_CYCLES * DIGITS, reset_less=True)
        left = Signal(range(DIVISION_CYCLES + 1))
        rest = remainder
        for i in reversed(range(1, DIGITS + 1)):
            longer = Cat(digits[i - 1 - DIGITS], rest)
            less = Signal(HEAD_BITS + 2, name=f"less{i}")
            m.d.comb += less.eq(longer - p.head_dim)
            rest = Mux(less[-1], longer, less)[:HEAD_BITS]
        with m.If(self.begin):
            m.d.sync += [remainder.eq(0), digits.eq(p.columns)]
            m.d.sync += left.eq(Mux(self.command.opcode == Rope.opcode, DIVISION_CYCLES, 0))
        with m.Elif(left.any()):
            m.d.sync += [remainder.eq(rest), digits.eq(digits << DIGITS), left.eq(left - 1)]
        m.d.comb += self.busy.eq(Mux(self.begin, self.command.opcode == Rope.opcode, left.any()))
        return remainder


def _any(bad: list[Any]) -> Any:
    """Whether anything is wrong."""
    return Cat(*(Cat(each).any() for each in bad)).any() if bad else Const(0, 1)


def _among(value: Any, members: set[int]) -> Any:
    """Whether a value of few bits is one of these."""
    return Const(sum(1 << each for each in members), 1 << len(value)).bit_select(value, 1)


def _fields(command: Any, cls: type[Operation], p: Any) -> list[Any]:
    """Bits that must be zero, values that are not defined, sizes of zero."""
    bad = [command.payload[payload_layout(cls).size :].any()]
    hints = get_type_hints(cls, include_extras=True)
    for name, field in fields(cls).items():
        kind = ScaleMode if hints[name] == ScaleModeCode else field.kind
        if kind is not None:
            defined = {int(each) for each in kind if each < 1 << field.bits}
            if len(defined) < 1 << field.bits:
                bad.append(~_among(p[name], defined))
        if name in SIZES:
            bad.append(~p[name].any())
    return bad


def _shapes(cls: type[Operation], p: Any) -> list[Any]:
    """What `isa.shapes` refuses, but for formats and the division of `Rope`.

    The scales of a row of `Softmax` always fit a granule: it has at most 224 columns.
    """
    if cls in (LoadPages, StorePages):
        return [p.offset + (p.row_bytes << p.page_log2) > p.page_bytes]
    if cls is Map:
        return [(p.a_space == Space.SCALE) & (p.fn != MapFn.FILL)]
    if cls is Softmax:
        return [p.space == Space.SCALE, p.columns % BLOCK != 0]
    if cls is Sample:
        return [p[name][:2].any() for name in ("logits", "pitch", "parameters", "out")]
    if cls is Matmul:
        fours, sixes = (_element_bits(p.b_format, bits) for bits in (4, 6))
        halves = (p.transpose & ((fours & p.n[0]) | (sixes & p.n[:2].any())),)
        return [*halves, *(_misplaced(p[f"{each}_scale"], p[f"{each}_format"]) for each in "ab")]
    return []


def _misplaced(scale: Any, code: Any) -> Any:
    """Whether the scales of an operand begin where some of a line would lie in two granules."""
    wrong: Any = Const(0, 1)
    for bit in range(exact_log2(GRANULE_BYTES // SCALE_WORD_BYTES)):
        wider = {fmt.code for fmt in FORMATS if scales_unit(fmt) > SCALE_WORD_BYTES << bit}
        wrong = wrong | (scale[bit] & _among(code, wider))
    return wrong


def _family(code: Any, family: str) -> Any:
    return _among(code, {fmt.code for fmt in FORMATS if fmt.family == family})


def _element_bits(code: Any, bits: int) -> Any:
    return _among(code, {fmt.code for fmt in FORMATS if fmt.element_bits == bits})


def _formats(cls: type[Operation], p: Any) -> list[Any]:
    """Codes of no format."""
    hints = get_type_hints(cls, include_extras=True)
    names = [name for name in fields(cls) if hints[name] == FormatCode]
    return [p[name] > max(fmt.code for fmt in FORMATS) for name in names]


def _pairs(cls: type[Operation], p: Any) -> list[Any]:
    """Formats that the unit does not have, or that do not go together."""
    if cls is Matmul:
        pairs = (
            _family(p.a_format, family) & _family(p.b_format, family) for family in ("int", "float")
        )
        return [~Cat(pairs).any()]
    if cls is VectorMatmul:
        return [~_family(p.b_format, "wide")]
    if cls is Softmax:
        return [_family(p.format, "wide") ^ _family(p.value_format, "wide")]
    return []


def _log2(m: Module, value: Any, name: str) -> Signal:
    """The exponent of the least power of two not below a value; 0 for 0."""
    out = Signal(range(len(value) + 1), name=name)
    for bit in range(len(value)):
        with m.If(value > (1 << bit)):
            m.d.comb += out.eq(bit + 1)
    return out


def _misaligned(m: Module, p: Any, rows: Any) -> Any:
    """Whether a result does not start on a multiple of its pitch times its rows."""
    granule = GRANULE_BYTES.bit_length() - 1
    least = ACC_ROW_BYTES.bit_length() - 1
    columns, lines = _log2(m, p.n, "log2_columns"), _log2(m, rows, "log2_rows")
    pitch = Mux(columns + 2 > least, columns + 2, least)
    zeros = Signal(5, name="zeros")  # below the lowest one of the address
    m.d.comb += zeros.eq(31)
    for bit in reversed(range(len(p.acc))):
        with m.If(p.acc[bit]):
            m.d.comb += zeros.eq(granule + bit)
    return zeros < pitch + lines
