import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import instructions, instructions_of
from tapeout.errors import EncodingError
from tapeout.isa import (
    OPERATIONS,
    Instruction,
    Nop,
    Norm,
    Operation,
    Queue,
    Take,
    from_text,
    instructions_from_text,
    to_text,
)
from tapeout.isa.operands import read_float32, write_float32

LOAD = (
    "LD   loadtile space=L1 dst=0x400 dst_pitch=64 src=0x1234+r5 src_pitch=4096 rows=16"
    " row_bytes=64 wait=c7*2,c9 -> c3"
)


@pytest.mark.parametrize("cls", OPERATIONS)
@given(data=st.data())
def test_from_text_is_the_inverse_of_to_text(cls: type[Operation], data: st.DataObject):
    instruction = data.draw(instructions_of(cls))
    assert from_text(to_text(instruction)) == instruction


@given(st.lists(instructions(), max_size=8))
def test_a_listing_reads_back_with_its_comments(listing: list[Instruction]):
    lines = [f"   {to_text(instruction)} ; wait=nonsense" for instruction in listing]
    text = "; title\n\n" + "\n \n".join(lines) + "\n"
    assert instructions_from_text(text) == tuple(listing)


def test_lines_are_written_as_the_reference_says():
    assert to_text(from_text(LOAD)) == LOAD
    nop = Instruction(op=Nop(), queue=Queue.VU, waits=(Take(counter=1),), signal=2, context=3)
    assert to_text(nop) == "VU   nop wait=c1 context=3 -> c2"


def test_operands_may_come_in_any_order_and_base():
    line = (
        "LD loadtile row_bytes=0x40 rows=16+r0 src_pitch=4096 src=4660+r5 wait=c7*2,c9*1"
        " dst_pitch=64 dst=1024 space=0 -> c3"
    )
    assert from_text(line) == from_text(LOAD)


@given(st.integers(0, (1 << 32) - 1))
def test_fp32_numbers_keep_every_bit(bits: int):
    assert read_float32(write_float32(bits)) == bits


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x3727C5AC, "1e-05"),
        (0x3F800000, "1.0"),
        (0x80000000, "-0.0"),
        (0x7F800000, "inf"),
        (0xFF800000, "-inf"),
        (0x00000001, "1e-45"),
        (0x7F7FFFFF, "3.4028235e+38"),
        (0x7FC00001, "0x7fc00001"),
    ],
)
def test_fp32_numbers_are_readable(bits: int, text: str):
    assert write_float32(bits) == text
    assert read_float32(text) == bits


def test_fp32_fields_are_numbers():
    line = (
        "VU   norm src=0x0 src_pitch=256 gamma=0x100 eps=1e-06 dst=0x200 dst_pitch=256 rows=1+r2"
        " columns=64"
    )
    op = from_text(line).op
    assert isinstance(op, Norm)
    assert (op.eps, op.rows_reg) == (0x358637BD, 2)
    assert to_text(from_text(line)) == line


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "an instruction must begin with a queue and an operation, not ``"),
        ("LD", "an instruction must begin with a queue and an operation, not `LD`"),
        ("CP lop count=r1 length=2", "`lop` is no operation; did you mean `loop`?"),
        ("CO end", "queue must be one of CP, LD, ST, MU, VU, BSEL, NET, not `CO`"),
        ("LD end", "End must run in queue CP, not LD"),
        ("CP loop count=r1", "loop must have the operand `length`"),
        ("CP loop count=r1 lenght=2", "loop has no operand `lenght`; did you mean `length`?"),
        ("CP loop count=r1 length=2 length=2", "`length` is given twice"),
        ("CP loop count=r1 length", "an operand must be written as name=value, not `length`"),
        ("CP loop count=r32 length=2", "count must be r0..r31, not `r32`"),
        ("CP loop count=1 length=2", "count must be r0..r31, not `1`"),
        ("CP loop count=r1 length=two", "length must be a number such as 16 or 0x10, not `two`"),
        ("CP loop count=r1 length=65536", "length must be in 0..65535, not 65536"),
        (
            "CP loop count=r1 length=2 count_reg=r1",
            "loop has no operand `count_reg`; did you mean `count`?",
        ),
        ("MU nop wait=r1", "wait must be c0..c63, not `r1`"),
        ("MU nop wait=c1*", "wait must be a number such as 16 or 0x10, not ``"),
        ("MU nop wait=c1*0", "wait must take 1..255 of a counter below 64, not 0 of 1"),
        ("MU nop wait=c1,c2,c3", "waits must be at most 2, not 3"),
        ("MU nop context=4", "context must be in 0..3, not 4"),
        ("MU nop ->", "one counter must follow `->`, and nothing else"),
        ("MU nop -> c1 wait=c2", "one counter must follow `->`, and nothing else"),
        ("MU nop -> c64", "signal must be c0..c63, not `c64`"),
        (
            LOAD.replace("=L1", "=SCALES"),
            "space must be one of L1, SCALE, not `SCALES`; did you mean `SCALE`?",
        ),
        (LOAD.replace("=L1", "=ACC"), "space must be one of L1, SCALE, not `ACC`"),
        (LOAD.replace("=0x400", "=0x401"), "dst must be a multiple of 16, not 1025"),
        (LOAD.replace("+r5", "+5"), "src must be r0..r31, not `5`"),
    ],
)
def test_mistakes_are_named(line: str, problem: str):
    with pytest.raises(EncodingError) as caught:
        from_text(line)
    assert caught.value.problem == problem
    assert caught.value.hint


def test_a_mistake_in_a_listing_shows_its_line_and_the_form():
    with pytest.raises(EncodingError) as caught:
        instructions_from_text("; first\nCP end\n  CP loop count=r1\n")
    assert str(caught.value) == (
        "loop must have the operand `length`\n"
        "  at:   line 3: CP loop count=r1\n"
        "  hint: CP loop count=rN length=N [wait=cN*K,cN*K] [context=N] [-> cN]"
    )


@given(st.text(max_size=40), st.integers(0, 60))
def test_any_text_gives_an_instruction_or_an_encoding_error(noise: str, at: int):
    for line in (noise, LOAD[:at] + noise + LOAD[at:]):
        try:
            instructions_from_text(line)
        except EncodingError:
            continue
