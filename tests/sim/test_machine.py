"""The command processor, counters, queues and the orders in which they run."""

import re

import pytest

from machines import chip_named, chip_with_cores, program_of, send
from tapeout.errors import TrapError
from tapeout.isa import (
    Alu,
    AluFn,
    Barrier,
    Instruction,
    LoadScalar,
    LoadTile,
    Loop,
    Matmul,
    Nop,
    Program,
    Queue,
    Scalar,
    Set,
    StoreTile,
    Take,
)
from tapeout.sim import Machine, Statistics

NANO = chip_named("nano")
ORDERS = [None, *range(10)]
MOST = (1 << 47) - 1


def run(*code: Instruction, seed: int | None = None, hbm_bytes: int = 4096) -> Machine:
    machine = Machine(NANO, hbm_bytes)
    machine.run(program_of(NANO, code), {}, seed=seed)
    return machine


def alu(fn: AluFn, rd: int, ra: int = 0, rb: int = 0, imm: int = 0) -> Instruction:
    return send(Alu(fn=fn, rd=rd, ra=ra, rb=rb, imm=imm))


def set_to(rd: int, imm: int) -> Instruction:
    return send(Set(rd=rd, imm=imm))


def copy(src: int, dst: int, *, src_reg: int = 0, dst_reg: int = 0, size: int = 4):
    """A load and a store of `size` bytes through L1, in order."""
    load = LoadTile(
        space=0,
        dst=0,
        dst_pitch=16,
        src=src,
        src_reg=src_reg,
        src_pitch=0,
        rows=1,
        rows_reg=0,
        row_bytes=size,
    )
    store = StoreTile(
        space=0,
        src=0,
        src_pitch=16,
        dst=dst,
        dst_reg=dst_reg,
        dst_pitch=0,
        rows=1,
        rows_reg=0,
        row_bytes=size,
    )
    # counter 2: L1 is free again
    return (
        send(load, Take(counter=2), signal=1),
        send(store, Take(counter=1), signal=2),
    )


FREE = send(Nop(), queue=Queue.ST, signal=2)


def count_rounds(*code: Instruction, seed: int | None = None) -> int:
    """How many Alu instructions run."""
    statistics = Machine(NANO, 64).run(program_of(NANO, code), {}, seed=seed)
    return statistics.executed["Alu"]


# ---- registers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "a", "b", "wanted"),
    [
        (AluFn.ADD, 40, 2, 42),
        (AluFn.SUB, 40, 2, 38),
        (AluFn.MUL, 40, 3, 120),
        (AluFn.MIN, 40, 41, 40),
        (AluFn.MAX, 40, 41, 41),
        (AluFn.SHR, 41, 3, 5),
        (AluFn.SHR, 41, 70, 0),
    ],
)
def test_alu(fn: AluFn, a: int, b: int, wanted: int):
    """Seen through an address: byte r3 of the source lands at 100."""
    machine = Machine(NANO, 4096)
    machine.hbm[:256] = range(256)
    code = (
        set_to(1, a),
        set_to(2, b - 1),
        alu(fn, 3, 1, 2, 1),
        FREE,
        *copy(0, 1000, src_reg=3, size=1),
    )
    machine.run(program_of(NANO, code), {})
    assert machine.hbm[1000] == wanted


def test_negative_numbers_shift_towards_minus_infinity():
    code = (
        set_to(1, 5),
        alu(AluFn.SUB, 2, 0, 1),  # -5
        alu(AluFn.SHR, 2, 2, 0, 1),  # -3
        alu(AluFn.ADD, 2, 2, 0, 4),  # 1
    )
    machine = Machine(NANO, 64)
    machine.hbm[1] = 9
    machine.run(program_of(NANO, (*code, FREE, *copy(0, 32, src_reg=2, size=1))), {})
    assert machine.hbm[32] == 9


def test_a_shift_by_a_negative_number_changes_nothing():
    code = (
        set_to(1, 41),
        set_to(2, 3),
        alu(AluFn.SUB, 2, 0, 2),  # -3
        alu(AluFn.SHR, 3, 1, 2, 0),
    )
    machine = Machine(NANO, 256)
    machine.hbm[41] = 9
    machine.run(program_of(NANO, (*code, FREE, *copy(0, 128, src_reg=3, size=1))), {})
    assert machine.hbm[128] == 9


