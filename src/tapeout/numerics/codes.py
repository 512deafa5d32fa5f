"""Element and scale codes, bit for bit: decoding, rounding to a code, packing into bytes.

Elements of at most 8 bits round to nearest, ties to even, keep subnormals and saturate at the
largest finite value, also from infinity. A NaN becomes the format's positive NaN in E4M3 (0x7F)
and E5M2 (0x7E), and +0 in formats that have none. -0 stays -0 except in integers. Integers
saturate at -127..127 and -7..7; -128 and -8 decode. BF16 rounds as IEEE does: overflow gives
infinity, a NaN gives 0x7FC0.

Source: OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats Specification 1.0.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from .formats import Element, Scale
from .fp32 import F32, canonical

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Integer = int | np.int64

E8M0_NAN = 255
E4M3_NAN = 0x7F
BF16_NAN = 0x7FC0


class Layout(NamedTuple):
    """What the encoder must know of an element; `mantissa_bits` is -1 in integers."""

    bits: int
    mantissa_bits: int
    min_exponent: int
    max_code: int
    nan_code: int


LAYOUTS: dict[str, Layout] = {
    "int8": Layout(8, -1, 0, 127, 0),
    "int4": Layout(4, -1, 0, 7, 0),
    "e4m3": Layout(8, 3, -6, 0x7E, E4M3_NAN),
    "e5m2": Layout(8, 2, -14, 0x7B, 0x7E),
    "e2m3": Layout(6, 3, 0, 0x1F, 0),
    "e3m2": Layout(6, 2, -2, 0x1F, 0),
    "e2m1": Layout(4, 1, 0, 0x7, 0),
}


def _values(element: str) -> F64:
    """The value of every code of an element of at most 8 bits."""
    bits, mantissa_bits, min_exponent, max_code, nan_code = LAYOUTS[element]
    codes = np.arange(1 << bits)
    sign, magnitude = codes >> (bits - 1), codes & ((1 << (bits - 1)) - 1)
    if mantissa_bits < 0:
        return (codes - (sign << bits)).astype(np.float64)
    exponent = np.maximum(magnitude >> mantissa_bits, 1)
    mantissa = magnitude - ((exponent - 1) << mantissa_bits)
    values = np.ldexp(mantissa.astype(np.float64), exponent - 1 + min_exponent - mantissa_bits)
    if nan_code:
        values[magnitude > max_code] = np.nan
    if element == "e5m2":
        values[magnitude == max_code + 1] = np.inf
    return np.where(sign, -values, values)


VALUES: dict[str, F64] = {element: _values(element) for element in LAYOUTS}
_VALUES_F32 = {element: canonical(values) for element, values in VALUES.items()}


def decode(codes: NDArray[Any], element: Element) -> F32:
    """Return the values of element codes: uint8, or uint16 for bf16 and uint32 for fp32.

    NaNs have the bits 0x7FC00000, except that bf16 and fp32 keep theirs.
    """
    if element == "fp32":
        return codes.astype(np.uint32).view(np.float32)
    if element == "bf16":
        return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return _VALUES_F32[element][codes]


def encode(x: ArrayLike, element: Element) -> NDArray[Any]:
    """Return the element codes nearest to FP32 values: uint8, uint16 (bf16) or uint32 (fp32)."""
    x = np.ascontiguousarray(x, np.float32)
    if element == "fp32":
        return x.view(np.uint32).copy()
    if element == "bf16":
        return _encode_bf16(x)
    out = np.empty(x.shape, np.uint8)
    _encode(x.view(np.uint32).reshape(-1), LAYOUTS[element], out.reshape(-1))
    return out


def decode_scale(codes: NDArray[Any], scale: Scale) -> F64:
    """Return the values of scale codes: uint8 (e8m0, e4m3) or uint16 (bf16).

    NaN for E8M0 0xFF, for an E4M3 NaN, and for a BF16 scale that is NaN or infinite.
    """
    if scale == "e8m0":
        return _E8M0_VALUES[codes]
    if scale == "e4m3":
        return VALUES["e4m3"][codes]
    values = decode(codes, "bf16")
    return np.where(np.isfinite(values), values, np.float32(np.nan)).astype(np.float64)


def pack(codes: NDArray[Any], element_bits: int) -> U8:
    """Pack codes into bytes, low bits first. [..., K] -> [..., K * bits / 8]; K is a multiple of 4.

    Of two 4-bit codes the first takes the low half of the byte; four 6-bit codes take three bytes,
    and 16 and 32 bits two and four bytes, all little-endian.
    """
    if element_bits == 8:
        return np.array(codes, np.uint8)
    if element_bits > 8:
        return np.array(codes, f"<u{element_bits // 8}").view(np.uint8)
    if element_bits == 4:
        parts = [codes[..., 0::2] | codes[..., 1::2] << 4]
    else:
        a, b, c, d = (codes[..., i::4] for i in range(4))
        parts = [a | (b & 3) << 6, b >> 2 | (c & 15) << 4, c >> 4 | d << 2]
    packed = np.stack(parts, axis=-1).astype(np.uint8)
    return packed.reshape(*codes.shape[:-1], -1)


def unpack(packed: U8, element_bits: int) -> NDArray[Any]:
    """Undo `pack`: [..., bytes] -> uint8 codes [..., K] (uint16 and uint32 for 16 and 32 bits)."""
    if element_bits == 8:
        return packed.copy()
    if element_bits > 8:
        return np.array(packed, order="C").view(f"<u{element_bits // 8}")
    if element_bits == 4:
        codes = np.stack([packed & 15, packed >> 4], axis=-1)
    else:
        a, b, c = (packed[..., i::3] for i in range(3))
        codes = np.stack([a & 63, (a >> 6 | b << 2) & 63, (b >> 4 | c << 4) & 63, c >> 2], axis=-1)
    return codes.reshape(*packed.shape[:-1], -1)


def _e8m0_values() -> F64:
    values = np.ldexp(1.0, np.arange(256) - 127)
    values[E8M0_NAN] = np.nan
    return values


_E8M0_VALUES = _e8m0_values()


def _encode_bf16(x: F32) -> NDArray[np.uint16]:
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), BF16_NAN, rounded).astype(np.uint16)


@njit(cache=True)
def nearest_code(bits: Integer, scale: Integer, layout: Layout) -> Integer:
    """The code nearest to x * 2^-scale, the quotient taken exactly; `bits` are those of FP32 x."""
    exponent = bits >> 23 & 0xFF
    mantissa = bits & 0x7FFFFF
    negative = bits >> 31
    if exponent == 255 and mantissa != 0:
        return layout.nan_code
    if exponent == 0:
        if mantissa == 0:
            return 0 if layout.mantissa_bits < 0 else negative << (layout.bits - 1)
        exponent = 1
        while mantissa < 1 << 23:
            mantissa <<= 1
            exponent -= 1
    else:
        mantissa |= 1 << 23
    infinite = exponent == 255
    exponent -= 127 + scale
    # The code's last place is worth 2^place; codes of floats count on through the exponents.
    above = max(exponent - layout.min_exponent, 0) if layout.mantissa_bits >= 0 else 0
    place = above + layout.min_exponent - max(layout.mantissa_bits, 0)
    drop = 23 - exponent + place
    if infinite or drop < 1:
        code = layout.max_code
    elif drop > 24:
        code = 0
    else:
        odd = mantissa >> drop & 1
        code = (mantissa + (1 << (drop - 1)) - 1 + odd) >> drop
        code = min((above << max(layout.mantissa_bits, 0)) + code, layout.max_code)
    if layout.mantissa_bits < 0:
        return (-code if negative else code) & ((1 << layout.bits) - 1)
    return code | negative << (layout.bits - 1)


@njit(cache=True)
def _encode(bits: NDArray[np.uint32], layout: Layout, out: U8) -> None:
    for i in range(bits.size):
        out[i] = nearest_code(np.int64(bits[i]), 0, layout)


def bf16_values(x: F32) -> F32:
    """Round FP32 values to BF16, and return them as FP32."""
    return decode(_encode_bf16(x), "bf16")


def canonical_f32(x: F64 | F32) -> F32:
    """Round to FP32, to nearest even, every NaN with the bits 0x7FC00000."""
    with np.errstate(all="ignore"):
        return canonical(x)
