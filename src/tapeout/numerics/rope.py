"""Rotary position embedding with phases in integers: exact at every position."""

import numpy as np
from numpy.typing import NDArray

from .fp32 import F32, add, mul, sub
from .functions import cos_turns, sin_turns

# floor(pi * 2^256)
_PI_Q256 = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89


def frequencies_q64(inv_freq: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Turns per position in units of 2^-64: round(inv_freq / (2 pi) * 2^64). inv_freq: [d/2].

    inv_freq is in radians per position and at least 0 and below 2 pi. Computed exactly, so every
    machine gets the same bits; ties to even.
    """
    exact: list[int] = []
    for value in np.asarray(inv_freq, np.float64).tolist():
        assert 0 <= value < 2 * np.pi, f"inv_freq must be in 0..2 pi, not {value}"
        numerator, denominator = value.as_integer_ratio()
        divisor = 2 * _PI_Q256 * denominator
        turns, rest = divmod(numerator << 320, divisor)
        exact.append(turns + (2 * rest > divisor or (2 * rest == divisor and turns & 1)))
    return np.array(exact, np.uint64)


def rope(
    x: F32,
    positions: NDArray[np.integer],
    freq: NDArray[np.uint64],
    *,
    head_dim: int,
    attention_factor: float | np.float32 = 1.0,
) -> F32:
    """Rotate element i of each head with element i + d/2. x: [rows, heads * d], freq: [d/2].

    phase = the upper 32 bits of position * freq mod 2^64; c = cos * factor, s = sin * factor;
    y1 = x1 * c - x2 * s; y2 = x2 * c + x1 * s; each operation is rounded to FP32.
    """
    half = head_dim // 2
    assert freq.shape == (half,), f"freq must have shape ({half},), not {freq.shape}"
    phase = (positions.astype(np.uint64)[:, None] * freq) >> np.uint64(32)  # [rows, d/2]
    phase = phase.astype(np.uint32)[:, None, :]
    c = mul(cos_turns(phase), np.float32(attention_factor))
    s = mul(sin_turns(phase), np.float32(attention_factor))
    heads = x.reshape(len(x), x.shape[1] // head_dim, 2, half)
    x1, x2 = heads[:, :, 0], heads[:, :, 1]
    y = np.empty_like(heads)
    y[:, :, 0] = sub(mul(x1, c), mul(x2, s))
    y[:, :, 1] = add(mul(x2, c), mul(x1, s))
    return y.reshape(x.shape)