@pytest.mark.parametrize("sign", [1, -1])
def test_a_result_outside_48_bits_traps(sign: int):
    edge = [set_to(1, MOST)]
    if sign > 0:
        run(*edge, alu(AluFn.ADD, 2, 1, 0, 0))
        bad = alu(AluFn.ADD, 2, 1, 0, 1)
        message = f"r2 must fit 48 bits, not {MOST + 1}"
    else:
        edge += [alu(AluFn.SUB, 1, 0, 1), alu(AluFn.SUB, 1, 1, 0, 1)]  # -2^47 fits
        run(*edge)
        bad = alu(AluFn.SUB, 2, 1, 0, 1)
        message = f"r2 must fit 48 bits, not {-MOST - 2}"
    with pytest.raises(TrapError, match=message):
        run(*edge, bad)


def test_register_zero_stays_zero():
    machine = Machine(NANO, 64)
    machine.hbm[:8] = range(8)
    code = (set_to(0, 5), alu(AluFn.ADD, 0, 0, 0, 3), FREE, *copy(0, 32, src_reg=0, size=1))
    machine.run(program_of(NANO, code), {})
    assert machine.hbm[32] == 0


def test_registers_are_frozen_when_an_instruction_is_sent():
    """The load waits for a counter; meanwhile the command processor changes the register."""
    machine = Machine(NANO, 64)
    machine.hbm[:8] = range(8)
    code = (
        set_to(1, 5),
        *copy(0, 32, src_reg=1, size=1),
        set_to(1, 6),
        send(Nop(), queue=Queue.MU, signal=2),
    )
    for seed in ORDERS:
        machine.run(program_of(NANO, code), {}, seed=seed)
        assert machine.hbm[32] == 5


def test_load_scalar_is_unsigned_and_takes_an_index():
    machine = Machine(NANO, 64)
    machine.hbm[:16] = range(16)
    machine.hbm[20:24] = 255
    code = (
        set_to(1, 4),
        send(LoadScalar(rd=2, address=16, address_reg=1)),
        alu(AluFn.SHR, 2, 2, 0, 29),
        FREE,
        *copy(0, 40, src_reg=2, size=1),
    )
    machine.run(program_of(NANO, code), {})
    assert machine.hbm[40] == 7  # (2^32 - 1) >> 29


def test_load_scalar_outside_the_memory_traps():
    with pytest.raises(TrapError, match="address range"):
        run(send(LoadScalar(rd=2, address=62, address_reg=0)), hbm_bytes=64)


# ---- loops -----------------------------------------------------------------------------------

ONE = alu(AluFn.ADD, 20, 20, 0, 1)


@pytest.mark.parametrize("rounds", [-1, 0, 1, 5])
def test_a_loop_goes_round(rounds: int):
    negative = [set_to(1, 1), alu(AluFn.SUB, 1, 0, 1)]
    start = negative if rounds < 0 else [set_to(1, rounds)]
    base = sum(isinstance(i.op, Alu) for i in start)
    code = (*start, send(Loop(count=1, length=2)), ONE, ONE)
    assert count_rounds(*code) == base + 2 * max(rounds, 0)


@pytest.mark.parametrize("outer", [0, 1, 3])
@pytest.mark.parametrize("inner", [0, 1, 4])
@pytest.mark.parametrize("tail", [0, 1])
@pytest.mark.parametrize("seed", [None, 5])
def test_nested_loops(outer: int, inner: int, tail: int, seed: int | None):
    """Also with the inner loop at the end of the outer one (tail 0)."""
    code = (
        set_to(1, outer),
        set_to(2, inner),
        send(Loop(count=1, length=3 + tail)),
        ONE,
        send(Loop(count=2, length=1)),
        ONE,
        *[ONE] * tail,
        ONE,
    )
    assert count_rounds(*code, seed=seed) == outer * (1 + inner + tail) + 1


