"""Short programs by hand, and what runs them in a sequencer."""

from rtl.sequencer_bench import Bench
from tapeout.isa.encoding import encode
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import (
    Alu,
    End,
    Instruction,
    LoadTile,
    Loop,
    Nop,
    Set,
)

MAX = (1 << 47) - 1
MIN = -(1 << 47)
BASE = 64


def cp(op, *waits, signal=-1, queue=Queue.CP):
    return Instruction(op=op, queue=queue, waits=waits, signal=signal)


END = cp(End())
NOP = cp(Nop())


def setting(rd, imm):
    return cp(Set(rd=rd, imm=imm))


def alu(fn, ra, rb, imm=0, rd=20):
    return cp(Alu(fn=fn, rd=rd, ra=ra, rb=rb, imm=imm))


def loop(count, length):
    return cp(Loop(count=count, length=length))


def load_tile(rows=0, rows_reg=0, **sync):
    op = LoadTile(
        space=0, dst=0, dst_pitch=16, src=0, src_reg=0, src_pitch=0,
        rows=rows, rows_reg=rows_reg, row_bytes=1,
    )  # fmt: skip
    return Instruction(op=op, queue=Queue.LD, **sync)


def image(program, rest=b""):
    """Memory with a program at BASE, and `rest` after it."""
    words = [word if isinstance(word, bytes) else encode(word) for word in program]
    content = bytes(BASE) + b"".join(words) + rest
    return content + bytes(-len(content) % 128)


def prepared(program, scalars=None, *, rest=b"", **options):
    bench = Bench(image(program, rest), **options)
    for number, value in (scalars or {}).items():
        bench.scalar(number, value)
    return bench


def run(program, scalars=None, *, watchdog_cycles=300, **options):
    bench = prepared(program, scalars, **options)
    bench.start(BASE, len(program), watchdog_cycles=watchdog_cycles)
    bench.run()
    return bench


def finished(program, scalars=None, **options):
    bench = run(program, scalars, **options)
    assert bench.ended, f"trap {bench.trap}"
    assert not bench.halted
    return bench


def trapped(program, code, number, queue=Queue.CP, scalars=None, **options):
    bench = run(program, scalars, **options)
    assert bench.trap == (code, queue, number)
    assert not bench.ended
    return bench


def numbers(bench):
    return [number for kind, _, number in bench.events if kind == "step"]
