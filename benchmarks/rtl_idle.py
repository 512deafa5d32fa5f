"""Why the matrix unit had nothing to do: a run's events, seen against the program's counters."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tapeout.isa.fields import Queue
from tapeout.isa.program import Program

CAUSES = {Queue.LD: "loads", Queue.ST: "stores", Queue.VU: "vector", Queue.CP: "dispatch"}


@dataclass(frozen=True, kw_only=True)
class _Done:
    """An instruction that has ended at `cycle`; it could run from `ready` on, due to `before`.

    before: the instruction that ended last of those that it had to wait for, which is the one
    ahead of it or one that signalled; None: the command processor, which had to send it.
    """

    queue: Queue
    cycle: int
    ready: int
    before: "_Done | None"


def idle_cycles(program: Program, events: NDArray[Any], core: int = 0) -> dict[str, int]:
    """Cycles in which no product could run, by what the next one waited for.

    What waited itself while it was waited for does not count: what that waited for does. `events`
    are all of a run, as `Simulation.events` gives them.
    """
    code = program.cores[core]
    signals: dict[int, deque[_Done]] = {}
    sent: dict[Queue, deque[int]] = {queue: deque() for queue in Queue}
    last: dict[Queue, _Done] = {}
    idle = dict.fromkeys(CAUSES.values(), 0)
    for event in events[events["core"] == core]:
        number, cycle, queue = int(event["number"]), int(event["cycle"]), Queue(event["queue"])
        instruction = code[number]
        if queue is Queue.CP:
            sent[instruction.queue].append(cycle)
            continue
        ready, before = sent[queue].popleft(), None
        waited = [signals[t.counter].popleft() for t in instruction.waits for _ in range(t.count)]
        for one in [*waited, *([last[queue]] if queue in last else [])]:
            if one.cycle > ready:
                ready, before = one.cycle, one
        done = _Done(queue=queue, cycle=cycle, ready=ready, before=before)
        if queue is Queue.MU and Queue.MU in last:
            _blame(idle, done, last[Queue.MU].cycle)
        last[queue] = done
        if instruction.signal >= 0:
            signals.setdefault(instruction.signal, deque()).append(done)
    return idle


def _blame(idle: dict[str, int], done: _Done, since: int) -> None:
    """Add the cycles from `since` until `done` could run to what it waited for."""
    end = done.ready
    while end > since:
        before = done.before
        if before is None:
            idle[CAUSES[Queue.CP]] += end - since
            return
        start = max(since, min(before.ready, end))
        if before.queue in CAUSES:
            idle[CAUSES[before.queue]] += end - start
        done, end = before, start
