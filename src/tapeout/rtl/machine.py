"""A chip's RTL that runs programs, with memory and a host around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.errors import TrapError
from tapeout.isa.encoding import encode
from tapeout.isa.fields import Queue
from tapeout.isa.program import Program, register_values

from .chip_build import chip_build
from .host import Driver
from .memory_options import MemoryOptions
from .registers_map import COUNTERS, ContextState
from .simulation import Simulation, Stop, Waves
from .trap import Trap

PROGRAM_ROOM_BYTES = 1 << 26
"""Of programs, behind the memory that programs see."""

WATCHDOG_CYCLES = 1 << 25
"""More than any instruction takes."""

CHUNK_CYCLES = 1 << 20
PAGE_BYTES = 4096
LINE_BYTES = 128  # of the instruction cache: what is read of a program

WHY = {
    Trap.CHIP: "the program must be for this chip",
    Trap.OPCODE: "an instruction must have an operation of its queue",
    Trap.FIELD: "a field must hold a value that the instruction set defines",
    Trap.FORMAT: "formats must go together",
    Trap.ADDRESS: "a tile must lie in its memory",
    Trap.ALIGNMENT: "a product must start on a multiple of its rows",
    Trap.ROWS: "rows must be in 0..2047",
    Trap.REGISTER: "a result must fit a register of 48 bits",
    Trap.COUNTER: "a counter must stay at most 255",
    Trap.END: "the program must end with End",
    Trap.READ: "memory must answer reads without an error",
    Trap.WRITE: "memory must answer writes without an error",
    Trap.WATCHDOG: "something must move: the program must not deadlock",
    Trap.LOOP: "at most 8 loops must be open",
}


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """What a run did: the performance counters of all cores, added; cycles of the slowest."""

    cycles: int
    counters: dict[str, int]

    @property
    def instructions(self) -> int:
        """All that were executed, loops unrolled."""
        return self.counters["INSTRUCTIONS"]


Watch = Callable[[NDArray[Any]], None]
"""Called with events (`simulation.EVENT`) in the cycle in which they happened."""


class RtlMachine:
    """A chip with memory contents, which runs programs as `tapeout.sim.Machine` does.

    `hbm` is the memory that programs may use; behind it lie their instructions. On-core memories
    keep what they hold from run to run. After a trap the state stays as it is until the next run,
    which begins with a reset.
    """

    def __init__(
        self,
        chip: Chip,
        hbm_bytes: int,
        *,
        options: MemoryOptions | None = None,
        watchdog_cycles: int = WATCHDOG_CYCLES,
    ):
        self.chip = chip
        self.options = options or MemoryOptions()
        self.watchdog_cycles = watchdog_cycles
        self._room = -(-hbm_bytes // PAGE_BYTES) * PAGE_BYTES
        self.memory = np.zeros(self._room + PROGRAM_ROOM_BYTES, np.uint8)
        self.hbm = self.memory[:hbm_bytes]
        self._next = self._room
        self._loaded: dict[int, tuple[Program, list[int]]] = {}
        self._build = chip_build(chip)
        self._simulation: Simulation | None = None
        self._trapped = False

    @property
    def simulation(self) -> Simulation:
        """The running chip."""
        if self._simulation is None:
            self.fresh()
        assert self._simulation is not None
        return self._simulation

    def run(
        self,
        program: Program,
        scalars: dict[str, int],
        *,
        seed: int | None = None,
        watch: Watch | None = None,
    ) -> RunStatistics:
        """Run a program to its end.

        With a `seed`, a fresh chip runs it, with a memory that stalls and answers in a random legal
        order, and random bytes in its own memories; the result must not depend on it.

        Raises:
            TrapError: if the program is for another chip, a scalar is out of bounds, or a core
                traps.
            SimulationError: if the chip breaks a rule of its ports.
        """
        values = register_values(program, self.chip, scalars)
        if seed is not None:
            self.fresh(MemoryOptions.random(seed), seed=seed)
        elif self._trapped:
            self.simulation.reset()
        self._trapped = False
        driver = Driver(self.simulation, cores=self.chip.cores)
        self._start(driver, program, values)
        self._wait(driver, program, watch)
        return self._statistics(driver)

    def fresh(
        self,
        options: MemoryOptions | None = None,
        *,
        seed: int = 1,
        waves: Waves | None = None,
    ) -> None:
        """Begin with another chip, whose memory behaves so; what its own memories hold is random.

        The contents of `hbm` stay. With `waves`, its waveform is written, which is slow.
        """
        if self._simulation is not None:
            self._simulation.close()
        self.options = options or self.options
        build = self._build if waves is None else chip_build(self.chip, traced=True)
        self._simulation = Simulation(build, self.memory, self.options, seed=seed, waves=waves)
        self._trapped = False

    # ---- before ------------------------------------------------------------------------------

    def _load(self, program: Program) -> list[int]:
        """The address of each core's instructions; a program stays where it is once it is there."""
        known = self._loaded.get(id(program))
        if known is not None:
            return known[1]
        images = [b"".join(map(encode, core)) for core in program.cores]
        sizes = [-(-len(image) // LINE_BYTES) * LINE_BYTES for image in images]
        if self._next + sum(sizes) > self.memory.size:
            self._next = self._room
            self._loaded.clear()
        addresses: list[int] = []
        for image, size in zip(images, sizes, strict=True):
            self.memory[self._next : self._next + len(image)] = np.frombuffer(image, np.uint8)
            addresses.append(self._next)
            self._next += size
        self._loaded[id(program)] = program, addresses
        return addresses

    def _start(self, driver: Driver, program: Program, values: dict[int, int]) -> None:
        addresses = self._load(program)
        self.simulation.events()
        for core, (code, address) in enumerate(zip(program.cores, addresses, strict=True)):
            driver.prepare(
                core,
                scalars=values,
                watchdog_cycles=self.watchdog_cycles,
                PROGRAM_ADDRESS=address,
                PROGRAM_COUNT=len(code),
                MEMORY_BYTES=self.memory.size,
                PROGRAM_CHIP=int(program.chip, 16),
            )
        for core in range(len(program.cores)):
            driver.ring(core)

    # ---- after -------------------------------------------------------------------------------

    def _wait(self, driver: Driver, program: Program, watch: Watch | None) -> None:
        """Until all cores have ended."""
        until = Stop.INTERRUPT if watch is None else Stop.INTERRUPT | Stop.EVENT
        running = set(range(len(program.cores)))
        patience = 2 * self.watchdog_cycles if self.watchdog_cycles else 1 << 40
        while running:
            stop = self.simulation.run(CHUNK_CYCLES, until=until, idle_cycles=patience)
            if watch is not None and stop & Stop.EVENT:
                watch(self.simulation.events())
            if not stop & Stop.INTERRUPT:
                continue
            for core in driver.interrupting():
                state = driver.state(core)
                if state is ContextState.TRAPPED:
                    self._trapped = True
                    raise self._trap(driver, program, core)
                if state is ContextState.ENDED:
                    running.discard(core)

    def _trap(self, driver: Driver, program: Program, core: int) -> TrapError:
        code, queue, number = driver.trap(core)
        where = f"core {core}: {Queue(queue).name}, instruction {number}"
        if number < len(program.cores[core]):
            where += f": {program.cores[core][number].op}"
        return TrapError(f"{WHY[Trap(code)]} (trap {Trap(code).name})", where=where)

    def _statistics(self, driver: Driver) -> RunStatistics:
        cores = range(self.chip.cores)
        each = [
            {counter.name: driver.counter(i, counter.name) for counter in COUNTERS} for i in cores
        ]
        return RunStatistics(
            cycles=max(counters["CYCLES"] for counters in each),
            counters={name: sum(counters[name] for counters in each) for name in each[0]},
        )
