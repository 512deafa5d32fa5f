"""Payloads of streams as bytes, from and to numpy arrays: what a simulation is fed with."""

from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
CHUNK = 1 << 14  # beats that are unpacked to bits at a time


def pack(layout: data.StructLayout, **arrays: Any) -> U8:
    """Beats [n, bytes] of a layout whose fields are integers, arrays of them, or structures.

    A field is [n], or [n, length] of an array, or a dict of a structure's fields; negative
    integers become two's complement.
    """
    n = _length(arrays)
    out = np.zeros((n, -(-layout.size // 8)), np.uint8)
    for start in range(0, n, CHUNK):
        part = slice(start, min(n, start + CHUNK))
        bits = np.zeros((part.stop - start, out.shape[1] * 8), np.uint8)
        _fill(bits, layout, arrays, part)
        out[part] = np.packbits(bits, axis=1, bitorder="little")
    return out


def unpack(layout: data.StructLayout, beats: U8) -> dict[str, NDArray[Any]]:
    """The fields of beats [n, bytes] as unsigned integers, [n] or [n, length]."""
    bits = np.unpackbits(beats, axis=1, bitorder="little")
    out: dict[str, NDArray[Any]] = {}
    for name, field in layout:
        count, width = _elements(field.shape)
        columns = bits[:, field.offset : field.offset + field.width]
        words = columns.reshape(len(beats), count, width).astype(np.uint64)
        values = words @ (np.uint64(1) << np.arange(width, dtype=np.uint64))
        out[name] = values if isinstance(field.shape, data.ArrayLayout) else values[:, 0]
    return out


def _length(arrays: dict[str, Any]) -> int:
    first = next(iter(arrays.values()))
    return _length(first) if isinstance(first, dict) else len(first)


def _fill(bits: U8, layout: data.StructLayout, arrays: dict[str, Any], part: slice) -> None:
    assert set(arrays) == set(layout.members), f"fields must be {set(layout.members)}"
    for name, field in layout:
        columns = bits[:, field.offset : field.offset + field.width]
        if isinstance(field.shape, data.StructLayout):
            _fill(columns, field.shape, arrays[name], part)
        else:
            columns[:] = _to_bits(arrays[name][part], _elements(field.shape)[1])


def _elements(shape: Any) -> tuple[int, int]:
    """How many integers of how many bits."""
    if isinstance(shape, data.ArrayLayout):
        return shape.length, Shape.cast(shape.elem_shape).width
    return 1, Shape.cast(shape).width


def _to_bits(values: NDArray[Any], width: int) -> U8:
    values = np.asarray(values)
    values = values.reshape(len(values), -1)
    size_bytes = 1 if width <= 8 else 2 if width <= 16 else 4 if width <= 32 else 8
    words = values.astype(f"<u{size_bytes}" if values.dtype.kind == "u" else f"<i{size_bytes}")
    raw = np.ascontiguousarray(words).view(np.uint8)
    raw = raw.reshape(*values.shape, size_bytes)
    bits = np.unpackbits(raw, axis=-1, bitorder="little")[..., :width]
    return bits.reshape(len(values), -1)
