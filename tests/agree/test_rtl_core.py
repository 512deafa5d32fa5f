"""A whole chip in RTL does what the simulator does: memory, L1, scales and accumulators.

The first of these tests compiles the chip, which takes minutes.
"""

from dataclasses import replace

import numpy as np
import pytest

from agree.rtl_programs import HBM, Beside, Writer, instruction, program_of
from machines import ROOT
from tapeout.chip import load_chip
from tapeout.errors import TrapError
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import Alu, End, LoadTile, Loop, Matmul, Nop, Set, StoreTile, Take
from tapeout.rtl.machine import RtlMachine
from tapeout.rtl.memory_options import Fault, MemoryOptions
from tapeout.sim import Machine

pytestmark = pytest.mark.slow

CHIP = load_chip(ROOT / "chips" / "nano.toml")
END = instruction(End())
LOAD = LoadTile(
    space=0, dst=64, dst_pitch=112, src=4096 + 5, src_reg=0, src_pitch=100, rows=50, rows_reg=0,
    row_bytes=97,
)  # fmt: skip
STORE = StoreTile(
    space=0, src=64, src_pitch=112, dst=65536 + 3, dst_reg=0, dst_pitch=130, rows=50, rows_reg=0,
    row_bytes=97,
)  # fmt: skip
COPY = [instruction(LOAD, signal=3), instruction(STORE, Take(counter=3, count=1)), END]
BAD_PRODUCT = Matmul(
    a=0, a_pitch=64, a_scale=0, a_scale_pitch=16, a_format=5, b=0, b_pitch=64, b_scale=0,
    b_scale_pitch=16, b_format=5, acc=128, m=2, m_reg=0, n=4, k_blocks=1, accumulate=0, transpose=0,
)  # fmt: skip


def machine(**options):
    out = RtlMachine(CHIP, HBM, watchdog_cycles=100_000, **options)
    out.hbm[:] = np.random.default_rng(1).integers(0, 256, HBM)
    return out


def run_random(chip_machine, seed):
    rng = np.random.default_rng(seed)
    memory = chip_machine.hbm
    memory[:] = rng.integers(0, 256, HBM)
    if seed % 2:  # numbers that stay finite
        numbers = rng.standard_normal(HBM // 8).astype(np.float32)
        memory[: HBM // 2] = numbers.view(np.uint8)
    writer = Writer(CHIP, seed)
    program = program_of(CHIP, tuple(writer.program(writer.number(4, 25))))
    chip_machine.fresh(MemoryOptions.random(seed) if seed % 3 else MemoryOptions(), seed=seed)
    beside = Beside(chip_machine, program)
    statistics = chip_machine.run(program, {})
    beside.check()
    assert statistics.instructions == beside.core.executed.total()
    return statistics


def test_random_programs():
    chip_machine = machine()
    for seed in range(80):
        run_random(chip_machine, seed)


def test_one_program_after_the_other():
    """Nothing is left of a program in the chip; both stay in memory."""
    chip_machine, sim = machine(), Machine(CHIP, HBM)
    sim.hbm[:] = chip_machine.hbm
    writers = [Writer(CHIP, seed) for seed in (1, 2)]
    programs = [program_of(CHIP, tuple(writer.program(12))) for writer in writers]
    copy = program_of(CHIP, tuple(COPY))
    chip_machine.run(copy, {})
    sim.run(copy, {})
    np.testing.assert_array_equal(chip_machine.hbm, sim.hbm)
    for program in (*programs, copy, *programs):
        beside = Beside(chip_machine, program)
        chip_machine.run(program, {})
        beside.check()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_seed_changes_the_time_only(seed):
    chip_machine, sim = machine(), Machine(CHIP, HBM)
    sim.hbm[:] = chip_machine.hbm
    program = program_of(CHIP, tuple(COPY))
    usual = chip_machine.run(program, {}).cycles
    assert chip_machine.run(program, {}, seed=seed).cycles != usual
    sim.run(program, {})
    np.testing.assert_array_equal(chip_machine.hbm, sim.hbm)


TRAPS = {
    "alignment": ([instruction(BAD_PRODUCT), END], "ALIGNMENT", "MU, instruction 0"),
    "rows": (
        [
            instruction(Set(rd=1, imm=3000)),
            instruction(Nop()),
            instruction(replace(LOAD, rows_reg=1)),
            END,
        ],
        "ROWS",
        "LD, instruction 2",
    ),
    "no end": ([instruction(Nop())], "END", "CP, instruction 1"),
    "counter": (
        [
            instruction(Set(rd=1, imm=256)),
            instruction(Loop(count=1, length=1)),
            instruction(Nop(), signal=5),
            END,
        ],
        "COUNTER",
        "CP, instruction 2",
    ),
    "register": (
        [
            instruction(Set(rd=1, imm=(1 << 47) - 1)),
            instruction(Alu(fn=0, rd=1, ra=1, rb=1, imm=0)),
            END,
        ],
        "REGISTER",
        "CP, instruction 1",
    ),
    "nobody signals": (
        [*COPY[:1], instruction(Nop(), Take(counter=9, count=1), queue=Queue.VU), END],
        "WATCHDOG",
        "CP, instruction 2",
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_raised_and_a_reset_ends_it(name):
    code, trap, where = TRAPS[name]
    chip_machine, sim = machine(), Machine(CHIP, HBM)
    sim.hbm[:] = chip_machine.hbm
    bad, good = program_of(CHIP, tuple(code)), program_of(CHIP, tuple(COPY))
    with pytest.raises(TrapError, match=f"trap {trap}") as caught:
        chip_machine.run(bad, {})
    assert f"core 0: {where}" in caught.value.where
    chip_machine.run(good, {})
    sim.run(good, {})
    np.testing.assert_array_equal(chip_machine.hbm, sim.hbm)


FAULTS = {
    "a tile that is read": (Fault(start=5000, end=5001), "READ", "LD, instruction 0"),
    "a tile that is written": (Fault(start=66000, end=66001), "WRITE", "ST, instruction 1"),
    "the program": (Fault(start=HBM + 64, end=HBM + 65), "READ", "CP, instruction"),
}


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("name", FAULTS)
def test_an_error_of_memory_traps(name, seed):
    fault, trap, where = FAULTS[name]
    options = MemoryOptions() if seed is None else MemoryOptions.random(seed)
    chip_machine = machine(options=replace(options, faults=(fault,)))
    program = program_of(CHIP, tuple(COPY))
    for _ in range(2):
        with pytest.raises(TrapError, match=f"trap {trap}") as caught:
            chip_machine.run(program, {})
        assert f"core 0: {where}" in caught.value.where
    chip_machine.fresh(options)
    chip_machine.run(program, {})


def test_a_program_for_another_chip_is_refused():
    program = replace(program_of(CHIP, tuple(COPY)), chip="123456789abc")
    with pytest.raises(TrapError, match="must be for chip"):
        machine().run(program, {})


def test_events_come_as_they_happen():
    chip_machine, seen = machine(), []
    program = program_of(CHIP, tuple(COPY))
    chip_machine.run(program, {}, watch=lambda events: seen.extend(events.tolist()))
    assert [(queue, number) for _, number, _, queue in seen] == [
        (0, 0), (0, 1), (Queue.LD, 0), (Queue.ST, 1), (0, 2),
    ]  # fmt: skip
