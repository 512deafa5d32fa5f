"""Operands that find mistakes: numbers and codes at the ends of their ranges, and any bits.

Everything is returned as bytes, rows first: what a tile of a memory holds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import FORMATS, Format, pack
from tapeout.numerics.codes import LAYOUTS, VALUES

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

SIGN = np.uint32(1 << 31)
SPECIAL = np.array(
    [
        *(0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001),  # zero, ends of subnormals
        *(0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x4B800000),  # about 1, 2 and 2^24
        *(0x7F7FFFFF, 0x7F7FFFFE, 0x7F800000),  # the largest, infinity
        *(0x7F800001, 0x7FC00000, 0x7FC00001, 0x7FFFFFFF),  # NaNs
    ],
    np.uint32,
)
EXTREME_SCALES: dict[str, list[int]] = {
    "e8m0": [0, 1, 126, 127, 128, 253, 254, 255],
    "e4m3": [0x00, 0x80, 0x01, 0x81, 0x07, 0x08, 0x38, 0xB8, 0x7E, 0xFE, 0x7F, 0xFF],
    "bf16": [0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC1],
}
FP32, BF16 = (next(fmt for fmt in FORMATS if fmt.name == name) for name in ("fp32", "bf16"))


def random_bytes(rows: int, row_bytes: int, rng: np.random.Generator) -> U8:
    """Any bytes."""
    return rng.integers(0, 256, (rows, row_bytes), np.uint8)


def random_numbers(rows: int, columns: int, rng: np.random.Generator) -> U8:
    """FP32 numbers: all tame in every other tile, and else each row of another kind."""
    shape = (rows, columns)
    bits = rng.integers(0, 1 << 32, shape, np.uint32)
    signs = bits & SIGN
    size = rng.choice(np.array([0.05, 1, 1, 20], np.float32), (rows, 1))
    tame = (rng.standard_normal(shape, np.float32) * size).view(np.uint32)
    if rng.random() < 0.5:
        return tame.view(np.uint8)
    fields = rng.integers(0, 255, (rows, 1)) - rng.integers(0, 40, shape)
    scaled = bits & np.uint32(0x807FFFFF) | np.clip(fields, 0, 254).astype(np.uint32) << 23
    special = rng.choice(SPECIAL, shape) | signs
    alternating = rng.choice(SPECIAL, (rows, 1)) | (np.arange(columns, dtype=np.uint32) & 1) << 31
    rare = rng.random(shape) < 0.02
    kinds = (
        *(tame, tame, tame, tame, scaled, scaled),
        bits,
        special,
        bits & np.uint32(0x80FFFFFF),  # subnormal, or the smallest normal
        np.where(rare, special, tame),
        alternating,
        np.broadcast_to(tame[:, :1], shape),
        np.where(rng.random(shape) < 0.9, signs, tame),  # mostly zeros of both signs
    )
    return _chosen(kinds, rng).view(np.uint8)


def random_codes(fmt: Format, rows: int, k: int, rng: np.random.Generator) -> U8:
    """Packed elements of a format, padded to whole blocks."""
    count = 8 * fmt.row_bytes(k) // fmt.element_bits
    if fmt.element_bits > 8:
        numbers = random_numbers(rows, count, rng)
        return numbers if fmt == FP32 else _upper_halves(numbers)
    values = VALUES[fmt.element]
    shape, finite = (rows, count), np.flatnonzero(np.isfinite(values))
    some = rng.choice(finite, shape)
    ends = finite[[np.argmax(values[finite]), np.argmin(values[finite])]]
    small = finite[np.argsort(np.abs(values[finite]))[:4]]
    anything = rng.integers(0, 1 << fmt.element_bits, shape)
    kinds = (
        *(some, some, some),
        anything,
        np.broadcast_to(ends[0], shape),
        ends[np.arange(count) % 2] + np.zeros((rows, 1), np.int64),
        rng.choice(small, shape),
        rng.choice(np.append(ends, small), shape),
        np.where(rng.random(shape) < 0.9, 0, some),
        np.where(rng.random(shape) < 0.02, anything, some),
        _cancelling(fmt, some),
    )
    return pack(_chosen(kinds, rng).astype(np.uint8), fmt.element_bits)


def random_scales(fmt: Format, rows: int, count: int, rng: np.random.Generator) -> U8:
    """`count` scales a row: near 1, near the ends of FP32's range, extreme, and any."""
    if fmt.scale == "none":
        return np.zeros((rows, 0), np.uint8)
    shape = (rows, count)
    exponents = rng.choice([127, 127, 60, 190], (rows, 1)) + rng.integers(-14, 14, shape)
    anything = rng.integers(0, 1 << fmt.scale_bits, shape)
    near = {
        "e8m0": exponents,
        "bf16": exponents << 7 | anything & 0x807F,
        "e4m3": anything & 0xBF | 0x20,
    }[fmt.scale]
    extreme = rng.choice(EXTREME_SCALES[fmt.scale], shape)
    out = _chosen((near, near, near, extreme, anything), rng)
    return out.astype(np.uint16).view(np.uint8) if fmt.scale == "bf16" else out.astype(np.uint8)


