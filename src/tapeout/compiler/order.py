"""Happens-before on one core: what each queue knows to be done, and the clashes that must be known.

An event is an instruction in one turn of its loops. A queue knows an event to be done if it comes
before by queue order, by counters or by a barrier, in every run in which the event takes place.
What is learnt inside a loop about events before it holds only if the loop runs; so when a loop
may run no turn, only what was learnt about its own events is kept.
See docs/decisions/0003-verifier.md for why two turns of a loop stand for any number.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field

from tapeout.compiler.accesses import Tile, joined, overlap
from tapeout.compiler.structure import Node, Repeat
from tapeout.errors import CompileError
from tapeout.isa.fields import COUNTER_MAX, Queue
from tapeout.isa.instructions import Barrier, Instruction

CROWD = 64
"""Accesses to one memory before those that every queue knows of are dropped."""


@dataclass(frozen=True, slots=True)
class Known:
    """Events of one queue that another knows of: up to `until`, and in `spans` (first, last)."""

    until: int = 0
    spans: tuple[tuple[int, int], ...] = ()

    def __contains__(self, event: int) -> bool:
        return event <= self.until or any(a <= event <= b for a, b in self.spans)

    def join(self, other: "Known") -> "Known":
        """What either knows."""
        if other.until <= self.until and not other.spans:
            return self
        until = max(self.until, other.until)
        spans = sorted({s for s in (*self.spans, *other.spans) if s[1] > until})
        return Known(until, tuple(spans))

    def since(self, event: int) -> tuple[tuple[int, int], ...]:
        """The part of it from `event` on, as spans."""
        spans = [(max(a, event), b) for a, b in self.spans if b >= event]
        return tuple([(event, self.until), *spans] if self.until >= event else spans)


Knowledge = dict[Queue, Known]


@dataclass(frozen=True, slots=True)
class Touched:
    """An access that later ones may clash with: bytes of instruction `index`, as an event."""

    tile: Tile
    write: bool
    queue: Queue
    event: int
    index: int


@dataclass
class _Counter:
    """Signals given and not yet taken, as what the signaller then knew."""

    signaller: Queue | None = None
    waiter: Queue | None = None
    given: list[Knowledge] = field(default_factory=list[Knowledge])
    most: int = 0
    largest_take: int = 0


@dataclass
class Order:
    """Walks one core's program in the order of its command processor and checks every clash.

    `tiles[i]` are the tiles that instruction i reads (False) and writes (True), of bytes that the
    program writes; `turns[i]` are the least and most turns of the loop at i.
    """

    core: int
    instructions: Sequence[Instruction]
    tiles: dict[int, list[tuple[Tile, bool]]]
    turns: dict[int, tuple[int, int]]
    queue_depth: int
    hazards: int = 0
    event: int = 0
    knows: dict[Queue, Knowledge] = field(default_factory=dict[Queue, Knowledge])
    touched: dict[int, list[Touched]] = field(default_factory=dict[int, list[Touched]])
    counters: dict[int, _Counter] = field(default_factory=dict[int, _Counter])

    def check(self, nodes: Iterable[Node]) -> None:
        """Check a whole program.

        Raises:
            CompileError: naming the instruction that breaks a rule of counters, or that another
                one races with.
        """
        queues = {i.queue for i in self.instructions if i.queue is not Queue.CP}
        self.knows = {q: {p: Known() for p in queues} for q in queues}
        self._walk(nodes)
        for number, counter in sorted(self.counters.items()):
            if counter.given:
                raise CompileError(
                    f"counter {number} must be 0 at the end, not {len(counter.given)}",
                    where=f"core {self.core}",
                )
            self._check_most(number, counter)

    def _walk(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if isinstance(node, Repeat):
                self._loop(node)
            elif self.instructions[node].queue is not Queue.CP:
                self._step(node)
            elif isinstance(self.instructions[node].op, Barrier):
                self._barrier()

    def _fail(self, index: int, problem: str, hint: str = "") -> CompileError:
        op = self.instructions[index].op
        return CompileError(
            problem, where=f"core {self.core}, instruction {index}: {op!r}", hint=hint
        )

    # -- instructions --------------------------------------------------------------------------

    def _step(self, index: int) -> None:
        instruction = self.instructions[index]
        self.event += 1
        mine = self.knows[instruction.queue]
        for take in instruction.waits:
            self._take(index, instruction.queue, take.counter, take.count, mine)
        for tile, write in self.tiles.get(index, ()):
            self._touch(Touched(tile, write, instruction.queue, self.event, index), mine)
        mine[instruction.queue] = Known(self.event)
        if instruction.signal >= 0:
            counter = self.counters.setdefault(instruction.signal, _Counter())
            if counter.signaller not in (None, instruction.queue):
                raise self._fail(
                    index,
                    f"counter {instruction.signal} must have one signaller, not"
                    f" {_name(counter.signaller)} and {instruction.queue.name}",
                )
            counter.signaller = instruction.queue
            counter.given.append(dict(mine))
            counter.most = max(counter.most, len(counter.given))

    def _take(self, index: int, queue: Queue, number: int, count: int, mine: Knowledge) -> None:
        counter = self.counters.setdefault(number, _Counter())
        if counter.waiter not in (None, queue):
            raise self._fail(
                index,
                f"counter {number} must have one waiter, not"
                f" {_name(counter.waiter)} and {queue.name}",
            )
        counter.waiter = queue
        counter.largest_take = max(counter.largest_take, count)
        if len(counter.given) < count:
            raise self._fail(
                index,
                f"{count} of counter {number} must be signalled before this wait,"
                f" not {len(counter.given)}: it may wait for ever",
                hint="a signal must stand before the wait that takes it in the core's program",
            )
        for queue_, known in counter.given[count - 1].items():
            mine[queue_] = mine[queue_].join(known)
        del counter.given[:count]

    def _check_most(self, number: int, counter: _Counter) -> None:
        """A taker lags behind its own dispatch by what its queue holds, and one that runs."""
        most = counter.most + (self.queue_depth + 1) * counter.largest_take
        if most > COUNTER_MAX:
            raise CompileError(
                f"counter {number} must stay at {COUNTER_MAX} or below, but may reach {most}",
                where=f"core {self.core}",
            )

    def _barrier(self) -> None:
        for known in self.knows.values():
            for queue in known:
                known[queue] = Known(self.event)
        self.touched.clear()

    # -- clashes -------------------------------------------------------------------------------

    def _touch(self, new: Touched, mine: Knowledge) -> None:
        space = -1 if new.tile.space is None else int(new.tile.space)
        old = self.touched.setdefault(space, [])
        start, end = new.tile.start, new.tile.end
        for other in old:
            if (
                other.queue is not new.queue
                and (new.write or other.write)
                and other.tile.start < end
                and start < other.tile.end
                and overlap(new.tile, other.tile)
            ):
                self.hazards += 1
                if other.event not in mine[other.queue]:
                    raise self._race(new, other)
        # A later clash with what `new` covers clashes with `new` too, which follows it.
        old[:] = [o for o in old if not (_stands_for(new, o) and _covers(new.tile, o.tile))]
        old.append(new)
        if len(old) > CROWD:
            old[:] = [o for o in old if not self._all_know(o)]

    def _all_know(self, access: Touched) -> bool:
        return all(
            q is access.queue or access.event in known[access.queue]
            for q, known in self.knows.items()
        )

    def _race(self, new: Touched, other: Touched) -> CompileError:
        verbs = {True: "writes", False: "reads"}
        place = "memory" if new.tile.space is None else new.tile.space.name
        low, high = max(new.tile.start, other.tile.start), min(new.tile.end, other.tile.end)
        return self._fail(
            new.index,
            f"it {verbs[new.write]} {place} within {low}..{high - 1}, which instruction"
            f" {other.index} in {other.queue.name} {verbs[other.write]}, in no certain order",
            hint=f"instruction {other.index} must signal, and {new.queue.name} wait",
        )

    # -- loops ---------------------------------------------------------------------------------

    def _loop(self, loop: Repeat) -> None:
        least, most = self.turns[loop.at]
        if most <= 0:
            return
        before, first = self._copy(), self.event + 1
        used = self._used(loop.body)
        self._check_balance(loop, used, "at the start")
        self._walk(loop.body)
        self._check_balance(loop, used, "at the end")
        after = self._copy()
        if most > 1:
            self._keep_since(first)
            self._walk(loop.body)
            self.knows, self.touched = after.knows, after.touched
        if least <= 0:
            self._forget(before, first)

    def _copy(self) -> "Order":
        other = copy(self)
        other.knows = {q: dict(k) for q, k in self.knows.items()}
        other.touched = {s: list(t) for s, t in self.touched.items()}
        return other

    def _keep_since(self, first: int) -> None:
        """For the second turn, leave only the clashes of the first one's events."""
        for space, old in self.touched.items():
            self.touched[space] = [t for t in old if t.event >= first]

    def _forget(self, before: "Order", first: int) -> None:
        """After a loop that may not run: keep of it only what is about its own events."""
        for queue, known in before.knows.items():
            for other, old in known.items():
                spans = self.knows[queue][other].since(first)
                self.knows[queue][other] = old.join(Known(0, spans))
        for space, now in self.touched.items():
            old = before.touched.get(space, [])
            self.touched[space] = old + [t for t in now if t.event >= first]

    def _used(self, nodes: Iterable[Node]) -> set[int]:
        used: set[int] = set()
        for node in nodes:
            if isinstance(node, Repeat):
                used |= self._used(node.body)
            else:
                instruction = self.instructions[node]
                used |= {take.counter for take in instruction.waits}
                used |= {instruction.signal} - {-1}
        return used

    def _check_balance(self, loop: Repeat, used: set[int], when: str) -> None:
        for number in sorted(used):
            if number in self.counters and (given := self.counters[number].given):
                raise self._fail(
                    loop.at,
                    f"counter {number} must be 0 {when} of every turn of the loop that uses it,"
                    f" not {len(given)}",
                )


def _name(queue: Queue | None) -> str:
    return "none" if queue is None else queue.name


def _stands_for(new: Touched, old: Touched) -> bool:
    return new.write or (not old.write and old.queue is new.queue)


def _covers(outer: Tile, inner: Tile) -> bool:
    """Whether every byte of `inner` surely lies in `outer`."""
    outer = joined(outer)
    if outer.rows == 1:
        return outer.start <= inner.start and inner.end <= outer.end
    if inner.rows > 1 and inner.pitch != outer.pitch:
        return False
    row, column = divmod(inner.start - outer.start, outer.pitch)
    return (
        row >= 0 and row + inner.rows <= outer.rows and column + inner.row_bytes <= outer.row_bytes
    )
