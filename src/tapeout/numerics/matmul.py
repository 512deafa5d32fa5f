"""Matrix products of the matrix unit, and the vector unit's FP32 product, bit for bit.

Contract. Inside a block of 32 elements the sum of products is exact. It is scaled, also exactly,
and rounded once to FP32: to nearest even, with gradual underflow, overflow to infinity. A sum that
is exactly zero is +0. Block sums are added in FP32 in ascending K order, starting from the first
block's sum as it is; canonical segments of K are combined by a binary tree of FP32 additions.

A NaN element or a NaN scale makes the block's sum NaN, and E5M2 infinities follow IEEE 754
(inf * 0 and inf - inf are NaN). Every NaN that leaves has the bits 0x7FC00000.

How it is exact. Elements are multiplied by their scales, which keeps them integers times a power
of two that a block shares; where 32 products of the two formats fit in 53 bits, a float64 BLAS
product is exact in whatever order it adds (in 24 bits: a float32 one). The pairs of E5M2 that do
not fit are split at magnitude 1 into two exact products, whose sum is rounded to odd in float64
before it is rounded to FP32: 53 >= 24 + 2 bits make the two roundings one.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from . import fp32
from .blocks import Blocks
from .codes import VALUES, decode_scale
from .formats import BLOCK, Format, check_pair
from .fp32 import F32

F64 = NDArray[np.float64]

MAX_SEGMENTS = 8
MIN_SEGMENT = 1024  # elements
TILE = 512  # rows of A and of B that are multiplied at a time
CHUNK = 1 << 18  # block sums that are held at a time: 2 MB
WIDTH = 64  # rows of B that the FP32 product takes at a time
# Scales within 2^-50..2^50 keep products of the narrow elements, and their sums, in FP32's range.
NARROW_SCALE = 50
# Largest magnitude and the magnitude of the scale, both in units of the last place.
ELEMENT_UNITS: dict[str, int] = {
    "int8": 128,
    "int4": 8,
    "e4m3": 448 << 9,
    "e5m2": 57344 << 16,
    "e2m3": 60,
    "e3m2": 448,
    "e2m1": 12,
}
SCALE_UNITS: dict[str, int] = {"none": 1, "e8m0": 1, "e4m3": 448 << 9, "bf16": 255}


@dataclass(frozen=True, kw_only=True, eq=False)
class Operand:
    """A matrix ready for products: `prepare` once, multiply often."""

    format: Format
    values: NDArray[Any]
    """[K / 32, rows, 32]: elements times scales, exact; float32 where float32 products are."""
    high: F64 | None
    """`values` without the elements below 1 in magnitude; only of E5M2."""
    finite: bool
    """Whether every value is finite."""

    @property
    def rows(self) -> int:
        """Rows: M or N."""
        return self.values.shape[1]

    @property
    def k(self) -> int:
        """Elements of a row, with padding."""
        return self.values.shape[0] * BLOCK

    def along_k(self, start: int, stop: int) -> "Operand":
        """Return columns start..stop-1, both multiples of 32, without a copy."""
        part = slice(start // BLOCK, stop // BLOCK)
        high = None if self.high is None else self.high[part]
        return replace(self, values=self.values[part], high=high)


def prepare(blocks: Blocks) -> Operand:
    """Multiply the elements of [rows, K] by their scales, exactly.

    Raises:
        ConfigError: if the format is not one of the matrix unit's.
    """
    fmt = blocks.format
    check_pair(fmt, fmt)
    table = np.ldexp(VALUES[fmt.element], fmt.unit_exponent)
    if _is_narrow(fmt):
        values, finite, narrow = _fold(blocks, table, np.float32)
        if narrow:
            return Operand(format=fmt, values=values, high=None, finite=finite)
    values, finite, _ = _fold(blocks, table, np.float64)
    high = None
    if fmt.element == "e5m2":
        high, _, _ = _fold(blocks, np.where(np.abs(table) < 1, 0.0, table), np.float64)
    return Operand(format=fmt, values=values, high=high, finite=finite)


def segments(k: int) -> int:
    """Return the canonical segments of K: the largest power of two, at most 8, that divides the
    blocks of 32 and leaves 1024 elements in each; 1 if there is none."""
    blocks = -(-k // BLOCK)
    count = MAX_SEGMENTS
    while count > 1 and (blocks % count or blocks // count * BLOCK < MIN_SEGMENT):
        count //= 2
    return count


def matmul(a: Blocks | Operand, b: Blocks | Operand, acc: F32 | None = None) -> F32:
    """Multiply A [M, K] by the transpose of B [N, K] and add it to `acc` [M, N], block by block.

    This is one segment of K or a part of one; parts in ascending order give the same bits as one
    call.

    Raises:
        ConfigError: if the formats do not go together (`check_pair`).
    """
    check_pair(a.format, b.format)
    a = a if isinstance(a, Operand) else prepare(a)
    b = b if isinstance(b, Operand) else prepare(b)
    assert a.k == b.k, f"K must be the same in both operands, not {a.k} and {b.k}"
    out = np.zeros((a.rows, b.rows), np.float32) if acc is None else np.array(acc, np.float32)
    started = acc is not None
    for m in range(0, a.rows, TILE):
        for n in range(0, b.rows, TILE):
            _add_tile(_rows(a, m), _rows(b, n), out[m : m + TILE, n : n + TILE], started)
    return fp32.seal(out)


def matmul_segmented(a: Blocks | Operand, b: Blocks | Operand) -> F32:
    """Multiply A [M, K] by the transpose of B [N, K]: the definition of a linear layer.

    Raises:
        ConfigError: if the formats do not go together (`check_pair`).
    """
    check_pair(a.format, b.format)
    a = a if isinstance(a, Operand) else prepare(a)
    b = b if isinstance(b, Operand) else prepare(b)
    size = a.k // segments(a.k)
    starts = range(0, a.k, size) if size else range(1)
    return combine(
        [matmul(a.along_k(k, k + size), b.along_k(k, k + size)) for k in starts],
    )


def combine(parts: list[F32] | F32) -> F32:
    """Add the results of segments [S, ...] in FP32 by a binary tree of neighbours; S = 2^n."""
    level = list(parts)
    assert len(level).bit_count() == 1, "segments must be a power of two"
    while len(level) > 1:
        level = [fp32.add(x, y) for x, y in zip(level[0::2], level[1::2], strict=True)]
    return fp32.canonical(level[0])


def matmul_wide(a: ArrayLike, b: ArrayLike, acc: F32 | None = None) -> F32:
    """Multiply FP32 A [M, K] by the transpose of B [N, K] in the vector unit, adding to `acc`.

    Each product is rounded to FP32; in a block of 32 a binary tree adds neighbours in FP32; the
    blocks' results are added to `acc` in ascending K order. K is padded with +0.
    """
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    assert a.shape[1] == b.shape[1], f"K must be the same, not {a.shape[1]} and {b.shape[1]}"
    out = np.zeros((len(a), len(b)), np.float32) if acc is None else np.array(acc, np.float32)
    if a.shape[1] % BLOCK:
        padding = ((0, 0), (0, -a.shape[1] % BLOCK))
        a, b = np.pad(a, padding), np.pad(b, padding)
    _add_wide(np.ascontiguousarray(a), np.ascontiguousarray(b), out, acc is not None)
    return fp32.seal(out)


def _bound(a: Format, b: Format) -> int:
    """What 32 products can add up to, in units of the last place of a product."""
    units = [ELEMENT_UNITS[fmt.element] * SCALE_UNITS[fmt.scale] for fmt in (a, b)]
    return BLOCK * units[0] * units[1]


def _is_narrow(fmt: Format) -> bool:
    return fmt.scale == "e8m0" and _bound(fmt, fmt) <= 1 << 24


def _fold(blocks: Blocks, table: F64, dtype: Any) -> tuple[NDArray[Any], bool, bool]:
    """Elements times scales [blocks, rows, 32]; are all finite; are the scales near 1."""
    codes, scale = blocks.codes, blocks.format.scale
    assert codes.ndim == 2, "a matrix has two axes"
    if scale == "none":
        group, factors = blocks.k, np.ones((len(codes), 1))
    else:
        group, factors = blocks.group, decode_scale(blocks.scales, scale)
    out = np.empty((blocks.k // BLOCK, len(codes), BLOCK), dtype)
    return out, *_fold_rows(np.ascontiguousarray(codes), table, factors, group, out)


@njit(cache=True)
def _fold_rows(
    codes: NDArray[np.uint8], table: F64, factors: F64, group: int, out: NDArray[Any]
) -> tuple[bool, bool]:
    low, high = 2.0**-NARROW_SCALE, 2.0**NARROW_SCALE
    finite = near = True
    for row in range(codes.shape[0]):
        for block in range(out.shape[0]):
            nonzero = False
            worst = 0.0
            for i in range(BLOCK):
                k = block * BLOCK + i
                value = table[codes[row, k]] * factors[row, k // group]
                out[block, row, i] = value
                nonzero |= value != 0
                worst += value * 0.0  # NaN if the value is not finite
            finite &= worst == 0
            if nonzero:
                factor = abs(factors[row, block * BLOCK // group])
                near &= low <= factor <= high
    return finite, near


def _rows(operand: Operand, start: int) -> Operand:
    """Up to TILE rows from `start`."""
    if operand.rows <= TILE:
        return operand
    part = (slice(None), slice(start, start + TILE))
    high = None if operand.high is None else operand.high[part]
    return replace(operand, values=operand.values[part], high=high)


def _add_tile(a: Operand, b: Operand, out: F32, started: bool) -> None:
    """Add the block sums of a tile to `out` in ascending K order."""
    exact = _bound(a.format, b.format) <= 1 << 53
    step = max(1, CHUNK // max(1, out.size))
    for k in range(0, a.k, step * BLOCK):
        part = a.along_k(k, k + step * BLOCK), b.along_k(k, k + step * BLOCK)
        sums = _sums(*part) if exact else _split_sums(*part)
        if not (a.finite and b.finite):
            _patch_special(part[0].values, part[1].values, sums)
        _accumulate(sums, out, started)
        started = True


def _sums(a: Operand, b: Operand) -> NDArray[Any]:
    """Exact block sums [blocks, M, N] by BLAS; finite values only, the others count as zero."""
    x, y = _zeroed(a.values, a.finite), _zeroed(b.values, b.finite)
    if x.dtype != y.dtype:
        x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    assert _bound(a.format, b.format) <= 1 << (53 if x.dtype == np.float64 else 24)
    return np.matmul(x, y.swapaxes(1, 2))


def _split_sums(a: Operand, b: Operand) -> F64:
    """Block sums rounded to odd in float64, where the exact sums need more than 53 bits.

    high * high and the rest (value * low + low * high) are exact: in units of their last places
    they are below 2^41 and, since one factor of each product is below 1, below 2^53.
    """
    (x, x_high), (y, y_high) = _halves(a), _halves(b)
    top = np.matmul(x_high, y_high.swapaxes(1, 2))
    left = np.concatenate([x, x - x_high], axis=-1)
    right = np.concatenate([y - y_high, y_high], axis=-1)
    rest = np.matmul(left, right.swapaxes(1, 2))
    _add_round_to_odd(top, rest)
    return top


def _halves(operand: Operand) -> tuple[F64, F64]:
    values = _zeroed(operand.values, operand.finite).astype(np.float64, copy=False)
    high = values if operand.high is None else _zeroed(operand.high, operand.finite)
    return values, high


def _zeroed(values: NDArray[Any], finite: bool) -> NDArray[Any]:
    return values if finite else np.where(np.isfinite(values), values, 0)


@njit(cache=True)
def _accumulate(sums: NDArray[Any], out: F32, started: bool) -> None:
    for k in range(sums.shape[0]):
        for m in range(sums.shape[1]):
            if started or k:
                for n in range(sums.shape[2]):
                    out[m, n] += np.float32(sums[k, m, n] + np.float32(0))  # + 0: no -0 from BLAS
            else:
                for n in range(sums.shape[2]):
                    out[m, n] = np.float32(sums[k, m, n] + np.float32(0))


@njit(cache=True)
def _add_round_to_odd(top: F64, rest: F64) -> None:
    """top += rest, inexact sums rounded to the neighbour with an odd last place."""
    x, y = top.reshape(-1), rest.reshape(-1)
    bits = x.view(np.int64)
    for i in range(x.size):
        a, b = x[i], y[i]
        s = a + b
        t = s - a
        error = (a - (s - t)) + (b - t)
        x[i] = s
        if error != 0 and not bits[i] & 1:
            bits[i] += 1 if (error > 0) == (s > 0) else -1


@njit(cache=True)
def _patch_special(a: NDArray[Any], b: NDArray[Any], sums: NDArray[Any]) -> None:
    """Put the NaNs and infinities of IEEE 754 where a value is not finite."""
    for k in range(sums.shape[0]):
        for m in range(sums.shape[1]):
            for n in range(sums.shape[2]):
                total = 0.0
                for i in range(BLOCK):
                    total += np.float64(a[k, m, i]) * np.float64(b[k, n, i])
                if not np.isfinite(total):
                    sums[k, m, n] = total


@njit(cache=True)
def _add_wide(a: F32, b: F32, out: F32, started: bool) -> None:
    across = np.zeros((BLOCK, WIDTH), np.float32)  # of B, rows side by side: lanes of SIMD
    lanes = np.empty((BLOCK, WIDTH), np.float32)
    for n0 in range(0, out.shape[1], WIDTH):
        count = min(out.shape[1] - n0, WIDTH)
        for k in range(0, a.shape[1], BLOCK):
            for n in range(count):
                for i in range(BLOCK):
                    across[i, n] = b[n0 + n, k + i]
            for m in range(out.shape[0]):
                _block_of_lanes(a[m, k : k + BLOCK], across, lanes)
                for n in range(count):
                    before = out[m, n0 + n] if started or k else np.float32(-0.0)
                    out[m, n0 + n] = before + lanes[0, n]


@njit(cache=True)
def _block_of_lanes(row: F32, across: F32, lanes: F32) -> None:
    """lanes[0] = the tree sum of the products of a block of A's row with WIDTH rows of B."""
    for i in range(BLOCK):
        for n in range(WIDTH):
            lanes[i, n] = row[i] * across[i, n]
    half = BLOCK // 2
    while half:
        for i in range(half):
            for n in range(WIDTH):
                lanes[i, n] = lanes[2 * i, n] + lanes[2 * i + 1, n]
        half //= 2
