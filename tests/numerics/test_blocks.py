from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from numerics.exact import from_bits, same_bits, to_bits
from numerics.products import DTYPES, element_values
from tapeout.numerics import (
    FORMATS,
    Blocks,
    Format,
    ScaleMode,
    dequantise,
    format_named,
    from_bytes,
    quantise,
    tensor_scale,
    to_bytes,
)

F32 = NDArray[np.float32]
MX = [f for f in FORMATS if f.scale == "e8m0"]
EMAX = {"e4m3": 8, "e5m2": 15, "e2m3": 2, "e3m2": 4, "e2m1": 2, "int8": 0}
MAX = {"e4m3": 448, "e5m2": 57344, "e2m3": 7.5, "e3m2": 28, "e2m1": 6, "int8": 127 / 64}
MANTISSA = {"e4m3": 3, "e5m2": 2, "e2m3": 3, "e3m2": 2, "e2m1": 1, "int8": 6}
# A block's error, as a fraction of amax, can be half the largest step between neighbours, plus what
# FLOOR saturates; a step above the last value below amax * 2 / (largest + step).
RELATIVE_STEP = {"e4m3": 2**-4, "e5m2": 2**-3, "e2m3": 2**-4, "e3m2": 2**-3, "e2m1": 2**-2}


def name_of(fmt: Format) -> str:
    return fmt.name


def samples(seed: int, rows: int, k: int, spread: float = 30) -> F32:
    """Normal numbers; rows and columns of very different size."""
    rng = np.random.default_rng(seed)
    exponents = rng.uniform(-spread, spread, (rows, 1)) + rng.uniform(-6, 6, (rows, k))
    return (rng.standard_normal((rows, k)) * np.exp2(exponents)).astype(np.float32)


def floor_scales(x: F32, fmt: Format) -> NDArray[np.int64]:
    """The OCP rule in float64: exponents s of the scales of [..., 32]."""
    exponent = np.frexp(np.abs(x.astype(np.float64)).max(-1))[1] - 1
    return np.clip(exponent - EMAX[fmt.element], -127, 127).astype(np.int64)


def scale_oracle(amax: float, fmt: Format, mode: ScaleMode) -> int:
    """The scale's exponent by its definition on real numbers; amax is a normal FP32 number."""
    value, emax = Fraction(amax), EMAX[fmt.element]
    if mode == ScaleMode.RCEIL:
        return min(s for s in range(-40, 40) if value <= Fraction(MAX[fmt.element]) * two(s))
    floor = max(s for s in range(-40, 40) if two(s) <= value)
    if mode == ScaleMode.CEIL:
        return floor - emax + (value > two(floor))
    if mode == ScaleMode.EVEN:
        step = two(floor - MANTISSA[fmt.element])
        value = round(value / step) * step
        return max(s for s in range(-40, 40) if two(s) <= value) - emax
    return floor - emax


def two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


@pytest.mark.parametrize("fmt", MX, ids=name_of)
def test_floor_is_the_ocp_rule(fmt: Format):
    x = samples(0, 2000, 64).reshape(2000, 2, 32)
    scales = floor_scales(x, fmt)
    ratio = x / np.exp2(scales.astype(np.float64))[..., None]  # exact in float64
    if fmt.element == "int8":
        codes = np.rint(ratio * 64).clip(-127, 127).astype(np.int8).view(np.uint8)
    else:
        ratio = ratio.clip(-MAX[fmt.element], MAX[fmt.element])
        codes = ratio.astype(np.float64).astype(DTYPES[fmt.element]).view(np.uint8)
    blocks = quantise(x.reshape(2000, 64), fmt)
    assert np.array_equal(blocks.scales, scales + 127)
    assert np.array_equal(blocks.codes, codes.reshape(2000, 64))


