"""Exact dot products of blocks, rounded once to FP32.

How it stays exact and small. A product is `significand << shift`; shifts reach 58 (E5M2), so the
products are collected in bins of 32 places, each summed by its own tree of narrow adders, and the
bins are joined after the trees, in two parts. Scales that are powers of two only add to the
exponent. Of scales with significands the sums of the two halves of 16 lanes are multiplied by a
byte each: the two products of E4M3 scales (NVFP4), or the two bytes of one product of BF16 scales.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK, Format

from .component import Component
from .decode import (
    CODES,
    HALVES,
    Decoder,
    OperandLayout,
    check_formats,
    element_facts,
    format_set,
    scale_magnitude,
)
from .fp32 import BIAS, ROUND_CUTS, round_to_fp32, special
from .pipe import check_stages, close, stream_pipe

BIN_BITS = 5  # a bin holds products whose shifts differ by less than 2^5
PLACES = 1 << BIN_BITS
WINDOW = 64  # bits of a sum that are looked at: simulation is slow beyond
BYTE = 8  # bits of a significand of scales that one multiplier takes
DOT_CUTS = 5 + ROUND_CUTS


@dataclass(frozen=True, kw_only=True)
class DotWidths:
    """Sizes of the datapath in bits, with signs: what the largest legal operands need."""

    product: int
    bin: int
    """A shifted product within its bin."""
    bins: int
    half: int
    """The sum of 16 lanes of the first bin."""
    factor: int
    """A sum that is multiplied by scales; 0 if all scales are powers of two."""
    low: int
    """The scaled sum of the first bin."""
    high: int
    """The sum of the second bin, which is never scaled; 0 if there is none."""
    total: int
    """The scaled sum of the block."""


def dot_widths(formats: tuple[Format, ...]) -> DotWidths:
    """Sizes for the products of all pairs of formats of one family."""
    pairs = [(a, b) for a in formats for b in formats if a.family == b.family]
    places = PLACES - 1
    products, bins, halves, factors, totals, shifts = [], [], [], [], [], []
    lows, highs = [], []
    for a, b in pairs:
        x, y = element_facts(a.element), element_facts(b.element)
        top = ((1 << (x.significand_bits - 1)) - (a.family == "float")) * (
            (1 << (y.significand_bits - 1)) - (b.family == "float")
        )
        shift = x.max_shift - x.infinities + y.max_shift - y.infinities  # of finite numbers
        largest = x.max_magnitude * y.max_magnitude
        scales = scale_magnitude(a.scale) * scale_magnitude(b.scale)
        products.append(top)
        shifts.append(shift)
        bins.append(top << min(shift, places))
        first = min(largest, top << min(shift, places))
        halves.append(first * BLOCK // HALVES)
        lows.append(first * BLOCK * scales)
        highs.append(largest * BLOCK >> (places + 1) if shift > places else 0)
        totals.append(largest * BLOCK * scales)
        assert scales == 1 or shift <= places, "what is scaled lies in one bin"
        if scales > 1:
            factors.append(largest * BLOCK // (1 if a.family == "int" else HALVES))
    return DotWidths(
        product=_bits(products),
        bin=_bits(bins),
        bins=(max(shifts) >> BIN_BITS) + 1,
        half=_bits(halves),
        factor=_bits(factors) if factors else 0,
        low=_bits(lows),
        high=_bits(highs) if any(highs) else 0,
        total=_bits(totals),
    )


def _bits(magnitudes: list[int]) -> int:
    return max(magnitudes).bit_length() + 1


class DotUnit(Component):
    """Dot product of two decoded blocks. Value: `tapeout.numerics.matmul` of [1, 32] blocks.

    Latency `stages` cycles; throughput 1 product of blocks per cycle; stalls when `result` is not
    ready (tie it to 1 and the stall logic disappears).

    Parameters
    ----------
    formats : tuple of Format
        Formats of the operands; the widths of the datapath follow from them. Both operands of a
        product must be of one family, int or float.
    stages : int
        Pipeline registers; 1..7.

    Members
    -------
    operands : In(stream of {a, b: OperandLayout(formats)})
    result : Out(stream of 32 bits), FP32
    """

    def __init__(self, *, formats: tuple[Format, ...], stages: int = DOT_CUTS):
        check_formats(formats)
        check_stages(stages, DOT_CUTS)
        self.stages = stages
        self.widths = dot_widths(formats)
        self.layout = OperandLayout(formats)
        pair = data.StructLayout({"a": self.layout, "b": self.layout})
        super().__init__(
            {"operands": In(stream.Signature(pair)), "result": Out(stream.Signature(unsigned(32)))},
            name=f"dot_{format_set(formats)}_{stages}",
        )

    def build(self, m: Module) -> None:
        """Multiply, shift and add, scale, normalise, round."""
        pipe = stream_pipe(m, self.operands, self.result, cuts=DOT_CUTS, stages=self.stages)
        a, b = self.operands.payload.a, self.operands.payload.b
        top = Signal(signed(len(a.exponent) + 3), name="top")
        bits = self.widths.total if self.widths.high else self.widths.low
        m.d.comb += top.eq(a.exponent + b.exponent + (bits - 1 + BIAS))
        products, shifts = self._products(m, a, b)
        also = [*_scale_products(a, b), *_specials(a, b), top]

        cut = pipe.cut(*products, *shifts, *also)
        products, shifts, also = cut[:BLOCK], cut[BLOCK : 2 * BLOCK], cut[2 * BLOCK :]
        groups = self._groups(m, products, shifts)

        cut = pipe.cut(*groups, *also)
        groups, also = cut[: len(groups)], cut[len(groups) :]
        halves, high = self._halves(m, groups)

        *halves, high, also = _split(pipe.cut(*halves, high, *also), HALVES + 1)
        terms, also = self._scaled(m, halves, also)

        *terms, high, also = _split(pipe.cut(*terms, high, *also), len(terms) + 1)
        sign_of_infinity, nan, infinite, top = also
        minus, magnitude, top = self._magnitude(m, terms, high, top)
        negative = Mux(infinite, sign_of_infinity, minus)

        magnitude, negative, nan, infinite, top = pipe.cut(magnitude, negative, nan, infinite, top)
        bits, *also = round_to_fp32(m, pipe, magnitude, top, negative, nan, infinite)
        close(m, pipe, self.result, special(bits, *also))

    def _products(self, m: Module, a: Any, b: Any) -> tuple[list[Any], list[Any]]:
        products, shifts = [], []
        for i in range(BLOCK):
            product = Signal(signed(self.widths.product), name=f"product{i}")
            m.d.comb += product.eq(a.significands[i] * b.significands[i])
            products.append(product)
            shifts.append(a.shifts[i] + b.shifts[i])
        return products, shifts

    def _groups(self, m: Module, products: Any, shifts: Any) -> list[Any]:
        """Sums of four neighbours, for each bin; the bins of a group side by side."""
        lanes: list[list[Any]] = [[] for _ in range(self.widths.bins)]
        for i, (product, shift) in enumerate(zip(products, shifts, strict=True)):
            placed = Signal(signed(self.widths.bin), name=f"placed{i}")
            m.d.comb += placed.eq(product << shift[:BIN_BITS])
            for number, lane in enumerate(lanes):
                here = shift[BIN_BITS:] == number
                lane.append(Mux(here, placed, 0).as_signed() if self.widths.bins > 1 else placed)
        return [_tree(lane[i : i + 4]) for i in range(0, BLOCK, 4) for lane in lanes]

    def _halves(self, m: Module, groups: Any) -> tuple[list[Any], Any]:
        """Sums of 16 lanes of the first bin, and of all lanes of the second."""
        bins = self.widths.bins
        first = groups[::bins]
        out = []
        for half in range(HALVES):
            total = Signal(signed(self.widths.half), name=f"half{half}")
            each = len(first) // HALVES
            m.d.comb += total.eq(_tree(first[half * each : (half + 1) * each]))
            out.append(total)
        high = Signal(signed(max(1, self.widths.high)), name="high")
        if self.widths.high:
            m.d.comb += high.eq(_tree(groups[1::bins]))
        return out, high

    def _scaled(self, m: Module, halves: Any, also: Any) -> tuple[list[Any], Any]:
        """The terms that add up to the scaled sum."""
        scales, also = also[: 3 * HALVES], also[3 * HALVES :]
        if not self.widths.factor:
            return list(halves), also
        plain, terms = Const(1, 1), []
        wide = scales[0][BYTE:].any()  # one product of BF16 scales serves both halves
        whole = Signal(signed(self.widths.factor), name="whole")
        m.d.comb += whole.eq(halves[0] + halves[1])
        for half in range(HALVES):
            product, shift, negative = scales[3 * half : 3 * half + 3]
            plain = plain & (product == 1) & (shift == 0) & ~negative
            byte = product[:BYTE] if half == 0 else Mux(wide, product[BYTE:], product[:BYTE])
            shift = shift if half == 0 else Mux(wide, BYTE, shift)
            factor = Signal(signed(self.widths.factor), name=f"factor{half}")
            m.d.comb += factor.eq(Mux(wide, whole, halves[half]))
            scaled = Signal(signed(self.widths.low), name=f"scaled{half}")
            m.d.comb += scaled.eq((factor * Mux(negative, -byte, byte)) << shift)
            terms.append(scaled)
        return [Mux(plain, x, y) for x, y in zip(halves, terms, strict=True)], also

    def _magnitude(self, m: Module, terms: Any, high: Any, top: Any) -> tuple[Any, Any, Any]:
        """(sign, at most 64 bits of the magnitude, what `top` is for them).

        Of a sum with a second bin the upper part and the lower 32 bits are kept apart. If there is
        an upper part, the last bits of the lower are far below those that a rounded sum has.
        """
        low = Signal(signed(self.widths.low), name="low")
        m.d.comb += low.eq(sum(terms))
        if not self.widths.high:
            return low < 0, Mux(low < 0, -low, low)[: self.widths.low], top
        bits = self.widths.total - PLACES
        upper, minus = Signal(signed(bits), name="upper"), Signal(name="minus")
        m.d.comb += [upper.eq((low >> PLACES) + high), minus.eq(upper < 0)]
        under = Signal(PLACES, name="under")
        over = Signal(bits, name="over")
        m.d.comb += under.eq(Mux(minus, -low, low)[:PLACES])
        m.d.comb += over.eq(Mux(minus, ~upper + ~low[:PLACES].any(), upper)[:bits])
        dropped = self.widths.total - WINDOW
        near = Cat(under[:dropped].any() | under[dropped], under[dropped + 1 :], over)
        far = over.any()
        window = Mux(far, near, Cat(Const(0, WINDOW - PLACES), under))
        return minus, window, Mux(far, top, top - bits)


def _split(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The first `count` values, and the others together."""
    return (*values[:count], values[count:])


