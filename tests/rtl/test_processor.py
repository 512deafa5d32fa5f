"""Programs run through the command processor: what each instruction does, and what traps."""

from rtl.sequencer_bench import Bench
from tapeout.isa.encoding import encode
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import (
    End,
    Instruction,
    Set,
)

MAX = (1 << 47) - 1
BASE = 64


def cp(op, waits=(), signal=-1, queue=Queue.CP):
    return Instruction(op=op, queue=queue, waits=waits, signal=signal)


END = cp(End())


def setting(rd, imm):
    return cp(Set(rd=rd, imm=imm))


def image(program, *, rest=b""):
    """Memory with a program at BASE, and `rest` after it."""
    content = bytes(BASE) + b"".join(map(encode, program)) + rest
    return content + bytes(-len(content) % 128)


def run(program, *, scalars=(), seed=1, bench=None, **options):
    bench = bench or Bench(image(program), seed=seed, **options)
    for number, value in scalars:
        bench.scalar(number, value)
    bench.start(BASE, len(program))
    bench.run()
    return bench


def test_a_program_ends():
    bench = run([setting(3, 5), setting(31, MAX), setting(0, 9), END])
    assert bench.ended
    assert not bench.halted
    registers = bench.registers()
    assert (registers[0], registers[3], registers[31]) == (0, 5, MAX)
    assert [number for _, _, number in bench.events] == [0, 1, 2, 3]