def test_three_loops_that_end_at_one_place():
    code = (
        set_to(1, 2),
        set_to(2, 3),
        set_to(3, 4),
        send(Loop(count=1, length=3)),
        send(Loop(count=2, length=2)),
        send(Loop(count=3, length=1)),
        ONE,
        ONE,
    )
    assert count_rounds(*code) == 2 * 3 * 4 + 1


def test_the_count_is_read_once():
    code = (set_to(1, 3), send(Loop(count=1, length=2)), ONE, set_to(1, 9))
    assert count_rounds(*code) == 3


def test_a_loop_without_a_body_does_nothing():
    code = (set_to(1, 3), send(Loop(count=1, length=0)), ONE)
    assert count_rounds(*code) == 1


def test_a_program_without_end_traps():
    program = Program(name="x", chip=NANO.fingerprint, cores=((set_to(1, 1),),))
    with pytest.raises(TrapError, match="the program must end with End"):
        Machine(NANO, 64).run(program, {})


# ---- counters and queues ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", ORDERS)
def test_a_wait_takes_what_it_waits_for(seed: int | None):
    """Three signals are enough for one wait of 2 and one of 1, not for more."""
    signals = [send(Nop(), queue=Queue.LD, signal=7)] * 3
    run(
        *signals,
        send(Nop(), Take(counter=7, count=2), queue=Queue.MU),
        send(Nop(), Take(counter=7), queue=Queue.MU),
        seed=seed,
    )
    with pytest.raises(TrapError, match="the program must not deadlock"):
        run(
            *signals,
            send(Nop(), Take(counter=7, count=2), queue=Queue.MU),
            send(Nop(), Take(counter=7, count=2), queue=Queue.MU),
            seed=seed,
        )


def test_two_waits_on_one_counter_need_the_sum():
    both = send(Nop(), Take(counter=7), Take(counter=7), queue=Queue.MU)
    one = send(Nop(), queue=Queue.LD, signal=7)
    run(one, one, both)
    with pytest.raises(TrapError, match="deadlock"):
        run(one, both)


@pytest.mark.parametrize("queue", list(Queue))
def test_a_nop_waits_and_signals_in_any_queue(queue: Queue):
    other = Queue.LD if queue is Queue.ST else Queue.ST
    run(
        send(Nop(), queue=other, signal=1),
        send(Nop(), Take(counter=1), queue=queue, signal=2),
        send(Nop(), Take(counter=2), queue=other),
    )


def test_a_counter_that_passes_255_traps():
    signals = [send(Nop(), queue=Queue.LD, signal=9)] * 255
    run(*signals)
    with pytest.raises(TrapError, match="counter 9 must stay at most 255"):
        run(*signals, signals[0])


def test_a_queue_holds_what_the_chip_says():
    """LD waits for a signal that only comes after `depth` and more instructions for LD."""
    depth = NANO.core.queue_depth
    blocked = send(Nop(), Take(counter=1), queue=Queue.LD)
    filler = send(Nop(), queue=Queue.LD)
    release = send(Nop(), queue=Queue.ST, signal=1)
    run(blocked, *[filler] * (depth - 1), release)
    with pytest.raises(TrapError, match="deadlock"):
        run(blocked, *[filler] * depth, release)


def test_a_deadlock_says_what_waits():
    code = (set_to(1, 1), send(Nop(), Take(counter=3, count=2), queue=Queue.MU))
    with pytest.raises(TrapError) as trap:
        run(*code)
    assert trap.value.problem == "the program must not deadlock"
    assert trap.value.where == "core 0: pc 2; MU at Nop waits for [(3, 2)]"


def test_a_trap_says_which_operation():
    load, _ = copy(1 << 20, 0)
    with pytest.raises(TrapError) as trap:
        run(FREE, load)
    assert trap.value.where.startswith("LoadTile: LoadTile(space=0, dst=0,")


# ---- cores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [2, 3])
@pytest.mark.parametrize("seed", ORDERS)
def test_a_barrier_makes_what_came_before_visible(cores: int, seed: int | None):
    """Each core passes a byte on to the next, in rounds."""
    chip = chip_with_cores(cores)
    machine = Machine(chip, 4096)
    machine.hbm[: 16 * cores : 16] = range(1, cores + 1)
    codes: list[tuple[Instruction, ...]] = []
    for core in range(cores):
        code: list[Instruction] = [FREE]
        for turn in range(cores):
            source, to = 256 * turn, 256 * (turn + 1)
            code += copy(source + 16 * core, to + 16 * ((core + 1) % cores), size=1)
            code.append(send(Barrier()))
        codes.append(tuple(code))
    machine.run(program_of(chip, *codes), {}, seed=seed)
    assert machine.hbm[256 * cores :: 16][:cores].tolist() == list(range(1, cores + 1))


