"""How the value of each kind of instruction field is written in text, and read back."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, partial
from typing import Any, get_type_hints

import numpy as np

from tapeout import config
from tapeout.isa.encoding import fields
from tapeout.isa.fields import (
    COUNTERS,
    REGISTERS,
    AccAddress,
    Field,
    Flag,
    Float32Bits,
    FormatCode,
    HbmAddress,
    HbmPitch,
    L1Address,
    L1Pitch,
    Register,
    RowBytes,
    ScaleAddress,
    ScaleModeCode,
    ScalePitch,
    ScaleWordAddress,
)
from tapeout.isa.instructions import Operation
from tapeout.numerics import FORMATS, ScaleMode


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How the values of one kind of field are written."""

    meaning: str
    form: str
    write: Callable[[int], str]
    read: Callable[[str], int]
    """Raises ValueError, saying what the text must be."""


def read_number(text: str) -> int:
    """A decimal, or 0x and hexadecimal digits."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"must be a number such as 16 or 0x10, not `{text}`") from None


def read_register(text: str) -> int:
    """The number of `r5`."""
    return _read_indexed(text, letter="r", count=REGISTERS)


def read_counter(text: str) -> int:
    """The number of `c5`."""
    return _read_indexed(text, letter="c", count=COUNTERS)


def _read_indexed(text: str, *, letter: str, count: int) -> int:
    digits = text.removeprefix(letter)
    if digits == text or not (digits.isascii() and digits.isdigit()) or int(digits) >= count:
        raise ValueError(f"must be {letter}0..{letter}{count - 1}, not `{text}`")
    return int(digits)


def write_float32(bits: int) -> str:
    """The shortest decimal that reads back as these bits of an FP32; NaNs are bits."""
    text = str(np.array(bits, np.uint32).view(np.float32)[()])
    if "nan" in text:
        return f"{bits:#010x}"
    return text


def read_float32(text: str) -> int:
    """The bits of an FP32 given as a decimal, `inf`, or its bits as 0x and hexadecimal digits."""
    if text.lower().startswith("0x"):
        return read_number(text)
    try:
        return int.from_bytes(struct.pack("<f", float(text)), "little")
    except (ValueError, OverflowError):
        raise ValueError(f"must be an FP32 number, not `{text}`") from None


def _named(meaning: str, names: dict[str, int]) -> Notation:
    """A notation by name; a value that has none is written as a number."""
    texts = {value: name for name, value in names.items()}
    return Notation(
        meaning=meaning,
        form="|".join(names),
        write=lambda value: texts.get(value, str(int(value))),
        read=partial(_read_name, names),
    )


def _read_name(names: dict[str, int], text: str) -> int:
    if text in names:
        return names[text]
    if text[:1].isdigit():
        return read_number(text)
    near = config.did_you_mean(text, names)
    raise ValueError(f"must be one of {', '.join(names)}, not `{text}`{near}")


def _members(kind: type[IntEnum], values: Iterable[int]) -> dict[str, int]:
    return {member.name: int(member) for member in kind if member in values}


def _numbers(meaning: str, write: Callable[[int], str] = str, form: str = "N") -> Notation:
    return Notation(meaning=meaning, form=form, write=write, read=read_number)


_NUMBER = _numbers("number", lambda value: str(int(value)))
_NOTATIONS: dict[Any, Notation] = {
    Register: Notation(
        meaning="register", form="rN", write=lambda value: f"r{value}", read=read_register
    ),
    L1Address: _numbers("byte address in L1, or in the memory that `space` names", hex, "0xN"),
    L1Pitch: _numbers("bytes from row to row"),
    ScaleAddress: _numbers("byte address in the scale memory", hex, "0xN"),
    ScaleWordAddress: _numbers("byte address in the scale memory", hex, "0xN"),
    ScalePitch: _numbers("bytes from row to row"),
    AccAddress: _numbers("byte address in the accumulators", hex, "0xN"),
    HbmAddress: _numbers("byte address in memory", hex, "0xN"),
    HbmPitch: _numbers("bytes"),
    RowBytes: _numbers("bytes"),
    Flag: _numbers("0 or 1", form="0|1"),
    FormatCode: _named("number format", {fmt.name: fmt.code for fmt in FORMATS}),
    ScaleModeCode: _named("scale rounding", _members(ScaleMode, ScaleMode)),
    Float32Bits: Notation(meaning="FP32 number", form="X", write=write_float32, read=read_float32),
}


@cache
def notations(cls: type[Operation]) -> dict[str, Notation]:
    """Payload field -> how it is written."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: _notation(hints[name], field) for name, field in fields(cls).items()}


def _notation(annotation: Any, field: Field) -> Notation:
    if field.kind is not None:
        members = _members(field.kind, range(1 << field.bits))
        return _named(f"`{field.kind.__name__}`", members)
    return _NOTATIONS.get(annotation, _NUMBER)


@cache
def memory_fields(cls: type[Operation]) -> tuple[str, ...]:
    """The payload fields that hold an address outside the core."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(name for name in fields(cls) if hints[name] == HbmAddress)


def register_of(cls: type[Operation], name: str) -> str:
    """The field with the register that is added to the field `name`, or ""."""
    register = f"{name}_reg"
    return register if register in fields(cls) else ""


def is_added_register(cls: type[Operation], name: str) -> bool:
    """Whether `name` is written as a part of another field: `rows=0+r4`."""
    return name.endswith("_reg") and name.removesuffix("_reg") in fields(cls)


def form(cls: type[Operation]) -> str:
    """How an instruction with this operation is written."""
    queue = "QUEUE" if cls.queue is None else cls.queue.name
    parts = [queue, cls.__name__.lower()]
    for name, notation in notations(cls).items():
        if not is_added_register(cls, name):
            added = "[+rN]" if register_of(cls, name) else ""
            parts.append(f"{name}={notation.form}{added}")
    return " ".join([*parts, "[wait=cN*K,cN*K] [context=N] [-> cN]"])
