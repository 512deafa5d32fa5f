"""Functional coverage: which kinds of each instruction random programs have executed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

from tapeout.chip import Chip
from tapeout.isa import OPERATIONS, Queue
from tapeout.runtime.cosimulate import EVENT_QUEUES, Replay
from tapeout.runtime.coverage_axes import AXES, CROSSED, PLACES, possible
from tapeout.runtime.coverage_values import Executed, choices_of, ends_of, values_of
from tapeout.runtime.random_programs import Case

Bin = tuple[str, ...]
"""An instruction or a queue, and one value each of some axes."""

WAITS, TAKES, SIGNALS = ("0", "1", "2"), ("one", "more"), ("none", "one")


def reachable(chip: Chip) -> frozenset[Bin]:
    """Every bin that random programs for a chip can reach."""
    bins: set[Bin] = set()
    for cls in OPERATIONS:
        axes, name = AXES[cls], cls.__name__
        bins.add((name,))
        bins |= {(name, f"end of {place}") for place in PLACES.get(cls, ())}
        for cross in (*((axis,) for axis in axes), *CROSSED.get(cls, ())):
            for chosen in product(*(axes[axis] for axis in cross)):
                values = dict(zip(cross, chosen, strict=True))
                if possible(cls, values, chip):
                    bins.add((name, *_named(values)))
    for queue in EVENT_QUEUES:
        for axis, values in (("waits", WAITS), ("takes", TAKES), ("signals", SIGNALS)):
            bins |= {(queue.name, *_named({axis: value})) for value in values}
    return frozenset(bins)


def bins_of(one: Executed) -> Iterator[Bin]:
    """The bins that one executed instruction is in."""
    cls, instruction = type(one.op), one.instruction
    name, queue = cls.__name__, instruction.queue.name
    yield (name,)
    for place in ends_of(one):
        yield name, f"end of {place}"
    for found in (values_of(one), *choices_of(one)):
        values = {axis: value for axis, value in found.items() if axis in AXES[cls]}
        for cross in (*((axis,) for axis in values), *CROSSED.get(cls, ())):
            if values.keys() >= set(cross):
                yield name, *_named({axis: values[axis] for axis in cross})
    yield queue, *_named({"waits": str(len(instruction.waits))})
    yield queue, *_named({"signals": "one" if instruction.signal >= 0 else "none"})
    for take in instruction.waits:
        yield queue, *_named({"takes": "one" if take.count == 1 else "more"})


def executed(case: Case) -> Iterator[Executed]:
    """Run a case in the simulator; each instruction when it is run or sent, loops unrolled."""
    replay = Replay(case.chip, case.instructions, case.registers, case.memory)
    core = replay.core
    while not replay.ended:
        queue, number = replay.legal()[-1]  # the command processor as soon as it can
        if queue is Queue.CP:
            yield Executed(
                instruction=case.instructions[number],
                registers=tuple(core.registers),
                depth=len(core.loops),
                chip=case.chip,
                memory=case.memory,
            )
        replay.event(queue, number)


@dataclass
class Coverage:
    """How often each bin was hit, of those that a chip's programs can reach."""

    chip: Chip
    hits: Counter[Bin] = field(default_factory=Counter[Bin])

    def __post_init__(self) -> None:
        self.reachable = reachable(self.chip)

    def add(self, case: Case) -> None:
        """Count what a case executes."""
        for one in executed(case):
            self.hits.update(bins_of(one))

    @property
    def missing(self) -> list[Bin]:
        """Bins that were not hit."""
        return sorted(self.reachable - self.hits.keys())

    @property
    def share_hit(self) -> tuple[int, int]:
        """Bins hit and bins that can be."""
        return len(self.reachable) - len(self.missing), len(self.reachable)

    def report(self, *, missing: bool = True) -> str:
        """For each instruction and queue, bins hit of all, and which are missing."""
        all_missing = set(self.missing)
        lines: list[str] = []
        for name, bins in _by_name(self.reachable):
            gone = sorted(all_missing & bins)
            lines.append(f"{name:14}{len(bins) - len(gone):5} of {len(bins)}")
            if missing:
                lines += [f"    {', '.join(one[1:])}" for one in gone]
        hit, total = self.share_hit
        return "\n".join([f"{'all':14}{hit:5} of {total}: {hit / total:.1%}", *lines]) + "\n"


def _by_name(bins: Iterable[Bin]) -> Iterator[tuple[str, set[Bin]]]:
    groups: dict[str, set[Bin]] = {}
    for one in bins:
        groups.setdefault(one[0], set()).add(one)
    names = (*(cls.__name__ for cls in OPERATIONS), *(queue.name for queue in EVENT_QUEUES))
    return ((name, groups[name]) for name in names)


def _named(values: dict[str, str]) -> Iterator[str]:
    return (f"{axis}={value}" for axis, value in sorted(values.items()))
