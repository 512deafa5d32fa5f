from typing import Any, get_args

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat import formats as gf
from numpy.typing import NDArray

from numerics.exact import same_bits
from numerics.products import DTYPES, element_values
from tapeout.numerics import decode, decode_scale, encode, pack, unpack
from tapeout.numerics.formats import Element

ELEMENTS: tuple[Element, ...] = get_args(Element)
NARROW = [e for e in ELEMENTS if e not in ("bf16", "fp32")]
FLOATS = [e for e in NARROW if e in DTYPES]
BITS = {"int8": 8, "int4": 4, "e4m3": 8, "e5m2": 8, "e2m3": 6, "e3m2": 6, "e2m1": 4}
LARGEST = {"int8": 127, "int4": 7, "e4m3": 448, "e5m2": 57344, "e2m3": 7.5, "e3m2": 28, "e2m1": 6}
GFLOAT: dict[str, gfloat.FormatInfo] = {
    "e4m3": gf.format_info_ocp_e4m3,
    "e5m2": gf.format_info_ocp_e5m2,
    "e2m3": gf.format_info_ocp_e2m3,
    "e3m2": gf.format_info_ocp_e3m2,
    "e2m1": gf.format_info_ocp_e2m1,
}


def all_codes(element: Element) -> NDArray[np.uint8]:
    return np.arange(1 << BITS[element], dtype=np.uint8)


def hard_values(element: Element) -> NDArray[np.float32]:
    """Every value, every midpoint, and their FP32 neighbours."""
    values = element_values(all_codes(element), element)
    values = np.unique(values[np.isfinite(values)])
    points = np.concatenate([values, (values[1:] + values[:-1]) / 2, values * 3, [0.0, -0.0]])
    points = points.astype(np.float32)
    up, down = np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-np.inf))
    return np.concatenate([points, up, down])


def random_values(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Half of them any FP32 bit pattern, half of them in the range of narrow formats."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, count, np.uint32)
    fields = rng.integers(127 - 20, 127 + 18, count // 2).astype(np.uint32)
    words[: count // 2] = words[: count // 2] & np.uint32(0x807FFFFF) | fields << np.uint32(23)
    return words.view(np.float32)


def nearest(x: NDArray[np.float32], element: Element) -> NDArray[np.uint8]:
    """`encode` by ml_dtypes, or by rint, after saturation."""
    finite = np.where(np.isnan(x), np.float32(0), x).clip(-LARGEST[element], LARGEST[element])
    if element in DTYPES:
        codes = finite.astype(DTYPES[element]).view(np.uint8)
        return np.where(np.isnan(x), {"e4m3": 0x7F, "e5m2": 0x7E}.get(element, 0), codes)
    mask = (1 << BITS[element]) - 1
    return (np.rint(finite).astype(np.int64) & mask).astype(np.uint8)


@pytest.mark.parametrize("element", NARROW)
def test_every_code_decodes_as_the_oracle_says(element: Element):
    codes = all_codes(element)
    expected = element_values(codes, element).astype(np.float32)
    actual = decode(codes, element)
    assert same_bits(actual, np.where(np.isnan(expected), np.float32(np.nan), expected))


@pytest.mark.parametrize("element", FLOATS)
def test_every_code_decodes_as_gfloat_says(element: Element):
    expected = [gfloat.decode_float(GFLOAT[element], int(c)).fval for c in all_codes(element)]
    assert np.array_equal(decode(all_codes(element), element), expected, equal_nan=True)


@pytest.mark.parametrize("element", NARROW)
def test_every_code_survives_decoding_and_encoding(element: Element):
    codes = all_codes(element)
    values = decode(codes, element)
    kept = np.isfinite(values) & (np.abs(values) <= LARGEST[element])  # not -128, -8
    assert np.array_equal(encode(values, element)[kept], codes[kept])


@pytest.mark.parametrize("element", NARROW)
def test_encoding_rounds_to_nearest_even_and_saturates(element: Element):
    x = np.concatenate([hard_values(element), random_values(1_000_000)])
    assert np.array_equal(encode(x, element), nearest(x, element))


@pytest.mark.parametrize("element", FLOATS)
def test_encoding_agrees_with_gfloat(element: Element):
    x = np.concatenate([hard_values(element), random_values(20_000, seed=1)])
    x = x[np.isfinite(x)].astype(np.float64)
    info = GFLOAT[element]
    kept = gfloat.round_ndarray(info, x, gfloat.RoundMode.TiesToEven, sat=True)
    assert np.array_equal(encode(x, element), gfloat.encode_ndarray(info, kept))


def test_special_values():
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, -1e-30], np.float32)
    assert encode(x, "e4m3").tolist() == [0x7F, 0x7F, 0x7E, 0xFE, 0x80, 0x80]
    assert encode(x, "e5m2").tolist() == [0x7E, 0x7E, 0x7B, 0xFB, 0x80, 0x80]
    assert encode(x, "e2m3").tolist() == [0, 0, 0x1F, 0x3F, 0x20, 0x20]
    assert encode(x, "e2m1").tolist() == [0, 0, 7, 15, 8, 8]
    assert encode(x, "int8").tolist() == [0, 0, 127, 129, 0, 0]
    assert encode(x, "int4").tolist() == [0, 0, 7, 9, 0, 0]
    assert encode(x, "bf16").tolist() == [0x7FC0, 0x7FC0, 0x7F80, 0xFF80, 0x8000, 0x8DA2]


def test_bf16_rounds_as_ml_dtypes_does():
    x = random_values(1_000_000, seed=2)
    ties = (np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    x = np.concatenate([x, ties, ties[np.isfinite(ties)] * np.float32(1 - 2**-20)])
    codes = encode(x, "bf16")
    with np.errstate(all="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(codes, np.where(np.isnan(x), 0x7FC0, expected))
    every = np.arange(1 << 16, dtype=np.uint16)
    assert same_bits(decode(every, "bf16"), (every.astype(np.uint32) << 16).view(np.float32))


def test_fp32_keeps_its_bits():
    x = random_values(1000)
    assert same_bits(decode(encode(x, "fp32"), "fp32"), x)


def test_scales_decode_as_the_oracle_says():
    codes = np.arange(256, dtype=np.uint8)
    e8m0 = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    assert np.array_equal(decode_scale(codes, "e8m0"), e8m0, equal_nan=True)
    e4m3 = element_values(codes, "e4m3")
    assert np.array_equal(decode_scale(codes, "e4m3"), e4m3, equal_nan=True)
    words = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        bf16 = words.view(ml_dtypes.bfloat16).astype(np.float64)
    bf16[np.isinf(bf16)] = np.nan
    assert np.array_equal(decode_scale(words, "bf16"), bf16, equal_nan=True)


@pytest.mark.parametrize("bits", [4, 6, 8, 16, 32])
def test_packing_keeps_every_code_little_endian(bits: int):
    dtype: Any = {16: np.uint16, 32: np.uint32}.get(bits, np.uint8)
    codes = np.random.default_rng(0).integers(0, 1 << bits, (3, 2, 64), np.int64).astype(dtype)
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (3, 2, 8 * bits)
    row = sum(int(code) << (bits * i) for i, code in enumerate(codes[2, 1]))
    assert packed[2, 1].tobytes() == row.to_bytes(8 * bits, "little")
    assert np.array_equal(unpack(packed, bits), codes)


def test_packed_bytes_are_a_copy():
    codes = np.zeros((1, 32), np.uint8)
    pack(codes, 8)[0, 0] = 1
    unpack(codes, 8)[0, 0] = 1
    assert codes[0, 0] == 0
