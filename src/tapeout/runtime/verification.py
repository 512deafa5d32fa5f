"""The RTL against the simulator: random trials, each with the seed that repeats it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tapeout.chip import Chip
from tapeout.errors import TrapError
from tapeout.isa import Queue
from tapeout.rtl.host import Driver
from tapeout.rtl.machine import RtlMachine
from tapeout.rtl.registers_map import ContextState
from tapeout.rtl.simulation import SimulationError, Waves
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


def verify(chip: Chip, seeds: Iterable[int], coverage: Coverage | None = None) -> Iterator[Result]:
    """Run the trial of each seed on the chip's RTL; `coverage` counts what they execute.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    for seed in seeds:
        yield run_trial(random_trial(chip, seed), chip, coverage)


def write_waves(chip: Chip, result: Result, path: Path) -> None:
    """Run the trial of a result again, and write the waveform around its failure."""
    assert result.failure is not None
    cycle = result.failure.cycle
    window = {"first": max(0, cycle - WAVES_BEFORE_CYCLES), "last": cycle + WAVES_AFTER_CYCLES}
    run_trial(random_trial(chip, result.seed), chip, waves=Waves(path=path, **window))


def run_trial(
    trial: Trial, chip: Chip, coverage: Coverage | None = None, *, waves: Waves | None = None
) -> Result:
    """Run a trial on the chip's RTL; raises as `verify`."""
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
    if code is not trial.trap:
        lockstep.fail(f"it must {wanted}, but: {error}", number=number)
    if trial.culprits and (queue, number) not in trial.culprits:
        at = ", ".join(f"{queue.name} {number}" for queue, number in sorted(trial.culprits))
        lockstep.fail(f"it must {wanted} at {at}, but: {error}", number=number)
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
