"""A second definition of block sums in integers: what the tests of matrix products compare with."""

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import BLOCK, Blocks, Format

F32 = NDArray[np.float32]
Ints = NDArray[Any]

DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}
UNIT = {"int8": 0, "int4": 0, "e4m3": -9, "e5m2": -16, "e2m3": -3, "e3m2": -4, "e2m1": -1}
"""Exponent of the least subnormal, of which every value is a multiple."""


def element_values(codes: NDArray[Any], element: str) -> NDArray[np.float64]:
    """The elements' values by ml_dtypes, or two's complement."""
    if element == "int8":
        return codes.view(np.int8).astype(np.float64)
    if element == "int4":
        return np.where(codes > 7, codes.astype(np.float64) - 16, codes)
    return codes.view(DTYPES[element]).astype(np.float64)


def bf16_parts(codes: NDArray[Any]) -> tuple[Ints, Ints]:
    """Significand with sign and exponent of finite BF16 numbers."""
    field = (codes >> 7 & 255).astype(np.int64)
    significand = (codes & 127).astype(np.int64) + np.where(field > 0, 128, 0)
    return np.where(codes >> 15, -significand, significand), np.maximum(field, 1) - 134


def integers(blocks: Blocks) -> tuple[Ints, Ints]:
    """Integers [rows, K] and exponents [rows, K / 32]: value = integer * 2^exponent."""
    fmt, (rows, k) = blocks.format, blocks.codes.shape
    unit = UNIT[fmt.element]
    out = np.ldexp(element_values(blocks.codes, fmt.element), -unit).astype(np.int64)
    exponents = np.full((rows, k // BLOCK), unit - (6 if fmt.name == "mxint8" else 0), np.int64)
    if fmt.scale == "e8m0":
        exponents += np.repeat(blocks.scales.astype(np.int64) - 127, blocks.group // BLOCK, axis=1)
    elif fmt.scale == "bf16":
        significands, scale_exponents = bf16_parts(blocks.scales)
        out *= np.repeat(significands, blocks.group, axis=1)[:, :k]
        exponents += np.repeat(scale_exponents, blocks.group // BLOCK, axis=1)[:, : k // BLOCK]
    elif fmt.scale == "e4m3":
        scales = np.ldexp(element_values(blocks.scales, "e4m3"), 9).astype(np.int64)
        out *= np.repeat(scales, blocks.group, axis=1)
        exponents -= 9
    return out, exponents


def rounded(sums: Ints, exponents: Ints) -> F32:
    """sums * 2^exponents, rounded once to FP32; `sums` are int64 or Python integers."""
    magnitude = np.abs(sums)
    if sums.dtype == object:
        length = np.array(np.frompyfunc(int.bit_length, 1, 1)(magnitude), np.int64)
    else:
        assert magnitude.max(initial=0) < 1 << 62
        length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
        length -= (length > 0) & (magnitude >> np.maximum(length - 1, 0) == 0)
    drop = np.maximum(np.maximum(length - 24, -149 - exponents), 0)
    drop = np.where(drop > length + 1, length + 2, drop)  # far below half of the last place
    exponents = np.where(drop > length + 1, 0, exponents)
    if sums.dtype == object:
        drop = drop.astype(object)
    quotient = magnitude >> drop
    rest = magnitude - (quotient << drop)
    half = (1 << drop) >> 1
    up = (rest > half) | ((rest == half) & (drop > 0) & (quotient & 1 == 1))
    quotient = (quotient + up).astype(np.float64)
    value = np.ldexp(quotient, (drop + exponents).astype(np.int64))
    with np.errstate(over="ignore"):
        return np.where((sums < 0).astype(bool), -value, value).astype(np.float32)


def block_sums(a: Blocks, b: Blocks, *, wide: bool = False) -> F32:
    """FP32 block sums [K / 32, M, N] of finite operands; `wide` where int64 does not hold them."""
    (x, x_exponents), (y, y_exponents) = integers(a), integers(b)
    if wide:
        x, y = x.astype(object), y.astype(object)
    out: list[F32] = []
    for block in range(x.shape[1] // BLOCK):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        exponents = x_exponents[:, None, block] + y_exponents[None, :, block]
        out.append(rounded(x[:, part] @ y[:, part].T, exponents))
    return np.stack(out)


def product(a: Blocks, b: Blocks, acc: F32 | None = None, *, wide: bool = False) -> F32:
    """`matmul` by integers."""
    for sums in block_sums(a, b, wide=wide):
        with np.errstate(all="ignore"):
            acc = sums if acc is None else acc + sums
    assert acc is not None
    return acc


def random_blocks(
    rng: np.random.Generator, fmt: Format, rows: int, k: int, *, scale_range: int = 20
) -> Blocks:
    """Every finite code with equal chance; scales within 2^-scale_range..2^scale_range."""
    codes = rng.integers(0, 1 << fmt.element_bits, (rows, k), np.uint8)
    if fmt.family == "float":
        codes[~np.isfinite(element_values(codes, fmt.element))] = 0
    shape = (rows, fmt.scale_count(k))
    if fmt.scale == "e8m0":
        scales = rng.integers(127 - scale_range, 128 + scale_range, shape).clip(0, 254)
        scales = scales.astype(np.uint8)
    elif fmt.scale == "e4m3":
        scales = rng.integers(0, 0x7F, shape, np.uint8)
    else:
        exponents = rng.integers(127 - scale_range, 128 + scale_range, shape).clip(0, 254)
        scales = (exponents << 7 | rng.integers(0, 128, shape)).astype(np.uint16)
    return Blocks(format=fmt, codes=codes, scales=scales)
