"""What the element engine computes, as graphs: nodes are operations, edges are rings of chunks.

A node of a unit takes a chunk from each of its rings when all are there and what it makes has
room; so a graph needs no schedule, and nothing in it depends on how long a memory takes. Each ring
has one producer and one consumer in a graph. The hardware has the wires that some graph uses.
"""

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from amaranth.lib import data

from tapeout.isa.encoding import fields
from tapeout.isa.fields import MapFn
from tapeout.isa.vector import Softmax
from tapeout.numerics.formats import BLOCK
from tapeout.numerics.functions import GELU_CUBIC, GELU_SLOPE_LOG2E, LOG2E

from .vector_lane import AluOp, SfuOp

DEEP = ("x0", "x1", "b", "br", "t", "sq", "p", "o", "y")
SHALLOW = ("e", "f", "s", *(f"g{i}" for i in range(8)))
RINGS = (*DEEP, *SHALLOW)
SCORES = "x1"
"""The ring that holds the scores of a Softmax until their row's maximum is there."""

WIDEST = (1 << fields(Softmax)["columns"].bits) - BLOCK
"""Columns of a Softmax, at most: whole blocks."""

ON_THE_WAY = 16  # chunks that come while the maximum of a row becomes a scalar

SCALAR = "scalar"  # a ring of single numbers, which every lane gets
FIELD = "field"  # a number of the instruction, or the reciprocal of one
IMMEDIATE = "immediate"  # a number of the node
SOURCES = (*RINGS, SCALAR, FIELD, IMMEDIATE)
WAITED = len(RINGS) + 2  # sources that a node may have to wait for

MAXIMA_FROM, MAXIMA_INITIAL, MAXIMA_TO = "x0", "g0", ("g1", "g2")
ROWS_TO = ("br",)  # the maximum of each row, alone
SUMS_FROM, SUMS_TO = "sq", ("s",)
SPREAD_FROM = "br"
PHASES_FROM, PHASES_TO = "b", ("g0",)
SCALES_TO = ("y",)
RESULT = "o"
ENDS = (
    ("maxima", "maxima", MAXIMA_TO),
    ("maxima", "rows", ROWS_TO),
    ("sums", "sums", SUMS_TO),
    ("phases", "phases", PHASES_TO),
    ("scales", "scales", SCALES_TO),
)
"""Parts that a graph may use, and what each makes: a producer's name, and its rings."""

UNITS = {"mul": 6, "alu": 6, "sfu": 2}
"""Units and the nodes that each may have in a graph; of those that can go, the last goes."""

PRODUCERS = ("mul", "alu", "sfu", "load_a", "load_b", "maxima", "rows", "sums", "phases", "scales")


