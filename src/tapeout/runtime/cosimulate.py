"""The simulator led by what hardware reports, and what of its memories then differs.

Hardware tells when an instruction ends; the simulator's core runs it at that moment, so that both
can be compared after every instruction, wherever a mistake first shows.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.compiler.accesses import Tile, accesses
from tapeout.errors import TapeoutError
from tapeout.isa import (
    Barrier,
    End,
    Instruction,
    Operation,
    Queue,
    Space,
    StorePages,
    Take,
    to_text,
)
from tapeout.sim.machine import Core

U8 = NDArray[np.uint8]
OUTSIDE = "memory"
MEMORIES = {Space.L1: "l1", Space.SCALE: "scale", Space.ACC: "acc", None: OUTSIDE}
EVENT_QUEUES = (Queue.CP, Queue.LD, Queue.ST, Queue.MU, Queue.VU)
"""Queues by the number that an event of the RTL's simulation holds."""

Event = tuple[Queue, int]
"""An instruction, by its number in the program, has ended; or CP has run it, or sent it."""

Registers = Sequence[int]


class ReplayError(TapeoutError):
    """Hardware did something in an order that the instruction set forbids."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """Bytes that an instruction writes: `rows` rows of `row_bytes`, `pitch` bytes apart."""

    memory: str
    start: int
    rows: int
    pitch: int
    row_bytes: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + (self.rows - 1) * self.pitch + self.row_bytes

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First address and first address after of each row."""
        starts = (self.start + row * self.pitch for row in range(self.rows))
        return [(start, start + self.row_bytes) for start in starts]

    @property
    def addresses(self) -> NDArray[np.int64]:
        """The address of every byte."""
        rows = self.start + self.pitch * np.arange(self.rows)[:, None]
        return (rows + np.arange(self.row_bytes)).ravel()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first byte that is not as it should be, and how many are not."""

    memory: str
    address: int
    expected: int
    got: int
    count: int = 1
    number: int = -1
    """The instruction that has written it; -1 if that is not known."""
    text: str = ""
    """That instruction as a listing shows it."""

    def __str__(self) -> str:
        after = f" after instruction {self.number}: {self.text}" if self.text else ""
        return (
            f"{self.memory} {self.address:#x} must hold {self.expected:#04x}, not {self.got:#04x}"
            f" ({self.count} bytes differ){after}"
        )


def compare(
    memory: str, address: int | NDArray[np.int64], expected: U8, got: U8
) -> Difference | None:
    """What differs between bytes from `address` on, or at these addresses."""
    wrong = np.flatnonzero(expected != got)
    if not len(wrong):
        return None
    first = int(wrong[0])
    return Difference(
        memory=memory,
        address=int(address[first]) if isinstance(address, np.ndarray) else address + first,
        expected=int(expected[first]),
        got=int(got[first]),
        count=len(wrong),
    )


class Replay:
    """The simulator's core, led through the events of a run of the hardware.

    `images` are the simulator's memories by name, `written` which of their bytes the program has
    written so far (memory outside: all).
    """

    def __init__(
        self,
        chip: Chip,
        instructions: Sequence[Instruction],
        registers: Mapping[int, int],
        memory: U8,
    ):
        self.instructions = tuple(instructions)
        self.core = Core(chip, self.instructions, memory.copy(), 0)
        # Hardware lets an instruction leave its queue when it starts, the simulator when it ends.
        self.core.depth = 1 << 62
        for number, value in registers.items():
            self.core.registers[number] = value
        self.images: dict[str, U8] = {OUTSIDE: self.core.memories.hbm}
        self.images |= {MEMORIES[space]: self.core.memories.space(space) for space in Space}
        self.written = {name: np.zeros(len(image), np.bool_) for name, image in self.images.items()}
        self.written[OUTSIDE][:] = True
        self._sent: dict[Queue, deque[int]] = {queue: deque() for queue in EVENT_QUEUES}

    @property
    def ended(self) -> bool:
        """Whether `End` has run."""
        return self.core.ended

    def event(self, queue: Queue, number: int) -> list[Write]:
        """Do what hardware has done; what the instruction has written, nothing if CP did it.

        Raises:
            ReplayError: if another instruction's turn it is, or this one must still wait.
            TrapError: if the simulator traps.
        """
        if queue is Queue.CP:
            self._step(number)
            return []
        sent = self._sent[queue]
        if not sent or sent[0] != number:
            due = f"instruction {sent[0]}" if sent else "nothing"
            raise self._error(queue, number, f"{due} is the next to end")
        if not self.core.ready(queue):
            raise self._error(queue, number, f"it must still wait: {self.core.blocked()}")
        op, registers = self._waiting(queue)[0]
        writes = list(self._writes(op.op, registers))
        self.core.run_head(queue)
        sent.popleft()
        for write in writes:
            self.written[write.memory][write.addresses] = True
        return writes

    def legal(self) -> list[Event]:
        """The events that may come next."""
        events = [
            (queue, self._sent[queue][0]) for queue in EVENT_QUEUES[1:] if self.core.ready(queue)
        ]
        if not self.ended and self._may_step():
            events.append((Queue.CP, self.core.pc))
        return events

    def unsettled(self) -> list[Write]:
        """What instructions write that may have begun and have not ended.

        What hardware holds there is not known before they end.
        """
        return [
            write
            for queue in EVENT_QUEUES[1:]
            for instruction, registers in self._begun(queue)
            for write in self._writes(instruction.op, registers)
        ]

    def forget_unsettled(self) -> None:
        """Leave out of `check_all` what is `unsettled`; what traps may reach beyond its memory."""
        for write in self.unsettled():
            written = self.written[write.memory]
            written[write.addresses[write.addresses < written.size]] = False

    def check(
        self, number: int, writes: Sequence[Write], images: Mapping[str, U8]
    ) -> list[Difference]:
        """Compare what an instruction has written with hardware's memories, but for `unsettled`.

        Events of the same cycle must all have been done. A memory that `images` lacks is skipped.
        """
        unsettled = self.unsettled() if writes else []
        found: list[Difference | None] = []
        for write in writes:
            if write.memory in images:
                at = _apart(write, unsettled)
                expected, got = self.images[write.memory][at], images[write.memory][at]
                found.append(compare(write.memory, at, expected, got))
        text = to_text(self.instructions[number]) if any(found) else ""
        return [replace(one, number=number, text=text) for one in found if one]

    def check_all(self, images: Mapping[str, U8]) -> list[Difference]:
        """Compare everything that was written with hardware's memories, at the end."""
        found: list[Difference | None] = []
        for name, image in images.items():
            at = np.flatnonzero(self.written[name])
            found.append(compare(name, at, self.images[name][at], image[at]))
        return [difference for difference in found if difference]

    def _step(self, number: int) -> None:
        core = self.core
        if core.ended or core.pc != number:
            due = "nothing: it has ended" if core.ended else f"instruction {core.pc}"
            raise self._error(Queue.CP, number, f"the command processor is at {due}")
        core.at_barrier = False
        queue = core.step()
        if queue is None:
            raise self._error(Queue.CP, number, f"it must still wait: {core.blocked()}")
        if queue is not Queue.CP:
            self._sent[queue].append(number)

    def _may_step(self) -> bool:
        instruction = self.instructions[self.core.pc]
        if instruction.queue is not Queue.CP:
            return True
        if isinstance(instruction.op, Barrier | End) and any(self.core.queues):
            return False
        return _after(instruction.waits, self.core.counters) is not None

    def _waiting(self, queue: Queue) -> Sequence[tuple[Instruction, tuple[int, ...]]]:
        return self.core.queues[queue]

    def _begun(self, queue: Queue) -> Iterator[tuple[Instruction, Registers]]:
        """Instructions of a queue whose waits are met, and those of all before them."""
        counters: list[int] | None = self.core.counters
        for instruction, registers in self._waiting(queue):
            counters = _after(instruction.waits, counters)
            if counters is None:
                return
            yield instruction, registers

    def _writes(self, op: Operation, registers: Registers) -> Iterator[Write]:
        if isinstance(op, StorePages):
            yield from self._pages(op, registers)
            return
        for written in accesses(op, registers.__getitem__, registers.__getitem__)[1]:
            yield write_of(written)

    def _pages(self, op: StorePages, registers: Registers) -> Iterator[Write]:
        """Each token's row, where the block table says."""
        first, table = registers[op.first], registers[op.table]
        for token in range(first, first + registers[op.count]):
            page, line = divmod(token, 1 << op.page_log2)
            entry = self.images[OUTSIDE][table + 4 * page :][:4].view(np.uint32)
            start = op.pool + int(entry[0]) * op.page_bytes + op.offset + line * op.row_bytes
            yield Write(memory=OUTSIDE, start=start, rows=1, pitch=0, row_bytes=op.row_bytes)

    def _error(self, queue: Queue, number: int, problem: str) -> ReplayError:
        known = 0 <= number < len(self.instructions)
        text = to_text(self.instructions[number]) if known else "not in the program"
        return ReplayError(problem, where=f"{queue.name}, instruction {number}: {text}")


def _after(waits: Sequence[Take], counters: Sequence[int]) -> list[int] | None:
    """The counters when the waits have taken from them; None if they must wait."""
    left = list(counters)
    for take in waits:
        left[take.counter] -= take.count
    return left if min(left) >= 0 else None


def write_of(tile: Tile) -> Write:
    """The bytes of a tile."""
    return Write(
        memory=MEMORIES[tile.space],
        start=tile.start,
        rows=tile.rows,
        pitch=tile.pitch,
        row_bytes=tile.row_bytes,
    )


def _apart(write: Write, others: Sequence[Write]) -> NDArray[np.int64]:
    """The addresses of a write that none of the others writes."""
    at = write.addresses
    near = [other.addresses for other in others if _near(write, other)]
    return at[np.isin(at, np.concatenate(near), invert=True)] if near else at


def _near(a: Write, b: Write) -> bool:
    return a.memory == b.memory and a.start < b.end and b.start < a.end
