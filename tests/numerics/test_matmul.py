from itertools import pairwise
from itertools import product as product_of
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from numerics.exact import same_bits, to_bits
from numerics.products import (
    UNIT,
    block_sums,
    element_values,
    product,
    random_blocks,
)
from tapeout.errors import ConfigError
from tapeout.numerics import (
    BLOCK,
    FORMATS,
    Blocks,
    Format,
    combine,
    decode_scale,
    format_named,
    matmul,
    matmul_segmented,
    matmul_wide,
    prepare,
    quantise,
    segments,
)
from tapeout.numerics.matmul import ELEMENT_UNITS, SCALE_UNITS

F32 = NDArray[np.float32]
MATRIX = [f for f in FORMATS if f.family != "wide"]
PAIRS = [(a, b) for a in MATRIX for b in MATRIX if a.family == b.family]
NAN_BITS = 0x7FC00000


def pair_name(value: Any) -> str:
    return value.name if isinstance(value, Format) else str(value)


def named(*names: str) -> list[Format]:
    return [format_named(name) for name in names]


def is_wide(a: Format, b: Format) -> bool:
    """Whether the oracle needs Python's integers."""
    return a.element == b.element == "e5m2"


def blocks_of(fmt: Format, codes: NDArray[np.uint8], scale: int = 127) -> Blocks:
    shape = (len(codes), fmt.scale_count(codes.shape[1]))
    if fmt.scale == "bf16":
        scale = 0x3F80
    elif fmt.scale == "e4m3":
        scale = 0x38
    dtype = np.uint16 if fmt.scale == "bf16" else np.uint8
    return Blocks(format=fmt, codes=codes, scales=np.full(shape, scale, dtype))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=pair_name)
def test_random_block_sums_are_exact_and_rounded_once(a: Format, b: Format):
    rng = np.random.default_rng(a.code * 16 + b.code)
    size = 40 if is_wide(a, b) else 200
    for scale_range in (20, 75, 140):  # 75, 140: sums overflow and underflow FP32
        x = random_blocks(rng, a, size, BLOCK, scale_range=scale_range)
        y = random_blocks(rng, b, size + 1, BLOCK, scale_range=scale_range)
        assert same_bits(matmul(x, y), block_sums(x, y, wide=is_wide(a, b))[0])


@pytest.mark.parametrize(
    ("a", "b", "size"),
    [
        (*named("mxfp8_e4m3", "mxfp8_e4m3"), 1000),
        (*named("mxfp8_e4m3", "mxfp4"), 700),
        (*named("mxfp4", "mxfp4"), 700),
        (*named("int8", "int8"), 700),
        (*named("nvfp4", "nvfp4"), 500),
        (*named("fp8_e5m2", "fp8_e4m3"), 500),
    ],
    ids=pair_name,
)
def test_millions_of_block_sums(a: Format, b: Format, size: int):
    rng = np.random.default_rng(99)
    x, y = random_blocks(rng, a, size, BLOCK), random_blocks(rng, b, size, BLOCK)
    assert same_bits(matmul(x, y), block_sums(x, y)[0])


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=pair_name)
def test_blocks_are_added_in_ascending_order(a: Format, b: Format):
    rng = np.random.default_rng(7)
    k = 32 * 12
    x, y = random_blocks(rng, a, 9, k), random_blocks(rng, b, 10, k)
    acc = rng.standard_normal((9, 10)).astype(np.float32)
    wide = is_wide(a, b)
    assert same_bits(matmul(x, y), product(x, y, wide=wide))
    assert same_bits(matmul(x, y, acc), product(x, y, acc, wide=wide))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        named("fp8_e4m3", "fp8_e4m3"),
        named("fp8_e5m2", "fp8_e5m2"),
        named("fp8_e5m2", "fp8_e4m3"),
        named("mxfp6_e3m2", "mxfp8_e5m2"),
        named("mxint8", "mxint8"),
        named("int8", "int4_g32"),
    ],
    ids=pair_name,
)
@pytest.mark.parametrize("scales", [(127, 127), (60, 60), (120, 254)])
def test_every_pair_of_codes(a: Format, b: Format, scales: tuple[int, int]):
    """Blocks of one element; the product of two elements and two powers of two is one float64."""
    operands: list[Blocks] = []
    values: list[NDArray[np.float64]] = []
    for fmt, scale in zip((a, b), scales, strict=True):
        codes = np.zeros((1 << fmt.element_bits, 32), np.uint8)
        codes[:, 17] = np.arange(len(codes))
        operands.append(blocks_of(fmt, codes, scale))
        exponent = (scale - 127 if fmt.scale == "e8m0" else 0) - 6 * (fmt.name == "mxint8")
        values.append(np.ldexp(element_values(codes[:, 17], fmt.element), exponent))
    with np.errstate(all="ignore"):
        expected = (np.multiply.outer(*values) + 0.0).astype(np.float32)
    expected[np.isnan(expected)] = np.nan
    assert same_bits(matmul(operands[0], operands[1]), expected)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=pair_name)
