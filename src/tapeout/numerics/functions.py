"""The vector unit's functions: table lookup, quadratic interpolation in integers, one rounding.

Sources: S. Oberman, M. Siu, "A High-Performance Area-Efficient Multifunction Interpolator",
ARITH 2005 (the idea of one interpolator for all functions). Errors: `measured_errors`.
"""

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from .fp32 import F32, add, flat_order, mul
from .tables import sfu_table

U32 = NDArray[np.uint32]
Integer = int | np.int64

LOG2E = np.float32(1.4426950408889634)
GELU_CUBIC = np.float32(0.044715)
GELU_SLOPE_LOG2E = np.float32(2.302208198144325)  # 2 sqrt(2 / pi) log2(e)


def exp2(x: ArrayLike) -> F32:
    """2^x, the only exponential. Error <= 0.65 ulp; monotone.

    Integers give exact powers of two; results below 2^-126 underflow gradually; x >= 128 gives
    +inf, -inf gives +0. x is cut to 28 fraction bits, towards zero, before the lookup.
    """
    return _map("exp2", _exp2, flat_order(x))


def recip(x: ArrayLike) -> F32:
    """1 / x. Error <= 0.85 ulp; monotone on each side of zero.

    Powers of two give exact results; +-0 gives +-inf and +-inf gives +-0; subnormal operands
    and results are kept.
    """
    return _map("recip", _recip, flat_order(x))


def rsqrt(x: ArrayLike) -> F32:
    """1 / sqrt(x). Error <= 0.65 ulp; monotone.

    Powers of four give exact results; +-0 gives +-inf (IEEE 754), +inf gives +0, a negative x
    gives NaN; subnormal operands are kept.
    """
    return _map("rsqrt", _rsqrt, flat_order(x))


def sin_turns(phase: NDArray[np.integer]) -> F32:
    """Sine of a fraction of a turn. Error <= 0.7 * 2^-24. phase: uint32, 2^32 is one turn.

    Quarter turns are exact; zero is always +0.
    """
    return _turns(np.asarray(phase, np.uint32, order="C"))


def cos_turns(phase: NDArray[np.integer]) -> F32:
    """Cosine of a fraction of a turn: the sine a quarter turn later. Error <= 0.7 * 2^-24."""
    return _turns(np.asarray(phase, np.uint32, order="C") + np.uint32(1 << 30))


def normal_cdf(x: ArrayLike) -> F32:
    """Probability that a standard normal variable is below x. Error <= 2.0 * 2^-24.

    x is cut to 29 fraction bits, towards zero; beyond +-6 the result is exactly 1 or +0.
    """
    return _map("normal_tail", _normal_cdf, flat_order(x))


def sigmoid(x: ArrayLike) -> F32:
    """recip(1 + exp2(-log2(e) x)), each step rounded to FP32. Error <= 2.0 * 2^-24.

    The product's rounding makes the relative error grow with -x: about -x + 2.5 ulp below 0.
    """
    return _logistic(mul(x, -LOG2E))


def silu(x: ArrayLike) -> F32:
    """x * sigmoid(x). Error <= 2.8 * 2^-24 |x|. silu(-inf) is NaN, as -inf * 0 is."""
    return mul(x, sigmoid(x))


def gelu_tanh(x: ArrayLike) -> F32:
    """x * sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the tanh form of GELU.

    Error <= 2.5 * 2^-24 |x|.
    Order: cube = (x * x) * x; inner = x + 0.044715 * cube; the slope and log2(e) are one
    constant; every step is rounded to FP32. gelu_tanh(-inf) is NaN.
    """
    cube = mul(mul(x, x), x)
    inner = add(x, mul(cube, GELU_CUBIC))
    return mul(x, _logistic(mul(inner, -GELU_SLOPE_LOG2E)))


def gelu(x: ArrayLike) -> F32:
    """x * normal_cdf(x), GELU with erf. Error <= 2.3 * 2^-24 |x|. gelu(-inf) is NaN."""
    return mul(x, normal_cdf(x))


def _logistic(t: F32) -> F32:
    """1 / (1 + 2^t)."""
    return recip(add(exp2(t), np.float32(1)))


def _map(name: str, kernel: Callable[..., None], x: F32) -> F32:
    out = np.empty_like(x)
    kernel(x.reshape(-1).view(np.uint32), sfu_table(name), out.reshape(-1).view(np.uint32))
    return out


def _turns(phase: U32) -> F32:
    out = np.empty(phase.shape, np.float32)
    _sin(phase.reshape(-1), sfu_table("sin"), out.reshape(-1))
    return out


# The kernels work on bit patterns in int64. They call only kernels of this file: numba's cache
# on disk does not notice a change in another one.


@njit(cache=True)
def _interpolate(rows: NDArray[np.int64], segment: Integer, t: Integer) -> Integer:
    """Value of a table in units of 2^-52; see `tables.sfu_table`."""
    upper = t >> 8
    square = (upper * upper) >> 16
    return (rows[segment, 0] << 24) + rows[segment, 1] * t + ((rows[segment, 2] * square) << 8)


