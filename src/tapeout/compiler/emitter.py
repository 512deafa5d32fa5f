"""Writes one core's instructions and puts in the synchronisation that their accesses need.

Every emitted operation is compared with what other queues did before on the same bytes. Where an
order is needed and not yet known, the earlier instruction signals a counter of its own pair of
queues and the later one takes from it. So each counter has one signaller and one waiter, every
signal is taken, and what `verify` proves holds by construction.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tapeout.compiler.accesses import Tile, accesses, overlap
from tapeout.errors import CompileError
from tapeout.isa.encoding import MAX_WAITS
from tapeout.isa.fields import REGISTERS, AluFn, Queue
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
    Take,
)

WORKERS = (Queue.LD, Queue.ST, Queue.MU, Queue.VU)
Clock = dict[Queue, int]
"""For each queue, how many of its instructions are known to be done."""


@dataclass(frozen=True, kw_only=True)
class Reg:
    """A register and the bounds of what it holds."""

    number: int
    low: int
    high: int


ZERO = Reg(number=0, low=0, high=0)


@dataclass(kw_only=True)
class _Sent:
    """An emitted instruction of a worker queue: its place in the program and what it knows."""

    at: int
    clock: Clock
    taken: bool = False


@dataclass(frozen=True, kw_only=True)
class _Access:
    tile: Tile
    queue: Queue
    index: int
    write: bool


@dataclass
class _Tracker:
    """What each worker queue has been sent, and which accesses later ones may clash with."""

    sent: dict[Queue, list[_Sent]] = field(default_factory=lambda: {q: [] for q in WORKERS})
    known: dict[Queue, Clock] = field(default_factory=lambda: {q: {} for q in WORKERS})
    accesses: dict[int | None, list[_Access]] = field(
        default_factory=dict[int | None, list[_Access]]
    )


class Emitter:
    """The program of one core, as it grows.

    `constant_end`: memory below this address is never written by a program and needs no order.
    `pages` is the number of pages of the KV pool.
    """

    def __init__(self, *, constant_end: int, pages: int):
        self.constant_end = constant_end
        self.pages = pages
        self.instructions: list[Instruction] = []
        self._tracker = _Tracker()
        self._registers: list[Reg | None] = [ZERO] + [None] * (REGISTERS - 1)

    # -- registers -----------------------------------------------------------------------------

    def register(self, *, low: int, high: int) -> Reg:
        """Claim a register for values in low..high."""
        for number, holder in enumerate(self._registers):
            if holder is None:
                reg = Reg(number=number, low=low, high=high)
                self._registers[number] = reg
                return reg
        raise CompileError("the program must need at most 31 registers at once")

    def free(self, *regs: Reg) -> None:
        """Give registers back."""
        for reg in regs:
            self._registers[reg.number] = None

    def set(self, value: int) -> Reg:
        """A register that holds `value`."""
        reg = self.register(low=value, high=value)
        self._append(Set(rd=reg.number, imm=value), Queue.CP)
        return reg

    def alu(
        self,
        fn: AluFn,
        a: Reg,
        b: Reg = ZERO,
        imm: int = 0,
        *,
        low: int,
        high: int,
        to: Reg | None = None,
    ) -> Reg:
        """R = fn(a, b + imm), whose value the caller knows to lie in low..high."""
        if to is None:
            to = self.register(low=low, high=high)
        op = Alu(fn=fn, rd=to.number, ra=a.number, rb=b.number, imm=imm)
        self._append(op, Queue.CP)
        return to

    def load_scalar(self, address: int, index: Reg, *, low: int, high: int) -> Reg:
        """A register with the 32-bit number at address + index."""
        reg = self.register(low=low, high=high)
        op = LoadScalar(rd=reg.number, address=address, address_reg=index.number)
        self._append(op, Queue.CP)
        return reg

    # -- operations ----------------------------------------------------------------------------

    def emit(self, op: Operation) -> None:
        """Append an operation of a worker queue, ordered after all that it depends on."""
        assert op.queue is not None
        assert op.queue is not Queue.CP
        reads, writes = accesses(op, self._high, self._low, pages=self.pages)
        needs: Clock = {}
        for tile, write in [(t, False) for t in reads] + [(t, True) for t in writes]:
            self._clashes(tile, write, op.queue, needs)
        self._send(op, op.queue, needs)
        index = len(self._tracker.sent[op.queue])
        for tile, write in [(t, False) for t in reads] + [(t, True) for t in writes]:
            self._remember(_Access(tile=tile, queue=op.queue, index=index, write=write))

    def rest(self, queue: Queue) -> None:
        """Let two others learn when what `queue` has been sent is done, by a signal each."""
        if self._tracker.sent[queue]:
            self._place(Nop(), queue, [])

    @contextmanager
    def loop(self, count: Reg) -> Generator[None, None, None]:
        """Repeat what is emitted inside; every round starts when the one before is done."""
        self.fence()
        at = len(self.instructions)
        self._append(Loop(count=count.number, length=0), Queue.CP)
        yield
        self.fence()
        length = len(self.instructions) - at - 1
        self.instructions[at] = replace(
            self.instructions[at], op=Loop(count=count.number, length=length)
        )

    def fence(self) -> None:
        """Order everything sent so far before everything that follows, in all queues."""
        if not self._tracker.accesses:
            self._forget()  # a later wait must not look for a signal inside a loop that ends here
            return
        sent = self._tracker.sent
        hub = Queue.VU
        self._send(Nop(), hub, {q: len(sent[q]) for q in WORKERS if q is not hub})
        done = len(sent[hub])
        for queue in WORKERS:
            if queue is not hub:
                self._send(Nop(), queue, {hub: done})
        self._forget()

    def barrier(self) -> None:
        """Meet all other cores; every queue is empty then."""
        self._append(Barrier(), Queue.CP)
        self._forget()

    def end(self) -> tuple[Instruction, ...]:
        """Finish and return the program."""
        self._append(End(), Queue.CP)
        return tuple(self.instructions)

    # -- order ---------------------------------------------------------------------------------

    def _append(self, op: Operation, queue: Queue, waits: tuple[Take, ...] = ()) -> int:
        self.instructions.append(Instruction(op=op, queue=queue, waits=waits))
        return len(self.instructions) - 1

    def _forget(self) -> None:
        """From here on, everything sent so far is done as far as later instructions can see."""
        self._tracker.accesses.clear()
        lengths = {q: len(s) for q, s in self._tracker.sent.items()}
        self._tracker.known = {q: dict(lengths) for q in WORKERS}

    def _high(self, number: int) -> int:
        reg = self._registers[number]
        assert reg is not None, f"r{number} is read and holds nothing"
        return reg.high

    def _low(self, number: int) -> int:
        reg = self._registers[number]
        assert reg is not None, f"r{number} is read and holds nothing"
        return reg.low

    def _clashes(self, tile: Tile, write: bool, queue: Queue, needs: Clock) -> None:
        """Add to `needs` the accesses of other queues that this one must follow."""
        if tile.space is None and tile.end <= self.constant_end:
            return
        known = self._tracker.known[queue]
        for other in self._tracker.accesses.get(tile.space, []):
            if other.queue is queue or not (write or other.write):
                continue
            if other.index > max(known.get(other.queue, 0), needs.get(other.queue, 0)) and overlap(
                tile, other.tile
            ):
                needs[other.queue] = other.index

    def _remember(self, access: _Access) -> None:
        tile = access.tile
        if tile.space is None and tile.end <= self.constant_end:
            return
        old = self._tracker.accesses.setdefault(tile.space, [])
        if access.write:  # it follows all that it clashes with, so it stands for what it covers
            old[:] = [o for o in old if not _covers(tile, o.tile)]
        else:
            old[:] = [
                o
                for o in old
                if o.write or o.queue is not access.queue or not _covers(tile, o.tile)
            ]
        old.append(access)

    def _send(self, op: Operation, queue: Queue, needs: Clock) -> None:
        """Append an instruction that follows instruction needs[q] of each queue q."""
        takes: list[Take] = []
        known = self._tracker.known[queue]
        for other, index in sorted(needs.items()):
            if index <= known.get(other, 0):
                continue
            if len(takes) == MAX_WAITS:
                self._place(Nop(), queue, takes)
                takes = []
            takes.append(self._wait(queue, other, index))
        self._place(op, queue, takes)

    def _place(self, op: Operation, queue: Queue, takes: list[Take]) -> None:
        at = self._append(op, queue, tuple(takes))
        sent, known = self._tracker.sent[queue], self._tracker.known[queue]
        sent.append(_Sent(at=at, clock={**known, queue: len(sent) + 1}))

    def _wait(self, queue: Queue, other: Queue, index: int) -> Take:
        """Let instruction `index` of `other`, or the next one that can, signal `queue`."""
        sent = self._tracker.sent[other]
        while index <= len(sent) and self.instructions[sent[index - 1].at].signal >= 0:
            index += 1
        if index > len(sent):
            self._place(Nop(), other, [])
        signaller = sent[index - 1]
        counter = (other - 1) * len(Queue) + queue
        self.instructions[signaller.at] = replace(self.instructions[signaller.at], signal=counter)
        known = self._tracker.known[queue]
        for q, done in signaller.clock.items():
            known[q] = max(known.get(q, 0), done)
        return Take(counter=counter)


def _covers(outer: Tile, inner: Tile) -> bool:
    """Whether every byte of `inner` surely lies in `outer`."""
    if outer.rows == 1 or outer.pitch == outer.row_bytes:
        return outer.start <= inner.start and inner.end <= outer.end
    return outer == inner
