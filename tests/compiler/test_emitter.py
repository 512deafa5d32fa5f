"""Synchronisation stands exactly where data clash, and is enough in every legal order."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import chip_named
from tapeout.compiler.emitter import ZERO, Emitter
from tapeout.errors import CompileError
from tapeout.isa import (
    AluFn,
    Barrier,
    Broadcast,
    Instruction,
    LoadTile,
    Loop,
    Map,
    MapFn,
    Matmul,
    Nop,
    Operation,
    Program,
    Queue,
    Set,
    Space,
    StoreTile,
)
from tapeout.sim import Machine

NANO = chip_named("nano")
CONSTANT_END = 0x400
"""Memory below it is not written; LoadTile from it needs no order."""


def emitter() -> Emitter:
    return Emitter(constant_end=CONSTANT_END, pages=1)


def load(dst: int, *, src: int = 0, rows: int = 1, pitch: int = 64, size: int = 64) -> LoadTile:
    return LoadTile(
        space=Space.L1,
        dst=dst,
        dst_pitch=pitch,
        src=src,
        src_reg=0,
        src_pitch=0,
        rows=rows,
        rows_reg=0,
        row_bytes=size,
    )


def store(src: int, *, dst: int = CONSTANT_END, size: int = 64) -> StoreTile:
    return StoreTile(
        space=Space.L1,
        src=src,
        src_pitch=64,
        dst=dst,
        dst_reg=0,
        dst_pitch=64,
        rows=1,
        rows_reg=0,
        row_bytes=size,
    )


def add(a: int, b: int, dst: int, *, columns: int = 16, a_space: Space = Space.L1) -> Map:
    return Map(
        fn=MapFn.ADD,
        a_space=a_space,
        a=a,
        a_pitch=4 * columns,
        b=b,
        b_pitch=4 * columns,
        b_mode=Broadcast.FULL,
        dst=dst,
        dst_pitch=4 * columns,
        rows=1,
        rows_reg=0,
        columns=columns,
    )


def matmul(a: int, b: int, acc: int) -> Matmul:
    """One row by one column of FP8, without scales."""
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
        m=1,
        m_reg=0,
        n=1,
        k_blocks=1,
        accumulate=0,
        transpose=0,
    )


def edges(code: tuple[Instruction, ...] | list[Instruction]) -> list[tuple[int, int]]:
    """(signaller, waiter) of each wait: the nth take of a counter meets its nth signal."""
    signals: dict[int, list[int]] = {}
    for i, instruction in enumerate(code):
        if instruction.signal >= 0:
            signals.setdefault(instruction.signal, []).append(i)
    return [
        (signals[take.counter].pop(0), i)
        for i, instruction in enumerate(code)
        for take in instruction.waits
    ]


@pytest.mark.parametrize(
    ("ops", "wanted"),
    [
        ([load(0), store(0)], [(0, 1)]),  # read after write
        ([store(0), load(0)], [(0, 1)]),  # write after read
        ([load(0), add(64, 128, 0)], [(0, 1)]),  # write after write
        ([load(0), load(0)], []),  # one queue is in order
        ([load(0), store(64)], []),  # other bytes
        ([load(0), store(48, size=16)], [(0, 1)]),  # the last granule
        ([store(0), add(0, 0, 64)], []),  # both read
        (
            [load(0), matmul(0, 32, 0), add(0, 64, 128, columns=1, a_space=Space.ACC)],
            [(0, 1), (1, 2)],
        ),
        ([load(0), matmul(0, 32, 0), matmul(0, 32, 4)], [(0, 1)]),  # known since the first
        ([load(0), add(0, 0, 64), store(64), load(64)], [(0, 1), (1, 2), (2, 3)]),
        ([load(0, rows=2, pitch=128), store(64)], []),  # between the rows of a tile
        ([store(0), load(64, src=CONSTANT_END)], [(0, 1)]),  # through memory
        ([store(0), load(64, src=CONSTANT_END + 64)], []),
        ([load(64, src=CONSTANT_END), store(0)], [(0, 1)]),
    ],
)
def test_waits_are_exactly_where_data_clash(ops: list[Operation], wanted: list[tuple[int, int]]):
    e = emitter()
    for op in ops:
        e.emit(op)
    assert sorted(edges(e.instructions)) == wanted
    assert [i.op for i in e.instructions] == ops, "no instruction but those asked for"


def test_memory_that_is_never_written_needs_no_order():
    e = emitter()
    e.emit(store(0, dst=CONSTANT_END))
    e.emit(load(64, src=CONSTANT_END - 64))
    assert edges(e.instructions) == []


def test_an_instruction_with_three_waits_gets_a_nop():
    e = emitter()
    for op in (load(0), matmul(64, 96, 0), store(128)):
        e.emit(op)
    e.emit(add(0, 0, 128, columns=1, a_space=Space.ACC))  # ACC of MU, b of LD, dst of ST
    last = e.instructions[-2:]
    assert isinstance(last[0].op, Nop)
    assert sorted(len(i.waits) for i in last) == [1, 2]
    assert sorted(s for s, _ in edges(e.instructions)) == [0, 1, 2]


def test_a_signaller_that_is_taken_gets_a_follower():
    """A load that two queues wait for: an instruction signals once, so a Nop signals the second."""
    e = emitter()
    for op in (load(0), store(0), matmul(0, 32, 0)):
        e.emit(op)
    nop = e.instructions[2]
    assert isinstance(nop.op, Nop)
    assert nop.queue is Queue.LD
    assert edges(e.instructions) == [(0, 1), (2, 3)]


def test_a_fence_orders_everything():
    e = emitter()
    e.emit(load(0))
    e.emit(matmul(64, 96, 0))
    e.emit(store(128))
    e.fence()
    before = len(e.instructions)
    for op in (store(0), add(0, 0, 64, columns=1, a_space=Space.ACC), load(128)):
        e.emit(op)
    assert all(not i.waits for i in e.instructions[before:]), "the fence has said it"
    nops = [i for i in e.instructions if isinstance(i.op, Nop)]
    assert {i.queue for i in nops} == {Queue.VU, Queue.LD, Queue.ST, Queue.MU}


def test_a_fence_over_nothing_is_free():
    e = emitter()
    e.fence()
    e.emit(load(0))
    e.fence()
    size = len(e.instructions)
    e.fence()
    assert len(e.instructions) == size


def test_a_loop_is_fenced_at_both_ends():
    e = emitter()
    count = e.set(3)
    e.emit(load(0))
    with e.loop(count):
        e.emit(store(0))
        e.emit(load(0))
    e.emit(store(0))
    code = e.end()
    at = next(i for i, x in enumerate(code) if isinstance(x.op, Loop))
    op = code[at].op
    assert isinstance(op, Loop)
    inside = range(at + 1, at + 1 + op.length)
    assert sum(isinstance(code[i].op, StoreTile) for i in inside) == 1
    assert isinstance(code[inside[-1]].op, Nop)
    for signaller, waiter in edges(code):
        assert (signaller in inside) == (waiter in inside), "a wait must not cross a loop's border"


def test_nothing_waits_for_a_signal_inside_a_loop_that_may_not_run():
    """Also where the loop's instructions touch nothing, and so need no fence."""
    e = emitter()
    outer, inner = e.set(2), e.set(0)
    with e.loop(outer):
        e.emit(load(0))
        with e.loop(inner):
            e.emit(load(0, rows=0))
        e.emit(store(0))
    code = e.end()
    machine = Machine(NANO, 4096)
    machine.run(Program(name="x", chip=NANO.fingerprint, cores=(code,)), {})
    at = next(i for i, x in enumerate(code) if isinstance(x.op, LoadTile) and x.op.rows == 0)
    assert code[at].signal == -1


