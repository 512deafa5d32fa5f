"""The RTL against the simulator: random trials, each with the seed that repeats it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tapeout.chip import Chip
from tapeout.errors import TrapError
from tapeout.isa import Queue
from tapeout.rtl.chip_build import chip_build
from tapeout.rtl.host import Driver
from tapeout.rtl.machine import RtlMachine
from tapeout.rtl.registers_map import ContextState
from tapeout.rtl.simulation import CYCLE_PS, SimulationError, Waves
from tapeout.rtl.trap import Trap
from tapeout.runtime.coverage import Coverage
from tapeout.runtime.lockstep import FailedError, Failure, Lockstep
from tapeout.runtime.random_trials import Trial, random_trial

WATCHDOG_CYCLES = 1 << 21
"""More than any instruction of a random program takes: 2,047 rows, one read at a time."""

WAVES_BEFORE_CYCLES, WAVES_AFTER_CYCLES = 2000, 200


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of the trial of a seed."""

    seed: int
    trap: Trap
    """How the trial must end; NONE: with End."""
    instructions: int
    """That have ended."""
    cycles: int
    failure: Failure | None


class Campaign:
    """Trials of one chip, and what has come of them so far."""

    def __init__(self, chip: Chip):
        self.chip = chip
        self.coverage = Coverage(chip)
        self.results: list[Result] = []

    def prepare(self) -> None:
        """Compile the chip if that has not been done.

        Raises:
            ToolMissingError: if there is no Verilator or no C++ compiler.
        """
        chip_build(self.chip)

    def run(self, seeds: Iterable[int]) -> Iterator[Result]:
        """Run the trial of each seed; raises as `prepare`."""
        for seed in seeds:
            result = run_trial(random_trial(self.chip, seed), self.chip, self.coverage)
            self.results.append(result)
            yield result

    @property
    def failed(self) -> list[Result]:
        """The results with a failure."""
        return [result for result in self.results if result.failure]

    @property
    def summary(self) -> str:
        """One line."""
        programs = len(self.results)
        traps = sum(bool(result.trap) for result in self.results)
        instructions = sum(result.instructions for result in self.results)
        cycles = sum(result.cycles for result in self.results)
        hit, total = self.coverage.share_hit
        return (
            f"{self.chip.name}: {programs:,} programs, {traps:,} of them with traps,"
            f" {instructions:,} instructions, {cycles:,} cycles: {len(self.failed)} differ;"
            f" {hit:,} of {total:,} kinds of instructions covered"
        )


def write_waves(chip: Chip, result: Result, path: Path) -> int:
    """Run the trial of a result again, and write the waveform around its failure (FST).

    Returns the time of the failure in it, in ps.
    """
    assert result.failure is not None
    cycle = result.failure.cycle
    first, last = max(0, cycle - WAVES_BEFORE_CYCLES), cycle + WAVES_AFTER_CYCLES
    waves = Waves(path=path, first=first, last=last)
    run_trial(random_trial(chip, result.seed), chip, waves=waves)
    return cycle * CYCLE_PS


def run_trial(
    trial: Trial, chip: Chip, coverage: Coverage | None = None, *, waves: Waves | None = None
) -> Result:
    """Run a trial on the chip's RTL; `coverage` counts what it executes.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    machine = RtlMachine(chip, len(trial.case.memory), watchdog_cycles=WATCHDOG_CYCLES)
    machine.hbm[:] = trial.case.memory
    machine.fresh(trial.options, seed=trial.case.seed + 1, waves=waves)
    machine.chip = trial.claimed
    lockstep = Lockstep(trial.case, machine, coverage)
    failure = _run(trial, machine, lockstep)
    cycles = machine.simulation.cycle
    if waves is not None:
        with suppress(SimulationError):
            machine.simulation.run(WAVES_AFTER_CYCLES)
    machine.simulation.close()
    return Result(
        seed=trial.case.seed,
        trap=trial.trap,
        instructions=lockstep.replay.core.executed.total(),
        cycles=cycles,
        failure=failure,
    )


def _run(trial: Trial, machine: RtlMachine, lockstep: Lockstep) -> Failure | None:
    case = trial.case
    try:
        try:
            statistics = machine.run(case.program, case.scalars, watch=lockstep.watch)
        except TrapError as error:
            lockstep.watch(machine.simulation.events())
            _check_trap(trial, machine, lockstep, error)
            return None
        lockstep.watch(machine.simulation.events())
        if trial.trap:
            lockstep.fail(f"it must trap {trial.trap.name}, but has ended")
        lockstep.check_end(statistics.instructions)
    except FailedError as error:
        return error.failure
    except SimulationError as error:
        return Failure(problem=str(error), cycle=machine.simulation.cycle)
    return None


def _check_trap(trial: Trial, machine: RtlMachine, lockstep: Lockstep, error: TrapError) -> None:
    code, queue, number = _trap(machine, error)
    wanted = f"trap {trial.trap.name}" if trial.trap else "end"
    if trial.culprits:
        named = (f"{queue.name}, instruction {number}" for queue, number in sorted(trial.culprits))
        wanted += f" at {' or '.join(named)}"
    right_place = not trial.culprits or (queue, number) in trial.culprits
    if code is not trial.trap or not right_place:
        lockstep.fail(f"it must {wanted}, but: {error.problem}; {error.where}", number=number)
    lockstep.check_stopped()


def _trap(machine: RtlMachine, error: TrapError) -> tuple[Trap, Queue, int]:
    """Code, queue and instruction of the first core's trap that there is."""
    cores = machine.chip.cores
    driver = Driver(machine.simulation, cores=cores)
    for core in range(cores):
        if driver.state(core) is ContextState.TRAPPED:
            code, queue, number = driver.trap(core)
            return Trap(code), Queue(queue), number
    raise error