@njit(cache=True)
def _round_shift(value: Integer, shift: Integer) -> Integer:
    """value / 2^shift for value >= 0 and shift in 1..62, rounded to nearest even."""
    return (value + (1 << (shift - 1)) - 1 + ((value >> shift) & 1)) >> shift


@njit(cache=True)
def _pack(value: Integer, exponent: Integer) -> Integer:
    """FP32 bits of value * 2^(exponent - 52), value in [2^52, 2^53]: rounded once.

    A carry out of the significand moves into the exponent by itself, up to infinity.
    """
    field = exponent + 127
    if field >= 255:
        return 0x7F800000
    if field >= 1:
        return _round_shift(value, 29) + ((field - 1) << 23)
    if field < -24:
        return 0
    return _round_shift(value, 30 - field)


@njit(cache=True)
def _exp2(x: U32, rows: NDArray[np.int64], out: U32) -> None:
    for i in range(x.size):
        bits = np.int64(x[i])
        magnitude = bits & 0x7FFFFFFF
        negative = bits >> 31
        if magnitude > 0x7F800000:
            out[i] = 0x7FC00000
        elif magnitude >= 0x43180000:  # |x| >= 152
            out[i] = 0 if negative else 0x7F800000
        else:
            significand = (magnitude & 0x7FFFFF) | 0x800000  # x * 2^(23 - exponent)
            fixed = (significand << 12) >> min(134 - (magnitude >> 23), 63)  # x * 2^28
            fixed = (fixed ^ -negative) + negative
            value = _interpolate(rows, (fixed >> 22) & 63, (fixed & 0x3FFFFF) << 2)
            out[i] = _pack(value, fixed >> 28)


@njit(cache=True)
def _recip(x: U32, rows: NDArray[np.int64], out: U32) -> None:
    for i in range(x.size):
        bits = np.int64(x[i])
        magnitude = bits & 0x7FFFFFFF
        sign = bits & 0x80000000
        if magnitude > 0x7F800000:
            out[i] = 0x7FC00000
        elif magnitude == 0x7F800000:
            out[i] = sign
        elif magnitude <= 0x200000:  # 1 / 2^-128 overflows
            out[i] = sign | 0x7F800000
        else:
            field = magnitude >> 23
            fraction = magnitude & 0x7FFFFF
            if field == 0:
                lead = 1 if fraction >> 22 else 2
                fraction = (fraction << lead) & 0x7FFFFF
                field = 1 - lead
            value = _interpolate(rows, fraction >> 16, (fraction & 0xFFFF) << 8)
            out[i] = sign | _pack(value << 1, 126 - field)


@njit(cache=True)
def _rsqrt(x: U32, rows: NDArray[np.int64], out: U32) -> None:
    for i in range(x.size):
        bits = np.int64(x[i])
        magnitude = bits & 0x7FFFFFFF
        sign = bits & 0x80000000
        if magnitude == 0:
            out[i] = sign | 0x7F800000
        elif magnitude > 0x7F800000 or sign:
            out[i] = 0x7FC00000
        elif magnitude == 0x7F800000:
            out[i] = 0
        else:
            field = magnitude >> 23
            fraction = magnitude & 0x7FFFFF
            if field == 0:
                field = 1
                while not fraction >> 23:
                    fraction <<= 1
                    field -= 1
                fraction &= 0x7FFFFF
            exponent = field - 127
            segment = ((exponent & 1) << 7) | (fraction >> 16)
            value = _interpolate(rows, segment, (fraction & 0xFFFF) << 8)
            out[i] = _pack(value << 1, -1 - (exponent >> 1))


@njit(cache=True)
def _sin(phase: U32, rows: NDArray[np.int64], out: F32) -> None:
    for i in range(phase.size):
        turn = np.int64(phase[i])
        position = turn & 0x3FFFFFFF
        if turn & 0x40000000:
            position = 0x40000000 - position
        value = _interpolate(rows, position >> 23, (position & 0x7FFFFF) << 1)
        if turn & 0x80000000:
            value = -value
        out[i] = np.float32(value) * np.float32(2.0**-52)  # one rounding: int64 to FP32


@njit(cache=True)
def _normal_cdf(x: U32, rows: NDArray[np.int64], out: U32) -> None:
    for i in range(x.size):
        bits = np.int64(x[i])
        magnitude = bits & 0x7FFFFFFF
        negative = bits >> 31
        if magnitude > 0x7F800000:
            out[i] = 0x7FC00000
        elif magnitude >= 0x40C00000:  # |x| >= 6
            out[i] = 0 if negative else 0x3F800000
        else:
            significand = (magnitude & 0x7FFFFF) | 0x800000  # x * 2^(23 - exponent)
            fixed = (significand << 8) >> min(129 - (magnitude >> 23), 63)  # x * 2^29
            tail = _interpolate(rows, fixed >> 24, fixed & 0xFFFFFF)
            value = tail if negative else (1 << 52) - tail
            out[i] = np.float32(np.float32(value) * np.float32(2.0**-52)).view(np.uint32)
