"""The rings and the lanes of the element engine: everything that is as wide as a chunk."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component
from .vector_graph import (
    FIELD,
    GRAPHS,
    IMMEDIATE,
    PRODUCERS,
    RINGS,
    SCALAR,
    SOURCES,
    UNITS,
    WAITED,
    operands,
    producers,
    ring_depths,
)
from .vector_issue import ISSUE
from .vector_lane import ALU_LATENCY, MUL_LATENCY, SFU_LATENCY, VectorLane
from .vector_ring import Ring

LATENCIES = {"mul": MUL_LATENCY, "alu": ALU_LATENCY, "sfu": SFU_LATENCY}
RESULTS = {"mul": "product", "alu": "total", "sfu": "function"}
WRITERS = tuple(name for name in PRODUCERS if name not in UNITS)
SCALAR_DEPTH = 16
READERS = ("x0", "sq", "br", "b", "o", "s", "g0", "g2", "g7", "f")
"""Rings that others than the lanes read."""


class VectorFile(Component):
    """Rings of chunks, and a lane for each number of a chunk.

    Operands leave the rings in the cycle after `issue` of their unit, results enter them
    LATENCIES + 1 cycles later. Who reads a ring finds the chunk in `values` in the next cycle.

    Latency as above; throughput 1 operation of each unit per cycle; never stalls.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk.

    Members
    -------
    clear : In(1), empties all rings
    feeds : In(array of PRODUCERS bits), of each ring its producer
    read, ahead, pop, pop_pair : In(WAITED); reserve : In(rings and scalar)
    ready, pair : Out(WAITED); room : Out(rings and scalar)
    mul, alu, sfu : In(ISSUE)
    mul_field, alu_field : In(32), what FIELD is; field_ready : In(1)
    to_<writer> : In(rings), nonzero to write; data_<writer> : In(chunk), for each of WRITERS
    scalar_push : In(1); scalar_data : In(32); scalar_value : Out(32)
    value_<ring> : Out(chunk), for each of READERS
    """

    def __init__(self, *, lanes: int):
        self.lanes, self.width = lanes, 32 * lanes
        ports: dict[str, Any] = {"clear": In(1)}
        ports["feeds"] = In(data.ArrayLayout(len(PRODUCERS), len(RINGS)))
        ports |= {name: In(WAITED) for name in ("read", "ahead", "pop", "pop_pair")}
        ports |= {"reserve": In(len(RINGS) + 1), "room": Out(len(RINGS) + 1)}
        ports |= {name: Out(WAITED) for name in ("ready", "pair")}
        ports |= {unit: In(ISSUE) for unit in UNITS}
        ports |= {"mul_field": In(32), "alu_field": In(32), "field_ready": In(1)}
        ports |= {f"to_{name}": In(len(RINGS)) for name in WRITERS}
        ports |= {f"data_{name}": In(self.width) for name in WRITERS}
        ports |= {"scalar_push": In(1), "scalar_data": In(32), "scalar_value": Out(32)}
        ports |= {f"value_{ring}": Out(self.width) for ring in READERS}
        super().__init__(ports, name=f"vector_file_{lanes}")

    def build(self, m: Module) -> None:
        """Rings; for each unit its operands, its lanes, and the way back."""
        depths = ring_depths(self.lanes)
        rings = {name: Ring(width=self.width, depth=depths[name]) for name in RINGS}
        rings[SCALAR] = Ring(width=32, depth=SCALAR_DEPTH)
        for i, (name, ring) in enumerate(rings.items()):
            m.submodules[f"ring_{name}"] = ring
            m.d.comb += [
                ring.clear.eq(self.clear),
                ring.reserve.eq(self.reserve[i]),
                ring.read.eq(self.read[i]),
                ring.ahead.eq(self.ahead[i]),
                ring.pop.eq(Cat(self.pop[i], self.pop_pair[i])),
            ]
        field = self.field_ready
        m.d.comb += [
            self.ready.eq(Cat(*(ring.ready for ring in rings.values()), field)),
            self.pair.eq(Cat(*(ring.pair for ring in rings.values()), field)),
            self.room.eq(Cat(ring.room for ring in rings.values())),
            rings[SCALAR].push.eq(self.scalar_push),
            rings[SCALAR].data.eq(self.scalar_data),
            self.scalar_value.eq(rings[SCALAR].value),
        ]
        m.d.comb += [getattr(self, f"value_{name}").eq(rings[name].value) for name in READERS]
        values = {name: ring.value for name, ring in rings.items()}
        made = self._units(m, values)
        for name in WRITERS:
            made[name] = getattr(self, f"to_{name}"), getattr(self, f"data_{name}")
        for i, name in enumerate(RINGS):
            self._feed(m, i, rings[name], made)

    def _feed(self, m: Module, i: int, ring: Ring, made: dict[str, tuple[Any, Any]]) -> None:
        """What the producer of the graph makes enters the ring."""
        mine = sorted({producers(graph).get(RINGS[i], "") for graph in GRAPHS.values()} - {""})
        m.d.comb += ring.push.eq(Cat(made[name][0][i] for name in mine).any())
        chunk = made[mine[-1]][1]
        for name in mine[:-1]:
            chunk = Mux(self.feeds[i][PRODUCERS.index(name)], made[name][1], chunk)
        m.d.comb += ring.data.eq(chunk)

    def _units(self, m: Module, values: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """(rings to write, chunk) of each unit, as its results come."""
        inputs: dict[str, Any] = {}
        made: dict[str, tuple[Any, Any]] = {}
        moves: dict[str, Any] = {}
        for unit, latency in LATENCIES.items():
            issue = getattr(self, unit)
            for side in "a" if unit == "sfu" else "ab":
                inputs[unit, side] = self._operand(m, unit, side, issue, values)
            op = Signal(3, name=f"{unit}_op", reset_less=True)
            with m.If(issue.on):
                m.d.sync += op.eq(issue.op)
            inputs[unit, "op"] = op
            to, on = self._delayed(m, unit, issue, latency)
            moves[unit] = on
            made[unit] = to, Signal(self.width, name=f"{unit}_result")
        for i in range(self.lanes):
            m.submodules[f"lane{i}"] = lane = VectorLane()
            m.d.comb += [
                lane.mul_on.eq(moves["mul"]),
                lane.alu_on.eq(moves["alu"]),
                lane.sfu_on.eq(moves["sfu"]),
                lane.alu_op.eq(inputs["alu", "op"]),
                lane.sfu_op.eq(inputs["sfu", "op"]),
                lane.sfu_x.eq(inputs["sfu", "a"].word_select(i, 32)),
            ]
            for unit in ("mul", "alu"):
                for side in "ab":
                    word = inputs[unit, side].word_select(i, 32)
                    m.d.comb += getattr(lane, f"{unit}_{side}").eq(word)
            for unit, result in RESULTS.items():
                m.d.comb += made[unit][1].word_select(i, 32).eq(getattr(lane, result))
        return made

    def _operand(self, m: Module, unit: str, side: str, issue: Any, values: dict[str, Any]) -> Any:
        """A register of the chunk that an operation takes."""
        operand = Signal(self.width, name=f"{unit}_{side}", reset_less=True)
        number = {
            SCALAR: values[SCALAR],
            FIELD: self.mul_field if unit == "mul" else self.alu_field,
            IMMEDIATE: issue.number,
        }
        with m.If(issue.on), m.Switch(issue[side]):
            for source in operands(unit, side):
                with m.Case(SOURCES.index(source)):
                    if source in number:
                        m.d.sync += operand.eq(number[source].replicate(self.lanes))
                    else:
                        m.d.sync += operand.eq(values[source])
        return operand

    def _delayed(self, m: Module, unit: str, issue: Any, latency: int) -> tuple[Any, Any]:
        """(rings of the result that is there now, whether something is in the pipe)."""
        to, on = issue.to, issue.on
        stages = []
        for i in range(latency + 1):
            later = Signal(len(RINGS), name=f"{unit}_to{i}", reset_less=True)
            there = Signal(name=f"{unit}_on{i}")
            m.d.sync += [there.eq(on)]
            with m.If(on):
                m.d.sync += later.eq(to)
            to, on = later, there
            stages.append(there)
        result = Signal(len(RINGS), name=f"{unit}_writes")
        with m.If(on):
            m.d.comb += result.eq(to)
        moving = stages[0] if unit == "sfu" else Cat(stages[:-1]).any()
        return result, moving
