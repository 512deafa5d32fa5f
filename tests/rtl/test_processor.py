"""Programs run through the command processor: what each instruction does, and how fast."""

import random

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
    numbers,
    prepared,
    setting,
    trapped,
)
from tapeout.isa.fields import AluFn, Queue
from tapeout.isa.instructions import (
    Alu,
    Barrier,
    End,
    LoadScalar,
    Nop,
    Set,
    Take,
)
from tapeout.rtl.loops import DEPTH
from tapeout.rtl.trap import Trap

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
