"""Programs run through the command processor: what each instruction does, and what traps."""

import random

import pytest

from rtl.sequencer_bench import Bench
from tapeout.isa.encoding import encode
from tapeout.isa.fields import AluFn, Queue
from tapeout.isa.instructions import (
    Alu,
    Barrier,
    End,
    Instruction,
    LoadScalar,
    LoadTile,
    Loop,
    Nop,
    Set,
    StorePages,
    Take,
)
from tapeout.rtl.loops import DEPTH
from tapeout.rtl.trap import Trap

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


# ---- instructions ----------------------------------------------------------------------------


def test_set_writes_all_registers_but_the_first():
    bench = finished([*(setting(rd, MAX - rd) for rd in range(32)), END])
    assert bench.registers() == [0, *(MAX - rd for rd in range(1, 32))]
    assert numbers(bench) == list(range(33))


OPERANDS = (
    (5, 7, 0), (-5, 7, 3), (5, -7, 0), (-5, -7, 6), (MAX, MIN, MAX), (MIN, MIN, MAX), (MIN, 0, 1),
    (MAX, 0, 1), (MAX, -1, 0), (MIN, -1, 0), (MAX, MAX, MAX), (1 << 23, 1 << 23, 0),
    (-(1 << 24), 1 << 23, 0), (1 << 24, 1 << 23, 0), (0, MAX, MAX), (-1, 47, 0), (MIN, 62, 0),
    (MAX, 63, 0), (MIN, 64, 0), (MIN, MAX, MAX), (MAX, -9, 0), (-12345678901, 5, 0), (0, 0, 0),
    (3, -(1 << 45), 0), (11863283, 11863283, 0), (11863284, 11863283, 0),
)  # fmt: skip


def value_of(fn, a, b):
    """Written again: `sim.machine` has the definition."""
    return {
        AluFn.ADD: a + b, AluFn.SUB: a - b, AluFn.MUL: a * b, AluFn.MIN: min(a, b),
        AluFn.MAX: max(a, b), AluFn.SHR: a >> max(0, min(b, 63)),
    }[fn]  # fmt: skip


def check_alu(cases):
    """One program for all that fit a register, one for each of the others."""
    for fn, a, b, imm in cases:
        value = value_of(fn, a, b + imm)
        program, scalars = [alu(fn, 1, 2, imm), END], {1: a, 2: b}
        if MIN <= value <= MAX:
            assert finished(program, scalars, open_share=1).registers()[20] == value, (fn, a, b)
        else:
            trapped(program, Trap.REGISTER, 0, scalars=scalars, open_share=1)


@pytest.mark.parametrize("fn", AluFn, ids=lambda fn: fn.name)
def test_alu_at_the_edges(fn):
    check_alu((fn, *operands) for operands in OPERANDS)


@pytest.mark.slow
@pytest.mark.parametrize("fn", AluFn, ids=lambda fn: fn.name)
def test_alu_at_random(fn):
    rng = random.Random(fn)

    def number(bits):
        return rng.getrandbits(rng.randrange(1, bits)) * rng.choice([1, -1])

    check_alu(
        (fn, number(47), number(rng.choice([6, 24, 47])), abs(number(40))) for _ in range(400)
    )


def test_load_scalar_adds_a_register_and_stays_in_memory():
    program = [cp(LoadScalar(rd=3, address=100, address_reg=2)), END]
    size = len(image(program))
    content = image(program)
    for address in (0, size - 4, size - 5):
        bench = finished(program, {2: address - 100})
        assert bench.registers()[3] == int.from_bytes(content[address : address + 4], "little")
    for address in (-1, size - 3, MIN + 100, MAX):
        trapped(program, Trap.ADDRESS, 0, scalars={2: address - 100})


def rounds_of(program, scalars=None):
    """How often each instruction was run."""
    ran = numbers(finished(program, scalars))
    return [ran.count(number) for number in range(len(program))]


def test_loops():
    assert rounds_of([loop(1, 2), NOP, NOP, NOP, END], {1: 3}) == [1, 3, 3, 1, 1]
    assert rounds_of([loop(1, 1), NOP, END], {1: 200}) == [1, 200, 1]
    for count in (0, -1, MIN):
        assert rounds_of([loop(1, 2), NOP, NOP, NOP, END], {1: count}) == [1, 0, 0, 1, 1]
    assert rounds_of([loop(1, 0), NOP, END], {1: 9}) == [1, 1, 1]
    long = [NOP] * 90  # more than the cache holds
    assert rounds_of([loop(1, 90), *long, END], {1: 3}) == [1, *[3] * 90, 1]


