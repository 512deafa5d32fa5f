"""A run of the RTL with the simulator beside it, compared after every instruction.

The simulator follows what the chip tells. What an instruction has written is compared when it has
ended, the registers when the command processor has stepped, everything at the end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import TapeoutError
from tapeout.isa import Queue, to_text
from tapeout.rtl.contents import CoreContents
from tapeout.rtl.machine import RtlMachine
from tapeout.rtl.simulation import Stop
from tapeout.runtime.cosimulate import EVENT_QUEUES, OUTSIDE, Difference, Replay, Write, compare
from tapeout.runtime.coverage import Coverage, bins_of
from tapeout.runtime.coverage_values import Executed
from tapeout.runtime.random_programs import Case

U8 = NDArray[np.uint8]

TURNS = 16
"""Cycles in which a write is done that waits in its port: more than a memory has ports."""

REGISTER_BYTES = 6
ROW_BYTES = 16
"""So many bytes around one that differs are shown."""

RESULTS = ("dst", "acc", "scale", "state", "out")
"""Fields of instructions that say where a result begins."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is wrong, where it first showed."""

    problem: str
    cycle: int
    """In which it was seen."""
    number: int = -1
    """The instruction after which it was seen; -1: at the end."""
    text: str = ""
    """That instruction as a listing shows it."""

    def __str__(self) -> str:
        after = f"after instruction {self.number}, " if self.number >= 0 else ""
        lines = [f"{after}in cycle {self.cycle}:", *([self.text] if self.text else [])]
        return "\n".join([*lines, self.problem])


class FailedError(Exception):
    """Ends a run in which something was wrong."""

    def __init__(self, failure: Failure):
        super().__init__(str(failure))
        self.failure = failure