def test_every_product_survives_the_largest_that_cancel(a: Format, b: Format):
    """15 of the largest products, any one product, the 15 with the other sign: only it is left."""
    operands: list[Blocks] = []
    values: list[NDArray[np.float64]] = []
    for fmt, second_half in ((a, -1), (b, 1)):
        codes = np.arange(1 << fmt.element_bits, dtype=np.uint8)
        value = element_values(codes, fmt.element)
        most = value[np.isfinite(value)].max()
        rows = np.zeros((len(codes), 32), np.uint8)
        rows[:, 1:16] = codes[value == most]
        rows[:, 16] = np.where(np.isfinite(value), codes, 0)
        rows[:, 17:] = codes[value == most * second_half]
        operands.append(blocks_of(fmt, rows))
        values.append(np.where(np.isfinite(value), value, 0) / (64 if fmt.name == "mxint8" else 1))
    expected = (np.multiply.outer(values[0], values[1]) + 0.0).astype(np.float32)
    assert same_bits(matmul(operands[0], operands[1]), expected)


def largest_code(fmt: Format) -> int:
    return {"int8": 0x80, "int4": 8, "e4m3": 0x7E, "e5m2": 0x7B, "e2m1": 7}.get(fmt.element, 0x1F)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=pair_name)
def test_full_scale_alternating_and_cancelling_operands(a: Format, b: Format):
    """Extremes of magnitude, all signs: where a bound on bits would break."""
    rng = np.random.default_rng(5)

    def extremes(fmt: Format) -> Blocks:
        out = random_blocks(rng, fmt, 24, 64, scale_range=1)
        least, most, sign = 1, largest_code(fmt), 1 << (fmt.element_bits - 1)
        out.codes[:8] = most
        out.codes[8:] = rng.choice([0, least, least | sign, most, most | sign], (16, 64))
        out.codes[4:8, 1::2] ^= sign if fmt.family == "float" else 0
        out.codes[8:12, 32:] = out.codes[8:12, :32] ^ (sign if fmt.family == "float" else 0)
        if fmt.scale == "e4m3":
            out.scales[:] = rng.choice([1, 0x7E], out.scales.shape)
        elif fmt.scale == "bf16":
            out.scales[:] |= 0x7F
        return out

    x, y = extremes(a), extremes(b)
    assert same_bits(matmul(x, y), product(x, y, wide=True))


def test_e5m2_sums_of_more_than_53_bits():
    """2^29 + half of its last place, and 2^-32 more or less: the tie is no tie, of either sign."""
    fmt = format_named("fp8_e5m2")
    codes = {
        "2^14": 0x74, "2^15": 0x78, "2^5": 0x50, "1": 0x3C,
        "2^-16": 0x01, "-2^-16": 0x81, "0": 0,
    }  # fmt: skip
    rows = [
        (("2^14", "2^15"), ("2^5", "1"), ("0", "0"), 2.0**29),
        (("2^14", "2^15"), ("2^5", "1"), ("2^-16", "2^-16"), 2.0**29 + 2.0**6),
        (("2^14", "2^15"), ("2^5", "1"), ("2^-16", "-2^-16"), 2.0**29),
    ]
    for *terms, expected in rows:
        x, y = np.zeros((2, 1, 32), np.uint8)
        for i, (p, q) in enumerate(terms):
            x[0, 11 * i], y[0, 11 * i] = codes[p], codes[q]
        for sign, signed in ((1, x), (-1, x ^ np.uint8(0x80))):
            for scale in (127, 100, 40):
                mx = format_named("mxfp8_e5m2")
                actual = matmul(blocks_of(mx, signed, scale), blocks_of(mx, y, 127))
                assert actual[0, 0] == np.float32(sign * expected * 2.0 ** (scale - 127))
            assert matmul(blocks_of(fmt, signed), blocks_of(fmt, y))[0, 0] == sign * expected


