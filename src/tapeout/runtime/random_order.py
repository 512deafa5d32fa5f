"""More waits, signals and Nops for a program that is already in order: they only add order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.isa import COUNTERS, Instruction, Loop, Nop, Queue, Set, Take
from tapeout.isa.encoding import MAX_WAITS

QUEUES = (Queue.CP, Queue.LD, Queue.ST, Queue.MU, Queue.VU)
FIRST_COUNTER = 26
"""Those below are the emitter's."""


@dataclass
class RandomOrder:
    """Adds order to the instructions of a core.

    Everything waits only for what stands before it in the same body of a loop, so nothing can
    wait for ever. `processor_counters` are those that the command processor signals or waits for.
    """

    instructions: list[Instruction]
    rng: np.random.Generator
    processor_counters: set[int] = field(default_factory=set[int])

    def add(self, *, nops: int, counters: int) -> None:
        """Add Nops, and use at most so many counters more."""
        for _ in range(nops):
            self._insert()
        bodies = _bodies(self.instructions)
        for counter in range(FIRST_COUNTER, min(FIRST_COUNTER + counters, COUNTERS)):
            self._use(counter, bodies)

    def _insert(self) -> None:
        """Insert what does nothing: a Nop of any queue, or a number for r0."""
        at = int(self.rng.integers(len(self.instructions)))
        for i, instruction in enumerate(self.instructions[:at]):
            op = instruction.op
            if isinstance(op, Loop) and at <= i + op.length:
                longer = replace(op, length=op.length + 1)
                self.instructions[i] = replace(instruction, op=longer)
        queue = QUEUES[int(self.rng.integers(len(QUEUES)))]
        nothing = Instruction(op=Nop(), queue=queue)
        if self.rng.random() < 0.1:
            imm = int(self.rng.integers(1 << 47))
            nothing = Instruction(op=Set(rd=0, imm=imm), queue=Queue.CP)
        self.instructions.insert(at, nothing)

    def _use(self, counter: int, bodies: Sequence[int]) -> None:
        """Let an instruction wait for some before it."""
        at = int(self.rng.integers(len(self.instructions)))
        waiter = self.instructions[at]
        before = [i for i in range(at) if bodies[i] == bodies[at]]
        free = [i for i in before if self.instructions[i].signal < 0]
        if len(waiter.waits) == MAX_WAITS or not free:
            return
        near = free[-int(self.rng.choice([2, 10, 40])) :]
        queue = self.instructions[near[int(self.rng.integers(len(near)))]].queue
        mine = [i for i in near if self.instructions[i].queue is queue]
        mine = mine[-int(self.rng.choice([1, 1, 2, 5])) :]
        for i in mine:
            self.instructions[i] = replace(self.instructions[i], signal=counter)
        take = Take(counter=counter, count=len(mine))
        self.instructions[at] = replace(waiter, waits=(*waiter.waits, take))
        if Queue.CP in (queue, waiter.queue):
            self.processor_counters.add(counter)


def without(
    instructions: Sequence[Instruction], counters: frozenset[int]
) -> tuple[Instruction, ...]:
    """The instructions with no use of these counters, and with no Nops of the command processor."""
    out: list[Instruction] = []
    for one in instructions:
        waits = tuple(take for take in one.waits if take.counter not in counters)
        signal = -1 if one.signal in counters else one.signal
        nothing = isinstance(one.op, Nop) and one.queue is Queue.CP
        op = Set(rd=0, imm=0) if nothing else one.op
        out.append(replace(one, op=op, waits=waits, signal=signal))
    return tuple(out)


def _bodies(instructions: Sequence[Instruction]) -> list[int]:
    """For each instruction, where the innermost loop around it stands; -1 outside loops."""
    bodies: list[int] = []
    open_loops: list[tuple[int, int]] = []
    for at, instruction in enumerate(instructions):
        while open_loops and open_loops[-1][1] < at:
            open_loops.pop()
        bodies.append(open_loops[-1][0] if open_loops else -1)
        if isinstance(instruction.op, Loop):
            open_loops.append((at, at + instruction.op.length))
    return bodies
