"""Quantised tensors: element codes and the scales that groups of elements along K share.

How an FP32 value becomes an element code, by the scale of its format. In all of them amax is the
largest magnitude of the group, K is padded with +0 to a multiple of 32, and a group that holds a
NaN or an infinity gets the NaN scale and zero elements.

- none: the nearest code (see `codes`); NaN and infinity are handled element by element.
- e8m0: the scale code comes from the bits of amax (`ScaleMode`); elements are the nearest codes of
  x * 2^-s, the quotient exact. amax = 0 gives scale code 0 (2^-127) and zero elements.
- bf16: scale = BF16(amax * FP32(1/127)), or 1/7 for INT4; r = FP32(1 / scale);
  elements are the nearest integers of FP32(x * r). A zero scale gives zero elements.
- e4m3 (NVFP4): scale = E4M3(amax * FP32(1/6)), at most 448; r and the elements as for bf16.

Every operation named FP32 or BF16 rounds to nearest even, with gradual underflow. An infinite r
(the scale is below 2^-128) makes elements saturate, and +0 of x = 0.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from .codes import (
    BF16_NAN,
    E4M3_NAN,
    E8M0_NAN,
    LAYOUTS,
    U8,
    Integer,
    Layout,
    bf16_values,
    canonical_f32,
    decode,
    decode_scale,
    encode,
    nearest_code,
    pack,
    unpack,
)
from .formats import Format, padded
from .fp32 import F32


class ScaleMode(IntEnum):
    """How an E8M0 scale follows from amax: the OCP rule and three that clip less.

    With e the exponent field and f the fraction field (23 bits) of amax in FP32, emax the exponent
    of the largest finite element, fmax its fraction as 23 bits and m its mantissa bits, the code is

        FLOOR  e - emax                     (the OCP rule; amax may saturate)
        CEIL   e - emax + (f > 0)
        EVEN   the exponent field of (bits + 2^(22-m)) - emax: amax rounded to m bits first
        RCEIL  e - emax + (f > fmax): the least power of two with which a normal amax fits

    clamped to 0..254. MXINT8 has emax 0, m 6 and fmax of 127/64.
    Source: OCP Microscaling Formats Specification 1.0, section 6.3 (FLOOR); the other three are
    those of torchao's `ScaleCalculationMode`, with RCEIL's quotient exact instead of in FP32.
    """

    FLOOR = 0
    CEIL = 1
    EVEN = 2
    RCEIL = 3


class ScaleRule(NamedTuple):
    """Figures of an element that an E8M0 scale depends on; see `ScaleMode`."""

    max_exponent: int
    mantissa_bits: int
    max_fraction: int


def _scale_rule(largest: float, mantissa_bits: int) -> ScaleRule:
    bits = int(np.float32(largest).view(np.uint32))
    return ScaleRule((bits >> 23) - 127, mantissa_bits, bits & 0x7FFFFF)


LARGEST = {
    "int8": 127.0,
    "int4": 7.0,
    "e4m3": 448.0,
    "e5m2": 57344.0,
    "e2m3": 7.5,
    "e3m2": 28.0,
    "e2m1": 6.0,
}
"""The largest value that an element is given."""

_SCALE_RULES: dict[str, ScaleRule] = {
    name: _scale_rule(127 / 64, 6)
    if name == "int8"
    else _scale_rule(largest, LAYOUTS[name].mantissa_bits)
    for name, largest in LARGEST.items()
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A tensor in a format: rows of elements along K, the last axis."""

    format: Format
    codes: NDArray[Any]
    """[..., K], K a multiple of 32: uint8 codes, one per element; float32 values if wide."""
    scales: NDArray[Any]
    """[..., scales of a row]: uint8 (e8m0, e4m3) or uint16 (bf16); none without scales."""
    per_row: bool = False
    """Whether one scale serves the whole row."""

    @property
    def k(self) -> int:
        """Elements of a row, with padding."""
        return self.codes.shape[-1]

    @property
    def group(self) -> int:
        """Elements that share a scale; 0 without scales."""
        return self.k if self.per_row else self.format.group