def test_results_that_underflow_overflow_and_vanish():
    fmt = format_named("mxfp8_e4m3")
    one = np.zeros((1, 32), np.uint8)
    one[0, 0] = 0x38  # 1.0
    for scales, expected in [
        ((0, 127 - 22), 2.0**-149),
        ((0, 127 - 23), 0.0),  # 2^-150 is a tie with the even 0
        ((0, 0), 0.0),
        ((254, 127), 2.0**127),
        ((254, 128), np.inf),
        ((254, 254), np.inf),
    ]:
        result = matmul(blocks_of(fmt, one, scales[0]), blocks_of(fmt, one, scales[1]))
        assert same_bits(result, np.array([[expected]], np.float32))
    negative = one | np.uint8(0x80) * (one > 0)
    result = matmul(blocks_of(fmt, negative, 0), blocks_of(fmt, one, 0))
    assert to_bits(result) == [1 << 31]  # a tiny negative sum underflows to -0
    zero = np.full((1, 32), 0x80, np.uint8)
    result = matmul(blocks_of(fmt, zero), blocks_of(fmt, one))
    assert to_bits(result) == [0]  # a sum of zeros is +0
    cancel = np.zeros((1, 32), np.uint8)
    cancel[0, :2] = 0x38, 0xB8
    both = np.zeros((1, 32), np.uint8)
    both[0, :2] = 0x38
    assert to_bits(matmul(blocks_of(fmt, cancel), blocks_of(fmt, both))) == [0]


SPECIAL_PAIRS = [
    (a, b) for a, b in PAIRS if a.scale != "none" or b.scale != "none" or a.element != "e2m1"
]


@pytest.mark.parametrize(("a", "b"), SPECIAL_PAIRS, ids=pair_name)
def test_nan_and_infinity_follow_ieee(a: Format, b: Format):
    rng = np.random.default_rng(3)

    def poisoned(fmt: Format) -> tuple[Blocks, Blocks, NDArray[np.float64]]:
        """With specials, with zeros in their place, and the values in float64."""
        plain = random_blocks(rng, fmt, 40, 64, scale_range=2)
        codes, scales = plain.codes.copy(), plain.scales.copy()
        if fmt.element in ("e4m3", "e5m2"):
            some = rng.random(codes.shape) < 0.004
            choices = [0x7F, 0xFF] if fmt.element == "e4m3" else [0x7C, 0xFC, 0x7D, 0xFF]
            codes[some] = rng.choice(choices, int(some.sum()))
        if fmt.scale != "none":
            bad = {"e8m0": [255], "e4m3": [0x7F, 0xFF], "bf16": [0x7F80, 0xFF80, 0x7FC0, 0x7F81]}
            some = rng.random(scales.shape) < 0.05
            scales[some] = rng.choice(bad[fmt.scale], int(some.sum()))
        with np.errstate(all="ignore"):
            values = element_values(codes, fmt.element)
            if fmt.scale != "none":
                factors = np.repeat(decode_scale(scales, fmt.scale), fmt.group, axis=1)[:, :64]
                values = values * factors
        zeroed = np.where(np.isfinite(values), codes, 0).astype(np.uint8)
        return (
            Blocks(format=fmt, codes=codes, scales=scales),
            Blocks(format=fmt, codes=zeroed, scales=plain.scales),
            values,
        )

    x, x_plain, x_values = poisoned(a)
    y, y_plain, y_values = poisoned(b)
    expected = block_sums(x_plain, y_plain, wide=is_wide(a, b))
    for block in range(2):
        part = slice(32 * block, 32 * block + 32)
        with np.errstate(all="ignore"):
            terms = x_values[:, None, part] * y_values[None, :, part]
            special = terms.sum(-1)
        sums = expected[block]
        assert not np.isfinite(special).all()
        sums[~np.isfinite(special)] = special[~np.isfinite(special)]
        sums[np.isnan(sums)] = np.nan
        one = Blocks(format=a, codes=x.codes[:, part], scales=_scales(x, block))
        two = Blocks(format=b, codes=y.codes[:, part], scales=_scales(y, block))
        assert same_bits(matmul(one, two), sums)
    with np.errstate(all="ignore"):
        total = expected[0] + expected[1]
    total[np.isnan(total)] = np.nan
    assert same_bits(matmul(x, y), total)