def test_a_barrier_makes_waits_unnecessary():
    e = emitter()
    e.emit(load(0))
    e.barrier()
    e.emit(store(0))
    assert edges(e.instructions) == []
    assert isinstance(e.instructions[1].op, Barrier)


def test_every_signal_is_taken():
    e = emitter()
    rng = np.random.default_rng(0)
    for _ in range(300):
        at, to = (64 * int(x) for x in rng.integers(0, 6, 2))
        e.emit([load(at), store(at), add(at, at, to), matmul(at, to, 0)][rng.integers(0, 4)])
    code = e.end()
    assert sum(i.signal >= 0 for i in code) == sum(len(i.waits) for i in code) == len(edges(code))


# ---- registers -------------------------------------------------------------------------------


def test_registers_are_given_back():
    e = emitter()
    held = [e.register(low=0, high=1) for _ in range(31)]
    assert [r.number for r in held] == list(range(1, 32))
    with pytest.raises(CompileError, match="at most 31 registers"):
        e.set(5)
    e.free(held[6])
    assert e.set(5).number == 7
    assert isinstance(e.instructions[-1].op, Set)


def test_an_operation_on_a_free_register_is_a_bug():
    e = emitter()
    reg = e.set(1)
    e.free(reg)
    with pytest.raises(AssertionError, match="r1 is read and holds nothing"):
        e.emit(replace(load(0), rows_reg=reg.number))