@pytest.mark.parametrize("mode", ScaleMode)
@pytest.mark.parametrize("fmt", MX, ids=name_of)
def test_every_mode_follows_its_definition(fmt: Format, mode: ScaleMode):
    rng = np.random.default_rng(1)
    edges = np.float32(MAX[fmt.element]) * np.exp2(np.arange(-20, 20, dtype=np.float32))
    halves = np.float32(2 - 2.0 ** -(MANTISSA[fmt.element] + 1)) * np.exp2(np.arange(-9.0, 9))
    powers = np.exp2(np.arange(-20, 20))
    amax = np.concatenate([edges, halves, powers, rng.uniform(1, 99, 50)]).astype(np.float32)
    amax = np.concatenate([amax, np.nextafter(amax, np.float32(0)), np.nextafter(amax, 1e9)])
    x = np.zeros((len(amax), 32), np.float32)
    x[:, 5] = -amax
    scales = quantise(x, fmt, mode).scales[:, 0].astype(int) - 127
    assert scales.tolist() == [scale_oracle(float(a), fmt, mode) for a in amax]


def test_modes_by_hand():
    # MXFP4: values up to 6 = 1.5 * 2^2, one mantissa bit. 13 = 1.625 * 2^3, 14 = 1.75 * 2^3.
    fmt = format_named("mxfp4")
    for amax, expected in [
        (8.0, (1, 1, 1, 1)),
        (12.0, (1, 2, 1, 1)),
        (13.0, (1, 2, 1, 2)),
        (14.0, (1, 2, 2, 2)),
        (16.0, (2, 2, 2, 2)),
    ]:
        x = np.full((1, 32), amax, np.float32)
        assert tuple(int(quantise(x, fmt, m).scales[0, 0]) - 127 for m in ScaleMode) == expected
    blocks = quantise(np.full((1, 32), 13, np.float32), fmt, ScaleMode.FLOOR)
    assert dequantise(blocks)[0, 0] == 12  # 13 / 2 saturates at 6
    blocks = quantise(np.full((1, 32), 13, np.float32), fmt, ScaleMode.RCEIL)
    assert dequantise(blocks)[0, 0] == 12  # 13 / 4 rounds to 3
    blocks = quantise(np.full((1, 32), 14, np.float32), fmt, ScaleMode.EVEN)
    assert dequantise(blocks)[0, 0] == 16  # 14 / 4 = 3.5 is a tie, and 4 has the even code


@pytest.mark.parametrize("fmt", MX, ids=name_of)
@pytest.mark.parametrize("mode", ScaleMode)
def test_scales_at_the_ends_of_fp32(fmt: Format, mode: ScaleMode):
    words = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0xFF800001]
    x = np.zeros((len(words), 32), np.float32)
    x[:, 0], x[1:, 1] = from_bits(words), 1e-45
    blocks = quantise(x, fmt, mode)
    scales = blocks.scales[:, 0].tolist()
    assert scales[0] == 0
    assert scales[5:] == [255, 255, 255]
    assert all(s <= 254 for s in scales[:5])
    assert not blocks.codes[5:].any()
    assert np.isnan(dequantise(blocks)[5:]).all()
    assert set(to_bits(dequantise(blocks)[5:])) == {0x7FC00000}
    # The quotient x * 2^-s is exact where FP32 would lose it: 2^-149 and 2^127.
    tiny = np.full((1, 32), 2.0**-149, np.float32)
    step = 2.0**-127 * min(2.0**-6 if fmt.element == "int8" else np.inf, _least(fmt))
    assert dequantise(quantise(tiny, fmt, mode))[0, 0] == np.rint(2.0**-149 / step) * step


def _least(fmt: Format) -> float:
    values = element_values(np.arange(1 << fmt.element_bits, dtype=np.uint8), fmt.element)
    return float(values[values > 0].min())


