from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import instructions_of
from tapeout.errors import EncodingError
from tapeout.isa import (
    OPERATIONS,
    Instruction,
    LoadTile,
    Map,
    Nop,
    Operation,
    Queue,
    Set,
    Take,
    decode,
    encode,
)
from tapeout.isa.encoding import (
    BY_OPCODE,
    HEADER,
    HEADER_BITS,
    PAYLOAD_BITS,
    WORD_BYTES,
    fields,
)
from tapeout.isa.instructions import RESERVED
from tapeout.isa.operands import notations

BITS = 8 * WORD_BYTES
LOAD = LoadTile(
    space=0,
    dst=0x400,
    dst_pitch=64,
    src=0x1234,
    src_reg=5,
    src_pitch=4096,
    rows=16,
    rows_reg=0,
    row_bytes=64,
)


def nop(
    *, queue: Queue = Queue.MU, waits: tuple[Take, ...] = (), signal: int = -1, context: int = 0
) -> bytes:
    return encode(Instruction(op=Nop(), queue=queue, waits=waits, signal=signal, context=context))


def set_bits(**values: int) -> bytes:
    """A word with these header fields, made without `encode`."""
    word, low = 0, 0
    for name, bits in HEADER.items():
        word |= values.get(name, 0) << low
        low += bits
    return word.to_bytes(WORD_BYTES, "little")


@pytest.mark.parametrize("cls", OPERATIONS)
@given(data=st.data())
def test_decode_is_the_inverse_of_encode(cls: type[Operation], data: st.DataObject):
    instruction = data.draw(instructions_of(cls))
    word = encode(instruction)
    assert len(word) == WORD_BYTES
    assert decode(word) == instruction


@given(st.binary(min_size=WORD_BYTES, max_size=WORD_BYTES), st.sampled_from(OPERATIONS))
def test_encode_is_the_inverse_of_decode_on_any_bytes(data: bytes, cls: type[Operation]):
    for word in (data, bytes([cls.opcode]) + data[1:]):
        try:
            instruction = decode(word)
        except EncodingError:
            continue
        assert encode(instruction) == word


