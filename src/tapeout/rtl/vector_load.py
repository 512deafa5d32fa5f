"""Reads tiles of FP32 or BF16 numbers into rings, chunk by chunk."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .component import Component
from .ports import GRANULE_BITS, read_port
from .stream import Fifo
from .vector_graph import RINGS
from .vector_lane import MINUS_INFINITY
from .vector_walk import COUNT_BITS, UPPER, Walk, plan_layout

SLOTS = 2
GRANULE_NUMBERS = GRANULE_BITS // 32
IN_FLIGHT = 16
AHEAD_BITS = 22  # of how far a query is ahead of the first key, saturated
GROUP_BITS = 7
WINDOW_BITS = 18


SPAN = data.StructLayout(
    {"on": 1, "ahead": signed(AHEAD_BITS), "group": GROUP_BITS, "window": WINDOW_BITS}
)
"""Which scores of slot 0 count, if `on`.

Key c of row r if 0 <= ahead + r // group - c, and < window > 0.
"""


def load_config(address_bits: int) -> data.StructLayout:
    """What a load unit does in a graph; `to`: rings of each slot, none if it does not run.

    upper: numbers of a chunk count as far as the upper loop has some left; else the inner loop.
    narrow: slot 0 reads BF16; fill: what the numbers are that do not count, 1: -inf, 0: +0.
    far: slots read the accumulators.
    """
    return data.StructLayout(
        {
            "to": data.ArrayLayout(len(RINGS), SLOTS),
            "plans": data.ArrayLayout(plan_layout(address_bits), SLOTS),
            "upper": 1,
            "narrow": 1,
            "fill": 1,
            "far": 1,
            "span": SPAN,
        }
    )


class VectorLoad(Component):
    """Walks over up to two tiles and reads a window for each chunk, of the second if it can.

    A chunk goes to all rings of its slot when they have room. Numbers that do not count become +0
    or -inf. A chunk starts at a granule, or, if it is narrow and has 4 numbers, at half of one.

    Latency 4 cycles from a choice to the ring, with a memory that answers after 2; throughput 1
    chunk per cycle; stalls with the memory.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk.
    address_bits : int
        Of addresses in plans, which count numbers.
    near_bits, far_bits : int
        Of granule addresses of L1, and of the accumulators; 0: no port for these.
    spans : bool
        Whether scores may be left out.

    Members
    -------
    start : In(1); config : In(load_config)
    room : In(rings); reserve : Out(rings)
    to : Out(rings); data : Out(chunk), written in this cycle
    near, far : Out(read_port)
    """

    def __init__(
        self, *, lanes: int, address_bits: int, near_bits: int, far_bits: int, spans: bool
    ):
        self.lanes, self.bits, self.spans = lanes, address_bits, spans
        self.granules = lanes // GRANULE_NUMBERS
        ports = {
            "start": In(1),
            "config": In(load_config(address_bits)),
            "room": In(len(RINGS)),
            "reserve": Out(len(RINGS)),
            "to": Out(len(RINGS)),
            "data": Out(32 * lanes),
            "near": Out(read_port(granules=self.granules, address_bits=near_bits)),
        }
        if far_bits:
            ports["far"] = Out(read_port(granules=self.granules, address_bits=far_bits))
        self.has_far = bool(far_bits)
        kind = f"_{far_bits}" * bool(far_bits) + "_spans" * spans
        super().__init__(ports, name=f"vector_load_{lanes}_{address_bits}_{near_bits}{kind}")

    def build(self, m: Module) -> None:
        """Choose, ask, and write what comes."""
        lane_range = range(self.lanes + 1)
        self.request = data.StructLayout(
            {
                "slot": 1,
                "address": self.bits,
                "left": COUNT_BITS,
                "column": 9,
                "ahead": signed(AHEAD_BITS),
            }
        )
        self.note = data.StructLayout(
            {"slot": 1, "half": 1, "first": lane_range, "end": lane_range}
        )
        self.to_of = Signal(self.config.to.shape(), reset_less=True)
        config = {
            name: Signal(getattr(self.config, name).shape(), name=name, reset_less=True)
            for name in ("upper", "narrow", "fill", "far", "span")
        }
        self.kept = config
        with m.If(self.start):
            m.d.sync += self.to_of.eq(self.config.to)
            m.d.sync += [signal.eq(self.config[name]) for name, signal in config.items()]
        m.submodules.notes = self.notes = Fifo(self.note, depth=IN_FLIGHT)
        self._choose(m)

    def _choose(self, m: Module) -> None:
        """Of the slots that can go, the last one asks, when the last question has passed."""
        asking, asked = Signal(), Signal(self.request, reset_less=True)
        passed = self._ask(m, asking, asked)
        free = Signal()
        m.d.comb += free.eq(~asking | passed)
        with m.If(passed):
            m.d.sync += asking.eq(0)
        walks = [Walk(address_bits=self.bits) for _ in range(SLOTS)]
        goes = []
        for i, walk in enumerate(walks):
            m.submodules[f"walk{i}"] = walk
            m.d.comb += [
                walk.load.eq(self.start & self.config.to[i].any()),
                walk.plan.eq(self.config.plans[i]),
            ]
            can = Signal(name=f"can{i}")
            m.d.comb += can.eq(walk.active & ~(self.to_of[i] & ~self.room).any())
            goes.append(can)
        for i in reversed(range(SLOTS)):
            walk = walks[i]
            others = Cat(goes[i + 1 :]).any() if i + 1 < SLOTS else Const(0, 1)
            ahead, column = self._ahead(m, i, walk), self._column(m, i, walk)
            with m.If(free & goes[i] & ~others):
                m.d.comb += [walk.step.eq(1), self.reserve.eq(self.to_of[i])]
                m.d.sync += [
                    asking.eq(1),
                    asked.slot.eq(i),
                    asked.address.eq(walk.address),
                    asked.left.eq(self._left(walk)),
                    asked.column.eq(column),
                    asked.ahead.eq(ahead),
                ]

    def _left(self, walk: Walk) -> Any:
        """Numbers that follow in the row, this chunk's included."""
        return Mux(self.kept["upper"], walk.left[UPPER], walk.left[0])

    def _column(self, m: Module, i: int, walk: Walk) -> Any:
        """The column of the chunk, in a tile of at most 255."""
        if not self.spans or i:
            return Const(0, 9)
        total = Signal(9, name="columns", reset_less=True)
        with m.If(self.start):
            m.d.sync += total.eq(self.config.plans[0].levels[0].total)
        return (total - walk.left[0])[:9]

    def _ahead(self, m: Module, i: int, walk: Walk) -> Any:
        """How far the row's query is ahead of the first key: one more after each `group` rows."""
        if not self.spans or i:
            return Const(0, AHEAD_BITS)
        ahead = Signal(signed(AHEAD_BITS), name="ahead", reset_less=True)
        member = Signal(GROUP_BITS, name="member", reset_less=True)
        with m.If(self.start):
            m.d.sync += [ahead.eq(self.config.span.ahead), member.eq(1)]
        with m.Elif(walk.step & walk.last[0]):
            with m.If(member == self.kept["span"].group):
                m.d.sync += [ahead.eq(ahead + 1), member.eq(1)]
            with m.Else():
                m.d.sync += member.eq(member + 1)
        return ahead

    def _ask(self, m: Module, asking: Any, asked: Any) -> Any:
        """Send the question to its memory, and note what to do with the answer."""
        ports = [(self.near, Const(0, 1))] + ([(self.far, Const(1, 1))] if self.has_far else [])
        far = self.kept["far"] if self.has_far else Const(0, 1)
        passed = Signal()
        for port, is_far in ports:
            mine = asking & (far == is_far) & self.notes.input.ready
            m.d.comb += [
                port.request.valid.eq(mine),
                port.request.payload.eq(asked.address[2:]),
            ]
            with m.If(mine & port.request.ready):
                m.d.comb += passed.eq(1)
        first, end = self._range(asked)
        note = self.notes.input
        m.d.comb += [
            note.valid.eq(passed),
            note.payload.slot.eq(asked.slot),
            note.payload.half.eq(asked.address[1]),
            note.payload.first.eq(first),
            note.payload.end.eq(end),
            self.notes.output.ready.eq(0),
        ]
        for port, is_far in ports:
            with m.If(port.data_valid & (far == is_far)):
                m.d.comb += self.notes.output.ready.eq(1)
        window = self.far.data if self.has_far else self.near.data
        self._write(m, Mux(far, window, self.near.data))
        return passed

    def _range(self, asked: Any) -> tuple[Any, Any]:
        """The numbers of the chunk that count: from the first to before the end."""
        end = _clamped(asked.left, self.lanes)
        if not self.spans:
            return Const(0, 1), end
        span = self.kept["span"]
        behind = asked.ahead - asked.column  # the last key that counts, from the chunk's first
        seen = _clamped(behind + 1, self.lanes)
        first = _clamped(behind + 1 - span.window, self.lanes)
        return (
            Mux(span.on & span.window.any(), first, 0),
            Mux(span.on & (seen < end), seen, end),
        )

    def _write(self, m: Module, window: Any) -> None:
        """Widen what is narrow, blank what does not count."""
        note = self.notes.output.payload
        width = 32 * self.lanes
        wide, narrow = Signal(width), Signal(width // 2)
        upper = note.half if self.lanes == GRANULE_NUMBERS else Const(0, 1)
        m.d.comb += narrow.eq(Mux(upper, window[width // 2 :], window[: width // 2]))
        m.d.comb += wide.eq(window)
        with m.If(self.kept["narrow"] & (note.slot == 0)):
            m.d.comb += wide.eq(
                Cat(Cat(Const(0, 16), narrow.word_select(i, 16)) for i in range(self.lanes))
            )
        blank = Mux(self.kept["fill"], Const(MINUS_INFINITY, 32), Const(0, 32))
        coming = self.notes.output.ready
        m.d.sync += self.to.eq(0)
        with m.If(coming):
            m.d.sync += self.to.eq(self.to_of[note.slot])
            for i in range(self.lanes):
                keep = (note.first <= i) & (i < note.end)
                m.d.sync += self.data.word_select(i, 32).eq(
                    Mux(keep, wide.word_select(i, 32), blank)
                )


def _clamped(value: Any, high: int) -> Any:
    """`value` within 0..high."""
    limited = Mux(value > high, high, value[: exact_log2(high) + 1])
    return Mux(value < 0, 0, limited) if value.shape().signed else limited