def test_the_bounds_of_a_register_decide():
    """Rows of a register clash as far as its largest value reaches."""
    for most, wanted in ((2, []), (3, [(1, 2)])):
        e = emitter()
        rows = e.alu(AluFn.ADD, ZERO, low=0, high=most)
        e.emit(replace(load(0, rows=0), rows_reg=rows.number))
        e.emit(store(128))
        assert edges(e.instructions) == wanted


# ---- all orders ------------------------------------------------------------------------------

TILES = st.integers(0, 11).map(lambda x: 32 * x)
MEMORY = st.integers(0, 11).map(lambda x: CONSTANT_END + 32 * x)


@st.composite
def any_operation(draw: st.DrawFn) -> Operation:
    """An operation on a few tiles of L1, the accumulators and memory, which often clash."""
    a, b, c, out = draw(TILES), draw(TILES), draw(TILES), draw(MEMORY)
    kind = draw(st.integers(0, 5))
    again: Operation = replace(matmul(a, b, 0), accumulate=1)
    ops: tuple[Operation, ...] = (
        load(a, src=draw(st.one_of(MEMORY, TILES)), rows=draw(st.integers(0, 2)), size=32),
        store(a, dst=out, size=32),
        add(a, b, c, columns=8),
        matmul(a, b, 128 * draw(st.integers(0, 3))),
        add(128 * draw(st.integers(0, 3)), b, c, columns=1, a_space=Space.ACC),
        again,
    )
    return ops[kind]


Body = list["Operation | str | tuple[int, Body]"]
STEPS = st.recursive(
    st.lists(st.one_of(any_operation(), st.just("fence"), st.just("barrier")), max_size=12),
    lambda inner: st.lists(
        st.one_of(any_operation(), st.tuples(st.integers(0, 3), inner)), max_size=8
    ),
    max_leaves=4,
)


def put(e: Emitter, body: Body) -> None:
    for step in body:
        if step == "fence":
            e.fence()
        elif step == "barrier":
            e.barrier()
        elif isinstance(step, tuple):
            count = e.set(step[0])
            with e.loop(count):
                put(e, step[1])
            e.free(count)
        else:
            assert not isinstance(step, str)
            e.emit(step)


def one_after_the_other(body: Body) -> list[Operation]:
    """The operations in the order in which they are written, loops unrolled."""
    out: list[Operation] = []
    for step in body:
        if isinstance(step, tuple):
            out += step[0] * one_after_the_other(step[1])
        elif not isinstance(step, str):
            out.append(step)
    return out


def memory_after(code: tuple[Instruction, ...], seed: int | None) -> bytes:
    machine = Machine(NANO, 4096)
    machine.hbm[:] = np.random.default_rng(1).integers(0x30, 0x40, 4096)  # FP8 and FP32 near 1
    fill = [replace(load(0, src=0, size=640), rows=1)]
    start = Emitter(constant_end=CONSTANT_END, pages=1)
    start.emit(fill[0])
    start.emit(replace(matmul(0, 32, 0), n=4, b_pitch=32))
    start.emit(replace(matmul(0, 32, 128), n=4, b_pitch=32))
    start.emit(replace(matmul(0, 32, 256), n=4, b_pitch=32))
    start.emit(replace(matmul(0, 32, 384), n=4, b_pitch=32))
    start.barrier()
    code = (*start.instructions, *code)
    machine.run(Program(name="x", chip=NANO.fingerprint, cores=(code,)), {}, seed=seed)
    return machine.hbm.tobytes()


@given(body=STEPS, seeds=st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
@settings(max_examples=100)
def test_every_legal_order_does_what_is_written(body: Body, seeds: list[int]):
    show = replace(store(0, dst=0x800, size=480), rows=1)
    e = emitter()
    put(e, [*body, show])
    code = e.end()
    plain = emitter()
    for op in [*one_after_the_other(body), show]:
        plain.emit(op)
        plain.barrier()  # nothing overlaps anything
    wanted = memory_after(plain.end(), None)
    for seed in (None, *seeds):
        assert memory_after(code, seed) == wanted
