"""Random programs are legal, free of races, and read nothing that they have not written."""

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import chip_named, chips
from tapeout.chip import Chip
from tapeout.compiler import verify
from tapeout.compiler.accesses import Tile, accesses, overlap
from tapeout.isa import OPERATIONS, Operation, Quantise, Queue, Space, decode, encode
from tapeout.runtime.cosimulate import MEMORIES, Replay, write_of
from tapeout.runtime.coverage import executed
from tapeout.runtime.random_programs import Case, random_program
from tapeout.sim import Machine

NANO = chip_named("nano")
CASES = [(name, seed) for name in ("nano", "small") for seed in range(4)]


def run(case: Case, seed: int | None = None) -> Machine:
    """The machine after a run in the simulator."""
    machine = Machine(case.chip, case.memory.size)
    machine.hbm[:] = case.memory
    machine.run(case.program, case.scalars, seed=seed)
    return machine


def check(chip: Chip, seed: int, size: int) -> None:
    """A program is proven safe, and does the same in other orders and on other garbage."""
    case = random_program(chip, seed, size)
    verify(case.provable, chip)
    want = run(case).hbm
    for order in range(2):
        assert np.array_equal(run(case, order).hbm, want)


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_programs_are_safe_and_their_order_does_not_matter(name: str, seed: int):
    check(chip_named(name), seed, 40)


@settings(max_examples=8, deadline=None)
@given(chip=chips(), seed=st.integers(0, 1 << 32), size=st.integers(0, 30))
def test_programs_are_safe_on_any_chip(chip: Chip, seed: int, size: int):
    check(chip, seed, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "small", "mid", "full"])
def test_many_programs_are_safe(name: str):
    for seed in range(100, 115 if name == "full" else 160):
        check(chip_named(name), seed, 60)


def test_equal_seeds_give_equal_programs():
    one, other, third = (random_program(NANO, seed, 20) for seed in (5, 5, 6))
    assert one.program == other.program
    assert np.array_equal(one.memory, other.memory)
    assert one.program != third.program


def test_the_words_of_the_program_lie_in_memory():
    case = random_program(NANO, 0, 20)
    for number, instruction in enumerate(case.instructions):
        word = case.memory[32 * number : 32 * number + 32].tobytes()
        assert word == encode(instruction)
        assert decode(word) == instruction


def test_few_programs_hold_every_operation():
    found: set[type[Operation]] = set()
    for seed in range(3):
        found |= {type(i.op) for i in random_program(NANO, seed, 40).instructions}
    assert found == set(OPERATIONS)


def operands(case: Case) -> Iterator[tuple[Operation, list[Tile], list[Tile]]]:
    """Of each executed operation of a queue: what it reads and writes."""
    for one in executed(case):
        if one.instruction.queue is not Queue.CP:
            register = one.registers.__getitem__
            reads, writes = accesses(one.op, register, register)
            yield one.op, reads, writes


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_every_byte_is_written_before_it_is_read(name: str, seed: int):
    case = random_program(chip_named(name), seed, 40)
    replay = Replay(case.chip, case.instructions, case.registers, case.memory)
    order = random.Random(seed)
    while not replay.ended:
        queue, number = order.choice(replay.legal())
        if queue is not Queue.CP:
            _, registers = replay.core.queues[queue][0]
            op = case.instructions[number].op
            for tile in accesses(op, registers.__getitem__, registers.__getitem__)[0]:
                if tile.space is not None:
                    read = write_of(tile)
                    assert replay.written[MEMORIES[tile.space]][read.addresses].all(), op
        replay.event(queue, number)
    assert np.array_equal(replay.images["memory"], run(case).hbm)


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_results_lie_apart_from_operands_or_exactly_over_them(name: str, seed: int):
    for op, reads, writes in operands(random_program(chip_named(name), seed, 40)):
        for read, write in product(reads, writes):
            if overlap(read, write) and read.space is not None:
                same = (read.start, read.pitch, read.rows) == (write.start, write.pitch, write.rows)
                one_row = read.rows == write.rows == 1 and read.start == write.start
                assert same or one_row, op
                assert read.row_bytes == write.row_bytes or isinstance(op, Quantise), op
        for one, other in product(writes, writes):
            assert one is other or not overlap(one, other), op


def test_everything_that_a_program_uses_is_stored_at_the_end():
    case = random_program(NANO, 3, 30)
    dump = next(region for region in case.program.regions if region.name == "dump")
    machine = run(case)
    replay = Replay(case.chip, case.instructions, case.registers, case.memory)
    while not replay.ended:
        replay.event(*replay.legal()[0])
    stored = machine.hbm[dump.address : dump.end]
    scales = replay.images["scale"]
    l1_bytes = NANO.core.l1_bytes
    assert np.array_equal(stored[l1_bytes : l1_bytes + len(scales)], scales)
    assert np.array_equal(stored[l1_bytes + len(scales) :], replay.images["acc"])
    assert replay.written[MEMORIES[Space.L1]].all()
