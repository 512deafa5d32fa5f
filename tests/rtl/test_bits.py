"""Payloads to bytes and back."""

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from tapeout.rtl.bits import CHUNK, pack, unpack

INNER = data.StructLayout({"x": 3, "y": data.ArrayLayout(5, 3)})


@given(st.integers(1, 64), st.integers(1, 20), st.integers(1, 4), st.integers(0, 99))
def test_round_trip(width, other, length, seed):
    rng = np.random.default_rng(seed)
    layout = data.StructLayout({"a": width, "b": data.ArrayLayout(other, length), "c": 1})
    a = (
        rng.integers(0, 1 << width, 5, dtype=np.uint64, endpoint=False)
        if width < 64
        else (rng.integers(0, (1 << 64) - 1, 5, dtype=np.uint64))
    )
    b, c = rng.integers(0, 1 << other, (5, length)), rng.integers(0, 2, 5)
    fields = unpack(layout, pack(layout, a=a, b=b, c=c))
    assert np.array_equal(fields["a"], a)
    assert np.array_equal(fields["b"], b)
    assert np.array_equal(fields["c"], c)


def test_bits_are_where_amaranth_puts_them():
    layout = data.StructLayout({"a": 4, "b": INNER, "c": signed(6)})
    values = {"a": 9, "b": {"x": 5, "y": [1, 30, 17]}, "c": -7}
    beats = pack(layout, **_columns(values))
    assert int.from_bytes(beats[0].tobytes(), "little") == layout.const(values).as_value().value


def _columns(value):
    if isinstance(value, dict):
        return {name: _columns(each) for name, each in value.items()}
    return np.array([value])


def test_more_beats_than_a_chunk():
    layout = data.StructLayout({"a": 16})
    a = np.arange(CHUNK + 3) & 0xFFFF
    assert np.array_equal(unpack(layout, pack(layout, a=a))["a"], a)


def test_every_field_is_given():
    with pytest.raises(AssertionError, match="fields must be"):
        pack(INNER, x=np.zeros(1, int))