def quantise(
    x: ArrayLike, fmt: Format, mode: ScaleMode = ScaleMode.FLOOR, *, per_row: bool = False
) -> Blocks:
    """Round FP32 [..., K] to a format; `per_row` gives each row one scale."""
    x = np.asarray(x, np.float32)
    per_row = per_row and fmt.scale != "none"
    k = padded(x.shape[-1])
    group = k if per_row else fmt.group or 32
    x = _pad(x, -(-k // group) * group)
    grouped = x.reshape(*x.shape[:-1], -1, group)
    if fmt.family == "wide":
        codes, scales = (x.copy() if fmt.element == "fp32" else bf16_values(x)), _NO_SCALES
    elif fmt.scale == "none":
        codes, scales = encode(x, fmt.element), _NO_SCALES
    elif fmt.scale == "e8m0":
        codes, scales = _quantise_e8m0(grouped, fmt, mode)
    else:
        codes, scales = _quantise_by_reciprocal(grouped, fmt)
    if fmt.scale == "none":
        scales = np.empty((*x.shape[:-1], 0), np.uint8)
    codes = codes.reshape(x.shape)[..., :k]
    return Blocks(format=fmt, codes=codes, scales=scales, per_row=per_row)


def dequantise(blocks: Blocks) -> F32:
    """Return the FP32 values [..., K]: element times scale, rounded once to FP32.

    Exact unless the product underflows or overflows FP32.
    """
    fmt = blocks.format
    values = blocks.codes if fmt.family == "wide" else decode(blocks.codes, fmt.element)
    if fmt.scale == "none":
        return canonical_f32(values)
    factors = np.ldexp(decode_scale(blocks.scales, fmt.scale), fmt.unit_exponent)
    factors = np.repeat(factors, blocks.group, axis=-1)[..., : blocks.k]
    return canonical_f32(values * factors)


def tensor_scale(x: ArrayLike, fmt: Format) -> np.float32:
    """Return the FP32 factor by which a weight tensor is divided before it is quantised.

    FP32(amax / largest) with amax over the finite values and largest 448 (FP8 E4M3), 57344 (FP8
    E5M2) or 6 * 448 (NVFP4); 1 for other formats, and where the factor would be 0.
    """
    if fmt.name not in ("fp8_e4m3", "fp8_e5m2", "nvfp4"):
        return np.float32(1)
    x = np.abs(np.asarray(x, np.float32))
    amax = np.max(x, initial=np.float32(0), where=np.isfinite(x))
    largest = LARGEST[fmt.element] * (LARGEST["e4m3"] if fmt.scale == "e4m3" else 1)
    factor = np.float32(amax / np.float32(largest))
    return factor if factor > 0 else np.float32(1)


def to_bytes(blocks: Blocks) -> tuple[U8, U8]:
    """Return (elements [..., row_bytes], scales [..., scale_row_bytes]) as they lie in memory."""
    fmt = blocks.format
    codes = encode(blocks.codes, fmt.element) if fmt.family == "wide" else blocks.codes
    return pack(codes, fmt.element_bits), pack(blocks.scales, fmt.scale_bits or 8)


def from_bytes(
    fmt: Format, k: int, element_bytes: U8, scale_bytes: U8, *, per_row: bool = False
) -> Blocks:
    """Undo `to_bytes` for rows of `k` elements, padded to a multiple of 32."""
    per_row = per_row and fmt.scale != "none"
    assert element_bytes.shape[-1] == fmt.row_bytes(k), "rows of another length"
    assert scale_bytes.shape[-1] == fmt.scale_row_bytes(k, per_row=per_row), "scales are missing"
    codes = unpack(element_bytes, fmt.element_bits)
    if fmt.family == "wide":
        codes = decode(codes, fmt.element)
    scales = unpack(scale_bytes, fmt.scale_bits or 8)
    return Blocks(format=fmt, codes=codes, scales=scales, per_row=per_row)


_NO_SCALES: U8 = np.empty(0, np.uint8)


def _pad(x: F32, k: int) -> F32:
    if x.shape[-1] == k:
        return np.ascontiguousarray(x)
    out = np.zeros((*x.shape[:-1], k), np.float32)
    out[..., : x.shape[-1]] = x
    return out


def _quantise_e8m0(x: F32, fmt: Format, mode: ScaleMode) -> tuple[U8, U8]:
    """Codes and scales of [..., groups, group]."""
    codes = np.empty(x.shape, np.uint8)
    scales = np.empty(x.shape[:-1], np.uint8)
    _e8m0_groups(
        x.reshape(-1, x.shape[-1]).view(np.uint32),
        int(mode),
        _SCALE_RULES[fmt.element],
        fmt.unit_exponent,
        LAYOUTS[fmt.element],
        codes.reshape(-1, x.shape[-1]),
        scales.reshape(-1),
    )
    return codes, scales


def _quantise_by_reciprocal(x: F32, fmt: Format) -> tuple[U8, NDArray[Any]]:
    """Codes and scales of [..., groups, group]; the scale is BF16 or E4M3."""
    with np.errstate(all="ignore"):
        amax = np.max(np.abs(x), axis=-1)
        target = amax * np.float32(1 / LARGEST[fmt.element])
        scales = encode(target, "bf16" if fmt.scale == "bf16" else "e4m3")
        scales[~np.isfinite(amax)] = BF16_NAN if fmt.scale == "bf16" else E4M3_NAN
        values = decode(scales, "bf16" if fmt.scale == "bf16" else "e4m3")
        codes = encode(x * (np.float32(1) / values)[..., None], fmt.element)
    codes[values == 0] = 0
    return codes, scales


@njit(cache=True)
def e8m0_code(amax: Integer, mode: int, rule: ScaleRule) -> Integer:
    """The E8M0 scale of a group whose largest magnitude has the FP32 bits `amax`."""
    exponent = amax >> 23
    fraction = amax & 0x7FFFFF
    if exponent == 255:
        return E8M0_NAN
    if mode == 1:
        exponent += fraction > 0
    elif mode == 2:
        exponent = (amax + (1 << (22 - rule.mantissa_bits))) >> 23
    elif mode == 3:
        exponent += fraction > rule.max_fraction
    return min(max(exponent - rule.max_exponent, 0), 254)


@njit(cache=True)
def _e8m0_groups(
    bits: NDArray[np.uint32],
    mode: int,
    rule: ScaleRule,
    unit_exponent: int,
    layout: Layout,
    codes: U8,
    scales: U8,
) -> None:
    for row in range(bits.shape[0]):
        amax = 0
        for i in range(bits.shape[1]):
            amax = max(amax, np.int64(bits[row, i]) & 0x7FFFFFFF)
        code = e8m0_code(amax, mode, rule)
        scales[row] = code
        for i in range(bits.shape[1]):
            if code == E8M0_NAN:
                codes[row, i] = 0
            else:
                shift = code - 127 + unit_exponent
                codes[row, i] = nearest_code(np.int64(bits[row, i]), shift, layout)


_SCALE_OF_ONE = {"e8m0": 127, "e4m3": 0x38, "bf16": 0x3F80}


def unscaled(fmt: Format, codes: NDArray[Any]) -> Blocks:
    """Codes [rows, K] of a format with scales, K a multiple of 32, all scales being one."""
    if fmt.scale == "none":
        return Blocks(format=fmt, codes=codes, scales=_NO_SCALES.reshape(0))
    dtype = np.uint16 if fmt.scale == "bf16" else np.uint8
    scales = np.full((len(codes), 1), _SCALE_OF_ONE[fmt.scale], dtype)
    return Blocks(format=fmt, codes=codes, scales=scales, per_row=True)
