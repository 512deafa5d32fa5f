import dataclasses
import hashlib
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from strategies import programs
from tapeout.errors import EncodingError
from tapeout.isa import (
    End,
    Instruction,
    LoadScalar,
    Nop,
    Placement,
    Program,
    Queue,
    Region,
    Scalar,
    Table,
    Take,
    from_bytes,
    read_program,
    to_bytes,
    write_program,
)
from tapeout.isa.program import DIGEST_BYTES, MAGIC, START, VERSION

WEIGHTS = Region(name="weights", address=0, size_bytes=1024, kind="weights")
INPUT = Region(name="input", address=4096, size_bytes=64, kind="input")
POSITION = Scalar(name="position", register=1, low=0, high=4095)
TOKENS = Table(name="tokens", address=4096, count=16, low=0, high=511)
TENSOR = Placement(
    name="norm.weight",
    address=0,
    rows=8,
    columns=64,
    format="mxfp8_e4m3",
    pitch_bytes=64,
    scale_address=512,
    scale_pitch_bytes=16,
)
END = Instruction(op=End(), queue=Queue.CP)
SMALL = Program(
    name="small",
    chip="0123456789ab",
    cores=(
        (
            Instruction(op=LoadScalar(rd=2, address=4096, address_reg=1), queue=Queue.CP),
            Instruction(op=Nop(), queue=Queue.MU, waits=(Take(counter=3, count=2),), signal=4),
            END,
        ),
        (END,),
    ),
    scalars=(POSITION,),
    regions=(WEIGHTS, INPUT),
    tables=(TOKENS,),
    placements=(TENSOR,),
    notes={"model": "tiny", "layers": 2},
)
DATA = to_bytes(SMALL)


def signed(data: bytes) -> bytes:
    """Data with a correct checksum."""
    return data + hashlib.sha256(data).digest()


