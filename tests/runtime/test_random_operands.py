"""Random operands have the right sizes and hold what is hard."""

import numpy as np
import pytest

from tapeout.numerics import FORMATS, Format, decode, unpack
from tapeout.runtime.random_operands import (
    random_choices,
    random_codes,
    random_frequencies,
    random_numbers,
    random_positions,
    random_scales,
    random_state,
)

RNG = np.random.default_rng(0)


def test_numbers_hold_everything_that_is_special():
    tiles = [random_numbers(40, 24, RNG).view(np.float32) for _ in range(10)]
    assert {tile.shape for tile in tiles} == {(40, 24)}
    x = np.concatenate(tiles).ravel()
    bits = x.view(np.uint32)
    largest = np.finfo(np.float32).max
    subnormal = np.abs(x) < np.finfo(np.float32).tiny
    for kind in (np.isnan(x), np.isposinf(x), np.isneginf(x), x == largest, x == -largest,
                 bits == 0, bits == 1 << 31, subnormal & (x > 0), subnormal & (x < 0)):  # fmt: skip
        assert kind.any()
    assert len(np.unique(bits[np.isnan(x)])) > 4
    assert np.mean(np.isfinite(x)) > 0.8


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_codes_hold_all_codes_of_a_format(fmt: Format):
    packed = random_codes(fmt, 300, 50, RNG)
    assert packed.shape == (300, fmt.row_bytes(50))
    codes = unpack(packed, fmt.element_bits)
    if fmt.element_bits <= 8:
        assert len(np.unique(codes)) == 1 << fmt.element_bits
    assert np.mean(np.isfinite(decode(codes, fmt.element).astype(np.float64))) > 0.7


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_scales_have_their_size(fmt: Format):
    packed = random_scales(fmt, 5000, 3, RNG)
    assert packed.shape == (5000, 3 * fmt.scale_bits // 8)
    if fmt.scale in ("e8m0", "e4m3"):
        assert len(np.unique(packed)) == 256


def test_other_operands_have_their_sizes():
    assert random_state(7, RNG).shape == (3, 28)
    assert random_positions(7, RNG).shape == (7, 4)
    assert random_frequencies(7, RNG).shape == (1, 56)
    records = random_choices(200, 9, RNG)
    assert records.shape == (200, 32)
    words = records.view(np.uint32)
    assert not words[:, 3].any()
    assert {0, 1, 8, 9, 10} <= set(words[:, 1].tolist())
    assert {0, 1, (1 << 32) - 1} <= set(words[:, 2].tolist())
