import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.units import PREFIXES, binary, parse, si


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("512 KiB", "B", 524288),
        ("1.2 GHz", "Hz", 1.2e9),
        ("8 TB/s", "B/s", 8e12),
        ("5us", "s", 5e-6),
        (" 3e2 W ", "W", 300),
        ("64 B", "B", 64),
    ],
)
def test_parse(text: str, unit: str, value: float):
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("512", "B"), ("512 KB/s", "B"), ("512 XB", "B"), ("-1 B", "B"), ("1.2.3 B", "B"), ("", "B")],
)
def test_what_is_no_quantity_is_refused(text: str, unit: str):
    with pytest.raises(ValueError, match="is not a quantity in B"):
        parse(text, unit)


def test_whole_numbers_stay_integers():
    assert isinstance(parse("1.5 kB", "B"), int)
    assert isinstance(parse("0.5 B", "B"), float)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23e-3, "1.23 ms"), (0, "0 s"), (999, "999 s"), (2.5e15, "2.5 Ps"), (-4e-9, "-4 ns")],
)
def test_si(value: float, text: str):
    assert si(value, "s") == text


def test_binary():
    assert [binary(n) for n in (12, 65536, 1.5 * 2**20, 2**40)] == [
        "12 B",
        "64 KiB",
        "1.5 MiB",
        "1024 GiB",
    ]


@given(st.integers(1, 999), st.sampled_from(sorted(PREFIXES)))
def test_what_is_printed_can_be_read(number: int, prefix: str):
    value = number * PREFIXES[prefix]
    assert parse(si(value, "B"), "B") == pytest.approx(value, rel=5e-3)