@pytest.mark.parametrize("cls", OPERATIONS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_another_instruction(cls: type[Operation], data: st.DataObject):
    instruction = data.draw(instructions_of(cls))
    word = int.from_bytes(encode(instruction), "little")
    for bit in range(BITS):
        flipped = (word ^ 1 << bit).to_bytes(WORD_BYTES, "little")
        try:
            other = decode(flipped)
        except EncodingError:
            continue
        assert other != instruction
        assert encode(other) == flipped


@pytest.mark.parametrize("cls", OPERATIONS)
def test_every_bit_that_no_field_covers_must_be_zero(cls: type[Operation]):
    used = HEADER_BITS + sum(field.bits for field in fields(cls).values())
    plain = set_bits(opcode=cls.opcode, queue=cls.queue or 0)
    decode(plain)
    word = int.from_bytes(plain, "little")
    for bit in [*range(sum(HEADER.values()), HEADER_BITS), *range(used, BITS)]:
        with pytest.raises(EncodingError, match=f"reserved bits of {cls.__name__} are set"):
            decode((word | 1 << bit).to_bytes(WORD_BYTES, "little"))


@pytest.mark.parametrize("cls", OPERATIONS)
@given(data=st.data())
def test_a_value_that_does_not_fit_its_field_is_refused(cls: type[Operation], data: st.DataObject):
    if not fields(cls):
        return
    instruction = data.draw(instructions_of(cls))
    name, field = data.draw(st.sampled_from(list(fields(cls).items())))
    wrong = data.draw(st.sampled_from([-field.unit, field.unit << field.bits, 1 << 200]))
    object.__setattr__(instruction.op, name, wrong)
    with pytest.raises(EncodingError, match=f"^{name} must be (in|one of) .*, not {wrong}"):
        encode(instruction)


def test_messages_name_the_field_and_the_rule():
    def problem(**changes: int) -> str:
        values = {name: int(getattr(LOAD, name)) for name in fields(LoadTile)}
        with pytest.raises(EncodingError) as caught:
            encode(Instruction(op=LoadTile(**(values | changes)), queue=Queue.LD))
        return caught.value.problem

    assert problem(dst=0x401) == "dst must be a multiple of 16, not 1025"
    assert problem(dst=1 << 24) == "dst must be in 0..16777200, not 16777216"
    assert problem(rows=2048) == "rows must be in 0..2047, not 2048"
    assert problem(space=2) == "space must be in 0..1, not 2"
    assert problem(space=7) == "space must be one of L1, SCALE, ACC, not 7"


def test_synchronisation_is_checked():
    with pytest.raises(EncodingError, match="waits must be at most 2, not 3"):
        nop(waits=(Take(counter=1),) * 3)
    with pytest.raises(EncodingError, match="of a counter below 64, not 1 of 64"):
        nop(waits=(Take(counter=64),))
    for count in (0, 256):
        with pytest.raises(EncodingError, match=f"wait must take 1..255 of .*, not {count} of 3"):
            nop(waits=(Take(counter=3, count=count),))
    with pytest.raises(EncodingError, match="signal must be -1 or a counter below 64, not 64"):
        nop(signal=64)
    with pytest.raises(EncodingError, match=r"context must be in 0\.\.3, not 4"):
        nop(context=4)
    with pytest.raises(EncodingError, match="Set must run in queue CP, not VU"):
        encode(Instruction(op=Set(rd=1, imm=1), queue=Queue.VU))


def test_words_with_a_second_form_are_refused():
    wrong = [
        set_bits(opcode=Nop.opcode, wait0_counter=5),
        set_bits(opcode=Nop.opcode, wait1_counter=5, wait1_count=1),
        set_bits(opcode=Nop.opcode, signal_counter=5),
    ]
    for word in wrong:
        with pytest.raises(EncodingError, match="reserved bits of Nop are set"):
            decode(word)
    with pytest.raises(EncodingError, match="7 is not a valid Queue"):
        decode(set_bits(opcode=Nop.opcode, queue=7))
    with pytest.raises(EncodingError, match="Set must run in queue CP, not LD"):
        decode(set_bits(opcode=Set.opcode, queue=1))
    with pytest.raises(EncodingError, match=r"fn must be one of COPY, .*, not 15"):
        decode(bytes([Map.opcode, Queue.VU]) + bytes(6) + b"\x0f" + bytes(23))


def test_unknown_opcodes_and_sizes_are_refused():
    with pytest.raises(EncodingError, match="0x00 is not an opcode"):
        decode(bytes(WORD_BYTES))
    with pytest.raises(EncodingError, match="0x0a is not an opcode, but kept for VERDICT"):
        decode(b"\x0a" + bytes(31))
    for size in (0, 31, 33):
        with pytest.raises(EncodingError, match=f"must have 32 bytes, not {size}"):
            decode(bytes(size))


def test_opcodes_and_fields_fit():
    assert len(BY_OPCODE) == len(OPERATIONS)
    assert sum(HEADER.values()) <= HEADER_BITS
    assert HEADER_BITS + PAYLOAD_BITS == BITS
    for cls in OPERATIONS:
        assert not any(cls.opcode in kept for kept in RESERVED)
        assert sum(field.bits for field in fields(cls).values()) <= PAYLOAD_BITS, cls


def test_layout_is_frozen(golden: Callable[[str, str], None]):
    """A difference here is another instruction set: old programs no longer run."""
    lines = [f"header {name} {bits}" for name, bits in HEADER.items()]
    for cls in OPERATIONS:
        queue = "any" if cls.queue is None else f"{cls.queue.name}={int(cls.queue)}"
        lines.append(f"{cls.opcode:#04x} {cls.__name__} {queue}")
        low = HEADER_BITS
        for name, field in fields(cls).items():
            notation = notations(cls)[name]
            at = f"{low}..{low + field.bits - 1}"
            lines.append(f"  {at} {name} unit={field.unit} {notation.form} {notation.meaning}")
            low += field.bits
    golden("isa.txt", "\n".join(lines) + "\n")
