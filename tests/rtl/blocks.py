"""Adversarial blocks of every format, as `numerics` holds them and as the RTL is fed with them."""

import numpy as np
from amaranth.lib import data

from tapeout.numerics import BLOCK, Blocks
from tapeout.numerics.codes import LAYOUTS, VALUES
from tapeout.rtl.bits import pack
from tapeout.rtl.decode import CODES, HALVES

PAIR = data.StructLayout({"a": CODES, "b": CODES})
EXTREME_SCALES = {
    "e8m0": [0, 1, 126, 127, 128, 253, 254, 255],
    "e4m3": [0x00, 0x80, 0x01, 0x81, 0x07, 0x08, 0x38, 0xB8, 0x7E, 0xFE, 0x7F, 0xFF],
    "bf16": [0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC1],
}


def codes(fmt, rows, rng):
    """Random codes, of which most rows are finite, and rows where implementations go wrong."""
    values = VALUES[fmt.element]
    finite = np.flatnonzero(np.isfinite(values))
    top, least = finite[np.argmax(values[finite])], finite[np.argmin(values[finite])]
    small = finite[np.argsort(np.abs(values[finite]))][:4]
    out = finite[rng.integers(0, len(finite), (rows, BLOCK))]
    kind = rng.integers(0, 12, rows)
    out[kind == 0] = top
    out[kind == 1] = least
    out[kind == 2] = np.where(np.arange(BLOCK) % 2, top, least)
    out[kind == 3] = rng.choice(small, (rows, BLOCK))[kind == 3]
    sparse = rng.random((rows, BLOCK)) < 0.9
    out[(kind == 4)[:, None] & sparse] = 0
    mixed = rng.choice([top, least, *small], (rows, BLOCK))
    out[kind == 5] = mixed[kind == 5]
    mirrored = out[:, : BLOCK // 2]  # x and -x: sums cancel
    bits = LAYOUTS[fmt.element].bits
    negated = mirrored ^ (1 << (bits - 1)) if fmt.family == "float" else -mirrored % (1 << bits)
    out[kind == 6, BLOCK // 2 :] = negated[kind == 6]
    anything = rng.integers(0, 1 << fmt.element_bits, (rows, BLOCK))
    few = rng.random((rows, BLOCK)) < 0.05
    out[(kind == 7)[:, None] & few] = anything[(kind == 7)[:, None] & few]
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):  # one lane or some, of either sign or of both
        some = (rng.random((rows, BLOCK)) < 0.08) | (np.arange(BLOCK) == rng.integers(BLOCK))
        out[(kind == 8)[:, None] & some] = infinite[0]
        out[(kind == 9)[:, None] & some] = infinite[-1]
        both = rng.choice(infinite, (rows, BLOCK))
        out[(kind == 10)[:, None] & some] = both[(kind == 10)[:, None] & some]
    nans = np.flatnonzero(np.isnan(values))
    if len(nans):  # every code that is one
        lanes = rng.integers(BLOCK, size=rows)[:, None] == np.arange(BLOCK)
        any_nan = rng.choice(nans, (rows, BLOCK))
        out[(kind == 11)[:, None] & lanes] = any_nan[(kind == 11)[:, None] & lanes]
    return out.astype(np.uint8)


def scales(fmt, rows, rng):
    """Scales near 1, near the ends of FP32's range, extreme, and any."""
    shape = (rows, fmt.scale_count(BLOCK))
    if fmt.scale == "none":
        return np.zeros(shape, np.uint8)
    kind = rng.integers(0, 4, (rows, 1))
    exponents = np.choose(
        rng.integers(0, 3, shape),
        [rng.integers(100, 154, shape), rng.integers(45, 82, shape), rng.integers(172, 200, shape)],
    )
    anything = rng.integers(0, 1 << fmt.scale_bits, shape)
    near = {
        "e8m0": exponents,
        "bf16": exponents << 7 | anything & 0x807F,
        "e4m3": anything & 0xBF | 0x20,
    }[fmt.scale]
    extreme = rng.choice(EXTREME_SCALES[fmt.scale], shape)
    out = np.choose(kind, [near, near, extreme, anything])
    return out.astype(np.uint16 if fmt.scale == "bf16" else np.uint8)


def random_blocks(fmt, rows, rng):
    return Blocks(format=fmt, codes=codes(fmt, rows, rng), scales=scales(fmt, rows, rng))


def fields(blocks, rows):
    """Rows of blocks as fields of CODES."""
    both = np.zeros((len(rows), HALVES), np.uint16)
    count = blocks.scales.shape[1]
    both[:, :count] = blocks.scales[rows]
    number = np.full(len(rows), blocks.format.code)
    return {"codes": blocks.codes[rows], "scales": both, "format": number}


def every_pair(a, b):
    """Beats of all rows of A with all rows of B."""
    left = np.repeat(np.arange(len(a.codes)), len(b.codes))
    right = np.tile(np.arange(len(b.codes)), len(a.codes))
    return pack(PAIR, a=fields(a, left), b=fields(b, right))