def _tree(values: Any) -> Any:
    """Sum of 2^n signed values of one width, n bits wider.

    Inverting a sign bit adds half of the range; so the adders are unsigned, without sign
    extensions, and inverting the top bit of the sum takes all these halves away again.
    """
    values = [Cat(value[:-1], ~value[-1]) for value in values]
    while len(values) > 1:
        values = [x + y for x, y in zip(values[0::2], values[1::2], strict=True)]
    return Cat(values[0][:-1], ~values[0][-1]).as_signed()


def _scale_products(a: Any, b: Any) -> list[Any]:
    """For each half: the product of the scales' significands, its shift, its sign."""
    out = []
    for x, y in zip(a.halves, b.halves, strict=True):
        product = x.significand * y.significand
        out += [product, x.shift + y.shift, x.negative ^ y.negative]
    return out


def _specials(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """(sign of an infinite sum, NaN, infinite) by IEEE 754: inf * 0 and inf - inf are NaN."""
    infinite = a.infinite | b.infinite
    minus = a.negative ^ b.negative
    invalid = (a.infinite & b.zero) | (b.infinite & a.zero)
    negative, positive = (infinite & minus).any(), (infinite & ~minus).any()
    return negative, a.nan | b.nan | invalid.any() | (positive & negative), infinite.any()


class BlockDot(Component):
    """Dot product of two stored blocks: two decoders and a dot-product unit.

    Value: `tapeout.numerics.matmul` of [1, 32] blocks. Latency 1 + `stages` cycles; throughput 1
    product of blocks per cycle; stalls when `result` is not ready.

    Parameters
    ----------
    formats : tuple of Format
        Formats that it multiplies.
    stages : int
        Pipeline registers of the dot-product unit; 1..7.

    Members
    -------
    blocks : In(stream of {a, b: CODES})
    result : Out(stream of 32 bits), FP32
    """

    def __init__(self, *, formats: tuple[Format, ...], stages: int = DOT_CUTS):
        self.decoders = [Decoder(formats=formats) for _ in range(2)]
        self.dot = DotUnit(formats=formats, stages=stages)
        pair = data.StructLayout({"a": CODES, "b": CODES})
        super().__init__(
            {
                "blocks": In(stream.Signature(pair)),
                "result": Out(stream.Signature(unsigned(32))),
            },
            name=f"block_{self.dot.module_name}",
        )

    def build(self, m: Module) -> None:
        """Both decoders move in step: they have the same valid and ready."""
        m.submodules.dot = self.dot
        left, right = self.decoders
        operands = self.dot.operands
        for name, decoder in zip("ab", self.decoders, strict=True):
            m.submodules[f"decoder_{name}"] = decoder
            m.d.comb += [
                decoder.block.payload.eq(self.blocks.payload[name]),
                decoder.block.valid.eq(self.blocks.valid),
                operands.payload[name].eq(decoder.operand.payload),
                decoder.operand.ready.eq(operands.ready),
            ]
        m.d.comb += [
            self.blocks.ready.eq(left.block.ready),
            operands.valid.eq(left.operand.valid & right.operand.valid),
            self.result.payload.eq(self.dot.result.payload),
            self.result.valid.eq(self.dot.result.valid),
            self.dot.result.ready.eq(self.result.ready),
        ]