class Lockstep:
    """Follows core 0 of a machine that runs a case; `coverage` counts what it executes.

    Everything raises `FailedError` at the first difference.
    """

    def __init__(self, case: Case, machine: RtlMachine, coverage: Coverage | None = None):
        self.case, self.machine, self.coverage = case, machine, coverage
        self.replay = Replay(case.chip, case.instructions, case.registers, case.memory)
        self._contents = CoreContents(machine.simulation, case.chip)
        at = f"TOP.tapeout_{case.chip.name}.core0.sequencer"
        arrays = machine.simulation.arrays
        self._registers = arrays[f"{at}.processor.registers.store"]
        self._counters = arrays[f"{at}.counters.store"]

    def watch(self, events: NDArray[Any]) -> None:
        """Do what the chip has done, and compare what that wrote."""
        mine = [event for event in events.tolist() if event[2] == 0]
        done = [self._follow(cycle, number, queue) for cycle, number, _, queue in mine]
        for (cycle, number, _, _), writes in zip(mine, done, strict=True):
            if writes:
                self._raise(self._different_writes(number, writes), cycle, number, writes)
        now = self.machine.simulation.cycle - 1
        for cycle, number, _, queue in mine:
            if cycle == now and queue == Queue.CP:  # later, the next may have written already
                self._raise(self._different_registers(), cycle, number)

    def check_end(self, instructions: int) -> None:
        """Compare everything after a run that the chip has ended, with so many instructions."""
        others = sum(len(core) for core in self.case.program.cores[1:])
        executed = self.replay.core.executed.total() + others
        if not self.replay.ended:
            self.fail(f"it has ended, where End is not due: {self.replay.core.blocked()}")
        counters = np.array(self.replay.core.counters, np.uint8)
        self._raise(
            [
                *self.replay.check_all(self._images(self.replay.images)),
                *self._different_registers(),
                *_found(compare("counter", 0, counters, self._counters.reshape(-1))),
            ]
        )
        if executed != instructions:
            self.fail(f"INSTRUCTIONS must count {executed}, not {instructions}")

    def check_stopped(self) -> None:
        """Compare everything but what instructions write that had begun."""
        self.replay.forget_unsettled()
        self._raise(self.replay.check_all(self._images(self.replay.images)))

    def fail(self, problem: str, *, cycle: int = -1, number: int = -1) -> None:
        """Raise FailedError."""
        known = 0 <= number < len(self.case.instructions)
        raise FailedError(
            Failure(
                problem=problem,
                cycle=self.machine.simulation.cycle if cycle < 0 else cycle,
                number=number,
                text=to_text(self.case.instructions[number]) if known else "",
            )
        )

    # ---- parts -------------------------------------------------------------------------------

    def _follow(self, cycle: int, number: int, queue: int) -> list[Write]:
        if queue == Queue.CP and number == self.replay.core.pc:
            self._count(number)
        try:
            return self.replay.event(EVENT_QUEUES[queue], number)
        except TapeoutError as error:
            self.fail(str(error), cycle=cycle, number=number)
            raise

    def _different_writes(self, number: int, writes: list[Write]) -> list[Difference]:
        """What differs, also when every port has had its turn: a write may wait for its bank."""
        found: list[Difference] = []
        for _ in range(TURNS):
            images = self._images(write.memory for write in writes)
            found = self.replay.check(number, writes, images)
            if not found:
                break
            self.machine.simulation.run(1, until=Stop.CYCLES)
        return found

    def _count(self, number: int) -> None:
        if self.coverage is None:
            return
        core = self.replay.core
        one = Executed(
            instruction=self.case.instructions[number],
            registers=tuple(core.registers),
            depth=len(core.loops),
            chip=self.case.chip,
            memory=self.case.memory,
        )
        self.coverage.hits.update(bins_of(one))

    def _images(self, names: Iterable[str]) -> dict[str, U8]:
        """What the chip's memories hold."""
        return {name: self._image(name) for name in set(names)}

    def _image(self, name: str) -> U8:
        return self.machine.hbm if name == OUTSIDE else getattr(self._contents, name)

    def _different_registers(self) -> list[Difference]:
        wanted, got = self.replay.core.registers, self._register_values()
        return [
            Difference(memory="register", address=number, expected=want, got=value)
            for number, (want, value) in enumerate(zip(wanted, got, strict=True))
            if want != value
        ]

    def _register_values(self) -> list[int]:
        wide = np.zeros((len(self._registers), 8), np.uint8)
        wide[:, 2:] = self._registers[:, :REGISTER_BYTES]
        return (wide.view(np.int64).reshape(-1) >> 16).tolist()

    def _raise(
        self,
        found: list[Difference],
        cycle: int = -1,
        number: int = -1,
        writes: Iterable[Write] = (),
    ) -> None:
        if found:
            place = self._place(found[0], number, writes)
            self.fail(self._shown(found[0], place), cycle=cycle, number=number)

    def _place(self, one: Difference, number: int, writes: Iterable[Write]) -> str:
        """Which number of which result of the instruction it is."""
        for write in writes:
            for row, (start, end) in enumerate(write.ranges):
                if write.memory == one.memory and start <= one.address < end:
                    op = self.case.instructions[number].op
                    names = [name for name in RESULTS if getattr(op, name, None) == write.start]
                    at = [*names[:1], f"row {row}", f"byte {one.address - start}"]
                    return f" ({', '.join(at)})"
        return ""

    def _shown(self, one: Difference, place: str) -> str:
        """A difference, with the bytes around it."""
        if one.memory not in self.replay.images:
            return f"{one.memory} {one.address}: expected {one.expected}, got {one.got}"
        start = one.address - one.address % ROW_BYTES
        rows = [
            f"  {name:8} {start:#x}: {image[start : start + ROW_BYTES].tobytes().hex(' ', -4)}"
            for name, image in (
                ("expected", self.replay.images[one.memory]),
                ("got", self._image(one.memory)),
            )
        ]
        at = f"{one.memory} {one.address:#x}{place}"
        more = f" ({one.count} bytes differ)" if one.count > 1 else ""
        return "\n".join([f"{at}: expected {one.expected:#04x}, got {one.got:#04x}{more}", *rows])


def _found(difference: Difference | None) -> list[Difference]:
    return [difference] if difference else []