def test_loops_that_end_together():
    scalars = {1: 2, 2: 3, 3: 2, 4: 0}
    program = [loop(1, 4), loop(2, 3), NOP, loop(3, 1), NOP, NOP, END]
    assert rounds_of(program, scalars) == [1, 2, 6, 6, 12, 1, 1]
    skipped = [loop(1, 4), loop(2, 3), NOP, loop(4, 1), NOP, NOP, END]
    assert rounds_of(skipped, scalars) == [1, 2, 6, 6, 0, 1, 1]
    empty = [loop(1, 3), loop(2, 2), NOP, loop(3, 0), NOP, END]
    assert rounds_of(empty, scalars) == [1, 2, 6, 6, 1, 1]
    sent = [loop(1, 2), loop(2, 1), load_tile(), END]
    assert rounds_of(sent, scalars) == [1, 2, 6, 1]


def test_loops_as_deep_as_they_go():
    def nested(depth):
        return [*(loop(1, depth - i) for i in range(depth)), NOP, END]

    assert rounds_of(nested(DEPTH), {1: 2}) == [*(1 << i for i in range(DEPTH)), 1 << DEPTH, 1]
    trapped(nested(DEPTH + 1), Trap.LOOP, DEPTH, scalars={1: 2})


def test_end_and_barrier_wait_for_the_queues():
    program = [load_tile(), load_tile(signal=3), cp(Barrier()), load_tile(), END]
    bench = finished(program, unit_cycles=30)
    order = [(kind, number) for kind, _, number in bench.events]
    assert order.index(("retire", 1)) < order.index(("step", 2)) < order.index(("step", 3))
    assert order[-2:] == [("retire", 3), ("step", 4)]
    assert bench.counters()[3] == 1


def test_a_barrier_lasts_until_it_is_released_and_no_watchdog_bites():
    program = [NOP, cp(Barrier(), signal=9), NOP, END]
    bench = prepared(program, open_share=1)
    bench.barrier_cycles = 500
    bench.start(BASE, 4, watchdog_cycles=100)
    bench.run()
    assert bench.ended
    first, second = (bench.event_cycles[i] for i in (1, 2))
    assert 500 < second - first < 510
    assert bench.counters()[9] == 1


def test_waits_and_signals_of_the_processor():
    program = [
        cp(Nop(), signal=5), cp(Set(rd=1, imm=1), signal=5), cp(Nop(), signal=6),
        cp(Alu(fn=0, rd=2, ra=1, rb=1, imm=0), Take(counter=5, count=2), Take(counter=6)),
        cp(End(), signal=7),
    ]  # fmt: skip
    bench = finished(program)
    assert bench.counters() == [0] * 7 + [1] + [0] * 56
    assert bench.registers()[2] == 2


def test_end_takes_only_what_the_queues_leave():
    """In the simulator, too, End must wait for its queues before it takes."""
    program = [cp(Nop(), signal=1), cp(Nop(), Take(counter=1), queue=Queue.LD)]
    program.append(cp(End(), Take(counter=1)))
    bench = trapped(program, Trap.WATCHDOG, 2)
    assert ("retire", 1, 1) in bench.events


def test_programs_one_after_another():
    """Registers and counters start at zero but for new scalars; memory is read again."""
    first = [setting(1, 11), setting(2, 12), cp(Nop(), signal=4), END, load_tile(), load_tile()]
    second = [setting(3, 13), load_tile(rows_reg=5), END]
    bench = prepared(first, {4: 14, 5: 15})
    bench.start(BASE, len(first))
    bench.run()
    assert bench.registers()[:6] == [0, 11, 12, 0, 14, 15]
    assert bench.counters()[4] == 1
    for memory in (bench.program, bench.scalars):
        memory.content = image(second, bytes(96))
    bench.scalar(5, 16)
    bench.scalar(0, 17)
    bench.start(BASE, len(second))
    bench.run()
    assert bench.ended
    assert bench.registers()[:6] == [0, 0, 0, 13, 0, 16]
    assert bench.counters() == [0] * 64
    assert len(bench.units[0].commands) == 1
    bench.start(BASE, len(second))
    bench.run()
    assert bench.registers()[:6] == [0, 0, 0, 13, 0, 0]


def test_start_means_nothing_while_a_program_runs():
    program = [*[NOP] * 30, END]
    bench = prepared(program)
    bench.start(BASE, len(program))
    for _ in range(60):
        bench.step()
    bench.start(0, 1)
    bench.run()
    assert bench.ended
    assert numbers(bench) == list(range(31))


# ---- speed -----------------------------------------------------------------------------------


def cycles_of(program, scalars=None, **options):
    bench = finished(program, scalars, open_share=1, **options)
    return bench.event_cycles[-1] - bench.event_cycles[0]


@pytest.mark.parametrize(
    ("instruction", "cycles"), [(NOP, 3), (setting(1, 2), 3), (alu(AluFn.ADD, 1, 1), 4)]
)
def test_cycles_of_straight_code(instruction, cycles):
    assert cycles_of([instruction] * 120 + [END], latency=12) <= 120 * cycles + 8


def test_cycles_of_a_loop():
    assert cycles_of([loop(1, 4), *[NOP] * 4, END], {1: 50}) <= 50 * (4 * 3 + 4) + 20


# ---- traps -----------------------------------------------------------------------------------


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
