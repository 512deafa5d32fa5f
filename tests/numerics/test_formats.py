import pytest

from tapeout.errors import ConfigError
from tapeout.numerics import FORMATS, check_pair, format_named, format_of_code, segments

SIZES = {  # bytes of 32 elements, bits per element with scales
    "int8": (32, 8.5),
    "int4_g32": (16, 4.5),
    "int4_g128": (16, 4.125),
    "fp8_e4m3": (32, 8),
    "fp8_e5m2": (32, 8),
    "mxfp8_e4m3": (32, 8.25),
    "mxfp8_e5m2": (32, 8.25),
    "mxfp6_e2m3": (24, 6.25),
    "mxfp6_e3m2": (24, 6.25),
    "mxfp4": (16, 4.25),
    "mxint8": (32, 8.25),
    "nvfp4": (16, 4.5),
    "bf16": (64, 16),
    "fp32": (128, 32),
}


def test_sizes_are_those_of_the_published_formats():
    assert {f.name: (f.block_bytes, f.bits_per_element) for f in FORMATS} == SIZES


def test_codes_are_four_bits_and_distinct():
    assert sorted(f.code for f in FORMATS) == list(range(len(FORMATS)))
    assert len(FORMATS) <= 16
    assert all(format_of_code(f.code) is f and format_named(f.name) is f for f in FORMATS)


def test_rows_are_padded_to_whole_blocks():
    assert format_named("mxfp6_e2m3").row_bytes(33) == 48
    assert format_named("mxfp4").scale_row_bytes(33) == 2
    assert format_named("nvfp4").scale_row_bytes(33) == 4
    assert format_named("int4_g128").scale_row_bytes(160) == 4
    assert format_named("int8").scale_row_bytes(4096, per_row=True) == 2
    assert format_named("bf16").scale_row_bytes(64) == 0


def test_unknown_formats_are_user_errors():
    with pytest.raises(ConfigError, match=r"not mxpf4; did you mean `mxfp4`\?"):
        format_named("mxpf4")
    with pytest.raises(ConfigError, match=r"format code must be in 0\.\.13, not 14"):
        format_of_code(14)


def test_only_formats_of_one_narrow_family_multiply():
    families = {f.name: f.family for f in FORMATS}
    assert {n for n, f in families.items() if f == "int"} == {
        "int8",
        "int4_g32",
        "int4_g128",
        "mxint8",
    }
    assert {n for n, f in families.items() if f == "wide"} == {"bf16", "fp32"}
    for a in FORMATS:
        for b in FORMATS:
            if a.family == b.family != "wide":
                check_pair(a, b)
            else:
                with pytest.raises(ConfigError, match="must be both int or both float"):
                    check_pair(a, b)


def test_segments_follow_their_definition():
    for k in range(0, 20000, 7):
        blocks = -(-k // 32)
        allowed = [s for s in (2, 4, 8) if blocks % s == 0 and blocks * 32 // s >= 1024]
        assert segments(k) == max([1, *allowed])
    assert [segments(k) for k in (512, 1024, 2048, 4096, 8192, 11008)] == [1, 1, 2, 4, 8, 8]
