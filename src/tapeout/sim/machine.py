"""The machine: command processors, queues and counters, run in one legal order or in others."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from tapeout.chip import Chip
from tapeout.errors import TrapError
from tapeout.isa.fields import COUNTER_MAX, COUNTERS, REGISTERS, AluFn, Queue
from tapeout.isa.instructions import (
    Alu,
    Barrier,
    End,
    Instruction,
    LoadScalar,
    Loop,
    Nop,
    Operation,
    Set,
)
from tapeout.isa.program import Program, register_values
from tapeout.sim.execute import execute
from tapeout.sim.state import Bytes, Memories, numbers

REGISTER_MAX = (1 << 47) - 1


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a run executed: instructions by operation name."""

    executed: Counter[str] = field(default_factory=Counter[str])

    @property
    def instructions(self) -> int:
        """All of them, loops unrolled."""
        return self.executed.total()


Sent = tuple[Instruction, tuple[int, ...]]


class Core:
    """One core: its program counter, registers, counters, queues and memories."""

    def __init__(self, chip: Chip, program: tuple[Instruction, ...], hbm: Bytes, fill: int):
        self.program = program
        self.depth = chip.core.queue_depth
        self.registers = [0] * REGISTERS
        self.counters = [0] * COUNTERS
        self.queues: tuple[deque[Sent], ...] = tuple(deque[Sent]() for _ in Queue)
        self.loops: list[tuple[int, int, int]] = []  # (first, last, rounds left) of each open loop
        self.pc = 0
        self.ended = False
        self.at_barrier = False
        self.executed: Counter[str] = Counter()
        self.memories = Memories(
            l1_bytes=chip.core.l1_bytes,
            scale_bytes=chip.core.scale_bytes,
            acc_bytes=2 * 4 * chip.matrix.accumulators,
            hbm=hbm,
            fill=fill,
        )

    # -- command processor ---------------------------------------------------------------------

    def step(self) -> Queue | None:
        """Run one instruction of the command processor; its queue, or None if it must wait."""
        if self.ended or self.at_barrier:
            return None
        if self.pc >= len(self.program):
            raise TrapError("the program must end with End", where=f"instruction {self.pc}")
        instruction = self.program[self.pc]
        queue = instruction.queue
        if queue is not Queue.CP:
            if len(self.queues[queue]) >= self.depth:
                return None
            self.queues[queue].append((instruction, tuple(self.registers)))
            self._advance()
            return queue
        if not self._ready(instruction):
            return None
        if isinstance(instruction.op, Barrier | End) and any(self.queues):
            return None
        self._take(instruction)
        self._command(instruction.op)
        self.executed[type(instruction.op).__name__] += 1
        self._signal(instruction)
        return queue

    def _command(self, op: Operation) -> None:
        r = self.registers
        match op:
            case Set():
                self._write(op.rd, op.imm)
            case Alu():
                self._write(op.rd, _alu(AluFn(op.fn), r[op.ra], r[op.rb] + op.imm))
            case LoadScalar():
                at = op.address + r[op.address_reg]
                self._write(op.rd, int(numbers(self.memories.hbm, at, 1, 4, 1, np.uint32)[0, 0]))
            case Loop():
                self._loop(op)
                return
            case Barrier():
                self.at_barrier = True
            case End():
                self.ended = True
            case Nop():
                pass
            case _:
                raise TrapError(f"{type(op).__name__} cannot run in the command processor")
        self._advance()

    def _write(self, register: int, value: int) -> None:
        if not -REGISTER_MAX - 1 <= value <= REGISTER_MAX:
            raise TrapError(f"r{register} must fit 48 bits, not {value}", where=f"pc {self.pc}")
        if register:
            self.registers[register] = value

    def _loop(self, op: Loop) -> None:
        first, last, rounds = self.pc + 1, self.pc + op.length, self.registers[op.count]
        self.pc = first if rounds > 0 and op.length else last + 1
        if rounds > 0 and op.length:
            self.loops.append((first, last, rounds))
        else:
            self._close_loops(last)

    def _advance(self) -> None:
        done = self.pc
        self.pc += 1
        self._close_loops(done)

    def _close_loops(self, done: int) -> None:
        """Go round, or leave, every loop whose last instruction is `done`."""
        while self.loops and self.loops[-1][1] == done:
            first, last, rounds = self.loops.pop()
            if rounds > 1:
                self.loops.append((first, last, rounds - 1))
                self.pc = first
                return

    # -- queues --------------------------------------------------------------------------------

    def ready(self, queue: Queue) -> bool:
        """Whether the queue's head may start."""
        return bool(self.queues[queue]) and self._ready(self.queues[queue][0][0])

    def run_head(self, queue: Queue) -> int:
        """Run the queue's head to its end; the counter that it signalled, or -1."""
        instruction, registers = self.queues[queue].popleft()
        self._take(instruction)
        op = instruction.op
        try:
            execute(op, registers, self.memories)
        except TrapError as trap:
            raise TrapError(trap.problem, where=f"{type(op).__name__}: {op}") from trap
        self.executed[type(op).__name__] += 1
        return self._signal(instruction)

    def _ready(self, instruction: Instruction) -> bool:
        needed: Counter[int] = Counter()
        for wait in instruction.waits:
            needed[wait.counter] += wait.count
        return all(self.counters[counter] >= count for counter, count in needed.items())

    def _take(self, instruction: Instruction) -> None:
        for wait in instruction.waits:
            self.counters[wait.counter] -= wait.count

    def _signal(self, instruction: Instruction) -> int:
        counter = instruction.signal
        if counter >= 0:
            self.counters[counter] += 1
            if self.counters[counter] > COUNTER_MAX:
                raise TrapError(f"counter {counter} must stay at most {COUNTER_MAX}")
        return counter

    def blocked(self) -> str:
        """What this core waits for, in words."""
        heads = [
            f"{queue.name} at {type(self.queues[queue][0][0].op).__name__}"
            f" waits for {[(w.counter, w.count) for w in self.queues[queue][0][0].waits]}"
            for queue in Queue
            if self.queues[queue]
        ]
        return f"pc {self.pc}; " + ("; ".join(heads) or "no queue holds anything")