def _scales(blocks: Blocks, block: int) -> NDArray[Any]:
    group = blocks.format.group
    if not group or group > 32:
        return blocks.scales
    per_block = 32 // group
    return blocks.scales[:, block * per_block : (block + 1) * per_block]


def test_nan_in_the_accumulator_is_made_canonical():
    fmt = format_named("mxfp4")
    x = blocks_of(fmt, np.ones((1, 32), np.uint8))
    acc = np.array([[0xFFC01234]], np.uint32).view(np.float32)
    assert to_bits(matmul(x, x, acc)) == [NAN_BITS]
    infinity = np.array([[-np.inf]], np.float32)
    e5m2 = format_named("fp8_e5m2")
    x = blocks_of(e5m2, np.full((1, 32), 0x7C, np.uint8))
    assert to_bits(matmul(x, x, infinity)) == [NAN_BITS]


@pytest.mark.parametrize("k", [32, 96, 192])
@pytest.mark.parametrize("fmt", MATRIX, ids=pair_name)
def test_odd_shapes(fmt: Format, k: int):
    rng = np.random.default_rng(k)
    for m, n in product_of([0, 1, 3, 33], repeat=2):
        x, y = random_blocks(rng, fmt, m, k), random_blocks(rng, fmt, n, k)
        assert matmul(x, y).shape == (m, n)
        if m and n:
            assert same_bits(matmul(x, y), product(x, y, wide=is_wide(fmt, fmt)))


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp4", "int8", "mxfp8_e5m2"])
def test_larger_than_a_tile(name: str):
    fmt = format_named(name)
    rng = np.random.default_rng(11)
    x, y = (prepare(random_blocks(rng, fmt, rows, 64)) for rows in (515, 1030))
    whole = matmul(x, y)
    for m in (0, 511, 512, 514):
        row = prepare(random_blocks(np.random.default_rng(11), fmt, 515, 64))
        alone = matmul(_row(row, m), y)
        assert same_bits(whole[m : m + 1], alone)


def _row(operand: Any, row: int) -> Any:
    from dataclasses import replace

    high = None if operand.high is None else operand.high[:, row : row + 1]
    return replace(operand, values=operand.values[:, row : row + 1], high=high)


