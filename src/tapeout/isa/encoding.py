"""Binary form of instructions: 256 bits, a 64-bit header and a 192-bit payload, little-endian."""

import dataclasses
from functools import cache
from typing import get_type_hints

from tapeout.errors import EncodingError
from tapeout.isa.fields import COUNTER_MAX, COUNTERS, Field, Queue
from tapeout.isa.instructions import OPERATIONS, RESERVED, Instruction, Operation, Take

WORD_BYTES = 32
HEADER_BITS = 64
PAYLOAD_BITS = 192
MAX_WAITS = 2
HEADER: dict[str, int] = {
    "opcode": 8,
    "queue": 3,
    "context": 2,
    "wait0_counter": 6,
    "wait0_count": 8,
    "wait1_counter": 6,
    "wait1_count": 8,
    "signal_counter": 6,
    "signal_count": 1,
}
"""Header field -> width in bits, from the low bit upwards; the rest of the header is zero."""

BY_OPCODE = {cls.opcode: cls for cls in OPERATIONS}


@cache
def fields(cls: type[Operation]) -> dict[str, Field]:
    """Payload field -> its width and unit, from the low bit upwards."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name].__metadata__[0] for f in dataclasses.fields(cls)}


def encode(instruction: Instruction) -> bytes:
    """Pack an instruction into 32 bytes.

    Raises:
        EncodingError: if a value does not fit its field.
    """
    op = instruction.op
    _check_header(instruction)
    waits = [*instruction.waits, *[Take(counter=0, count=0)] * (MAX_WAITS - len(instruction.waits))]
    header = {
        "opcode": op.opcode,
        "queue": int(instruction.queue),
        "context": instruction.context,
        "wait0_counter": waits[0].counter,
        "wait0_count": waits[0].count,
        "wait1_counter": waits[1].counter,
        "wait1_count": waits[1].count,
        "signal_counter": max(instruction.signal, 0),
        "signal_count": int(instruction.signal >= 0),
    }
    word, low = 0, 0
    for name, bits in HEADER.items():
        word |= _fit(name, header[name], bits, op) << low
        low += bits
    low = HEADER_BITS
    for name, field in fields(type(op)).items():
        word |= _fit(name, int(getattr(op, name)), field.bits, op, unit=field.unit) << low
        low += field.bits
    return word.to_bytes(WORD_BYTES, "little")


def decode(data: bytes) -> Instruction:
    """Unpack 32 bytes; the inverse of `encode`.

    Raises:
        EncodingError: if the bytes are no instruction, or a bit that must be zero is set.
    """
    if len(data) != WORD_BYTES:
        raise EncodingError(f"an instruction must have {WORD_BYTES} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    head: dict[str, int] = {}
    rest = word
    for name, bits in HEADER.items():
        head[name] = rest & ((1 << bits) - 1)
        rest >>= bits
    if (cls := BY_OPCODE.get(head["opcode"])) is None:
        use = next((f", but kept for {u}" for r, u in RESERVED.items() if head["opcode"] in r), "")
        raise EncodingError(
            f"{head['opcode']:#04x} is not an opcode{use}", where=f"word {data.hex()}"
        )
    values: dict[str, int] = {}
    rest = word >> HEADER_BITS
    for name, field in fields(cls).items():
        values[name] = (rest & ((1 << field.bits) - 1)) * field.unit
        rest >>= field.bits
    try:
        waits = tuple(
            Take(counter=head[f"wait{i}_counter"], count=head[f"wait{i}_count"])
            for i in range(MAX_WAITS)
            if head[f"wait{i}_count"]
        )
        instruction = Instruction(
            op=cls(**values),
            queue=Queue(head["queue"]),
            waits=waits,
            signal=head["signal_counter"] if head["signal_count"] else -1,
            context=head["context"],
        )
    except ValueError as error:
        raise EncodingError(str(error), where=f"word {data.hex()}") from error
    if encode(instruction) != data:
        raise EncodingError(f"reserved bits of {cls.__name__} are set", where=f"word {data.hex()}")
    return instruction


def _fit(name: str, value: int, bits: int, op: Operation, *, unit: int = 1) -> int:
    """`value` in units of its field."""
    if value % unit:
        raise EncodingError(f"{name} must be a multiple of {unit}, not {value}", where=repr(op))
    if not 0 <= value < unit << bits:
        highest = unit * ((1 << bits) - 1)
        raise EncodingError(f"{name} must be in 0..{highest}, not {value}", where=repr(op))
    return value // unit


def _check_header(instruction: Instruction) -> None:
    op = instruction.op
    if op.queue is not None and op.queue != instruction.queue:
        raise EncodingError(
            f"{type(op).__name__} must run in queue {op.queue.name}, not {instruction.queue.name}"
        )
    if (count := len(instruction.waits)) > MAX_WAITS:
        raise EncodingError(f"waits must be at most {MAX_WAITS}, not {count}", where=repr(op))
    for take in instruction.waits:
        if not (0 <= take.counter < COUNTERS and 1 <= take.count <= COUNTER_MAX):
            raise EncodingError(
                f"wait must take 1..{COUNTER_MAX} of a counter below {COUNTERS},"
                f" not {take.count} of {take.counter}",
                where=repr(op),
            )
    if not -1 <= instruction.signal < COUNTERS:
        raise EncodingError(
            f"signal must be -1 or a counter below {COUNTERS}, not {instruction.signal}",
            where=repr(op),
        )
    for name, field in fields(type(op)).items():
        value = getattr(op, name)
        if field.kind is not None and value not in field.kind.__members__.values():
            raise EncodingError(
                f"{name} must be one of {', '.join(field.kind.__members__)}, not {value}",
                where=repr(op),
            )
