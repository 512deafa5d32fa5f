"""FP32 arithmetic of the vector unit: nearest-even, gradual underflow, one NaN, fixed sum order."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
Integer = int | np.int32

NAN_BITS = 0x7FC00000  # the only NaN that the chip ever produces
SUM_BLOCK = 32  # elements of one adder tree

_QUIET: dict[str, Any] = {"all": "ignore"}


def canonical(x: ArrayLike) -> F32:
    """Return a copy of x in which every NaN has the bits 0x7FC00000."""
    return seal(np.array(x, np.float32))


def add(a: ArrayLike, b: ArrayLike) -> F32:
    """Add in FP32, rounded to nearest even; operands broadcast."""
    with np.errstate(**_QUIET):
        return seal(np.add(a, b, dtype=np.float32))


def sub(a: ArrayLike, b: ArrayLike) -> F32:
    """Subtract in FP32, rounded to nearest even; operands broadcast."""
    with np.errstate(**_QUIET):
        return seal(np.subtract(a, b, dtype=np.float32))


def mul(a: ArrayLike, b: ArrayLike) -> F32:
    """Multiply in FP32, rounded to nearest even; operands broadcast."""
    with np.errstate(**_QUIET):
        return seal(np.multiply(a, b, dtype=np.float32))


def maximum(a: ArrayLike, b: ArrayLike) -> F32:
    """Take the larger of a and b; operands broadcast. NaN wins, +0 is greater than -0."""
    x, y = flat_order(a), flat_order(b)
    if x.shape != y.shape:
        x, y = (flat_order(each) for each in np.broadcast_arrays(x, y))
    out = np.empty_like(x)
    _max_pairs(_int32(x), _int32(y), _int32(out))
    return out


def reduce_sum(x: ArrayLike) -> F32:
    """Add up the last axis in the chip's order. x: [..., n] -> [...]; n = 0 gives +0.

    n is padded with +0 to a multiple of 32. Inside a block of 32 a binary tree adds neighbours
    (0+1, 2+3, then pairs of those, ...); block sums are added in ascending order, starting from
    the first block's. Every addition is an FP32 addition.
    """
    x = flat_order(x)
    rows = _rows(x)
    out = np.zeros(x.shape[:-1], np.float32)
    _sum_rows(rows, out.reshape(-1))
    return seal(out)


def reduce_max(x: ArrayLike) -> F32:
    """Take the maximum of the last axis. x: [..., n] -> [...]; n = 0 gives -inf.

    A NaN anywhere gives the canonical NaN; +0 is greater than -0. So order never matters.
    """
    x = flat_order(x)
    out = np.empty(x.shape[:-1], np.float32)
    _max_rows(_rows(x).view(np.int32), _int32(out))
    return out


def flat_order(x: ArrayLike) -> F32:
    """x as FP32 in C order, of the same shape; a copy only where needed."""
    return np.asarray(x, np.float32, order="C")


def seal(x: Any) -> F32:
    """Make every NaN of x canonical in place and return x (a copy if not in C order)."""
    x = np.asarray(x, order="C")
    _seal(x.reshape(-1).view(np.uint32))
    return x


def _int32(x: F32) -> NDArray[np.int32]:
    return x.reshape(-1).view(np.int32)


def _rows(x: F32) -> F32:
    """x as [rows, n]; also when an axis is empty."""
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return x.reshape(rows, x.shape[-1])


@njit(cache=True)
def _seal(bits: NDArray[np.uint32]) -> None:
    for i in range(bits.size):
        if bits[i] & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
            bits[i] = np.uint32(0x7FC00000)


@njit(cache=True)
def _sum_rows(x: F32, out: F32) -> None:
    lanes = np.empty(32, np.float32)
    for row in range(x.shape[0]):
        for start in range(0, x.shape[1], 32):
            count = min(32, x.shape[1] - start)
            for i in range(count):
                lanes[i] = x[row, start + i]
            for i in range(count, 32):
                lanes[i] = np.float32(0)
            for level in range(5):
                for i in range(16 >> level):
                    lanes[i] = lanes[2 * i] + lanes[2 * i + 1]
            out[row] = lanes[0] if start == 0 else out[row] + lanes[0]


@njit(cache=True)
def _key(bits: Integer) -> Integer:
    """An integer that orders like the number, NaN above all."""
    if bits & np.int32(0x7FFFFFFF) > np.int32(0x7F800000):
        return np.int32(0x7FC00000)
    return _flip(bits)


@njit(cache=True)
def _flip(bits: Integer) -> Integer:
    """Turn sign and magnitude into two's complement, less one below zero; its own inverse."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit(cache=True)
def _max_rows(x: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    for row in range(x.shape[0]):
        best = np.int32(-0x7F800001)  # the key of -inf
        for i in range(x.shape[1]):
            best = max(best, _key(x[row, i]))
        out[row] = _flip(best)


@njit(cache=True)
def _max_pairs(a: NDArray[np.int32], b: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    for i in range(a.size):
        out[i] = _flip(max(_key(a[i]), _key(b[i])))