def reciprocal_oracle(row: F32, fmt: Format) -> tuple[list[float], float]:
    """Elements and the scale of one group of INT8, INT4 or NVFP4, one FP32 scalar at a time."""
    import ml_dtypes

    largest = {"int8": 127, "int4": 7, "e2m1": 6}[fmt.element]
    target = np.abs(row).max() * np.float32(1 / largest)
    if fmt.scale == "bf16":
        scale = np.float32(target.astype(ml_dtypes.bfloat16))
    else:
        scale = np.float32(min(target, np.float32(448)).astype(ml_dtypes.float8_e4m3fn))
    if scale == 0:
        return [0.0] * len(row), 0.0
    recip = np.float32(1) / scale
    quotients = (row * recip).clip(-largest, largest)
    if fmt.scale == "bf16":
        return np.rint(quotients).tolist(), float(scale)
    return quotients.astype(ml_dtypes.float4_e2m1fn).astype(np.float32).tolist(), float(scale)


@pytest.mark.parametrize("name", ["int8", "int4_g32", "int4_g128", "nvfp4"])
def test_scales_by_reciprocal(name: str):
    fmt = format_named(name)
    x = samples(2, 60, 256, spread=8)
    x[0], x[1, :128] = 0, 1e-12
    blocks = quantise(x, fmt)
    values = dequantise(blocks)
    for row in range(len(x)):
        for start in range(0, 256, fmt.group):
            part = slice(start, start + fmt.group)
            elements, scale = reciprocal_oracle(x[row, part], fmt)
            assert values[row, part].tolist() == [e * scale for e in elements]
            assert scale or not blocks.codes[row, part].any()


@pytest.mark.parametrize("name", ["int8", "int4_g32", "nvfp4"])
def test_reciprocal_scales_of_special_groups(name: str):
    fmt = format_named(name)
    x = np.ones((4, 32), np.float32)
    x[0, 3], x[1, 3], x[2] = np.nan, np.inf, -0.0
    blocks = quantise(x, fmt)
    values = dequantise(blocks)
    assert not blocks.codes[:3, : fmt.group].any()
    assert np.isnan(values[:2, : fmt.group]).all()
    assert np.isfinite(values[:2, fmt.group :]).all()
    assert same_bits(values[2], np.zeros(32, np.float32))
    assert np.abs(values[3] - 1).max() < 0.01 if name == "int8" else True


@pytest.mark.parametrize("fmt", FORMATS, ids=name_of)
def test_error_is_bounded_by_the_format(fmt: Format):
    x = samples(3, 200, 256, spread=4)
    group = fmt.group or 256
    amax = np.repeat(np.abs(x).reshape(200, -1, group).max(-1), group, axis=1)
    error = np.abs(dequantise(quantise(x, fmt)) - x.astype(np.float64))
    if fmt.element in ("fp32", "bf16"):
        limit = np.abs(x) * {"fp32": 0, "bf16": 2**-8}[fmt.element]
    elif fmt.scale == "none":  # saturation is the tensor scale's business
        x, error = x[np.abs(x) < 448][:, None], error[np.abs(x) < 448][:, None]
        limit = np.maximum(np.abs(x) * RELATIVE_STEP[fmt.element], 2.0**-10)
    elif fmt.element in ("int8", "int4"):
        steps = 64 if fmt.name == "mxint8" else 127 if fmt.element == "int8" else 7
        limit = amax * (0.5 / steps) * 1.01 + amax * 2**-8
    elif fmt.name == "nvfp4":
        limit = np.maximum(amax / 6, 2**-9) * 1.07 + amax * 2**-4
    else:  # FLOOR saturates what is above max / 2^(emax + 1) of the next power of two
        clipped = 1 - MAX[fmt.element] / 2 ** (EMAX[fmt.element] + 1)
        limit = amax * max(clipped, RELATIVE_STEP[fmt.element])
    assert (error <= limit).all()