def with_header(text: bytes) -> bytes:
    """The small program with another header."""
    words = DATA[START.size + START.unpack_from(DATA)[2] : -DIGEST_BYTES]
    return signed(START.pack(MAGIC, VERSION, len(text), len(words) // 32) + text + words)


def header() -> dict[str, object]:
    return msgspec.json.decode(DATA[START.size : START.size + START.unpack_from(DATA)[2]])


def problem(data: bytes) -> str:
    with pytest.raises(EncodingError) as caught:
        from_bytes(data)
    return caught.value.problem


def unwritable(**changes: object) -> str:
    with pytest.raises(EncodingError) as caught:
        to_bytes(dataclasses.replace(SMALL, **changes))  # pyright: ignore[reportArgumentType]
    return caught.value.problem


@settings(max_examples=50)
@given(programs())
def test_a_program_survives_its_file(program: Program):
    data = to_bytes(program)
    assert from_bytes(data) == program
    assert to_bytes(from_bytes(data)) == data


def test_files_are_written_and_read(tmp_path: Path):
    path = tmp_path / "small.tapeout"
    path.write_bytes(b"old")
    write_program(SMALL, path)
    assert read_program(path) == SMALL
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_never_sees_the_new_one(tmp_path: Path):
    path = tmp_path / "small.tapeout"
    write_program(SMALL, path)
    with path.open("rb") as old:
        write_program(dataclasses.replace(SMALL, name="other"), path)
        assert old.read() == DATA
    assert read_program(path).name == "other"


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path):
    path = tmp_path / "small.tapeout"
    write_program(SMALL, path)
    broken = dataclasses.replace(SMALL, regions=(INPUT, INPUT))
    with pytest.raises(EncodingError, match="two regions have the name `input`"):
        write_program(broken, path)
    assert read_program(path) == SMALL
    (tmp_path / "folder").mkdir()
    with pytest.raises(EncodingError, match="cannot write the file") as caught:
        write_program(SMALL, tmp_path / "folder")
    assert caught.value.where == str(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "small.tapeout"]


def test_every_change_of_one_byte_is_refused():
    for at in range(len(DATA)):
        for change in (1, 0x80, 0xFF):
            data = bytearray(DATA)
            data[at] ^= change
            with pytest.raises(EncodingError):
                from_bytes(bytes(data))


def test_a_changed_bit_in_the_body_is_called_that():
    data = bytearray(DATA)
    data[START.size + 3] ^= 4
    assert problem(bytes(data)).endswith("a bit of the file has changed")


def test_every_cut_is_refused():
    for size in range(len(DATA)):
        assert "cut off" in problem(DATA[:size]) or size < len(MAGIC)


def test_what_follows_the_end_is_refused():
    assert problem(DATA + b"\0") == "1 bytes follow the end of the program"


def test_another_kind_of_file_is_refused(tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text("something else entirely")
    with pytest.raises(EncodingError, match="a program file must begin with TAPEOUT1") as caught:
        read_program(path)
    assert caught.value.where == str(path)
    with pytest.raises(EncodingError, match="cannot read the file: No such file"):
        read_program(tmp_path / "none")
    with pytest.raises(EncodingError, match="cannot read the file: Is a directory"):
        read_program(tmp_path)


def test_other_versions_are_refused():
    data = signed(START.pack(MAGIC, 7, 0, 0))
    assert problem(data) == "program format 7 is unknown: this tapeout reads format 1"


def test_claimed_sizes_are_not_allocated():
    for header_bytes, count in [(0xFFFFFFFF, 0), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)]:
        data = signed(START.pack(MAGIC, VERSION, header_bytes, count))
        assert problem(data).startswith("the file is cut off: it must have")
    many = {**header(), "instructions": [1 << 40, 0]}
    assert problem(with_header(msgspec.json.encode(many, order="sorted"))) == (
        "the header must count 4 instructions, not 1099511627776"
    )


def test_headers_are_strict():
    def changed(**keys: object) -> str:
        return problem(with_header(msgspec.json.encode({**header(), **keys}, order="sorted")))

    assert changed(colour=1) == "unknown key `colour`"
    region = {"name": "weights", "address": 0, "size_bytes": 1024, "kind": "weights"}
    assert changed(regions=[{**region, "color": 1}]) == "unknown key `color`"
    assert "Expected `int`, got `str`" in changed(regions=[{**region, "address": "0"}])
    assert "Invalid enum value 'heap'" in changed(regions=[{**region, "kind": "heap"}])
    assert "not in the form" in problem(with_header(msgspec.json.encode(header()) + b" "))
    text = msgspec.json.encode(header(), order="sorted")
    assert "not in the form" in problem(with_header(b'{"chip":"other",' + text[1:]))
    assert "got `float`" in problem(with_header(text.replace(b":4096", b":4096.0")))
    assert "Object missing required field" in problem(with_header(b"{}"))
    assert "malformed" in problem(with_header(b"nonsense"))
    assert problem(with_header(b'{"x":"\xff"}'))
    assert problem(with_header(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    assert problem(with_header(b'{"name":' + b"9" * 10_000 + b"}"))


def test_a_bad_word_is_named_with_its_place():
    data = bytearray(DATA[:-DIGEST_BYTES])
    data[-32] = 0
    with pytest.raises(EncodingError, match="0x00 is not an opcode") as caught:
        from_bytes(signed(bytes(data)))
    assert caught.value.where.startswith("core 1, instruction 0, word 00")


def test_memory_maps_must_hold_together():
    late = Region(name="late", address=(1 << 40) - 16, size_bytes=32, kind="work")
    assert unwritable(regions=(WEIGHTS, INPUT, late)) == (
        "region `late` must end by 0x10000000000, not 0x10000000010"
    )
    over = Region(name="over", address=4159, size_bytes=1, kind="work")
    assert unwritable(regions=(over, WEIGHTS, INPUT)) == (
        "regions `input` and `over` overlap at 0x103f"
    )
    assert "Expected `int` >= 0" in unwritable(regions=(dataclasses.replace(INPUT, address=-1),))
    after = dataclasses.replace(over, address=4160)
    assert to_bytes(dataclasses.replace(SMALL, regions=(after, WEIGHTS, INPUT)))


def test_scalars_tables_and_placements_are_checked():
    assert unwritable(scalars=(POSITION, dataclasses.replace(POSITION, name="x"))) == (
        "two scalars have the name `r1`"
    )
    assert unwritable(scalars=(dataclasses.replace(POSITION, low=5000),)) == (
        "scalar `position` must have low <= high, not 5000 and 4095"
    )
    assert "Expected `int` >= 1" in unwritable(scalars=(dataclasses.replace(POSITION, register=0),))
    assert unwritable(tables=(dataclasses.replace(TOKENS, count=17),)) == (
        "table `tokens` must lie in an input region"
    )
    assert unwritable(tables=(dataclasses.replace(TOKENS, high=0, low=1),)) == (
        "table `tokens` must have low <= high, not 1 and 0"
    )
    assert unwritable(placements=(dataclasses.replace(TENSOR, address=4096),)) == (
        "`norm.weight` at 0x1000 must lie in a weights or constants region"
    )
    assert unwritable(placements=(dataclasses.replace(TENSOR, scale_address=1000),)) == (
        "`norm.weight` at 0x3e8 must lie in a weights or constants region"
    )


def test_programs_that_cannot_be_written_are_refused():
    assert unwritable(cores=()) == "Expected `array` of length >= 1 - at `$.instructions`"
    assert unwritable(notes={"x": 1 << 70})
    assert unwritable(name="\ud800")
    bad = Instruction(op=Nop(), queue=Queue.MU, signal=64)
    assert unwritable(cores=((bad,),)).startswith("signal must be -1 or a counter below 64")


def test_the_start_of_a_file_is_frozen():
    assert START.size == struct.calcsize("<8sIII") == 20
    assert DATA.startswith(b"TAPEOUT1\x01\0\0\0")
