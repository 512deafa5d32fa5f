"""The element engine: Map, Norm, Rope, Softmax and VectorMatmul as graphs on rings of chunks."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import Out, connect, flipped

from tapeout.isa.vector import VectorMatmul
from tapeout.numerics.formats import BLOCK

from .command import COMMAND, REGISTER_BITS, payload
from .component import Component
from .ports import read_port, unit_ports, write_port
from .reciprocal import Reciprocal
from .vector_file import VectorFile
from .vector_graph import (
    GRAPH,
    GRAPHS,
    MAXIMA_FROM,
    MAXIMA_INITIAL,
    MAXIMA_TO,
    PHASES_FROM,
    PHASES_TO,
    RESULT,
    RINGS,
    ROWS_TO,
    SCALES_TO,
    SPREAD_FROM,
    SUMS_FROM,
    SUMS_TO,
    UNITS,
    WAITED,
    graph_bits,
    ring_set,
)
from .vector_issue import VectorIssue
from .vector_load import AHEAD_BITS, VectorLoad
from .vector_maxima import Maxima
from .vector_phases import Phases
from .vector_plan import COLUMNS_BITS, VectorPlan
from .vector_scales import SCALE_WINDOW, ValueScales
from .vector_spread import Spread
from .vector_store import VectorStore, stored
from .vector_sums import Sums
from .vector_walk import Walk

AHEAD_MAX = (1 << (AHEAD_BITS - 2)) - 1  # rows still add to it


class ElementEngine(Component):
    """Executes `Map`, `Norm`, `Rope`, `Softmax` and `VectorMatmul`, one at a time.

    Values: `tapeout.sim.execute`. The probabilities of a Softmax leave as a stream, row by row.

    A command stays on offer until its last effect. Latency 2 cycles and the depth of the graph, 15
    to 80 cycles; throughput one chunk per cycle and node of a unit: a `Map` of one operation, or a
    Softmax, a chunk per cycle; stalls with its memories.

    Parameters
    ----------
    lanes : int
        FP32 numbers of a chunk: a power of two, 4..512.
    l1_granules, scale_granules : int
        Sizes of L1 and of the scale memory.
    accumulators : int
        FP32 numbers in one half of the accumulators.

    Members
    -------
    commands, done, trap, busy : `unit_ports`
    read_a, read_b : Out(read_port), L1; read_acc : Out(read_port); read_scale : Out(read_port)
    write : Out(write_port), L1
    probabilities : Out(stream of {values: [lanes] 32 bits})
    """

    def __init__(self, *, lanes: int, l1_granules: int, scale_granules: int, accumulators: int):
        self.lanes = lanes
        window = lanes // 4
        near, far, scale_bits = (
            (granules - 1).bit_length()
            for granules in (l1_granules, accumulators // 2, scale_granules)
        )
        bits = max(near, far) + 2
        values = data.StructLayout({"values": data.ArrayLayout(32, lanes)})
        self.plan = VectorPlan(lanes=lanes, address_bits=bits, scale_bits=scale_bits)
        self.file = VectorFile(lanes=lanes)
        self.issues = {
            unit: VectorIssue(slots=slots, twist=unit == "mul", hold=unit == "sfu")
            for unit, slots in UNITS.items()
        }
        load = {"lanes": lanes, "address_bits": bits, "near_bits": near}
        self.load_a = VectorLoad(**load, far_bits=far, spans=True)
        self.load_b = VectorLoad(**load, far_bits=0, spans=False)
        self.store = VectorStore(**load)
        self.sums, self.maxima = Sums(lanes=lanes), Maxima(lanes=lanes)
        self.spread, self.phases = Spread(lanes=lanes), Phases(lanes=lanes)
        self.scales = ValueScales(lanes=lanes, address_bits=scale_bits)
        self.reciprocal = Reciprocal(bits=COLUMNS_BITS)
        super().__init__(
            {
                **unit_ports(COMMAND),
                "read_a": Out(read_port(granules=window, address_bits=near)),
                "read_b": Out(read_port(granules=window, address_bits=near)),
                "read_acc": Out(read_port(granules=window, address_bits=far)),
                "read_scale": Out(read_port(granules=SCALE_WINDOW, address_bits=scale_bits)),
                "write": Out(write_port(granules=window, address_bits=near)),
                "probabilities": Out(stream.Signature(values)),
            },
            name=f"vector_engine_{lanes}_{l1_granules}_{scale_granules}_{accumulators}",
        )

    def build(self, m: Module) -> None:
        """The command's state machine; parts; who takes from rings and who makes for them."""
        parts = ("plan", "file", "load_a", "load_b", "store", "sums", "maxima", "spread")
        for name in (*parts, "phases", "scales", "reciprocal"):
            m.submodules[name] = getattr(self, name)
        for unit, issue in self.issues.items():
            m.submodules[f"issue_{unit}"] = issue
        self._graph = self._looked_up(m)
        self._start = Signal(name="start")
        self._takes: list[tuple[str, Any]] = []  # who reads a beat and frees it
        self._promises: list[tuple[str, Any]] = []
        self._ports(m)
        self._configure(m)
        self._fields(m)
        self._reductions(m)
        self._others(m)
        result_left = self._result(m)
        self._lanes(m)
        self._control(m, self.store.idle & ~result_left)

    # ---- commands --------------------------------------------------------------------------------

    def _control(self, m: Module, ended: Any) -> None:
        """Look up the graph of a command; start it, for each block of K again; take the command."""
        command = self.commands.payload
        block = Signal(self.plan.block.shape())
        b_offset = Signal(self.plan.b_offset.shape())
        nothing, more = Signal(), Signal()  # rows to work on; blocks after this one
        m.d.comb += [
            self.plan.command.eq(command),
            self.plan.block.eq(block),
            self.plan.b_offset.eq(b_offset),
            self.plan.ahead.eq(self._ahead(m, command)),
            self.commands.ready.eq(self.done),
            self.trap.eq(0),  # bounds has refused what could be wrong
        ]
        m.d.sync += [nothing.eq(command.rows == 0), more.eq(block + 1 != self.plan.blocks)]
        b_pitch = payload(command, VectorMatmul).b_pitch
        with m.FSM() as state:
            m.d.comb += self.busy.eq(~state.ongoing("PLAN"))
            with m.State("PLAN"):
                m.d.comb += self._look.eq(1)
                with m.If(self.commands.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [self._start.eq(~nothing), self.done.eq(nothing)]
                m.next = "RUN"
                with m.If(nothing):
                    m.next = "PLAN"
            with m.State("RUN"), m.If(ended):
                m.d.comb += self.done.eq(~more)
                m.d.sync += [
                    block.eq(block + 1),
                    b_offset.eq(b_offset + (b_pitch << (2 + (BLOCK - 1).bit_length()))),
                ]
                with m.If(~more):
                    m.d.sync += [block.eq(0), b_offset.eq(0)]
                m.next = "PLAN"

    def _ahead(self, m: Module, command: Any) -> Any:
        """How far the first query is ahead of the first key, saturated."""
        ahead = Signal(signed(AHEAD_BITS), name="ahead", reset_less=True)
        distance = Signal(signed(REGISTER_BITS + 1), name="distance")
        m.d.comb += distance.eq(command.x - command.y)
        low, high = distance < -AHEAD_MAX, distance > AHEAD_MAX
        m.d.sync += ahead.eq(Mux(low, -AHEAD_MAX, Mux(high, AHEAD_MAX, distance)))
        return ahead

    def _looked_up(self, m: Module) -> Any:
        """The plan's graph, from the cycle after `_look`."""
        init = [graph_bits(graph) for graph in GRAPHS.values()]
        m.submodules.graphs = graphs = memory.Memory(shape=GRAPH, depth=len(init), init=init)
        port = graphs.read_port()
        self._look = Signal(name="look")
        m.d.comb += [port.addr.eq(self.plan.graph), port.en.eq(self._look)]
        return port.data

    # ---- parts -----------------------------------------------------------------------------------

    def _ports(self, m: Module) -> None:
        connect(m, flipped(self.read_a), self.load_a.near)
        connect(m, flipped(self.read_acc), self.load_a.far)
        connect(m, flipped(self.read_b), self.load_b.near)
        connect(m, flipped(self.read_scale), self.scales.read)
        connect(m, flipped(self.write), self.store.write)

    def _configure(self, m: Module) -> None:
        """The plan says how much, the graph says which rings, and what runs at all."""
        graph, plan = self._graph, self.plan
        for name in ("load_a", "load_b", "store", *USED):
            part = getattr(self, name)
            m.d.comb += [part.start.eq(self._start), part.config.eq(getattr(plan, name))]
        for load, rings in ((self.load_a, graph.load_a), (self.load_b, graph.load_b)):
            m.d.comb += load.config.to.eq(rings)
        m.d.comb += self.store.config.rings.eq(graph.stores)
        for name in USED:
            m.d.comb += getattr(self, name).config.on.eq(graph.uses[name])

    def _fields(self, m: Module) -> None:
        """Numbers of the instruction, and 1 / columns."""
        plan, reciprocal = self.plan, self.reciprocal
        m.d.comb += [
            reciprocal.start.eq(self._start),
            reciprocal.number.eq(plan.divisor),
            self.file.field_ready.eq(reciprocal.ready | ~plan.divided),
            self.file.mul_field.eq(Mux(plan.divided, reciprocal.value, plan.mul_field)),
            self.file.alu_field.eq(plan.alu_field),
        ]

    def _reductions(self, m: Module) -> None:
        for name, source, to in (("sums", SUMS_FROM, SUMS_TO), ("maxima", MAXIMA_FROM, MAXIMA_TO)):
            part = getattr(self, name)
            self._consumer(m, part, source)
            self._producer(m, name, part, to)
        self._scalar_consumer(m, self.sums)
        self._producer(m, "rows", self.maxima, ROWS_TO, prefix="row_")
        m.d.comb += [
            self.maxima.initial_ready.eq(self.file.ready[RINGS.index(MAXIMA_INITIAL)]),
            self.maxima.initial.eq(self._value(MAXIMA_INITIAL)),
        ]
        self._takes.append((MAXIMA_INITIAL, self.maxima.initial_take))

    def _others(self, m: Module) -> None:
        self._consumer(m, self.spread, SPREAD_FROM)
        self._consumer(m, self.phases, PHASES_FROM)
        self._scalar_consumer(m, self.phases)
        self._producer(m, "phases", self.phases, PHASES_TO)
        self._producer(m, "scales", self.scales, SCALES_TO)
        m.d.comb += [
            self.spread.room.eq(self.file.room[len(RINGS)]),
            self.file.scalar_push.eq(self.spread.write),
            self.file.scalar_data.eq(self.spread.data),
        ]
        for name, load in (("load_a", self.load_a), ("load_b", self.load_b)):
            m.d.comb += [
                load.room.eq(self.file.room[: len(RINGS)]),
                getattr(self.file, f"to_{name}").eq(load.to),
                getattr(self.file, f"data_{name}").eq(load.data),
            ]
        m.d.comb += self.store.ready.eq(self.file.ready[: len(RINGS)])
        for ring in stored():
            m.d.comb += getattr(self.store, f"value_{ring}").eq(self._value(ring))

    def _consumer(self, m: Module, part: Any, ring: str) -> None:
        m.d.comb += part.ready.eq(self.file.ready[RINGS.index(ring)])
        m.d.comb += part.values.eq(self._value(ring))
        self._takes.append((ring, part.take))

    def _scalar_consumer(self, m: Module, part: Any) -> None:
        m.d.comb += part.scalar_ready.eq(self.file.ready[len(RINGS)])
        m.d.comb += part.scalar.eq(self.file.scalar_value)
        self._takes.append(("scalar", part.scalar_take))

    def _producer(
        self, m: Module, name: str, part: Any, rings: tuple[str, ...], *, prefix: str = ""
    ) -> None:
        room, reserve, write, made = (
            getattr(part, prefix + port) for port in ("room", "reserve", "write", "data")
        )
        m.d.comb += [
            room.eq(Cat(self.file.room[RINGS.index(ring)] for ring in rings).all()),
            getattr(self.file, f"to_{name}").eq(Mux(write, ring_set(rings), 0)),
            getattr(self.file, f"data_{name}").eq(made),
        ]
        self._promises += [(ring, reserve) for ring in rings]

    def _value(self, ring: str) -> Any:
        return getattr(self.file, f"value_{ring}")

    def _result(self, m: Module) -> Any:
        """Chunks that leave the engine; whether some are left."""
        m.submodules.result = walk = Walk(address_bits=1)
        held, ready = Signal(name="result_held"), self.file.ready[RINGS.index(RESULT)]
        free = ~held | self.probabilities.ready
        m.d.comb += [
            walk.load.eq(self._start & self._graph.uses.result),
            walk.plan.eq(self.plan.result),
            walk.step.eq(walk.active & ready & free),
            self.probabilities.valid.eq(held),
            self.probabilities.payload.values.eq(self._value(RESULT)),
        ]
        with m.If(free):
            m.d.sync += held.eq(walk.step)
        self._takes.append((RESULT, walk.step))
        return walk.active | held

    # ---- rings -----------------------------------------------------------------------------------

    def _lanes(self, m: Module) -> None:
        """Every beat that is read or promised, by whom it may be."""
        file, issues = self.file, list(self.issues.items())
        m.d.comb += [file.clear.eq(self._start), file.feeds.eq(self._graph.feeds)]
        for unit, issue in issues:
            m.d.comb += [
                issue.start.eq(self._start),
                issue.slots.eq(self._graph[unit]),
                issue.heads.eq(self.plan.heads),
                issue.ready.eq(file.ready),
                issue.pair.eq(file.pair),
                issue.room.eq(file.room[: len(RINGS)]),
                getattr(file, unit).eq(issue.issue),
            ]
        names = (*RINGS, "scalar")
        taken = Cat(_any(on for ring, on in self._takes if ring == name) for name in names)
        taken = taken | self.store.read
        made = Cat(_any(on for ring, on in self._promises if ring == name) for name in RINGS)
        made = made | self.load_a.reserve | self.load_b.reserve
        made = reduce(or_, (issue.reserve for _, issue in issues), made)
        takes = Signal(WAITED, name="taken")
        m.d.comb += [
            takes.eq(taken),
            file.read.eq(reduce(or_, (issue.read for _, issue in issues), takes)),
            file.pop.eq(reduce(or_, (issue.pop for _, issue in issues), takes)),
            file.ahead.eq(self.issues["mul"].ahead),
            file.pop_pair.eq(self.issues["mul"].pop_pair),
            file.reserve.eq(Cat(made, self.spread.reserve)),
        ]


USED = ("sums", "maxima", "spread", "phases", "scales")
"""Parts that a graph may use."""


def _any(bits: Any) -> Any:
    return reduce(or_, bits, Const(0, 1))