@pytest.mark.parametrize("mode", [ScaleMode.CEIL, ScaleMode.RCEIL])
@pytest.mark.parametrize("fmt", MX, ids=name_of)
def test_ceil_modes_never_saturate(fmt: Format, mode: ScaleMode):
    x = samples(4, 500, 32)
    factors = np.exp2(quantise(x, fmt, mode).scales.astype(np.float64) - 127)
    limit = MAX[fmt.element] if mode == ScaleMode.RCEIL else 2.0 ** EMAX[fmt.element]
    assert (np.abs(x).max(-1, keepdims=True) <= limit * factors).all()


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("k", [1, 32, 33, 160, 256])
@pytest.mark.parametrize("fmt", FORMATS, ids=name_of)
def test_bytes_round_trip(fmt: Format, k: int, per_row: bool):
    x = samples(k, 6, k).reshape(2, 3, k)
    blocks = quantise(x, fmt, per_row=per_row)
    elements, scales = to_bytes(blocks)
    assert elements.shape == (2, 3, fmt.row_bytes(k))
    assert scales.shape == (2, 3, fmt.scale_row_bytes(k, per_row=per_row))
    again = from_bytes(fmt, k, elements, scales, per_row=per_row)
    assert np.array_equal(again.codes, blocks.codes)
    assert np.array_equal(again.scales, blocks.scales)
    assert (again.per_row, again.k, again.codes.dtype) == (
        blocks.per_row,
        blocks.k,
        blocks.codes.dtype,
    )
    assert same_bits(dequantise(again), dequantise(blocks))
    assert not dequantise(blocks)[..., k:].any()


def test_bytes_are_little_endian():
    blocks = Blocks(
        format=format_named("int8"),
        codes=np.arange(32, dtype=np.uint8)[None],
        scales=np.array([[0x3F80]], np.uint16),
    )
    elements, scales = to_bytes(blocks)
    assert elements.tolist() == [list(range(32))]
    assert scales.tolist() == [[0x80, 0x3F]]
    wide = quantise(np.full((1, 32), 1.0, np.float32), format_named("bf16"))
    assert to_bytes(wide)[0][0, :4].tolist() == [0x80, 0x3F, 0x80, 0x3F]


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.scale != "none"], ids=name_of)
def test_one_scale_per_row_is_a_group_as_long_as_the_row(fmt: Format):
    x = samples(5, 8, 96, spread=3)
    blocks = quantise(x, fmt, per_row=True)
    assert blocks.scales.shape == (8, 1)
    amax = np.abs(x).max(-1, keepdims=True)
    # The same scale as that of a group that holds only amax.
    single = np.zeros((8, 32), np.float32)
    single[:, :1] = amax
    assert np.array_equal(quantise(single, fmt).scales[:, :1], blocks.scales)


@pytest.mark.parametrize("fmt", FORMATS, ids=name_of)
@given(st.integers(0, 2**32 - 1))
def test_quantising_what_was_quantised_changes_nothing(fmt: Format, seed: int):
    once = dequantise(quantise(samples(seed, 1, 64, spread=2), fmt, ScaleMode.FLOOR))
    if fmt.scale in ("none", "e8m0"):
        assert same_bits(dequantise(quantise(once, fmt, ScaleMode.FLOOR)), once)


def test_tensor_scales():
    x = np.array([[1.0, -89.6, 3.0, np.inf, np.nan]], np.float32)
    assert tensor_scale(x, format_named("fp8_e4m3")) == np.float32(89.6) / np.float32(448)
    assert tensor_scale(x, format_named("fp8_e5m2")) == np.float32(89.6) / np.float32(57344)
    assert tensor_scale(x, format_named("nvfp4")) == np.float32(89.6) / np.float32(2688)
    assert tensor_scale(x, format_named("mxfp4")) == 1
    assert tensor_scale(np.zeros((2, 2)), format_named("nvfp4")) == 1
    assert tensor_scale(np.zeros((0, 32)), format_named("nvfp4")) == 1
    assert tensor_scale(x, format_named("int8")).dtype == np.float32
