from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics.exact import (
    INF,
    NAN,
    SPECIAL,
    fp32_arrays,
    fp32_bits,
    from_bits,
    nearest,
    number,
    same_bits,
    to_bits,
)
from tapeout import numerics
from tapeout.numerics import (
    TABLE_NAMES,
    cos_turns,
    exp2,
    gelu,
    gelu_tanh,
    measured_errors,
    normal_cdf,
    recip,
    rsqrt,
    sfu_table,
    sigmoid,
    silu,
    sin_turns,
)
from tapeout.numerics.fp32 import F32
from tapeout.numerics.table_fit import fit_tables

Function = Callable[[F32], F32]
FUNCTIONS: list[Function] = [
    exp2, recip, rsqrt, normal_cdf, sigmoid, silu, gelu_tanh, gelu,
]  # fmt: skip
SIGN = 1 << 31


def interpolate(name: str, position: Fraction) -> Fraction:
    """A table's value at a position counted in segments, as `sfu_table` documents it."""
    segment = int(position)
    t = (position - segment) * 2**24
    assert t.denominator == 1
    c0, c1, c2 = (int(c) for c in sfu_table(name)[segment])
    square = (int(t) // 2**8) ** 2 // 2**16
    return Fraction(c0 * 2**24 + c1 * int(t) + c2 * square * 2**8, 2**52)


def cut(value: Fraction, bits: int) -> Fraction:
    """Drop what lies below 2^-bits, towards zero."""
    return Fraction(int(value * 2**bits), 2**bits)


def exp2_of(x: Fraction) -> int:
    x = max(min(cut(x, 28), Fraction(200)), Fraction(-200))
    whole = x.numerator // x.denominator
    return nearest(interpolate("exp2", (x - whole) * 64) * Fraction(2) ** whole)


def normalised(x: Fraction) -> tuple[Fraction, int]:
    exponent = 0
    while x >= 2:
        x, exponent = x / 2, exponent + 1
    while x < 1:
        x, exponent = x * 2, exponent - 1
    return x, exponent


def recip_of(x: Fraction) -> int:
    if x == 0:
        return INF
    significand, exponent = normalised(abs(x))
    value = interpolate("recip", (significand - 1) * 128) / Fraction(2) ** exponent
    return nearest(-value if x < 0 else value)


def rsqrt_of(x: Fraction) -> int:
    if x <= 0:
        return NAN if x else INF
    significand, exponent = normalised(x)
    position = (significand - 1) * 128 + 128 * (exponent % 2)
    return nearest(interpolate("rsqrt", position) / Fraction(2) ** (exponent // 2))


def normal_cdf_of(x: Fraction) -> int:
    if abs(x) >= 6:
        return 0 if x < 0 else 0x3F800000
    tail = interpolate("normal_tail", cut(abs(x), 29) * 32)
    return nearest(tail if x < 0 else 1 - tail)


def sin_of(phase: int) -> int:
    quarter, rest = divmod(phase, 2**30)
    if quarter % 2:
        rest = 2**30 - rest
    value = interpolate("sin", Fraction(rest, 2**23))
    return nearest(-value if quarter >= 2 else value)


@given(word=fp32_bits)
@pytest.mark.parametrize(
    ("function", "definition"),
    [(exp2, exp2_of), (recip, recip_of), (rsqrt, rsqrt_of), (normal_cdf, normal_cdf_of)],
)
def test_function_is_its_table_rounded_once(
    function: Function, definition: Callable[[Fraction], int], word: int
):
    x = number(word)
    if x is not None and x != 0:
        assert to_bits(function(from_bits([word]))) == [definition(x)]


@pytest.mark.parametrize(("function", "definition"), [(exp2, exp2_of), (normal_cdf, normal_cdf_of)])
def test_numbers_that_are_cut_are_cut_towards_zero(
    function: Function, definition: Callable[[Fraction], int]
):
    """A last place more or less shows in few results: one in a hundred."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-6, 6, 1000).astype(np.float32)
    assert to_bits(function(x)) == [definition(Fraction(float(each))) for each in x]


@given(phase=st.integers(0, 2**32 - 1))
def test_sine_is_its_table_rounded_once(phase: int):
    phases = np.array([phase], np.uint32)
    assert to_bits(sin_turns(phases)) == [sin_of(phase)]
    assert to_bits(cos_turns(phases)) == [sin_of((phase + 2**30) % 2**32)]


MEASURED = measured_errors()


@pytest.mark.parametrize("error", MEASURED, ids=lambda error: error.name)
def test_error_stays_below_the_stated_bound(error: numerics.ErrorMeasurement):
    assert error.measured <= error.bound
    assert error.bound <= 1.2 * error.measured, "the stated bound is slack"
    unit = "ulp" if error.unit == "ulp" else f"* {error.unit}"
    documented = getattr(numerics, error.name).__doc__
    assert f"Error <= {error.bound} {unit}" in documented


def test_every_function_is_measured():
    names = {function.__name__ for function in FUNCTIONS}
    assert {error.name for error in MEASURED} == names | {"sin_turns", "cos_turns"}


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (exp2, [0.0, -0.0, np.inf, -np.inf, 128.0, -149.0, -150.0, 1e30, -1e30],
         [1.0, 1.0, np.inf, 0.0, np.inf, 2.0**-149, 0.0, np.inf, 0.0]),
        (recip, [0.0, -0.0, np.inf, -np.inf, 2.0**-128, -(2.0**-149), 2.0**127],
         [np.inf, -np.inf, 0.0, -0.0, np.inf, -np.inf, 2.0**-127]),
        (rsqrt, [0.0, -0.0, np.inf, -np.inf, -1.0, -(2.0**-149), 2.0**-148],
         [np.inf, -np.inf, 0.0, np.nan, np.nan, np.nan, 2.0**74]),
        (normal_cdf, [np.inf, -np.inf, 0.0, 6.0, -6.0], [1.0, 0.0, 0.5, 1.0, 0.0]),
        (sigmoid, [np.inf, -np.inf, 0.0, -0.0, 200.0, -200.0], [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]),
        (silu, [np.inf, -np.inf, 0.0, -0.0, -200.0], [np.inf, np.nan, 0.0, -0.0, -0.0]),
        (gelu_tanh, [np.inf, -np.inf, 0.0, -0.0, -1e30], [np.inf, np.nan, 0.0, -0.0, -0.0]),
        (gelu, [np.inf, -np.inf, 0.0, -0.0, -1e30], [np.inf, np.nan, 0.0, -0.0, -0.0]),
    ],
)  # fmt: skip
def test_special_cases(function: Function, x: list[float], expected: list[float]):
    assert to_bits(function(np.array(x, np.float32))) == to_bits(np.array(expected, np.float32))


def test_powers_are_exact():
    exponents = np.arange(-149, 128)
    powers = np.ldexp(np.float32(1), exponents).astype(np.float32)
    assert same_bits(exp2(exponents.astype(np.float32)), powers)
    invertible = powers[(exponents >= -127) & (exponents <= 127)]
    assert same_bits(recip(invertible), invertible[::-1].copy())
    even = powers[exponents % 2 == 0]
    roots = np.ldexp(1.0, -exponents[exponents % 2 == 0] // 2).astype(np.float32)
    assert same_bits(rsqrt(even), roots)


def test_quarter_turns_are_exact():
    turns = np.arange(4, dtype=np.uint32) << np.uint32(30)
    assert to_bits(sin_turns(turns)) == to_bits(np.array([0.0, 1.0, 0.0, -1.0], np.float32))
    assert to_bits(cos_turns(turns)) == to_bits(np.array([1.0, 0.0, -1.0, 0.0], np.float32))


@given(x=fp32_arrays(max_size=20), function=st.sampled_from(FUNCTIONS))
def test_nan_is_canonical_and_stays_nan(x: F32, function: Function):
    y = function(x)
    assert set(to_bits(y[np.isnan(y)])) <= {NAN}
    assert np.isnan(y[np.isnan(x)]).all()
    assert not np.isnan(y[np.isfinite(x) & (x > 0)]).any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_any_shape_and_layout_gives_the_same_bits(function: Function):
    x = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
    alone = [function(x[i, j]) for i in range(6) for j in range(10)]
    assert {y.shape for y in alone} == {()}
    assert to_bits(function(x)) == [to_bits(y)[0] for y in alone]
    assert same_bits(function(x.T), function(x).T)
    assert function(x[:0]).shape == (0, 10)


def binade(exponent: int) -> F32:
    start = (exponent + 127) << 23
    return np.arange(start, start + (1 << 23) + 1, dtype=np.uint32).view(np.float32)


def rising(y: F32) -> bool:
    return bool((y[1:] >= y[:-1]).all())


def test_reciprocals_are_monotone_over_every_mantissa():
    assert rising(recip(binade(0))[::-1])
    assert rising(rsqrt(binade(0))[::-1])
    assert rising(rsqrt(binade(1))[::-1])


def test_exp2_is_monotone_everywhere():
    c0, c1, c2 = sfu_table("exp2").T
    assert c1.min() > 0, "inside a segment the value rises"
    assert c2.min() > 0
    last = 2**24 - 1
    ends = (c0 << 24) + c1 * last + ((c2 * ((last >> 8) ** 2 >> 16)) << 8)
    assert (ends <= np.append(c0[1:], 2**29) << 24).all(), "and from one to the next"
    for exponent in (0, 6):
        assert rising(exp2(binade(exponent)))
        assert rising(exp2(-binade(exponent))[::-1])


@given(phase=st.integers(0, 2**32 - 1))
def test_sine_is_odd_and_cosine_even(phase: int):
    forth = np.array([phase], np.uint32)
    back = np.array([-phase % 2**32], np.uint32)
    assert sin_turns(back) == -sin_turns(forth)
    assert same_bits(cos_turns(back), cos_turns(forth))


def test_tables_are_what_the_fit_gives():
    fitted = fit_tables()
    assert tuple(fitted) == TABLE_NAMES
    for name, rows in fitted.items():
        assert sfu_table(name).tolist() == [list(row) for row in rows]


def test_tables_fit_the_unit():
    for name in TABLE_NAMES:
        c0, c1, c2 = sfu_table(name).T
        assert 0 <= c0.min() <= c0.max() < 2**29
        assert np.abs(c1).max() < 2**23
        assert np.abs(c2).max() < 2**15


def test_unknown_table_is_refused():
    with pytest.raises(KeyError, match="table must be one of"):
        sfu_table("tan")


def test_special_words_cover_both_signs():
    x = from_bits([word | sign for word in SPECIAL for sign in (0, SIGN)])
    for function in FUNCTIONS:
        assert function(x).shape == x.shape
