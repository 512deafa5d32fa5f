"""Small programs for tests of the verifier."""

from dataclasses import replace
from pathlib import Path

from tapeout.chip import Chip, load_chip
from tapeout.compiler.verify import Proof, verify
from tapeout.isa import Instruction, Program, Queue, Region, Scalar, Space, Table, Take, acc_pitch
from tapeout.isa.fields import AluFn, Broadcast, MapFn
from tapeout.isa.instructions import (
    Alu,
    Barrier,
    End,
    LoadScalar,
    LoadTile,
    Loop,
    Map,
    Matmul,
    Nop,
    Operation,
    Set,
    StoreTile,
)

CHIPS = Path(__file__).parents[2] / "chips"
SMALL = load_chip(CHIPS / "small.toml")
MID = load_chip(CHIPS / "mid.toml")

WEIGHTS, INPUT, WORK, OUTPUT, POOL = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
REGIONS = (
    Region(name="w", address=WEIGHTS, size_bytes=0x1000, kind="weights"),
    Region(name="in", address=INPUT, size_bytes=0x1000, kind="input"),
    Region(name="x", address=WORK, size_bytes=0x1000, kind="work"),
    Region(name="out", address=OUTPUT, size_bytes=0x1000, kind="output"),
    Region(name="kv", address=POOL, size_bytes=0x1000, kind="pool"),
)
TABLES = (Table(name="t", address=INPUT, count=16, low=0, high=3),)
TURNS = Scalar(name="turns", register=1, low=0, high=9)
ROWS = Scalar(name="rows", register=2, low=1, high=8)


def at(op: Operation, *waits: tuple[int, int], signal: int = -1, queue: Queue | None = None):
    """An instruction with waits (counter, count)."""
    takes = tuple(Take(counter=c, count=n) for c, n in waits)
    queue = op.queue if queue is None else queue
    assert queue is not None
    return Instruction(op=op, queue=queue, waits=takes, signal=signal)


def load(dst: int, src: int, rows: int = 4, rows_reg: int = 0, *, src_reg: int = 0) -> LoadTile:
    """32 bytes per row, without gaps in L1."""
    return LoadTile(
        space=Space.L1,
        dst=dst,
        dst_pitch=32,
        src=src,
        src_reg=src_reg,
        src_pitch=32,
        rows=rows,
        rows_reg=rows_reg,
        row_bytes=32,
    )


def store(src: int, dst: int, rows: int = 4, rows_reg: int = 0, *, dst_reg: int = 0) -> StoreTile:
    """32 bytes per row, without gaps."""
    return StoreTile(
        space=Space.L1,
        src=src,
        src_pitch=32,
        dst=dst,
        dst_reg=dst_reg,
        dst_pitch=32,
        rows=rows,
        rows_reg=rows_reg,
        row_bytes=32,
    )


def matmul(a: int, b: int, acc: int = 0, m: int = 4, m_reg: int = 0, n: int = 8) -> Matmul:
    """FP8, K = 32, without scales."""
    return Matmul(
        a=a,
        a_pitch=32,
        a_scale=0,
        a_scale_pitch=0,
        a_format=3,
        b=b,
        b_pitch=32,
        b_scale=0,
        b_scale_pitch=0,
        b_format=3,
        acc=acc,
        m=m,
        m_reg=m_reg,
        n=n,
        k_blocks=1,
        accumulate=0,
        transpose=0,
    )


def copy_acc(dst: int, rows: int = 4, rows_reg: int = 0) -> Map:
    """Copy rows of 8 numbers from the accumulators to L1."""
    return Map(
        fn=MapFn.COPY,
        a_space=Space.ACC,
        a=0,
        a_pitch=acc_pitch(8),
        b=0,
        b_pitch=0,
        b_mode=Broadcast.FULL,
        dst=dst,
        dst_pitch=32,
        rows=rows,
        rows_reg=rows_reg,
        columns=8,
    )


def alu(fn: AluFn, rd: int, ra: int, rb: int = 0, imm: int = 0) -> Instruction:
    return at(Alu(fn=fn, rd=rd, ra=ra, rb=rb, imm=imm))


def set_(rd: int, imm: int) -> Instruction:
    return at(Set(rd=rd, imm=imm))


def load_scalar(rd: int, address: int, register: int = 0) -> Instruction:
    return at(LoadScalar(rd=rd, address=address, address_reg=register))


def loop(count: int, *body: Instruction) -> list[Instruction]:
    return [at(Loop(count=count, length=len(body))), *body]


def nop(queue: Queue, *waits: tuple[int, int], signal: int = -1) -> Instruction:
    return at(Nop(), *waits, signal=signal, queue=queue)


END = at(End())
BARRIER = at(Barrier())

STEP = [
    at(load(0, INPUT), signal=0),
    at(load(1024, WEIGHTS, 8), signal=0),
    at(matmul(0, 1024), (0, 2), signal=1),
    at(copy_acc(2048), (1, 1), signal=2),
    at(store(2048, OUTPUT), (2, 1), signal=3),
]
"""A product of two tiles, from memory to memory; counter 3 says that it is done."""

JOIN = nop(Queue.LD, (3, 1))
LINE = [*STEP, JOIN]


def program(*cores: list[Instruction], chip: Chip = SMALL) -> Program:
    return Program(
        name="test",
        chip=chip.fingerprint,
        cores=tuple((*core, END) for core in cores),
        scalars=(TURNS, ROWS),
        regions=REGIONS,
        tables=TABLES,
    )


def check(*instructions: Instruction) -> Proof:
    return verify(program(list(instructions)), SMALL)


def without(instruction: Instruction, *, signal: bool) -> Instruction:
    """The instruction without its signal, or without its waits."""
    return replace(instruction, signal=-1) if signal else replace(instruction, waits=())
