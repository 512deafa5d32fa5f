"""The decoder in hardware refuses what `isa.decode` refuses, and finds what others read."""

import random
from functools import cache

import pytest

from rtl.components import started
from rtl.sequencer_bench import Wires, fields_of, word_of
from tapeout.errors import EncodingError
from tapeout.isa.encoding import decode, encode, fields
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import OPERATIONS, Alu, Instruction, LoadScalar, Loop, Set, Take
from tapeout.rtl.instruction import (
    DECODED,
    NUMBERS,
    READS,
    ROWS,
    ROWS_REGISTERS,
    InstructionDecoder,
)
from tapeout.rtl.trap import Trap

HAVE = (Queue.CP, Queue.LD, Queue.ST, Queue.MU, Queue.VU)


@cache
def wires():
    w = Wires(started(InstructionDecoder()))
    w["load"] = 1
    return w


def decoded(word: int) -> dict[str, int]:
    w = wires()
    w["word"] = word
    w.tick()
    return {**fields_of(DECODED, w["decoded"]), **fields_of(NUMBERS, w["numbers"])}


def fault_of(word: int) -> Trap:
    """What must be wrong with a word."""
    opcodes = {cls.opcode: cls for cls in OPERATIONS}
    cls, queue = opcodes.get(word & 0xFF), word >> 8 & 7
    if cls is None or queue not in ((cls.queue,) if cls.queue is not None else HAVE):
        return Trap.OPCODE
    try:
        decode(word.to_bytes(32, "little"))
    except EncodingError:
        return Trap.FIELD
    return Trap.NONE


def random_word(cls, rng: random.Random) -> int:
    """A legal instruction."""
    values = {}
    for name, field in fields(cls).items():
        values[name] = rng.getrandbits(field.bits)
        if field.kind is not None:
            legal = [v for v in field.kind.__members__.values() if v < 1 << field.bits]
            values[name] = rng.choice(legal)
        values[name] *= field.unit
    waits = [Take(counter=rng.randrange(64), count=rng.randrange(1, 256)) for _ in range(2)]
    instruction = Instruction(
        op=cls(**values),
        queue=cls.queue if cls.queue is not None else rng.choice(HAVE),
        waits=tuple(waits[: rng.randrange(3)]),
        signal=rng.randrange(-1, 64),
        context=rng.randrange(4),
    )
    return int.from_bytes(encode(instruction), "little")


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_every_bit_of_an_operation(cls):
    rng = random.Random(cls.opcode)
    for _ in range(6):
        word = random_word(cls, rng)
        assert decoded(word)["fault"] == Trap.NONE
        for bit in range(256):
            changed = word ^ 1 << bit
            assert decoded(changed)["fault"] == fault_of(changed), f"bit {bit} of {word:#x}"


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_headers_at_random(cls):
    rng = random.Random(cls.opcode)
    for _ in range(300):
        word = random_word(cls, rng) & ~(rng.getrandbits(40) << 8) | rng.getrandbits(3) << 8
        assert decoded(word)["fault"] == fault_of(word), f"{word:#x}"


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_every_member_of_enumerations(cls):
    word = random_word(cls, random.Random(1))
    low = 64
    for field in fields(cls).values():
        for value in range(1 << field.bits if field.kind else 0):
            changed = word & ~(((1 << field.bits) - 1) << low) | value << low
            assert decoded(changed)["fault"] == fault_of(changed)
        low += field.bits


def test_opcodes():
    for opcode in range(256):
        for queue in range(8):
            word = opcode | queue << 8
            assert decoded(word)["fault"] == fault_of(word)


@pytest.mark.parametrize("cls", OPERATIONS, ids=lambda cls: cls.__name__)
def test_what_is_in_an_instruction(cls):
    rng = random.Random(cls.opcode)
    for _ in range(20):
        word = random_word(cls, rng)
        op = decode(word.to_bytes(32, "little")).op
        got = decoded(word)
        reads = zip("xyz", READS.get(cls, ()), strict=False)
        want = {name: getattr(op, field) for name, field in reads}
        names = fields(cls)
        for name in names:
            if name in ROWS:
                want["rows"] = getattr(op, name)
            if name in ROWS_REGISTERS or (name == "count" and cls is not Loop):
                want |= {"z": getattr(op, name), "adds_z": 1}
        if cls in (Set, Alu, LoadScalar):
            want["rd"] = op.rd
        immediate = {Set: "imm", Alu: "imm", LoadScalar: "address", Loop: "length"}.get(cls)
        if immediate:
            want["immediate"] = getattr(op, immediate)
        assert got == dict.fromkeys(got, 0) | want


def test_decoded_stays_until_the_next_load():
    w = wires()
    first = decoded(random_word(Set, random.Random(1)))
    w["load"], w["word"] = 0, random_word(Set, random.Random(2))
    w.tick()
    assert w["decoded"] == word_of(DECODED, **{name: first[name] for name, _ in DECODED})
    w["load"] = 1
