"""What traps in the command processor and around it, and what happens then."""

import pytest

from rtl.programs import (
    BASE,
    END,
    MAX,
    MIN,
    NOP,
    alu,
    cp,
    finished,
    image,
    load_tile,
    loop,
    prepared,
    run,
    trapped,
)
from rtl.sequencer_bench import Bench
from tapeout.isa.encoding import encode
from tapeout.isa.fields import AluFn, Queue
from tapeout.isa.instructions import (
    Barrier,
    LoadScalar,
    Nop,
    StorePages,
    Take,
)
from tapeout.rtl.trap import Trap


def test_no_end():
    trapped([NOP, NOP], Trap.END, 2)
    trapped([loop(0, 700), NOP], Trap.END, 701)
    bench = prepared([NOP])
    bench.start(BASE, 0)
    bench.run()
    assert bench.trap == (Trap.END, Queue.CP, 0)


@pytest.mark.parametrize("base", [BASE + 16, BASE + 1, 1 << 40, (1 << 41) - 32])
def test_a_program_that_does_not_lie_in_memory(base):
    bench = prepared([NOP, END])
    bench.start(base, 2)
    bench.run()
    assert bench.trap == (Trap.ADDRESS, Queue.CP, 0)
    assert not bench.program.reads


def test_a_program_that_goes_beyond_memory():
    program = [NOP, END]
    content = image(program)
    for count, code in (((len(content) - BASE) // 32, 0), ((len(content) - BASE) // 32 + 1, 5)):
        bench = Bench(content)
        bench.start(BASE, count)
        bench.run()
        assert bench.trap[0] == code
        assert bench.ended == (code == 0)


def test_memory_errors():
    program = [NOP] * 9 + [END]
    for number in (0, 3, 4, 9):
        bench = prepared(program)
        start = BASE + 32 * number
        bench.program.bad = range(start, start + 1)
        bench.start(BASE, len(program))
        bench.run()
        code, queue, where = bench.trap
        assert (code, queue) == (Trap.READ, Queue.CP)
        assert where == max(0, start // 128 * 128 - BASE) // 32, "the first of its line"
    program = [NOP, cp(LoadScalar(rd=1, address=BASE + 3, address_reg=0)), END]
    for bad in (range(BASE, BASE + 1), range(BASE + 4, BASE + 5)):
        bench = prepared(program)
        bench.scalars.bad = bad
        bench.start(BASE, len(program))
        bench.run()
        assert bench.trap == (Trap.READ, Queue.CP, 1)


def test_an_error_that_nothing_needs_is_none():
    program = [NOP, NOP, END, *[NOP] * 20]
    bench = prepared(program)
    bench.program.bad = range(BASE + 32 * 8, 4096)
    bench.start(BASE, len(program))
    bench.run()
    assert bench.ended


def test_a_field_that_is_not_defined():
    word = encode(alu(AluFn.SHR, 1, 1))
    trapped([NOP, word[:-1] + b"\1", END], Trap.FIELD, 1)


@pytest.mark.parametrize("opcode", [0, 8, 9, 0x31, 0x48, 0x50, 0x60, 0x7F, 0x80, 0xFF])
def test_opcodes_that_do_not_exist(opcode):
    for queue in (0, 1, 5):
        word = (opcode | queue << 8).to_bytes(32, "little")
        trapped([NOP, word, END], Trap.OPCODE, 1, queue)


def test_rows():
    for field, register in ((0, -1), (2047, 1), (5, MAX), (0, MIN), (0, 2048), (1, 2047)):
        trapped([load_tile(field, 1), END], Trap.ROWS, 0, Queue.LD, {1: register})
    pages = StorePages(
        space=0, src=0, src_pitch=0, table=0, first=0, count=1,
        pool=0, page_bytes=0, offset=0, page_log2=0, row_bytes=0,
    )  # fmt: skip
    program = [cp(pages, queue=Queue.ST), END]
    trapped(program, Trap.ROWS, 0, Queue.ST, {1: 2048})
    finished(program, {1: 2047})
    for field, register in ((2047, 0), (0, 2047), (2047, -2047), (1, -1)):
        finished([load_tile(field, 1), END], {1: register})


@pytest.mark.parametrize("queue", [Queue.CP, Queue.LD, Queue.VU], ids=lambda q: q.name)
def test_a_counter_that_passes_255(queue):
    once = cp(Nop(), signal=62, queue=queue)
    program = [loop(1, 1), once, NOP, cp(Barrier()), END]
    assert finished(program, {1: 255}).counters()[62] == 255
    trapped(program, Trap.COUNTER, 1, queue, {1: 256})


def test_a_take_just_before_a_signal_keeps_a_counter_at_255():
    fill = [loop(1, 1), cp(Nop(), signal=8)]
    both = [cp(Nop(), Take(counter=8), signal=8), cp(Nop(), Take(counter=8, count=2), signal=8)]
    assert finished([*fill, *both, END], {1: 255}).counters()[8] == 254


def test_what_the_check_refuses():
    program = [load_tile(), load_tile(), load_tile(), END]
    bench = prepared(program)
    bench.refuse[1] = Trap.FORMAT
    bench.start(BASE, len(program))
    bench.run()
    assert bench.trap == (Trap.FORMAT, Queue.LD, 1)
    assert len(bench.units[0].commands) <= 1
    assert ("start", 1, 1) not in bench.events


def test_what_a_unit_refuses():
    program = [*[load_tile()] * 3, cp(Nop(), queue=Queue.MU), END]
    bench = prepared(program, unit_cycles=1)
    bench.units[0].traps[1] = Trap.WRITE
    bench.start(BASE, len(program))
    bench.run()
    assert bench.trap == (Trap.WRITE, Queue.LD, 1)
    assert not bench.ended


@pytest.mark.parametrize(
    "program",
    [
        [cp(Nop(), Take(counter=3)), END],
        [cp(Nop(), Take(counter=3), queue=Queue.VU), END],
        [cp(Nop(), signal=3), cp(Nop(), Take(counter=3), Take(counter=3)), END],
        [*[cp(Nop(), Take(counter=3, count=255), Take(counter=3, count=255), queue=Queue.MU)] * 9],
    ],
)
def test_the_watchdog(program):
    bench = run(program, watchdog_cycles=100, open_share=1)
    assert bench.trap[:2] == (Trap.WATCHDOG, Queue.CP)
    assert 100 <= bench.cycle - 60 - bench.event_cycles[-1] <= 110 if bench.events else True
    bench = prepared(program)
    bench.start(BASE, len(program), watchdog_cycles=0)
    bench.run(2000)
    assert not bench.halted
    assert not bench.ended


def test_the_first_trap_stays():
    program = [load_tile(), alu(AluFn.ADD, 1, 1), END]
    bench = trapped(program, Trap.REGISTER, 1, scalars={1: MAX}, unit_cycles=1)
    before = bench.trap
    bench.wires["refused"] = 0x205
    bench.wires.tick()
    bench.wires["start"] = 1
    for _ in range(50):
        bench.step()
    assert bench.trap == before
    assert bench.halted
