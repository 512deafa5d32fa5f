from collections.abc import Callable

from hypothesis import given

from strategies import programs
from tapeout.isa import (
    Placement,
    Program,
    Region,
    Scalar,
    Table,
    instructions_from_text,
    program_text,
)

LISTING = """
CP set rd=r2 imm=4
CP loop count=r2 length=4
CP loop count=r1 length=2
LD loadtile space=L1 dst=0 dst_pitch=64 src=0x40+r5 src_pitch=64 rows=4 row_bytes=64 -> c1
MU nop wait=c1*2 -> c2
LD loadtile space=SCALE dst=0 dst_pitch=16 src=0x210 src_pitch=16 rows=4 row_bytes=16
CP loadscalar rd=r3 address=0x1004+r1
ST storetile space=L1 src=0 src_pitch=64 dst=0x2000 dst_pitch=64 rows=4 row_bytes=64 wait=c2,c1*3
CP end
"""
PROGRAM = Program(
    name="exa\nmple",
    chip="0123456789ab",
    cores=(instructions_from_text(LISTING), instructions_from_text("CP end")),
    scalars=(Scalar(name="position", register=1, low=0, high=4095),),
    regions=(
        Region(name="out", address=0x2000, size_bytes=256, kind="output"),
        Region(name="weights", address=0, size_bytes=1024, kind="weights"),
        Region(name="input", address=0x1000, size_bytes=64, kind="input"),
    ),
    tables=(Table(name="tokens", address=0x1000, count=16, low=0, high=511),),
    placements=(
        Placement(
            name="up.weight",
            address=0,
            rows=8,
            columns=64,
            format="mxfp8_e4m3",
            pitch_bytes=64,
            scale_address=512,
            scale_pitch_bytes=16,
        ),
    ),
    notes={"model": "tiny"},
)


def test_a_listing_indents_loops_and_names_addresses(golden: Callable[[str, str], None]):
    golden("listing.txt", program_text(PROGRAM))


@given(programs())
def test_a_listing_reads_back(program: Program):
    flat = tuple(instruction for core in program.cores for instruction in core)
    assert instructions_from_text(program_text(program)) == flat
