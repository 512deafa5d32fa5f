from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.programs import (
    BARRIER,
    END,
    INPUT,
    JOIN,
    LINE,
    MID,
    OUTPUT,
    POOL,
    SMALL,
    STEP,
    TURNS,
    WEIGHTS,
    WORK,
    alu,
    at,
    check,
    copy_acc,
    load,
    load_scalar,
    loop,
    matmul,
    nop,
    program,
    set_,
    store,
    without,
)
from tapeout.compiler.verify import verify
from tapeout.errors import CompileError
from tapeout.isa import Instruction, Queue
from tapeout.isa.fields import AluFn, Broadcast, MapFn
from tapeout.isa.instructions import LoadPages, Loop

LEGAL = {
    "line": LINE,
    "loop": loop(1, *LINE),
    "twice": [*LINE, BARRIER, *LINE],
    "nested": loop(1, *LINE, *loop(2, *LINE), *LINE),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_programs_are_accepted(name: str):
    proof = check(*LEGAL[name])
    assert proof.instructions == len(LEGAL[name]) + 1
    assert proof.hazards >= 4
    assert proof.counters == 4
    assert proof.peak_l1_bytes == 2048 + 4 * 32
    assert proof.peak_acc_bytes == 3 * 128 + 32


@given(st.data())
def test_every_wait_and_signal_counts(data: st.DataObject):
    core = LEGAL[data.draw(st.sampled_from(sorted(LEGAL)))]
    at_ = data.draw(st.sampled_from([i for i, one in enumerate(core) if one.waits]))
    signals = [i for i, one in enumerate(core) if one.signal >= 0]
    signal = data.draw(st.booleans())
    at_ = data.draw(st.sampled_from(signals)) if signal else at_
    changed = [*core[:at_], without(core[at_], signal=signal), *core[at_ + 1 :]]
    with pytest.raises(CompileError):
        check(*changed)


RACES = {0: "reads L1", 1: "reads ACC", 2: "reads L1"}


@pytest.mark.parametrize("counter", RACES)
def test_without_a_counter_there_is_a_race(counter: int):
    core = [
        replace(
            one,
            waits=tuple(take for take in one.waits if take.counter != counter),
            signal=-1 if one.signal == counter else one.signal,
        )
        for one in LINE
    ]
    with pytest.raises(CompileError, match=RACES[counter]) as error:
        check(*core)
    assert f"core 0, instruction {counter + 2}: " in error.value.where
    assert "in no certain order" in error.value.problem


def test_write_after_read_is_refused():
    with pytest.raises(CompileError, match="instruction 2 in MU reads, in no certain order"):
        check(*STEP[:3], at(load(0, INPUT)), *STEP[3:], JOIN)


def test_write_after_write_is_refused():
    fill = replace(copy_acc(512), fn=MapFn.FILL, b_mode=Broadcast.SCALAR)
    core = [at(load(0, INPUT), signal=0), at(fill, (0, 1), signal=1), at(load(512, INPUT), (1, 1))]
    assert check(*core)
    core = [*core[:2], at(load(512, INPUT)), nop(Queue.LD, (1, 1))]
    message = r"writes L1 within 512\.\.639, which instruction 1 in VU writes"
    with pytest.raises(CompileError, match=message):
        check(*core)


def test_a_race_in_memory_is_refused():
    core = [at(load(0, INPUT), signal=0), at(store(0, WORK), (0, 1)), at(load(512, WORK))]
    with pytest.raises(CompileError, match=r"reads memory within 8192\.\.8319, which"):
        check(*core)


def test_a_race_between_turns_is_refused():
    with pytest.raises(CompileError, match="in no certain order"):
        check(*loop(1, *[replace(one, signal=-1) if one.signal == 3 else one for one in STEP]))


def test_what_a_loop_orders_is_not_ordered_when_it_may_not_run():
    core = [
        at(load(0, INPUT), signal=0),
        *loop(1, nop(Queue.LD, signal=1), nop(Queue.ST, (1, 1))),
        at(store(0, OUTPUT)),
        nop(Queue.ST, (0, 1)),
    ]
    with pytest.raises(CompileError, match="in no certain order"):
        check(*core)
    core[1] = at(Loop(count=2, length=2))  # at least one turn
    assert check(*core)


def test_what_a_loop_overwrote_is_still_there_when_it_did_not_run():
    fill = replace(copy_acc(0), fn=MapFn.FILL, b_mode=Broadcast.SCALAR, b=512)
    core = [
        at(load(512, INPUT), signal=0),
        nop(Queue.VU, (0, 1)),
        at(load(0, INPUT), signal=2),
        *loop(1, nop(Queue.LD, signal=1), at(fill, (1, 1))),
        at(fill),
        nop(Queue.ST, (2, 1)),
    ]
    with pytest.raises(CompileError, match="which instruction 2 in LD writes"):
        check(*core)
    core[3] = at(Loop(count=2, length=2))
    assert check(*core)


def test_a_reader_that_waits_does_not_wait_for_another():
    fill = replace(copy_acc(512), fn=MapFn.FILL, b_mode=Broadcast.SCALAR)
    core = [at(load(0, INPUT), signal=0), at(store(0, OUTPUT), (0, 1)), at(fill)]
    with pytest.raises(CompileError, match=r"reads L1 within .*, which instruction 0 in LD writes"):
        check(*core)


def test_a_counter_has_one_signaller_and_one_waiter():
    with pytest.raises(CompileError, match="counter 1 must have one signaller, not LD and MU"):
        check(at(load(512, INPUT), signal=1), *STEP[:3], *STEP[3:], JOIN)
    two = [nop(Queue.LD, signal=5), nop(Queue.MU, (5, 1)), nop(Queue.LD, signal=5)]
    with pytest.raises(CompileError, match="counter 5 must have one waiter, not MU and VU"):
        check(*two, nop(Queue.VU, (5, 1)))


def test_wrong_counter_is_refused():
    with pytest.raises(CompileError, match="1 of counter 7 must be signalled before this wait"):
        check(*LINE[:3], at(copy_acc(2048), (7, 1), signal=2), *LINE[4:])


def test_counters_are_zero_at_every_turn_and_at_the_end():
    with pytest.raises(CompileError, match="counter 9 must be 0 at the end, not 1"):
        check(nop(Queue.LD, signal=9))
    give, take = nop(Queue.LD, signal=9), nop(Queue.MU, (9, 1))
    with pytest.raises(CompileError, match="0 at the end of every turn of the loop"):
        check(*loop(1, give), take)
    with pytest.raises(CompileError, match="0 at the start of every turn of the loop"):
        check(give, *loop(1, take))


def test_deadlocks_are_refused():
    crossed = [
        nop(Queue.LD, (0, 1), signal=1),
        nop(Queue.MU, (1, 1), signal=0),
    ]
    with pytest.raises(CompileError, match="may wait for ever"):
        check(*crossed)
    # MU's wait would be met, but its full queue keeps the signaller from being sent.
    full = [nop(Queue.MU, (0, 1))] * (SMALL.core.queue_depth + 2)
    with pytest.raises(CompileError, match="may wait for ever"):
        check(*full, *[nop(Queue.LD, signal=0)] * len(full))


def test_a_counter_that_may_pass_its_largest_value_is_refused():
    give = [nop(Queue.LD, signal=0)] * 240
    with pytest.raises(CompileError, match="counter 0 must stay at 255 or below, but may reach"):
        check(*give, *[nop(Queue.MU, (0, 1))] * 240)
    most = 255 - SMALL.core.queue_depth - 1  # a full queue, and one that runs, have not taken yet
    assert check(*give[:most], *[nop(Queue.MU, (0, 1))] * most)
    with pytest.raises(CompileError, match="may reach 256"):
        check(*give[: most + 1], *[nop(Queue.MU, (0, 1))] * (most + 1))


def test_reads_of_what_was_never_written_are_refused():
    for core in (
        [at(store(0, OUTPUT))],
        [at(matmul(0, 1024))],
        [at(load(0, INPUT, 3), signal=0), at(store(0, OUTPUT, 4), (0, 1))],
        [at(load(0, WORK))],
        [at(load(0, OUTPUT))],
        [*loop(1, at(load(0, INPUT), signal=0), nop(Queue.ST, (0, 1))), at(store(0, OUTPUT))],
    ):
        with pytest.raises(CompileError, match="must be written before it is read"):
            check(*core)
    assert check(at(load(0, POOL)))


@pytest.mark.parametrize(("written", "read", "good"), [(0, 0, True), (1, 0, True), (0, 1, False)])
def test_rows_are_compared_by_value(written: int, read: int, good: bool):
    """r2 rows, then r2 + 0, + 1 rows: in registers of their own."""
    core = [
        alu(AluFn.ADD, 3, 2, imm=written),
        alu(AluFn.ADD, 4, 2, imm=read),
        at(load(0, INPUT, 0, 3), signal=0),
        at(store(0, OUTPUT, 0, 4), (0, 1)),
    ]
    if good:
        assert check(*core)
    else:
        with pytest.raises(CompileError, match="must be written before it is read"):
            check(*core)


def test_tiles_of_rows_make_up_the_whole():
    """Rows 0..3 and 4..7 of at most 8, as far as r2 reaches."""
    core = [
        alu(AluFn.MIN, 3, 2, imm=4),
        alu(AluFn.SUB, 4, 2, imm=4),
        alu(AluFn.MAX, 4, 4),
        at(load(0, INPUT, 0, 3), signal=0),
        at(store(0, WORK, 0, 3), (0, 1)),
        at(load(128, INPUT, 0, 4), signal=0),
        at(store(128, WORK + 128, 0, 4), (0, 1), signal=1),
        at(load(256, WORK, 0, 2), (1, 1)),
    ]
    assert check(*core)
    with pytest.raises(CompileError, match="must be written before it is read"):
        check(*core[:5], nop(Queue.ST, signal=1), core[-1])


def test_a_loop_that_fills_rows_serves_a_loop_that_reads_them():
    count = [alu(AluFn.ADD, 3, 2, imm=1), alu(AluFn.SHR, 3, 3, imm=1)]  # ceil(rows / 2)

    def turns(body: list[Instruction]) -> list[Instruction]:
        tile = [
            alu(AluFn.SUB, 5, 2, 4),
            alu(AluFn.MIN, 5, 5, imm=2),
            alu(AluFn.MUL, 6, 4, imm=32),
            *body,
            alu(AluFn.ADD, 4, 4, imm=2),
        ]
        return [set_(4, 0), *loop(3, *tile)]

    write = [
        at(load(0, INPUT, 0, 5), signal=0),
        at(store(0, WORK, 0, 5, dst_reg=6), (0, 1), signal=1),
        nop(Queue.LD, (1, 1)),
    ]
    read = [at(load(512, WORK, 0, 5, src_reg=6))]
    assert check(*count, *turns(write), *turns(read))
    more = [at(load(512, WORK, 1, 5, src_reg=6))]
    with pytest.raises(CompileError, match="must be written before it is read"):
        check(*count, *turns(write), *turns(more))


@pytest.mark.parametrize("shift", [False, True])
def test_turns_write_a_whole_together_if_they_leave_no_gap(shift: bool):
    """Two rows per turn; with `shift`, every other turn writes them a row further on."""
    write = [
        alu(AluFn.MUL, 6, 4, imm=64),
        *([alu(AluFn.MUL, 7, 5, imm=32), alu(AluFn.ADD, 6, 6, 7)] if shift else []),
        at(load(0, INPUT, 2), signal=0),
        at(store(0, WORK, 2, dst_reg=6), (0, 1), signal=1),
        nop(Queue.LD, (1, 1)),
        alu(AluFn.SUB, 5, 8, 5),
        alu(AluFn.MIN, 5, 5, 8),
        alu(AluFn.MAX, 5, 5),
        alu(AluFn.ADD, 4, 4, imm=1),
    ]
    turns = [set_(4, 0), set_(5, 0), set_(8, 1), *loop(1, *write)]
    whole = [alu(AluFn.MUL, 9, 1, imm=2), alu(AluFn.SUB, 9, 9, 8), alu(AluFn.MAX, 9, 9)]
    core = [*turns, *whole, at(load(512, WORK + 32, 0, 9))]
    if shift:
        with pytest.raises(CompileError, match="must be written before it is read"):
            check(*core)
    else:
        assert check(*core)


def test_accesses_stay_in_their_memories():
    l1 = SMALL.core.l1_bytes
    with pytest.raises(CompileError, match=f"within the {l1} bytes of L1, not at {l1 + 32}"):
        check(at(load(l1 - 96, INPUT)))
    with pytest.raises(CompileError, match="must lie in one region"):
        check(at(load(0, INPUT + 0x1000 - 96)))
    with pytest.raises(CompileError, match="must lie in one region"):
        check(at(load(0, INPUT + 0x1000 - 128, 0, 2)))
    bank = 4 * SMALL.matrix.accumulators
    big = [at(load(0, INPUT)), at(load(1024, WEIGHTS, 8), signal=0)]
    with pytest.raises(CompileError, match="must fit one bank"):
        check(*big, at(matmul(0, 1024, acc=bank - 64), (0, 1)))
    wide = [at(load(0, INPUT)), at(load(1024, WEIGHTS, 32), signal=0)]
    for end in (bank, 2 * bank):  # rows of 128 bytes, which fill a bank to its end
        assert check(*wide, at(matmul(0, 1024, acc=end - 512, n=32), (0, 1)))


def test_a_result_starts_on_a_multiple_of_its_rows():
    big = [at(load(0, INPUT)), at(load(1024, WEIGHTS, 8), signal=0)]
    check(*big, at(matmul(0, 1024, acc=1024), (0, 1)))
    with pytest.raises(CompileError, match="4 rows must start on a multiple of 512 bytes, not at"):
        check(*big, at(matmul(0, 1024, acc=1152), (0, 1)))


@pytest.mark.parametrize("place", [WEIGHTS, INPUT])
def test_writes_to_weights_and_inputs_are_refused(place: int):
    with pytest.raises(CompileError, match="must not be written"):
        check(at(load(0, INPUT), signal=0), at(store(0, place), (0, 1)))


def test_loops_end_where_they_began():
    with pytest.raises(CompileError, match="must end with End"):
        verify(replace(program([]), cores=((STEP[0],),)), SMALL)
    with pytest.raises(CompileError, match="End must be the last instruction"):
        check(END)
    with pytest.raises(CompileError, match="must end within what holds it"):
        check(at(Loop(count=1, length=9)), *LINE)
    with pytest.raises(CompileError, match="a barrier must stand outside loops"):
        check(*loop(1, BARRIER))
    deep = [nop(Queue.LD)]
    for _ in range(5):
        deep = loop(1, *deep)
    with pytest.raises(CompileError, match="loops must nest at most 4 deep"):
        check(*deep)


def test_registers_are_written_before_they_are_read():
    with pytest.raises(CompileError, match="r9 must be written before it is read"):
        check(alu(AluFn.ADD, 3, 9))
    with pytest.raises(CompileError, match="r3 must be written before it is read"):
        check(*loop(1, set_(3, 1)), at(load(0, INPUT, 0, 3)))
    with pytest.raises(CompileError, match="must stay in 48 bits"):
        check(set_(3, (1 << 47) - 1), alu(AluFn.ADD, 3, 3, imm=1))
    with pytest.raises(CompileError, match="must stay in 48 bits"):
        check(set_(3, 1), *loop(1, alu(AluFn.MUL, 3, 3, imm=1 << 20)))
    with pytest.raises(CompileError, match="must lie in one table"):
        check(load_scalar(3, WEIGHTS))
    with pytest.raises(CompileError, match=r"rows must be in 0\.\.2047, not -7\.\.0"):
        check(alu(AluFn.SUB, 3, 0, 2, imm=0), alu(AluFn.ADD, 3, 3, imm=1), at(load(0, INPUT, 0, 3)))


def test_clamped_registers_stay_clamped_over_turns():
    grow = [alu(AluFn.ADD, 3, 3, imm=1), alu(AluFn.MIN, 3, 3, imm=8)]
    assert check(set_(3, 0), *loop(1, at(load(0, INPUT, 0, 3)), *grow))
    with pytest.raises(CompileError, match="rows must be in"):
        check(
            set_(3, 0), *loop(1, at(load(0, INPUT, 0, 3)), alu(AluFn.MUL, 3, 3, imm=2), *grow[:1])
        )


def test_pages_are_those_that_the_table_names():
    def pages(**changes: int) -> LoadPages:
        op = LoadPages(
            space=0,
            dst=0,
            dst_pitch=32,
            table=3,
            first=4,
            end=2,
            rows=8,
            pool=POOL,
            page_bytes=1024,
            offset=0,
            page_log2=1,
            row_bytes=32,
        )
        return replace(op, **changes)

    start = [set_(3, INPUT), set_(4, 0)]
    assert check(*start, at(pages()))
    with pytest.raises(CompileError, match="must lie in one region"):
        check(*start, at(pages(page_bytes=2048)))
    with pytest.raises(CompileError, match="must end within a page of 32 bytes"):
        check(*start, at(pages(page_bytes=32)))
    with pytest.raises(CompileError, match="block table entries must end within `t`"):
        check(set_(3, INPUT + 4 * 13), set_(4, 0), at(pages()))
    with pytest.raises(CompileError, match="must lie in a table of the program"):
        check(set_(3, WEIGHTS), set_(4, 0), at(pages()))


def test_cores_may_not_clash_between_barriers():
    first = [at(load(0, INPUT), signal=0), at(store(0, WORK), (0, 1))]
    other = [at(load(0, INPUT), signal=0), at(store(0, WORK + 96), (0, 1))]
    apart = [at(load(0, INPUT), signal=0), at(store(0, WORK + 128), (0, 1))]
    assert verify(program(first, apart, chip=MID), MID)
    with pytest.raises(CompileError, match="which instruction 1 of core 0 writes before the same"):
        verify(program(first, other, chip=MID), MID)
    assert verify(program([*first, BARRIER], [BARRIER, *other], chip=MID), MID)
    read = [at(load(0, WORK))]
    with pytest.raises(CompileError, match="must be written before it is read"):
        verify(program(first, read, chip=MID), MID)
    assert verify(program([*first, BARRIER], [BARRIER, *read], chip=MID), MID)
    again, reads = [*first, BARRIER, *first], [BARRIER, *read]
    with pytest.raises(CompileError, match="of core 0 writes before the same barrier"):
        verify(program(again, reads, chip=MID), MID)
    with pytest.raises(CompileError, match="of core 0 reads before the same barrier"):
        verify(program(reads, again, chip=MID), MID)


def test_columns_of_one_tensor_are_apart():
    def half(column: int) -> list[Instruction]:
        op = replace(store(0, WORK + 32 * column, 0, 2), dst_pitch=64)
        return [at(load(0, INPUT, 0, 2), signal=0), at(op, (0, 1))]

    whole = at(replace(load(0, WORK, 0, 2), src_pitch=64, dst_pitch=64, row_bytes=64))
    assert verify(program([*half(0), BARRIER, whole], [*half(1), BARRIER], chip=MID), MID)
    with pytest.raises(CompileError, match="before the same barrier"):
        verify(program(half(0), half(0), chip=MID), MID)


def test_the_header_fits_the_chip():
    with pytest.raises(CompileError, match="the chip must be the one that the program is for"):
        verify(replace(program(LINE), chip="0" * 12), SMALL)
    with pytest.raises(CompileError, match="the program must have 2 cores, not 1"):
        verify(program(LINE, chip=MID), MID)
    with pytest.raises(CompileError, match="as many barriers as core 0, 1, not 0"):
        verify(program([BARRIER], [], chip=MID), MID)
    with pytest.raises(CompileError, match="two scalars have the name"):
        verify(replace(program(LINE), scalars=(TURNS, TURNS)), SMALL)
    far = replace(
        program([]), regions=(replace(program([]).regions[2], address=1 << 39),), tables=()
    )
    with pytest.raises(CompileError, match="must end within the 1073741824 bytes of memory"):
        verify(far, SMALL)


def test_shapes_and_formats_are_checked():
    for op, message in (
        (replace(matmul(0, 0), b_format=0), "both int or both float"),
        (replace(matmul(0, 0), a_format=15), "format code must be in"),
        (replace(matmul(0, 0), k_blocks=0), "k_blocks must be at least 1"),
        (replace(load(0, INPUT), dst_pitch=16), "pitch in L1 must be at least the 32 bytes"),
        (replace(load(0, INPUT), dst_pitch=24), "must be a multiple of 16"),
    ):
        with pytest.raises(CompileError, match=message):
            check(at(op))
    with pytest.raises(CompileError, match="the queue must be LD, ST, MU or VU, not NET"):
        check(nop(Queue.NET))
    with pytest.raises(CompileError, match="must not wait twice for one counter"):
        check(nop(Queue.LD, (0, 1), (0, 1)))
