"""Trials of a seed are always the same, and say what must come of them."""

from dataclasses import replace

import numpy as np
import pytest

from machines import chip_named
from tapeout.errors import TrapError
from tapeout.isa import WORD_BYTES, Queue
from tapeout.rtl.machine import PROGRAM_ROOM_BYTES
from tapeout.rtl.trap import Trap
from tapeout.runtime.coverage import executed
from tapeout.runtime.random_trials import BREAKS, BROKEN_EVERY, memory_bytes, random_trial

NANO = chip_named("nano")
READ, WRITE, ADDRESS, PROGRAM, CHIP = range(BROKEN_EVERY - 1, BROKEN_EVERY * 5, BROKEN_EVERY)
"""The first seeds of each kind that traps."""


def test_equal_seeds_give_equal_trials():
    for seed in (3, READ):
        first, second = random_trial(NANO, seed), random_trial(NANO, seed)
        assert first.case.instructions == second.case.instructions
        assert np.array_equal(first.case.memory, second.case.memory)
        assert (first.options, first.trap, first.culprits) == (
            second.options,
            second.trap,
            second.culprits,
        )


def test_nine_of_ten_run_to_their_end():
    assert [seed for seed in range(6, 20) if random_trial(NANO, seed).trap] == [9, 19]


@pytest.mark.parametrize(
    ("first", "trap"), [(READ, Trap.READ), (WRITE, Trap.WRITE), (PROGRAM, Trap.READ)]
)
def test_memory_fails_where_a_culprit_is(first: int, trap: Trap):
    for seed in (first, first + BROKEN_EVERY * len(BREAKS)):
        trial = random_trial(NANO, seed)
        assert trial.trap is trap
        (fault,) = trial.options.faults
        assert fault.end == fault.start + 1
        assert (fault.reads, fault.writes) != (False, False)
        assert trial.culprits
        if first == PROGRAM:
            number = (fault.start - memory_bytes(trial.case) + PROGRAM_ROOM_BYTES) // WORD_BYTES
            assert (Queue.CP, number) in trial.culprits
        else:
            assert fault.end <= len(trial.case.memory)
            assert all(
                trial.case.instructions[number].queue is queue for queue, number in trial.culprits
            )


@pytest.mark.parametrize("seed", [ADDRESS, ADDRESS + 50, ADDRESS + 100, ADDRESS + 150])
def test_an_address_out_of_range_traps_in_the_simulator_too(seed: int):
    trial = random_trial(NANO, seed)
    assert trial.trap is Trap.ADDRESS
    ((queue, number),) = trial.culprits
    assert trial.case.instructions[number].queue is queue
    with pytest.raises(TrapError, match="address range"):
        for _ in executed(trial.case):
            pass


def test_the_host_may_take_the_chip_for_another():
    trial = random_trial(NANO, CHIP)
    assert trial.trap is Trap.CHIP
    assert trial.case.program.chip == trial.claimed.fingerprint != NANO.fingerprint
    assert replace(trial.claimed, clock_hz=NANO.clock_hz) == NANO