def random_state(rows: int, rng: np.random.Generator) -> U8:
    """Rows of a softmax's state: maxima, sums, and what a step overwrites."""
    maxima = random_numbers(1, rows, rng).view(np.uint32)[0]
    sums = np.abs(rng.standard_normal(rows, np.float32)).view(np.uint32)
    kind = rng.integers(0, 4, rows)
    fresh = np.where(kind == 0, np.uint32(0xFF800000), maxima)
    sums = np.choose(kind, [np.uint32(0), sums, sums, rng.choice(SPECIAL, rows)])
    return np.stack([fresh, sums, rng.choice(SPECIAL, rows)]).astype(np.uint32).view(np.uint8)


def random_choices(rows: int, columns: int, rng: np.random.Generator) -> U8:
    """Parameter records of `Sample`, a row each."""
    records = np.zeros((rows, 8), np.uint32)
    temperatures = np.array([1.44, 0.3, 20, np.inf, 0, np.nan, -1, 1e-40], np.float32)
    records[:, 0] = rng.choice(temperatures, rows).view(np.uint32)
    ks = [0, 1, 2, columns - 1, columns, columns + 1, (1 << 32) - 1]
    records[:, 1] = np.where(
        rng.random(rows) < 0.6, rng.choice(ks, rows), rng.integers(0, columns + 2, rows)
    )
    ps = [0, 1, 1 << 31, (1 << 32) - 1]
    anything = rng.integers(0, 1 << 32, (rows, 5))
    records[:, 2] = np.where(rng.random(rows) < 0.6, rng.choice(ps, rows), anything[:, 0])
    records[:, 4:] = anything[:, 1:]
    return records.view(np.uint8)


def random_positions(rows: int, rng: np.random.Generator) -> U8:
    """Positions of `Rope`, one a row."""
    shape = (rows, 1)
    far = rng.choice([0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1], shape)
    near, anything = rng.integers(0, 5000, shape), rng.integers(0, 1 << 32, shape)
    return _chosen((near, near, far, anything), rng).astype(np.uint32).view(np.uint8)


def random_frequencies(count: int, rng: np.random.Generator) -> U8:
    """Frequencies of `Rope`, in one row: any, slow ones, and the ends of their range."""
    anything = rng.integers(0, 1 << 64, count, np.uint64)
    slow = anything >> rng.integers(1, 63, count).astype(np.uint64)
    ends = rng.choice(np.array([0, 1, 1 << 63, (1 << 64) - 1], np.uint64), count)
    kind = rng.integers(0, 6, count)
    out = np.where(kind < 3, slow, np.where(kind < 5, anything, ends))
    return out.astype(np.uint64).view(np.uint8)[None]


def _chosen(kinds: tuple[NDArray[Any], ...], rng: np.random.Generator) -> NDArray[Any]:
    """Each row from one of these arrays of the same shape."""
    choice = rng.integers(0, len(kinds), len(kinds[0]))
    out = np.array(kinds[0])
    for number, kind in enumerate(kinds):
        out[choice == number] = kind[choice == number]
    return out


def _cancelling(fmt: Format, codes: NDArray[Any]) -> NDArray[Any]:
    """Second halves of rows negate the first, so that sums cancel."""
    half = codes.shape[1] // 2
    bits = LAYOUTS[fmt.element].bits
    first = codes[:, :half]
    negated = first ^ (1 << (bits - 1)) if fmt.family == "float" else -first % (1 << bits)
    return np.hstack([first, negated, codes[:, 2 * half :]])


def _upper_halves(numbers: U8) -> U8:
    return np.ascontiguousarray(numbers.reshape(len(numbers), -1, 4)[:, :, 2:]).reshape(
        len(numbers), -1
    )
