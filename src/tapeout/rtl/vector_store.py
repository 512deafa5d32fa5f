"""Writes chunks from rings to tiles in L1."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component
from .ports import write_port
from .vector_graph import GRAPHS, RINGS
from .vector_load import GRANULE_NUMBERS
from .vector_walk import COUNT_BITS, UPPER, Walk, plan_layout

SLOTS = 3


def stored() -> tuple[str, ...]:
    """Rings that some graph stores."""
    return tuple(ring for ring in RINGS if any(ring in graph.stores for graph in GRAPHS.values()))


def store_config(address_bits: int) -> data.StructLayout:
    """What the store unit does in a graph; `rings`: of each slot, as a bit, none if it is off.

    upper: a chunk's length is what the upper loop has left, at most its unit; else the inner.
    """
    return data.StructLayout(
        {
            "rings": data.ArrayLayout(len(RINGS), SLOTS),
            "plans": data.ArrayLayout(plan_layout(address_bits), SLOTS),
            "upper": 1,
        }
    )


class VectorStore(Component):
    """Walks over up to three tiles and writes a chunk of a ring at each step.

    Latency 2 cycles from a ring to the request; throughput 1 chunk per cycle; stalls with the
    memory.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk.
    address_bits : int
        Of addresses in plans, which count numbers.
    near_bits : int
        Of granule addresses of L1.

    Members
    -------
    start : In(1); config : In(store_config)
    ready : In(rings); read : Out(rings), and freed
    value_<ring> : In(chunk), read in the cycle before, for each of `stored`
    write : Out(write_port)
    idle : Out(1), all is written after this cycle
    """

    def __init__(self, *, lanes: int, address_bits: int, near_bits: int):
        self.lanes, self.bits = lanes, address_bits
        self.granules = lanes // GRANULE_NUMBERS
        ports: dict[str, Any] = {
            "start": In(1),
            "config": In(store_config(address_bits)),
            "ready": In(len(RINGS)),
            "read": Out(len(RINGS)),
            "write": Out(write_port(granules=self.granules, address_bits=near_bits)),
            "idle": Out(1),
        }
        ports |= {f"value_{ring}": In(32 * lanes) for ring in stored()}
        super().__init__(ports, name=f"vector_store_{lanes}_{address_bits}_{near_bits}")

    def build(self, m: Module) -> None:
        """Choose a slot; its chunk waits in the ring's register until the request is free."""
        rings = Signal(self.config.rings.shape(), reset_less=True)
        upper = Signal(reset_less=True)
        with m.If(self.start):
            m.d.sync += [rings.eq(self.config.rings), upper.eq(self.config.upper)]
        walks = [Walk(address_bits=self.bits) for _ in range(SLOTS)]
        held, chosen = Signal(), Signal(len(RINGS), reset_less=True)
        address, left = Signal(self.bits, reset_less=True), Signal(COUNT_BITS, reset_less=True)
        request = self.write.request
        moves = Signal()
        m.d.comb += moves.eq(~request.valid | request.ready)
        with m.If(moves):
            m.d.sync += held.eq(0)
        goes = Const(0, 1)
        for i, walk in reversed(list(enumerate(walks))):
            m.submodules[f"walk{i}"] = walk
            m.d.comb += walk.plan.eq(self.config.plans[i])
            m.d.comb += walk.load.eq(self.start & self.config.rings[i].any())
            can = Signal(name=f"can{i}")
            m.d.comb += can.eq(walk.active & (rings[i] & self.ready).any() & (~held | moves))
            with m.If(can & ~goes):
                m.d.comb += [walk.step.eq(1), self.read.eq(rings[i])]
                m.d.sync += [
                    held.eq(1),
                    chosen.eq(rings[i]),
                    address.eq(walk.address),
                    left.eq(Mux(upper, walk.length[UPPER], walk.length[0])),
                ]
            goes = goes | can
        m.d.comb += self.idle.eq(~(Cat(walk.active for walk in walks).any() | held) & moves)
        with m.If(moves):
            m.d.sync += request.valid.eq(held)
            self._request(m, chosen, address, left)

    def _request(self, m: Module, chosen: Any, address: Any, left: Any) -> None:
        """The chunk of the ring that was read, and which of its numbers are written."""
        chunk = Signal(32 * self.lanes)
        for ring in stored():
            with m.If(chosen[RINGS.index(ring)]):
                m.d.comb += chunk.eq(getattr(self, f"value_{ring}"))
        payload = self.write.request.payload
        m.d.sync += [
            payload.address.eq(address[2:]),
            payload.data.eq(chunk),
            payload.mask.eq(Cat((left > i).replicate(4) for i in range(self.lanes))),
        ]