def test_a_barrier_that_a_core_misses_is_a_deadlock():
    chip = chip_with_cores(2)
    with pytest.raises(TrapError, match="deadlock"):
        Machine(chip, 64).run(program_of(chip, (send(Barrier()),), ()), {})


@pytest.mark.parametrize("op", ["Barrier", "End"])
def test_barrier_and_end_wait_for_the_queues(op: str):
    """The store is done before the core stops, in every order."""
    chip = chip_with_cores(2)
    for seed in range(20):
        machine = Machine(chip, 4096)
        machine.hbm[0] = 5
        meet = (send(Barrier()),) if op == "Barrier" else ()
        machine.run(program_of(chip, (FREE, *copy(0, 99, size=1), *meet), meet), {}, seed=seed)
        assert machine.hbm[99] == 5


# ---- orders ----------------------------------------------------------------------------------


def test_a_missing_wait_shows_in_some_order():
    """The shuffled orders find a race that the ordinary order hides."""
    load, store = copy(0, 99, size=1)
    raced = send(store.op)
    seen: set[int] = set()
    for seed in range(20):
        machine = Machine(NANO, 128)
        machine.hbm[0] = 5
        machine.run(program_of(NANO, (FREE, load, raced)), {}, seed=seed)
        seen.add(int(machine.hbm[99]))
    assert len(seen) > 1


def test_statistics_count_what_ran():
    code = (set_to(1, 3), send(Loop(count=1, length=1)), send(Nop(), queue=Queue.VU))
    statistics = Machine(NANO, 64).run(program_of(NANO, code), {})
    assert isinstance(statistics, Statistics)
    assert statistics.executed == {"Set": 1, "Loop": 1, "Nop": 3, "End": 1}
    assert statistics.instructions == 6


# ---- what a machine refuses ------------------------------------------------------------------


def test_a_program_for_another_chip_is_refused():
    with pytest.raises(TrapError) as trap:
        Machine(chip_named("small"), 64).run(program_of(NANO, ()), {})
    assert re.search("the program must be for chip .*, not .*", trap.value.problem)
    assert trap.value.hint == "build it again for small"


@pytest.mark.parametrize(("scalars", "value"), [({}, "None"), ({"n": 0}, "0"), ({"n": 10}, "10")])
def test_a_scalar_out_of_bounds_is_refused(scalars: dict[str, int], value: str):
    bound = (Scalar(name="n", register=4, low=1, high=9),)
    program = program_of(NANO, (), scalars=bound)
    Machine(NANO, 64).run(program, {"n": 9})
    with pytest.raises(TrapError, match=rf"scalar n must be in 1\.\.9, not {value}"):
        Machine(NANO, 64).run(program, scalars)


def test_scalars_reach_every_core():
    chip = chip_with_cores(2)
    machine = Machine(chip, 128)
    machine.hbm[:16] = range(16)
    bound = (Scalar(name="n", register=4, low=0, high=9),)
    codes = [(FREE, *copy(0, 64 + core, src_reg=4, size=1)) for core in range(2)]
    machine.run(program_of(chip, *codes, scalars=bound), {"n": 6})
    assert machine.hbm[64:66].tolist() == [6, 6]


def test_a_matrix_operation_is_no_command():
    op = Matmul(
        a=0,
        a_pitch=0,
        a_scale=0,
        a_scale_pitch=0,
        a_format=0,
        b=0,
        b_pitch=0,
        b_scale=0,
        b_scale_pitch=0,
        b_format=0,
        acc=0,
        m=1,
        m_reg=0,
        n=1,
        k_blocks=1,
        accumulate=0,
        transpose=0,
    )
    with pytest.raises(TrapError, match="Matmul cannot run in the command processor"):
        run(send(op, queue=Queue.CP))