@pytest.mark.parametrize("fmt", MATRIX, ids=pair_name)
@given(st.data())
def test_splitting_k_and_batching_change_nothing(fmt: Format, data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    k = 32 * data.draw(st.integers(1, 9))
    x = random_blocks(rng, fmt, 5, k)
    y = random_blocks(rng, fmt, 4, k)
    whole = matmul(x, y)
    cuts = data.draw(st.sets(st.integers(0, k // 32)))
    a, b, acc = prepare(x), prepare(y), None
    points = sorted({0, k, *(32 * c for c in cuts)})
    for start, stop in pairwise(points):
        acc = matmul(a.along_k(start, stop), b.along_k(start, stop), acc)
    assert acc is not None
    assert same_bits(acc, whole)
    row = data.draw(st.integers(0, 4))
    one = Blocks(format=fmt, codes=x.codes[row : row + 1], scales=x.scales[row : row + 1])
    assert same_bits(matmul(one, y), whole[row : row + 1])


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp4", "int4_g128", "nvfp4"])
@pytest.mark.parametrize("k", [512, 2048, 2112, 4096, 8192 + 32])
def test_a_linear_layer_is_segments_and_a_tree(name: str, k: int):
    fmt = format_named(name)
    rng = np.random.default_rng(k)
    x, y = random_blocks(rng, fmt, 3, k), random_blocks(rng, fmt, 5, k)
    sums = block_sums(x, y)
    parts: list[F32] = []
    for group in np.split(sums, segments(k)):
        total = group[0]
        for block in group[1:]:
            total = total + block
        parts.append(total)
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]
    assert same_bits(matmul_segmented(x, y), parts[0])
    if segments(k) > 1:
        assert not same_bits(matmul(x, y), parts[0]), "segments must matter"


def test_combine_is_a_tree_of_neighbours():
    big, one = np.float32(2**24), np.float32(1)
    parts = [np.array([[v]]) for v in (big, one, one, -big)]
    assert combine(parts)[0, 0] == 1  # (2^24 + 1) + (1 - 2^24) = 2^24 - (2^24 - 1)
    assert combine(np.stack(parts))[0, 0] == 1
    infinities = np.array([[[np.inf]], [[-np.inf]]], np.float32)
    assert to_bits(combine(infinities)) == [NAN_BITS]


@pytest.mark.parametrize("fmt", MATRIX, ids=pair_name)
def test_one_scale_per_row_multiplies_like_any_other(fmt: Format):
    if fmt.scale == "none":
        return
    rng = np.random.default_rng(4)
    x = quantise(rng.standard_normal((3, 96)), fmt, per_row=True)
    y = quantise(rng.standard_normal((4, 96)), fmt)
    repeated = Blocks(format=fmt, codes=x.codes, scales=np.repeat(x.scales, y.scales.shape[1], 1))
    assert same_bits(matmul(x, y), matmul(repeated, y))
    assert same_bits(matmul(x, y), product(repeated, y, wide=is_wide(fmt, fmt)))


def test_units_bound_every_format():
    """The figures behind the claim of exactness, from the formats themselves."""
    for fmt in MATRIX:
        codes = np.arange(1 << fmt.element_bits, dtype=np.uint8)
        values = element_values(codes, fmt.element)
        values = np.abs(values[np.isfinite(values)])
        assert ELEMENT_UNITS[fmt.element] == values.max() / 2.0 ** UNIT[fmt.element]
        assert np.all(values % 2.0 ** UNIT[fmt.element] == 0)
    assert SCALE_UNITS["e4m3"] == ELEMENT_UNITS["e4m3"]
    # `_split_sums`: high halves, and a factor below 1 in each of the other products.
    high, below_one, e4m3, nvfp4 = 57344 * 4, 0.875, ELEMENT_UNITS["e4m3"], 12 * SCALE_UNITS["e4m3"]
    assert 32 * high * max(high, e4m3, nvfp4) < 2**53
    assert 32 * 57344 * below_one * 2**32 < 2**53
    assert 32 * below_one * 2**16 * max(e4m3, nvfp4) < 2**53


def test_operands_of_two_families_are_refused():
    x = quantise(np.ones((1, 32)), format_named("int8"))
    y = quantise(np.ones((1, 32)), format_named("mxfp4"))
    with pytest.raises(ConfigError, match=r"not int8 \(int\) and mxfp4 \(float\)"):
        matmul(x, y)
    with pytest.raises(ConfigError, match=r"not bf16 \(wide\) and bf16 \(wide\)"):
        prepare(quantise(np.ones((1, 32)), format_named("bf16")))


def wide_oracle(a: F32, b: F32, acc: F32 | None) -> F32:
    """`matmul_wide`, one FP32 scalar at a time."""
    out = np.zeros((len(a), len(b)), np.float32)
    for m in range(len(a)):
        for n in range(len(b)):
            total = None if acc is None else acc[m, n]
            for k in range(0, a.shape[1], 32):
                level = list(a[m, k : k + 32] * b[n, k : k + 32])
                level += [np.float32(0)] * (32 - len(level))
                while len(level) > 1:
                    level = [level[i] + level[i + 1] for i in range(0, len(level), 2)]
                total = level[0] if total is None else total + level[0]
            out[m, n] = total
    out[np.isnan(out)] = np.nan
    return out


@pytest.mark.parametrize(("m", "n", "k"), [(3, 5, 64), (1, 70, 40), (2, 64, 100), (4, 1, 32)])
def test_wide_product_is_products_and_trees(m: int, n: int, k: int):
    rng = np.random.default_rng(k)
    for exponents in (3.0, 60.0):
        a, b, acc = (
            (rng.standard_normal(shape) * np.exp2(rng.uniform(-exponents, exponents, shape)))
            for shape in ((m, k), (n, k), (m, n))
        )
        a, b, acc = a.astype(np.float32), b.astype(np.float32), acc.astype(np.float32)
        with np.errstate(all="ignore"):
            assert same_bits(matmul_wide(a, b), wide_oracle(a, b, None))
            assert same_bits(matmul_wide(a, b, acc), wide_oracle(a, b, acc))


def test_wide_product_of_special_values():
    a = np.zeros((4, 32), np.float32)
    a[0, 0], a[1, 0], a[2, :2], a[3] = np.nan, np.inf, (np.inf, -np.inf), -0.0
    b = np.ones((2, 32), np.float32)
    b[1, 0] = 0
    result = matmul_wide(a, b)
    nan = NAN_BITS
    assert to_bits(result) == [nan, nan, 0x7F800000, nan, nan, nan, 1 << 31, 1 << 31]
    assert matmul_wide(a[:0], b).shape == (0, 2)
