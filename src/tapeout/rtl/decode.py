"""Blocks of 32 elements of any format in the one form that the dot-product unit multiplies.

An element is `significand * 2^shift * 2^unit`, all sizes derived from the formats' facts. The
decoders sit at the edges of the matrix unit: one per row and one per column, not one per product.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK, Format
from tapeout.numerics.codes import E8M0_NAN, LAYOUTS

from .component import Component

FORMAT_BITS = 4
CODE_BITS = 8
SCALE_BITS = 16
HALVES = 2  # scales of a block: NVFP4 has one for each 16 elements
E8M0_BIAS = 127
BF16_FRACTION = 7
BF16_UNIT = -127 - BF16_FRACTION  # exponent of the last place is field + this, field >= 1

CODES = data.StructLayout(
    {
        "codes": data.ArrayLayout(CODE_BITS, BLOCK),
        "scales": data.ArrayLayout(SCALE_BITS, HALVES),
        "format": FORMAT_BITS,
    }
)
"""A block as it is stored, a byte for each element; a format with one scale uses the first."""


@dataclass(frozen=True, kw_only=True)
class ElementFacts:
    """Sizes of a decoded element: value = significand * 2^shift * 2^unit."""

    significand_bits: int
    """With its sign bit."""
    max_shift: int
    unit: int
    max_magnitude: int
    """Largest finite magnitude in units of 2^unit."""
    infinities: bool
    nans: bool


def element_facts(element: str) -> ElementFacts:
    """Facts of an element of at most 8 bits, from its layout."""
    layout = LAYOUTS[element]
    if layout.mantissa_bits < 0:
        return ElementFacts(
            significand_bits=layout.bits,
            max_shift=0,
            unit=0,
            max_magnitude=1 << (layout.bits - 1),
            infinities=False,
            nans=False,
        )
    top = layout.max_code >> layout.mantissa_bits
    fraction = layout.max_code & ((1 << layout.mantissa_bits) - 1)
    largest_field = (1 << (layout.bits - 1 - layout.mantissa_bits)) - 1
    return ElementFacts(
        significand_bits=layout.mantissa_bits + 2,
        max_shift=largest_field - 1,
        unit=layout.min_exponent - layout.mantissa_bits,
        max_magnitude=((1 << layout.mantissa_bits) + fraction) << (top - 1),
        infinities=layout.nan_code > layout.max_code + 1,
        nans=layout.nan_code > 0,
    )


def scale_magnitude(scale: str) -> int:
    """Largest significand of a scale times its own shift; 1 for powers of two."""
    if scale == "bf16":
        return (1 << (BF16_FRACTION + 1)) - 1
    return element_facts("e4m3").max_magnitude if scale == "e4m3" else 1


def unit_exponent(fmt: Format) -> int:
    """Exponent of the value of a block whose significands, shifts and scale field count as 1."""
    unit = element_facts(fmt.element).unit + fmt.unit_exponent
    offsets = {"none": 0, "e8m0": -E8M0_BIAS, "bf16": BF16_UNIT, "e4m3": element_facts("e4m3").unit}
    return unit + offsets[fmt.scale]


class OperandLayout(data.StructLayout):
    """A decoded block, just wide enough for some formats.

    significands, shifts: of each element; infinite, zero, negative: a bit for each element, where
    a format has infinities, its scale taken into account; halves: the significand, shift and sign
    of the scale of each 16 elements; exponent: a power of two for the whole block; nan: its sum is
    NaN.
    """

    def __init__(self, formats: tuple[Format, ...]):
        facts = [element_facts(fmt.element) for fmt in formats]
        scales = {fmt.scale for fmt in formats}
        e4m3 = element_facts("e4m3")
        sizes = {"bf16": BF16_FRACTION + 1, "e4m3": e4m3.significand_bits - 1}
        half = data.StructLayout(
            {
                "significand": max(sizes.get(scale, 1) for scale in scales),
                "shift": e4m3.max_shift.bit_length() if "e4m3" in scales else 0,
                "negative": 1,
            }
        )
        units = [unit_exponent(fmt) for fmt in formats]
        span = max(abs(min(units)), abs(max(units) + 255))
        flags = BLOCK if any(f.infinities for f in facts) else 0
        significand = signed(max(f.significand_bits for f in facts))
        super().__init__(
            {
                "significands": data.ArrayLayout(significand, BLOCK),
                "shifts": data.ArrayLayout(max(f.max_shift for f in facts).bit_length(), BLOCK),
                "infinite": flags,
                "zero": flags,
                "negative": flags,
                "halves": data.ArrayLayout(half, HALVES),
                "exponent": signed(span.bit_length() + 1),
                "nan": 1,
            }
        )


def _is_nan(magnitude: Any, element: str) -> Any:
    layout, facts = LAYOUTS[element], element_facts(element)
    if not facts.nans:
        return Const(0, 1)
    return magnitude > layout.max_code + facts.infinities


@dataclass(frozen=True, kw_only=True)
class _Scale:
    significand: Any
    shift: Any
    negative: Any
    field: Any
    """What the scale adds to the exponent of its block."""
    nan: Any


def _scale(word: Any, scale: str) -> _Scale:
    """Decode one scale."""
    no, one = Const(0, 1), Const(1, 1)
    if scale == "none":
        return _Scale(significand=one, shift=no, negative=no, field=no, nan=no)
    if scale == "e8m0":
        field = word[:8]
        return _Scale(significand=one, shift=no, negative=no, field=field, nan=field == E8M0_NAN)
    if scale == "bf16":
        field = word[BF16_FRACTION:15]
        return _Scale(
            significand=Cat(word[:BF16_FRACTION], field.any()),
            shift=no,
            negative=word[15],
            field=Mux(field == 0, 1, field),
            nan=field.all(),
        )
    element = LAYOUTS["e4m3"]
    magnitude = word[: element.bits - 1]
    fraction, field = magnitude[: element.mantissa_bits], magnitude[element.mantissa_bits :]
    return _Scale(
        significand=Cat(fraction, field.any()),
        shift=Mux(field == 0, 0, field - 1)[: element_facts("e4m3").max_shift.bit_length()],
        negative=word[element.bits - 1],
        field=no,
        nan=_is_nan(magnitude, "e4m3"),
    )


class Decoder(Component):
    """Turns a stored block into the form of `OperandLayout`. Value: `numerics.decode`.

    Latency 1 cycle; throughput 1 block per cycle; stalls when `operand` is not ready. A format
    that is not included decodes as zeros: the chip's decoder of instructions traps.

    Parameters
    ----------
    formats : tuple of Format
        Formats that it knows, all of one or two of the families int and float.

    Members
    -------
    block : In(stream of CODES)
    operand : Out(stream of OperandLayout(formats))
    """

    def __init__(self, *, formats: tuple[Format, ...]):
        check_formats(formats)
        self.formats = formats
        self.layout = OperandLayout(formats)
        super().__init__(
            {"block": In(stream.Signature(CODES)), "operand": Out(stream.Signature(self.layout))},
            name=f"decoder_{format_set(formats)}",
        )

    def build(self, m: Module) -> None:
        """Decode every element as each kind of element, and choose by the format."""
        halves, exponent, nan_scale = self._scales(m)
        significands, shifts, flags, nan_element = self._elements(m, halves)
        out = Signal(self.layout, reset_less=True)
        m.d.comb += self.block.ready.eq(~self.operand.valid | self.operand.ready)
        m.d.comb += self.operand.payload.eq(out)
        with m.If(self.block.ready):
            m.d.sync += self.operand.valid.eq(self.block.valid)
            m.d.sync += [out.exponent.eq(exponent), out.nan.eq(nan_scale | nan_element)]
            m.d.sync += [out.halves[i].eq(half) for i, half in enumerate(halves)]
            m.d.sync += [out.significands[i].eq(each) for i, each in enumerate(significands)]
            m.d.sync += [out.shifts[i].eq(shift) for i, shift in enumerate(shifts)]
            m.d.sync += [out[name].eq(Cat(bits)) for name, bits in flags.items()]

    def _chosen(self, key: Any) -> Any:
        """For each kind of `key(format)`, a signal-to-be that is 1 if the format is of it."""
        kinds: dict[Any, Any] = {}
        for fmt in self.formats:
            same = self.block.payload.format == fmt.code
            kinds[key(fmt)] = kinds[key(fmt)] | same if key(fmt) in kinds else same
        return kinds

    def _elements(self, m: Module, halves: list[Any]) -> tuple[Any, Any, Any, Any]:
        """(significands, shifts, flags by name, whether one is NaN)."""
        kinds = {}
        for element, same in self._chosen(lambda fmt: fmt.element).items():
            kinds[element] = Signal(name=f"is_{element}")
            m.d.comb += kinds[element].eq(same)
        fields = _Fields(m, kinds)
        nans, significands, shifts = [], [], []
        flags: dict[str, list[Any]] = {"infinite": [], "zero": [], "negative": []}
        for i in range(BLOCK):
            code = self.block.payload.codes[i]
            sign, magnitude, shift = fields.of(m, code)
            significands.append(Mux(sign, -magnitude, magnitude) | _integer(code, kinds))
            shifts.append(shift)
            nan, infinite = _specials(code, kinds)
            nans.append(nan)
            scale = halves[i * HALVES // BLOCK]
            flags["infinite"].append(infinite)
            flags["zero"].append(~(magnitude.any() & scale.significand.any()))
            flags["negative"].append(sign ^ scale.negative)
        return significands, shifts, flags, _any(nans)

    def _scales(self, m: Module) -> tuple[list[Any], Any, Any]:
        """One scale for both halves, of NVFP4 two: (halves, exponent, whether one is NaN)."""
        payload = self.block.payload
        kinds = self._chosen(lambda fmt: (fmt.scale, fmt.group == BLOCK // HALVES))
        halves, nans = [], []
        for number in range(HALVES):
            half = Signal(self.layout.members["halves"].elem_shape, name=f"half{number}")
            scales = {k: _scale(payload.scales[number if k[1] else 0], k[0]) for k in kinds}
            for name in ("significand", "shift", "negative"):
                value = _any(_gate(getattr(scales[k], name), kinds[k]) for k in kinds)
                m.d.comb += half[name].eq(value)
            halves.append(half)
            nans += [scales[k].nan & kinds[k] for k in kinds]
            field = _any(_gate(scales[k].field, kinds[k]) for k in kinds)
        units = self._chosen(unit_exponent)
        unit = _any(_gate(Const(u, signed(10)), units[u]) for u in units)
        return halves, unit.as_signed() + field, _any(nans)


class _Fields:
    """Where sign, exponent and fraction lie in the chosen kind of floating-point element.

    Masks that a block shares, so that a lane is little more than a few ANDs.
    """

    def __init__(self, m: Module, kinds: dict[str, Any]):
        self._shifts: dict[int, Any] = {}
        self._signs: dict[int, Any] = {}
        layouts = {e: LAYOUTS[e] for e in kinds if LAYOUTS[e].mantissa_bits >= 0}
        masks: dict[str, list[Any]] = {"fraction": [], "hidden": [], "field": []}
        for element, layout in layouts.items():
            on, places = kinds[element], layout.mantissa_bits
            masks["fraction"].append(Mux(on, (1 << places) - 1, 0))
            masks["hidden"].append(Mux(on, 1 << places, 0))
            masks["field"].append(Mux(on, (1 << (layout.bits - 1 - places)) - 1, 0))
            self._shifts[places] = self._shifts.get(places, 0) | on
            self._signs[layout.bits - 1] = self._signs.get(layout.bits - 1, 0) | on
        for name, values in masks.items():
            value = _any(values or [Const(0, 1)])
            mask = Signal(len(value), name=f"{name}_mask")
            m.d.comb += mask.eq(value)
            setattr(self, name, mask)

    def of(self, m: Module, code: Any) -> tuple[Any, Any, Any]:
        """(sign, magnitude, shift) of a code; zeros if an integer is chosen."""
        sign = _any([code[bit] & on for bit, on in self._signs.items()] or [Const(0, 1)])
        above = [Mux(on, code[places:], 0) for places, on in self._shifts.items()]
        field = Signal(len(self.field), name="field")
        m.d.comb += field.eq(_any(above or [Const(0, 1)]) & self.field)
        normal = field.any()
        magnitude = Signal(len(self.hidden), name="magnitude")
        m.d.comb += magnitude.eq((code & self.fraction) | Mux(normal, self.hidden, 0))
        return sign, magnitude, (field - normal)[: len(field)]


def _integer(code: Any, kinds: dict[str, Any]) -> Any:
    """The value of a code if an integer is chosen, else 0."""
    values = [Const(0, signed(1))]
    for element, on in kinds.items():
        layout = LAYOUTS[element]
        if layout.mantissa_bits < 0:
            values.append(_gate(code[: layout.bits].as_signed(), on))
    return _any(values)


def _specials(code: Any, kinds: dict[str, Any]) -> tuple[Any, Any]:
    """(is NaN, is infinite) of a code of the chosen element."""
    nan, infinite = [Const(0, 1)], [Const(0, 1)]
    for element, on in kinds.items():
        layout, facts = LAYOUTS[element], element_facts(element)
        magnitude = code[: layout.bits - 1]
        nan.append(_is_nan(magnitude, element) & on)
        if facts.infinities:
            infinite.append((magnitude == layout.max_code + 1) & on)
    return _any(nan), _any(infinite)


def check_formats(formats: tuple[Format, ...]) -> None:
    """Raise ValueError unless the matrix unit can have these formats."""
    if not formats:
        raise ValueError("a matrix unit needs at least one format")
    wide = [fmt.name for fmt in formats if fmt.family == "wide"]
    if wide:
        raise ValueError(f"formats of a matrix unit must be int or float, not {', '.join(wide)}")


def format_set(formats: tuple[Format, ...]) -> str:
    """A short name of a set of formats, for module names: the set of codes in hexadecimal."""
    return f"{sum(1 << fmt.code for fmt in formats):x}"


def _any(values: Any) -> Any:
    """The bitwise or of values."""
    total = None
    for value in values:
        total = value if total is None else total | value
    return Value.cast(total)


def _gate(value: Any, on: Any) -> Any:
    """`value` if `on`, else 0."""
    value = Value.cast(value)
    return Mux(on, value, Const(0, value.shape()))
