"""The verifier's order against the plain definition, on every run of small random programs."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations, islice, product

from hypothesis import given
from hypothesis import strategies as st

from compiler.programs import nop
from tapeout.compiler.accesses import Tile, overlap
from tapeout.compiler.order import Order
from tapeout.compiler.structure import Node, Repeat
from tapeout.errors import CompileError
from tapeout.isa import Instruction, Queue, Space, Take

QUEUES = (Queue.LD, Queue.MU, Queue.VU)
Touch = tuple[Tile, bool]
BODIES, RUNS, LENGTH = 12, 2000, 40
"""Runs of a loop's body, runs, and instructions of a run that the definition is asked about."""


@st.composite
def bodies(draw: st.DrawFn, out: "Random", depth: int) -> tuple[Node, ...]:
    """Some instructions, and loops of depth 2 at most, ordered here and there by counters."""
    nodes: list[Node] = []
    here: list[int] = []
    for _ in range(draw(st.integers(1, 5))):
        if depth < 2 and draw(st.integers(0, 3)) == 0:
            at = out.add(Queue.CP, None)
            out.turns[at] = draw(st.sampled_from([(0, 2), (1, 2), (0, 1)]))
            nodes.append(Repeat(at, draw(bodies(out, depth + 1))))
        else:
            block = draw(st.integers(0, 2))
            tile = Tile(space=Space.L1, start=16 * block, rows=1, pitch=0, row_bytes=16)
            at = out.add(draw(st.sampled_from(QUEUES)), (tile, draw(st.booleans())))
            nodes.append(at)
            here.append(at)
    for early, late in draw(st.permutations(list(combinations(here, 2)))):
        if draw(st.booleans()):
            out.order(early, late)
    return tuple(nodes)


class Random:
    """A program under construction."""

    def __init__(self):
        self.instructions: list[Instruction] = []
        self.tiles: dict[int, list[Touch]] = {}
        self.turns: dict[int, tuple[int, int]] = {}
        self.counter = 0
        self.sampled = False

    def add(self, queue: Queue, touch: Touch | None) -> int:
        self.instructions.append(nop(queue))
        if touch:
            self.tiles[len(self.instructions) - 1] = [touch]
        return len(self.instructions) - 1

    def order(self, early: int, late: int) -> None:
        """Let `late` wait for `early`, if both have room for it."""
        a, b = self.instructions[early], self.instructions[late]
        if a.queue is b.queue or a.signal >= 0 or len(b.waits) == 2 or self.counter == 64:
            return
        self.instructions[early] = replace(a, signal=self.counter)
        self.instructions[late] = replace(b, waits=(*b.waits, Take(counter=self.counter)))
        self.counter += 1


@st.composite
def programs(draw: st.DrawFn) -> tuple[Random, tuple[Node, ...]]:
    out = Random()
    return out, draw(bodies(out, 0))


def runs(out: Random, nodes: tuple[Node, ...]) -> Iterator[list[int]]:
    """Every order in which a command processor may send the instructions."""
    parts: list[list[list[int]]] = []
    for node in nodes:
        if isinstance(node, Repeat):
            body = list(runs(out, node.body))
            out.sampled |= len(body) > BODIES
            body = body[:: -(-len(body) // BODIES)]
            least, most = out.turns[node.at]
            parts.append(
                [
                    list(chain.from_iterable(turns))
                    for count in range(least, most + 1)
                    for turns in product(body, repeat=count)
                ]
            )
        else:
            parts.append([[node]])
    for choice in product(*parts):
        yield list(chain.from_iterable(choice))


def races(out: Random, run: list[int]) -> bool:
    """Whether two clashing instructions of a run are ordered by nothing."""
    before: list[set[int]] = []
    given_: dict[int, list[int]] = {}
    last: dict[Queue, int] = {}
    for event, index in enumerate(run):
        one = out.instructions[index]
        sources = [last[one.queue]] if one.queue in last else []
        sources += [given_[take.counter].pop(0) for take in one.waits]
        before.append({e for s in sources for e in (s, *before[s])})
        last[one.queue] = event
        if one.signal >= 0:
            given_.setdefault(one.signal, []).append(event)
    return any(
        out.instructions[run[a]].queue is not out.instructions[run[b]].queue
        and (p[1] or q[1])
        and overlap(p[0], q[0])
        and a not in before[b]
        for a, b in combinations(range(len(run)), 2)
        for p in out.tiles[run[a]]
        for q in out.tiles[run[b]]
    )


@given(programs())
def test_a_program_is_accepted_if_and_only_if_no_run_races(case: tuple[Random, tuple[Node, ...]]):
    out, nodes = case
    order = Order(0, out.instructions, out.tiles, out.turns, queue_depth=16)
    problem = ""
    try:
        order.check(nodes)
    except CompileError as error:
        problem = error.problem
    accepted = not problem
    assert accepted or "in no certain order" in problem
    few = list(islice(runs(out, nodes), RUNS))
    racy = any(races(out, run) for run in few if len(run) <= LENGTH)
    if accepted:
        assert not racy
    elif not out.sampled and len(few) < RUNS and max(map(len, few)) <= LENGTH:
        assert racy