class Machine:
    """A chip with memory contents, which runs programs."""

    def __init__(self, chip: Chip, hbm_bytes: int):
        self.chip = chip
        self.hbm = np.zeros(hbm_bytes, np.uint8)

    def run(
        self, program: Program, scalars: dict[str, int], *, seed: int | None = None
    ) -> Statistics:
        """Run a program to its end.

        With a `seed`, queues and cores advance in a random legal order, and the cores' own
        memories start with random bytes; the result must not depend on it.

        Raises:
            TrapError: if the program is for another chip, a scalar is out of bounds, or an
                instruction does what the instruction set forbids.
        """
        order = None if seed is None else random.Random(seed)
        cores = self._start(program, scalars, fill=0 if order is None else order.randrange(256))
        with _threads().limit(
            limits=1, user_api="blas"
        ):  # tiles are small: threads cost more than they give
            _run_to_end(cores, order)
        return Statistics(executed=sum((core.executed for core in cores), Counter[str]()))

    def _start(self, program: Program, scalars: dict[str, int], *, fill: int) -> list[Core]:
        values = register_values(program, self.chip, scalars)
        cores = [Core(self.chip, code, self.hbm, fill) for code in program.cores]
        for core in cores:
            for register, value in values.items():
                core.registers[register] = value
        return cores


@cache
def _threads() -> ThreadpoolController:
    """Looks for BLAS once: the search calls back through C, where an interrupt would be lost."""
    return ThreadpoolController()


def _run_to_end(cores: list[Core], order: random.Random | None) -> None:
    while not all(core.ended for core in cores):
        moved = _in_order(cores) if order is None else _shuffled(cores, order)
        waiting = [core for core in cores if not core.ended]
        if waiting and all(core.at_barrier for core in waiting) and len(waiting) == len(cores):
            for core in cores:
                core.at_barrier = False
        elif not moved and waiting:
            where = "; ".join(f"core {i}: {c.blocked()}" for i, c in enumerate(cores))
            raise TrapError("the program must not deadlock", where=where)


def _in_order(cores: list[Core]) -> bool:
    """Run each core as far as it goes, every instruction as soon as it may start."""
    moved = False
    for core in cores:
        while (queue := core.step()) is not None:
            moved = True
            if core.at_barrier or core.ended:
                break
            if queue is not Queue.CP:
                _drain(core)
        moved |= _drain(core)
    return moved


def _drain(core: Core) -> bool:
    moved = False
    again = True
    while again:
        again = False
        for queue, waiting in enumerate(core.queues):
            while waiting and core.ready(Queue(queue)):
                core.run_head(Queue(queue))
                moved = again = True
    return moved


def _shuffled(cores: list[Core], order: random.Random) -> bool:
    """Take one random step that is legal now."""
    steps = [(core, queue) for core in cores for queue in Queue]
    order.shuffle(steps)
    for core, queue in steps:
        if queue is Queue.CP:
            if core.step() is not None:
                return True
        elif core.ready(queue):
            core.run_head(queue)
            return True
    return False


def _alu(fn: AluFn, a: int, b: int) -> int:
    match fn:
        case AluFn.ADD:
            return a + b
        case AluFn.SUB:
            return a - b
        case AluFn.MUL:
            return a * b
        case AluFn.MIN:
            return min(a, b)
        case AluFn.MAX:
            return max(a, b)
        case AluFn.SHR:
            return a >> min(max(b, 0), 63)
