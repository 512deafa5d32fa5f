from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics.exact import (
    INF,
    NAN,
    fp32_arrays,
    fp32_bits,
    from_bits,
    nearest,
    number,
    same_bits,
    to_bits,
)
from tapeout.numerics import add, canonical, maximum, mul, reduce_max, reduce_sum, sub
from tapeout.numerics.fp32 import F32

Operation = Callable[[F32, F32], F32]


def tree_sum(x: F32) -> np.float32:
    """The documented order, one addition at a time."""
    if len(x) == 0:
        return np.float32(0)
    padded = list(x) + [np.float32(0)] * (-len(x) % 32)
    blocks: list[np.float32] = []
    for start in range(0, len(padded), 32):
        level = padded[start : start + 32]
        while len(level) > 1:
            level = [level[i] + level[i + 1] for i in range(0, len(level), 2)]
        blocks.append(level[0])
    total = blocks[0]
    for block in blocks[1:]:
        total = total + block
    return total


@given(a=fp32_bits, b=fp32_bits)
def test_add_and_mul_round_the_exact_result_to_nearest_even(a: int, b: int):
    x, y = number(a), number(b)
    if x is None or y is None:
        return
    pair = from_bits([a]), from_bits([b])
    both_negative = bool(a >> 31 and b >> 31)
    differ = (a ^ b) >> 31 == 1
    assert to_bits(add(*pair)) == [nearest(x + y, negative_zero=both_negative)]
    assert to_bits(mul(*pair)) == [nearest(x * y, negative_zero=differ)]
    assert same_bits(sub(*pair), add(pair[0], -pair[1]))


def test_subnormal_results_are_kept():
    tiny = from_bits([0x00800001])
    assert to_bits(sub(tiny, from_bits([0x00800000]))) == [1]
    assert to_bits(mul(tiny, np.float32(0.5))) == [0x00400000]  # a tie, to even
    assert number(1) == Fraction(1, 2**149)


@pytest.mark.parametrize(
    ("operation", "a", "b"), [(add, INF, INF | 1 << 31), (sub, INF, INF), (mul, INF, 0)]
)
def test_invalid_operations_give_the_canonical_nan(operation: Operation, a: int, b: int):
    assert to_bits(operation(from_bits([a]), from_bits([b]))) == [NAN]


@given(x=fp32_arrays(), operation=st.sampled_from([add, sub, mul, maximum]))
def test_every_nan_is_canonical(x: F32, operation: Operation):
    for result in (operation(x, x), operation(x, np.full_like(x, np.nan)), canonical(x)):
        assert {NAN} >= set(to_bits(result[np.isnan(result)]))
    assert np.isnan(operation(x, np.full_like(x, np.nan))).all()


def test_canonical_changes_nothing_else_and_leaves_its_argument_alone():
    words = [0, 1 << 31, 1, INF, INF | 1 << 31, 0xFF800001, 0x7FFFFFFF, 0x3F800000]
    x = from_bits(words)
    assert to_bits(canonical(x)) == [0, 1 << 31, 1, INF, INF | 1 << 31, NAN, NAN, 0x3F800000]
    assert to_bits(x) == words


def test_operands_broadcast():
    a, b = np.ones((3, 1), np.float32), np.arange(4, dtype=np.float32)
    for operation in (add, sub, mul, maximum):
        assert operation(a, b).shape == (3, 4)
        assert operation(a[0, 0], b[1]).shape == ()


@given(x=fp32_arrays(max_size=140))
def test_sum_follows_the_documented_order(x: F32):
    with np.errstate(all="ignore"):
        expected = canonical(tree_sum(x))
    assert to_bits(reduce_sum(x)) == to_bits(expected)


def test_sum_is_not_a_running_sum():
    x = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    assert same_bits(reduce_sum(x), np.array([tree_sum(row) for row in x]))
    running = np.array([sum(row, np.float32(0)) for row in x], np.float32)
    assert not same_bits(reduce_sum(x), running)
    error = reduce_sum(x) - x.astype(np.float64).sum(1)
    assert np.abs(error).max() < 64 * 2**-24 * 8


@pytest.mark.parametrize(("n", "zero"), [(31, 0), (32, 1 << 31), (33, 0), (64, 1 << 31)])
def test_only_whole_blocks_of_minus_zero_sum_to_minus_zero(n: int, zero: int):
    assert to_bits(reduce_sum(np.full(n, np.float32(-0.0)))) == [zero]


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 3, 33), (1,), (4, 31), (4, 32)])
def test_reductions_take_any_shape(shape: tuple[int, ...]):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert reduce_sum(x).shape == reduce_max(x).shape == shape[:-1]
    if shape[-1] and x.size:
        assert same_bits(reduce_max(x), x.max(-1))
    else:
        assert (reduce_sum(x) == 0).all()
        assert (reduce_max(x) == -np.inf).all()


@given(x=fp32_arrays(min_size=40, max_size=40), data=st.data())
def test_a_row_alone_has_the_same_bits_as_in_a_batch(x: F32, data: st.DataObject):
    strided = np.stack([np.flip(x), x, x])[:, ::2]
    row = data.draw(st.integers(0, 2))
    for reduce in (reduce_sum, reduce_max):
        assert to_bits(reduce(strided))[row] == to_bits(reduce(strided[row]))[0]


@given(x=fp32_arrays(min_size=1), data=st.data())
def test_maximum_does_not_depend_on_order(x: F32, data: st.DataObject):
    shuffled = x[np.array(data.draw(st.permutations(range(len(x)))))]
    assert to_bits(reduce_max(x)) == to_bits(reduce_max(shuffled))
    split = data.draw(st.integers(0, len(x)))
    parts = maximum(reduce_max(x[:split]), reduce_max(x[split:]))
    assert to_bits(reduce_max(x)) == to_bits(parts)
    if np.isnan(x).any():
        assert to_bits(reduce_max(x)) == [NAN]
    else:
        assert reduce_max(x) == x.max()


def test_plus_zero_is_greater_than_minus_zero():
    for zeros in ([0.0, -0.0], [-0.0, 0.0]):
        assert to_bits(reduce_max(np.array(zeros, np.float32))) == [0]
        assert to_bits(maximum(np.float32(zeros[0]), np.float32(zeros[1]))) == [0]
    assert to_bits(reduce_max(np.array([-0.0, -1.0], np.float32))) == [1 << 31]
