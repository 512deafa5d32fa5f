import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics.exact import NAN, fp32_arrays, same_bits, to_bits
from tapeout.numerics import layer_norm, reduce_sum, rms_norm, rsqrt
from tapeout.numerics.fp32 import F32

EPS = np.float32(1e-5)


def rows(shape: tuple[int, int], scale: float = 1) -> F32:
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def test_rms_norm_rounds_each_step_in_order():
    x, gamma = rows((3, 50)), rows((1, 50))[0]
    y = rms_norm(x, gamma, EPS)
    for row, result in zip(x, y, strict=True):
        mean = reduce_sum(row * row) * np.float32(1 / 50)
        scale = rsqrt(mean + EPS)
        assert same_bits(result, (row * scale) * gamma)


def test_layer_norm_rounds_each_step_in_order():
    x, gamma, beta = rows((3, 50)), rows((1, 50))[0], rows((2, 50))[1]
    y = layer_norm(x, gamma, beta, EPS)
    for row, result in zip(x, y, strict=True):
        d = row - reduce_sum(row) * np.float32(1 / 50)
        scale = rsqrt(reduce_sum(d * d) * np.float32(1 / 50) + EPS)
        assert same_bits(result, (d * scale) * gamma + beta)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 288, 4096])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_norms_are_close_to_float64(n: int, scale: float):
    x, gamma = rows((4, n), scale), rows((1, n))[0]
    exact = x.astype(np.float64)
    reference = exact / np.sqrt((exact**2).mean(1, keepdims=True) + float(EPS)) * gamma
    np.testing.assert_allclose(rms_norm(x, gamma, EPS), reference, rtol=8 * 2**-24, atol=0)
    d = exact - exact.mean(1, keepdims=True)
    reference = d / np.sqrt((d**2).mean(1, keepdims=True) + float(EPS)) * gamma + gamma
    np.testing.assert_allclose(layer_norm(x, gamma, gamma, EPS), reference, atol=3e-5)


@given(x=fp32_arrays(min_size=40, max_size=40), row=st.integers(0, 3))
def test_a_row_alone_has_the_same_bits_as_in_a_batch(x: F32, row: int):
    batch, ones = x.reshape(4, 10), np.ones(10, np.float32)
    alone = batch[row : row + 1]
    assert same_bits(rms_norm(batch, ones, EPS)[row : row + 1], rms_norm(alone, ones, EPS))
    assert same_bits(
        layer_norm(batch, ones, ones, EPS)[row : row + 1], layer_norm(alone, ones, ones, EPS)
    )


def test_extreme_rows():
    ones = np.ones(4, np.float32)
    zero = np.zeros((1, 4), np.float32)
    assert to_bits(rms_norm(zero, ones, EPS)) == [0] * 4
    assert to_bits(layer_norm(zero, ones, ones, EPS)) == [0x3F800000] * 4
    assert to_bits(rms_norm(zero, ones, 0.0)) == [NAN] * 4  # 0 * (1 / 0)
    large = np.full((1, 4), 1e30, np.float32)
    assert to_bits(rms_norm(large, ones, EPS)) == [0] * 4  # the mean of squares overflows
    assert to_bits(rms_norm(-large * np.float32(np.nan), ones, EPS)) == [NAN] * 4


@pytest.mark.parametrize("shape", [(0, 8), (3, 0)])
def test_empty_rows(shape: tuple[int, int]):
    x, gamma = np.zeros(shape, np.float32), np.ones(shape[1], np.float32)
    assert rms_norm(x, gamma, EPS).shape == layer_norm(x, gamma, gamma, EPS).shape == shape
