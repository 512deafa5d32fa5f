"""A second, slow definition of FP32 in fractions: what the tests of this room compare with."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

F32 = NDArray[np.float32]

NAN, INF = 0x7FC00000, 0x7F800000
SPECIAL = (0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, INF, 0x7F800001, NAN, 0x7FFFFFFF)

# Bit patterns: any, those where implementations go wrong, and numbers of moderate size.
fp32_bits = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from([word | sign for word in SPECIAL for sign in (0, 1 << 31)]),
    st.floats(-200, 200, width=32).map(lambda x: int(np.float32(x).view(np.uint32))),
)


def fp32_arrays(*, min_size: int = 0, max_size: int = 100) -> st.SearchStrategy[F32]:
    return st.lists(fp32_bits, min_size=min_size, max_size=max_size).map(from_bits)


def from_bits(words: list[int]) -> F32:
    return np.array(words, np.uint32).view(np.float32)


def to_bits(x: F32) -> list[int]:
    return np.ascontiguousarray(x, np.float32).reshape(-1).view(np.uint32).tolist()


def number(word: int) -> Fraction | None:
    """The number of a bit pattern; None for NaN and infinities."""
    field, fraction = word >> 23 & 255, word & 0x7FFFFF
    if field == 255:
        return None
    significand = fraction | (0x800000 if field else 0)
    value = Fraction(significand) * Fraction(2) ** (max(field, 1) - 150)
    return -value if word >> 31 else value


def nearest(value: Fraction, *, negative_zero: bool = False) -> int:
    """Bits of the FP32 number nearest to value, ties to even; beyond the range infinity."""
    sign = 1 << 31 if value < 0 or (value == 0 and negative_zero) else 0
    magnitude = abs(value)
    if magnitude == 0:
        return sign
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    exponent = max(exponent, -126)
    significand = round(magnitude / Fraction(2) ** (exponent - 23))  # Python rounds ties to even
    word = significand + ((exponent + 126) << 23)
    return sign | min(word, INF)


def same_bits(a: F32, b: F32) -> bool:
    return a.shape == b.shape and to_bits(a) == to_bits(b)