def ring_depths(lanes: int) -> dict[str, int]:
    """Chunks that each ring holds.

    No score of a row goes before all of them have come: they fit the ring `SCORES`.
    """
    scores = 1 << (-(-WIDEST // lanes) + ON_THE_WAY - 1).bit_length()
    return {**dict.fromkeys(DEEP, 16), **dict.fromkeys(SHALLOW, 4), SCORES: scores}


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation of a unit on one or two sources."""

    unit: str
    a: str
    b: str = IMMEDIATE
    to: tuple[str, ...]
    odd_to: tuple[str, ...] = ()
    """Where every second result goes, if elsewhere."""
    op: int = 0
    odd_op: int | None = None
    """What every second operation is, if another."""
    number: Any = 0.0
    """The immediate, which is rounded to FP32."""
    hold: bool = False
    """Takes each chunk twice."""
    twist: bool = False
    """Of two chunks of a (p, q) and two of b (c, s) makes p c, q s, p s, q c; b stays for a row."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes, of which a later one goes first in its unit, and what the ends read and write."""

    nodes: tuple[Node, ...]
    load_a: tuple[tuple[str, ...], ...] = ()
    load_b: tuple[tuple[str, ...], ...] = ()
    stores: tuple[str, ...] = (RESULT,)
    uses: frozenset[str] = field(default_factory=frozenset[str])
    """Which of maxima, sums, spread, phases, scales and result it has."""


def _mul(a: str, b: str, *to: str, **more: Any) -> Node:
    return Node(unit="mul", a=a, b=b, to=to, **more)


def _alu(op: AluOp, a: str, b: str, *to: str, **more: Any) -> Node:
    return Node(unit="alu", a=a, b=b, to=to, op=op, **more)


def _sfu(op: SfuOp, a: str, *to: str, **more: Any) -> Node:
    return Node(unit="sfu", a=a, to=to, op=op, **more)


def _logistic() -> tuple[Node, ...]:
    """s = 1 / (1 + 2^t)."""
    return (
        _sfu(SfuOp.EXP2, "t", "e"),
        _alu(AluOp.ADD, "e", IMMEDIATE, "f", number=1.0),
        _sfu(SfuOp.RECIP, "f", "s"),
    )


def _gated(b: str) -> tuple[Node, ...]:
    """o = x s b."""
    return _mul("x1", "s", "y"), _mul("y", b, "o")


def _map_nodes(fn: MapFn, b: str) -> tuple[Node, ...]:
    match fn:
        case MapFn.COPY:
            return (_alu(AluOp.LEFT, "x0", IMMEDIATE, "o"),)
        case MapFn.ADD | MapFn.SUB | MapFn.MAX:
            return (_alu(AluOp[fn.name], "x0", b, "o"),)
        case MapFn.FILL:
            return (_alu(AluOp.RIGHT, b, b, "o"),)
        case MapFn.MUL:
            return (_mul("x0", b, "o"),)
        case MapFn.MULADD:
            return _mul("y", b, "t"), _alu(AluOp.ADD, "t", "x0", "o")
        case MapFn.NORMALISE:
            to = "br" if b == SCALAR else "s"
            return _sfu(SfuOp.INVERSE, "b", to), _mul("x0", b if b == SCALAR else "s", "o")
        case MapFn.SILU_MUL:
            scaled = _mul("x0", IMMEDIATE, "t", number=float(-LOG2E))
            return scaled, *_logistic(), *_gated(b)
        case MapFn.GELU_MUL:
            return _sfu(SfuOp.CDF, "x0", "s"), *_gated(b)
        case MapFn.GELU_TANH_MUL:
            return (
                _mul("x0", "x0", "g0"),
                _mul("g0", "sq", "g1"),
                _mul("g1", IMMEDIATE, "g2", number=float(GELU_CUBIC)),
                _alu(AluOp.ADD, "p", "g2", "g3"),
                _mul("g3", IMMEDIATE, "t", number=float(-GELU_SLOPE_LOG2E)),
                *_logistic(),
                *_gated(b),
            )


def _map(fn: MapFn, *, spread: bool) -> Graph:
    """`Map`; b is a number for each row, or one for all, if `spread`."""
    b = SCALAR if spread and fn != MapFn.COPY else "b"
    copies = {
        MapFn.SILU_MUL: ("x0", "x1"),
        MapFn.GELU_MUL: ("x0", "x1"),
        MapFn.GELU_TANH_MUL: ("x0", "x1", "sq", "p"),
        MapFn.FILL: (),
    }
    second = ("br",) if b == SCALAR and fn != MapFn.NORMALISE else ("b",)
    return Graph(
        nodes=_map_nodes(fn, b),
        load_a=(copies.get(fn, ("x0",)),),
        load_b=(("y",) if fn == MapFn.MULADD else (), () if fn == MapFn.COPY else second),
        uses=frozenset({"spread"} if b == SCALAR else set()),
    )


_NORM = Graph(
    nodes=(
        _mul("x0", "x0", "sq"),
        _mul("s", FIELD, "e"),
        _alu(AluOp.ADD, "e", FIELD, "f"),
        _sfu(SfuOp.RSQRT, "f", "br"),
        _mul("x1", SCALAR, "y"),
        _mul("y", "b", "o"),
    ),
    load_a=(("x1",), ("x0",)),
    load_b=(("b",),),
    uses=frozenset({"sums", "spread"}),
)

_ROPE = Graph(
    nodes=(
        _sfu(SfuOp.COS, "g0", "e", odd_op=SfuOp.SIN, hold=True),
        _mul("e", FIELD, "f"),
        _mul("x0", "f", "t", odd_to=("sq",), twist=True),
        _alu(AluOp.SUB, "t", "sq", "o", odd_op=AluOp.ADD),
    ),
    load_a=(("x0",),),
    load_b=(("b",), ("br",)),
    uses=frozenset({"phases", "spread"}),
)


def _softmax(*, scaled: bool) -> Graph:
    """g0, g3: m; br, g1, g2: new m; g4: its change; g5, g7: alpha; b: l; f: new l.

    What the state needs goes before the scores, which need all of a unit's cycles.
    """
    return Graph(
        nodes=(
            _alu(AluOp.SCORE, SCORES, SCALAR, "t"),
            _sfu(SfuOp.EXP2, "t", "sq", "p" if scaled else "o"),
            *((_mul("p", "y", "o"),) if scaled else ()),
            _alu(AluOp.DECAY, "g3", "g1", "g4"),
            _sfu(SfuOp.EXP2, "g4", "g5", "g7"),
            _mul("b", "g5", "e"),
            _alu(AluOp.ADD, "e", "s", "f"),
        ),
        load_a=((MAXIMA_FROM, SCORES),),
        load_b=(("b",), (MAXIMA_INITIAL, "g3")),
        stores=("g2", "g7", "f"),
        uses=frozenset({"maxima", "sums", "spread", "result", *(("scales",) if scaled else ())}),
    )


def _product(*, accumulate: bool) -> Graph:
    """A row of b lies along k."""
    return Graph(
        nodes=(_mul("x0", "b", "sq"),),
        load_a=(("x0",),),
        load_b=(("b",), *([("br",)] if accumulate else [])),
        stores=("s",),
        uses=frozenset({"sums", *(("spread",) if accumulate else ())}),
    )


def _across(*, accumulate: bool) -> Graph:
    """A row of b lies along n: 32 rows are added by a tree of pairs."""
    levels = [("t", "sq"), ("e", "f"), ("g0", "g1"), ("g2", "g3"), ("g4", "g5")]
    pairs = [_alu(AluOp.ADD, a, b, to, odd_to=(odd,)) for (a, b), (to, odd) in pairwise(levels)]
    end = _alu(AluOp.ADD, "g4", "g5", "g6" if accumulate else "o")
    return Graph(
        nodes=(
            _mul("b", SCALAR, "t", odd_to=("sq",)),
            *pairs,
            end,
            *((_alu(AluOp.ADD, "y", "g6", "o"),) if accumulate else ()),
        ),
        load_a=(("br",),),
        load_b=(("b",), *([("y",)] if accumulate else [])),
        uses=frozenset({"spread"}),
    )


GRAPHS: dict[str, Graph] = {
    **{f"map{fn}{spread}": _map(fn, spread=bool(spread)) for fn in MapFn for spread in (0, 1)},
    "norm": _NORM,
    "rope": _ROPE,
    **{f"softmax{scaled}": _softmax(scaled=bool(scaled)) for scaled in (0, 1)},
    **{f"product{more}": _product(accumulate=bool(more)) for more in (0, 1)},
    **{f"across{more}": _across(accumulate=bool(more)) for more in (0, 1)},
}
"""Graphs by name; those of `Map` come first, two for each function."""

NUMBERS = {name: number for number, name in enumerate(GRAPHS)}

# ---- as bits -----------------------------------------------------------------------------------

SOURCE_BITS = (len(SOURCES) - 1).bit_length()
SLOT = data.StructLayout(
    {
        "on": 1,
        "a_waits": WAITED,
        "b_waits": WAITED,
        "a": SOURCE_BITS,
        "b": SOURCE_BITS,
        "to": len(RINGS),
        "odd_to": len(RINGS),
        "op": 3,
        "odd_op": 3,
        "number": 32,
        "hold": 1,
        "twist": 1,
    }
)
"""A node as a unit's control sees it; `a_waits`, `b_waits`: the source as a bit."""

GRAPH = data.StructLayout(
    {
        **{unit: data.ArrayLayout(SLOT, slots) for unit, slots in UNITS.items()},
        "load_a": data.ArrayLayout(len(RINGS), 2),
        "load_b": data.ArrayLayout(len(RINGS), 2),
        "stores": data.ArrayLayout(len(RINGS), 3),
        "feeds": data.ArrayLayout(len(PRODUCERS), len(RINGS)),
        "uses": data.StructLayout(
            dict.fromkeys(("maxima", "sums", "spread", "phases", "scales", "result"), 1)
        ),
    }
)
"""A graph as the hardware sees it. `feeds`: of each ring its producer, as a bit."""


def ring_set(rings: tuple[str, ...]) -> int:
    """Rings as bits."""
    return sum(1 << RINGS.index(ring) for ring in rings)


def producers(graph: Graph) -> dict[str, str]:
    """The producer of each ring that has one."""
    made: list[tuple[str, str]] = [
        (ring, node.unit) for node in graph.nodes for ring in (*node.to, *node.odd_to)
    ]
    for name in ("load_a", "load_b"):
        made += [(ring, name) for rings in getattr(graph, name) for ring in rings]
    made += [(ring, name) for part, name, rings in ENDS if part in graph.uses for ring in rings]
    assert len({ring for ring, _ in made}) == len(made), "a ring has one producer"
    return dict(made)


def operands(unit: str, side: str) -> tuple[str, ...]:
    """Sources that some node of a unit has on a side, `a` or `b`."""
    used = {
        getattr(node, side)
        for graph in GRAPHS.values()
        for node in graph.nodes
        if node.unit == unit and (side == "a" or unit != "sfu")
    }
    return tuple(source for source in SOURCES if source in used)


def graph_bits(graph: Graph) -> dict[str, Any]:
    """The value of `GRAPH`."""
    made = producers(graph)
    return {
        **{unit: _slots(graph, unit) for unit in UNITS},
        **{
            name: [ring_set(rings) for rings in getattr(graph, name)]
            + [0] * (2 - len(getattr(graph, name)))
            for name in ("load_a", "load_b")
        },
        "stores": [ring_set((ring,)) for ring in graph.stores] + [0] * (3 - len(graph.stores)),
        "feeds": [1 << PRODUCERS.index(made[ring]) if ring in made else 0 for ring in RINGS],
        "uses": {name: int(name in graph.uses) for name in GRAPH["uses"].shape.members},
    }


def _slots(graph: Graph, unit: str) -> list[dict[str, int]]:
    nodes = [node for node in graph.nodes if node.unit == unit]
    assert len(nodes) <= UNITS[unit], f"too many nodes of {unit}"
    return [_slot(node) for node in nodes] + [{"on": 0}] * (UNITS[unit] - len(nodes))


def _slot(node: Node) -> dict[str, int]:
    to = ring_set(node.to)
    return {
        "on": 1,
        "a_waits": _waits(node.a),
        "b_waits": _waits(node.b),
        "a": SOURCES.index(node.a),
        "b": SOURCES.index(node.b),
        "to": to,
        "odd_to": ring_set(node.odd_to) or to,
        "op": node.op,
        "odd_op": node.op if node.odd_op is None else node.odd_op,
        "number": struct.unpack("<I", struct.pack("<f", node.number))[0],
        "hold": int(node.hold),
        "twist": int(node.twist),
    }


def _waits(source: str) -> int:
    return 0 if source == IMMEDIATE else 1 << SOURCES.index(source)
