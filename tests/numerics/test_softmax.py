import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from numerics.exact import NAN, fp32_arrays, from_bits, same_bits, to_bits
from tapeout.numerics import (
    ATTENTION_CHUNK,
    exp2,
    reduce_sum,
    softmax_inverse,
    softmax_rows,
    softmax_step,
)
from tapeout.numerics.fp32 import F32

Bools = NDArray[np.bool_]
LOW = np.float32(-np.inf)


def scores(shape: tuple[int, int], scale: float = 3) -> F32:
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def start(rows: int) -> tuple[F32, F32]:
    return np.full(rows, LOW), np.zeros(rows, np.float32)


def test_step_is_the_documented_formula():
    s, valid = scores((5, 100)), scores((5, 100)) > -2
    m, total = np.full(5, np.float32(-0.5)), np.full(5, np.float32(3))
    p, m_new, l_new, alpha = softmax_step(s, m, total, valid)
    for r in range(5):
        largest = max(m[r], s[r][valid[r]].max())
        expected = np.where(valid[r], exp2(s[r] - largest), np.float32(0))
        assert m_new[r] == largest
        assert same_bits(p[r], expected)
        assert same_bits(alpha[r], exp2(m[r] - largest))
        assert same_bits(l_new[r], total[r] * alpha[r] + reduce_sum(expected))


@given(
    m=fp32_arrays(min_size=6, max_size=6),
    s=fp32_arrays(min_size=30, max_size=30),
    spread=st.floats(0, 2.0**100, width=32),
)
def test_a_step_without_valid_keys_changes_nothing(m: F32, s: F32, spread: float):
    m = np.where(np.isnan(m), from_bits([NAN]), m)
    total = np.full(6, np.float32(spread))
    nothing = np.zeros((6, 5), np.bool_)
    masked = softmax_step(s.reshape(6, 5), m, total, nothing)
    unlikely = softmax_step(np.full((6, 5), LOW), m, total, ~nothing)  # -inf counts as masked
    for p, m_new, l_new, alpha in (masked, unlikely):
        assert set(to_bits(p)) == {0}
        assert same_bits(m_new, m)
        assert same_bits(l_new, total)
        assert set(to_bits(alpha)) == {0x3F800000}


@given(
    s=fp32_arrays(min_size=30, max_size=30), mask=st.lists(st.booleans(), min_size=30, max_size=30)
)
def test_masked_elements_are_plus_zero_and_their_scores_irrelevant(s: F32, mask: list[bool]):
    valid = np.array(mask).reshape(3, 10)
    other = np.where(valid, s.reshape(3, 10), np.float32(np.nan))
    one = softmax_step(s.reshape(3, 10), *start(3), valid)
    two = softmax_step(other, *start(3), valid)
    assert set(to_bits(one[0][~valid])) <= {0}
    for left, right in zip(one, two, strict=True):
        assert same_bits(left, right)


@given(s=fp32_arrays(min_size=60, max_size=60), row=st.integers(0, 3))
def test_a_row_alone_has_the_same_bits_as_in_a_batch(s: F32, row: int):
    batch, valid = s.reshape(4, 15), np.ones((4, 15), np.bool_)
    m, total = start(4)
    one = slice(row, row + 1)
    alone = softmax_step(batch[one], m[one], total[one], valid[one])
    for left, right in zip(softmax_step(batch, m, total, valid), alone, strict=True):
        assert same_bits(left[one], right)


@given(keys=st.integers(1, ATTENTION_CHUNK))
def test_padding_a_chunk_with_masked_keys_changes_nothing(keys: int):
    s = scores((2, ATTENTION_CHUNK))
    valid = np.broadcast_to(np.arange(ATTENTION_CHUNK) < keys, s.shape)
    padded = softmax_step(s, *start(2), valid)
    short = softmax_step(s[:, :keys], *start(2), valid[:, :keys])
    assert same_bits(np.ascontiguousarray(padded[0][:, :keys]), short[0])
    for left, right in zip(padded[1:], short[1:], strict=True):
        assert same_bits(left, right)


@pytest.mark.parametrize("n", [0, 1, 31, 127, 128, 129, 1000])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_rows_are_close_to_float64(n: int, scale: float):
    x = scores((4, n))
    exact = np.exp((x.astype(np.float64) - x.max(-1, keepdims=True, initial=-99)) * scale)
    reference = exact / exact.sum(-1, keepdims=True)
    y = softmax_rows(x, scale)
    assert y.shape == x.shape
    largest = np.abs(x).max(initial=1) * scale
    np.testing.assert_allclose(y, reference, atol=4e-7 * max(1, largest / 8))


def test_rising_chunks_rescale_the_earlier_ones():
    x = np.repeat(np.arange(4, dtype=np.float32) * 40, ATTENTION_CHUNK)[None]
    y = softmax_rows(x)
    np.testing.assert_allclose(y[0, -ATTENTION_CHUNK:], 1 / ATTENTION_CHUNK, rtol=1e-6)
    expected = np.exp(-40.0) / ATTENTION_CHUNK
    np.testing.assert_allclose(y[0, -2 * ATTENTION_CHUNK], expected, rtol=1e-4)


def test_extreme_scores():
    nan, inf = np.float32(np.nan), np.float32(np.inf)
    ones = np.ones((1, 2), np.bool_)
    p, m, total, alpha = softmax_step(np.array([[0, nan]], np.float32), *start(1), ones)
    assert to_bits(p) + to_bits(m) + to_bits(total) + to_bits(alpha) == [NAN] * 5
    p, m, total, _ = softmax_step(np.array([[0, inf]], np.float32), *start(1), ones)
    assert to_bits(p) == [0, NAN]
    assert m == inf
    assert np.isnan(total)
    p, _, total, _ = softmax_step(np.array([[3e38, -3e38]], np.float32), *start(1), ones)
    assert to_bits(p) == [0x3F800000, 0]
    assert total == 1


def test_a_row_without_keys_gives_zeros():
    assert to_bits(softmax_inverse(np.array([0, 4], np.float32))) == [0, 0x3E800000]
    assert to_bits(softmax_rows(np.full((1, 3), LOW))) == [0, 0, 0]
