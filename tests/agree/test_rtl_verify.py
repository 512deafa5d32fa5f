"""Random programs on a chip's RTL are compared with the simulator after every instruction.

The first of these tests compiles the chip, which takes minutes.
"""

import re
from dataclasses import replace

import pytest
from pywellen import Waveform

from machines import chip_named
from tapeout.isa import Queue
from tapeout.rtl.simulation import Waves
from tapeout.rtl.sizes import core_sizes
from tapeout.rtl.traffic import reach, read_users, write_users
from tapeout.rtl.trap import Trap
from tapeout.runtime import lockstep
from tapeout.runtime.cosimulate import Replay
from tapeout.runtime.random_chips import random_chip
from tapeout.runtime.random_trials import random_trial
from tapeout.runtime.verification import (
    WAVES_AFTER_CYCLES,
    WAVES_BEFORE_CYCLES,
    Campaign,
    run_trial,
    write_waves,
)

NANO = chip_named("nano")
FEW = (2, 3, 9, 19, 29, 49)
"""Quick ones: two that end, and traps READ, WRITE, ADDRESS and CHIP."""


def clean(chip, seeds):
    campaign = Campaign(chip)
    for result in campaign.run(seeds):
        assert result.failure is None, f"seed {result.seed}: {result.failure}"
    return campaign


def test_few_programs():
    campaign = clean(NANO, FEW)
    traps = [result.trap for result in campaign.results]
    assert traps == [Trap.NONE, Trap.NONE, Trap.READ, Trap.WRITE, Trap.ADDRESS, Trap.CHIP]
    assert campaign.coverage.share_hit[0] > 300


def test_a_wrong_end_is_a_failure():
    ends, traps = random_trial(NANO, 2), random_trial(NANO, 29)
    found = run_trial(replace(ends, trap=Trap.WRITE), NANO).failure
    assert found.problem == "it must trap WRITE, but has ended"
    found = run_trial(replace(traps, trap=Trap.NONE, culprits=frozenset()), NANO).failure
    assert found.problem.startswith("it must end, but: a tile must lie in its memory (trap ADDRESS")
    elsewhere = replace(traps, culprits=frozenset({(Queue.MU, 1)}))
    assert (
        "must trap ADDRESS at MU, instruction 1, but" in run_trial(elsewhere, NANO).failure.problem
    )


class OtherBits(Replay):
    """A simulator that is wrong in a byte of the first result of the vector unit."""

    wrong = False

    def event(self, queue, number):
        writes = super().event(queue, number)
        if queue is Queue.VU and writes and not self.wrong:
            self.wrong = True
            self.images[writes[0].memory][writes[0].addresses[5]] ^= 0xFF
        return writes


class OtherRegister(Replay):
    """A simulator that loses a bit of a register."""

    def event(self, queue, number):
        writes = super().event(queue, number)
        if number == 40:
            self.core.registers[31] += 2
        return writes


class OtherWay(Replay):
    """A simulator that skips an instruction."""

    def event(self, queue, number):
        if queue is Queue.CP and number == 30:
            self.core.pc = 31
        return super().event(queue, number)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (
            OtherBits,
            r"l1 0xca05 \(dst, row 0, byte 5\): expected 0x9b, got 0x64\n"
            r"  expected 0xca00: ccd099c0 569b78c0 ",
        ),
        (OtherRegister, r"register 31: expected 2, got 0"),
        (OtherWay, r"the command processor is at instruction 31"),
    ],
)
def test_what_differs_is_found_where_it_happens(other, problem, monkeypatch):
    monkeypatch.setattr(lockstep, "Replay", other)
    failure = run_trial(random_trial(NANO, 2), NANO).failure
    assert re.match(problem, failure.problem)
    assert failure.text
    assert failure.number > 0
    assert failure.cycle > 0


@pytest.mark.slow
def test_waves_are_written_around_a_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(lockstep, "Replay", OtherBits)
    result = run_trial(random_trial(NANO, 2), NANO)
    cycle = result.failure.cycle
    assert write_waves(NANO, result, tmp_path / "waves.fst") == 2 * cycle
    waves = signals(tmp_path / "waves.fst")
    assert len(waves) > 10_000
    times = [time for time, _ in waves["TOP.clk"]]
    assert times[0] // 2 == max(0, cycle - WAVES_BEFORE_CYCLES)
    assert times[-1] // 2 == cycle + WAVES_AFTER_CYCLES
    assert waves["TOP.trace0_vu_valid"].value_at(2 * cycle)


@pytest.mark.slow
def test_bursts_are_as_the_guide_says(tmp_path):
    run_trial(random_trial(NANO, 2), NANO, waves=Waves(path=tmp_path / "waves.fst"))
    waves, sizes = signals(tmp_path / "waves.fst"), core_sizes(NANO)
    edges = [time - 1 for time, value in waves["TOP.clk"] if value]
    seen = set()
    for channel, users in (("ar", read_users(sizes)), ("aw", write_users(sizes))):
        names = ("valid", "ready", "id", "len", "addr")
        ports = [waves[f"TOP.memory0_{channel}{name}"] for name in names]
        for time in edges[1:]:
            valid, ready, number, length, address = (port.value_at(time) for port in ports)
            if valid and ready:
                seen.add((channel, number))
                assert length < users[number].longest_beats
                assert address % sizes.bus_bytes == 0
                last = address + length * sizes.bus_bytes
                assert address // reach(sizes) == last // reach(sizes)
    assert {("ar", 0), ("ar", 2), ("aw", 0)} <= seen


def signals(path):
    """By name, as a reader of others finds them."""
    return {each.full_name: each.signal for each in Waveform(str(path)).all_vars()}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_a_thousand_programs(first):
    hit, total = clean(NANO, range(first, first + 250)).coverage.share_hit
    assert hit > 0.94 * total


@pytest.mark.slow
def test_programs_on_small():
    clean(chip_named("small"), range(200))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_programs_on_another_chip(number):
    clean(random_chip(NANO, number), range(10))
