"""Phases of rotary position embedding: positions times frequencies, modulo a turn."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component
from .pipe import Pipe
from .vector_walk import COUNT_BITS

PHASES = data.StructLayout({"on": 1, "numbers": COUNT_BITS})
"""numbers: 32-bit numbers of the frequencies of a row, a positive multiple of 8: two for each."""

PHASE_CUTS = 2
HALF = 16


class Phase(Component):
    """The upper 32 bits of frequency * position modulo 2^64, as in `numerics.rope`.

    Latency 2 steps, one for each cycle in which `advance` is 1, and a sum; throughput 1 phase per
    step.

    Members
    -------
    advance : In(1)
    frequency : In(64); position : In(32)
    phase : Out(32), not registered
    """

    def __init__(self) -> None:
        ports = {"advance": In(1), "frequency": In(64), "position": In(32), "phase": Out(32)}
        super().__init__(ports, name="vector_phase")

    def build(self, m: Module) -> None:
        """Products with halves of the position; sums of halves; the sum."""
        pipe = Pipe(m, cuts=PHASE_CUTS, stages=PHASE_CUTS, advance=self.advance, valid=Const(1, 1))
        low, high = self.frequency[:32], self.frequency[32:]
        first, second = self.position[:HALF], self.position[HALF:]
        below, above, turns, more = pipe.cut(
            low * first,
            low * second,
            (high * first)[:32],
            (high[:HALF] * second)[:HALF],
        )
        carried = (below[HALF:] + above)[HALF : HALF + 32]
        carried, turns = pipe.cut(carried, (turns + Cat(Const(0, HALF), more))[:32])
        pipe.done()
        m.d.comb += self.phase.eq(carried + turns)


class Phases(Component):
    """Takes chunks of frequencies, each with a position, and writes chunks of phases.

    Two chunks of frequencies, which are 64-bit numbers, lower half first, give one of phases. The
    last of a row gives one alone if their count is odd; what lies beyond the row is anything.
    Rows follow each other until the next start. Value: that of `phase` in `numerics.rope`.

    Latency 5 cycles from `take` to `write` of a single step; throughput max(1, lanes // 8)
    frequencies per cycle, also from chunk to chunk; stalls when a chunk or its position is
    missing, or room for the chunk of phases that begins.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk; a power of two, at least 4.

    Members
    -------
    start : In(1); config : In(PHASES), in the cycle of start
    ready : In(1); take : Out(1); values : In(chunk), from the cycle after take to the next take
    scalar_ready : In(1); scalar_take : Out(1); scalar : In(32), with each chunk a position
    room : In(1); reserve : Out(1); write : Out(1); data : Out(chunk)
    """

    def __init__(self, *, lanes: int):
        if lanes < 4 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two of at least 4, not {lanes}")
        self.lanes, self.count = lanes, max(1, lanes // 8)
        self.steps = lanes // 2 // self.count
        ports = {name: In(1) for name in ("start", "ready", "scalar_ready", "room")}
        ports |= {name: Out(1) for name in ("take", "scalar_take", "reserve", "write")}
        ports |= {"config": In(PHASES), "values": In(32 * lanes), "scalar": In(32)}
        super().__init__({**ports, "data": Out(32 * lanes)}, name=f"vector_phases_{lanes}")

    def build(self, m: Module) -> None:
        """Steps through a chunk; those of two chunks fill one."""
        on, held, second = Signal(), Signal(), Signal()
        numbers = Signal(COUNT_BITS, reset_less=True)
        left = Signal(COUNT_BITS, reset_less=True)
        step = Signal(range(self.steps))
        go, row_end, spent, filled = Signal(), Signal(), Signal(), Signal()
        begins = ~second & (step == 0)
        m.d.comb += [
            go.eq(held & (self.room | ~begins)),
            row_end.eq(left <= 2 * self.count),
            spent.eq(row_end | step.all()),
            filled.eq(row_end | (step.all() & second)),
            self.take.eq(on & self.ready & self.scalar_ready & (~held | (go & spent))),
            self.scalar_take.eq(self.take),
            self.reserve.eq(go & begins),
        ]
        m.d.sync += held.eq(self.take | (held & ~(go & spent)))
        with m.If(go):
            m.d.sync += [
                step.eq(Mux(spent, 0, step + 1)),
                second.eq(~filled & (second | spent)),
                left.eq(Mux(row_end, numbers, left - 2 * self.count)),
            ]
        with m.If(self.start):
            m.d.sync += [on.eq(self.config.on), held.eq(0), step.eq(0), second.eq(0)]
            m.d.sync += [numbers.eq(self.config.numbers), left.eq(self.config.numbers)]
        self._multiply(m, go, step, Cat(step, second), filled)

    def _multiply(self, m: Module, go: Any, step: Any, place: Any, filled: Any) -> None:
        """The frequencies of a step, through the multipliers into their place."""
        width = 64 * self.count
        chosen, position = Signal(width, reset_less=True), Signal(32, reset_less=True)
        with m.If(go):
            m.d.sync += [chosen.eq(self.values.word_select(step, width)), position.eq(self.scalar)]
        under_way = []
        for i in range(PHASE_CUTS + 1):
            there, later = Signal(name=f"on{i}"), Signal(len(place), name=f"place{i}")
            last = Signal(name=f"last{i}")
            m.d.sync += [there.eq(go), last.eq(filled & go)]
            with m.If(go):
                m.d.sync += later.eq(place)
            with m.If(self.start):
                m.d.sync += [there.eq(0), last.eq(0)]
            go, place, filled = there, later, last
            under_way.append(there)
        phases = []
        for i in range(self.count):
            m.submodules[f"phase{i}"] = phase = Phase()
            m.d.comb += [
                phase.advance.eq(Cat(under_way[:-1]).any()),
                phase.frequency.eq(chosen.word_select(i, 64)),
                phase.position.eq(position),
            ]
            phases.append(phase.phase)
        chunk = Signal(32 * self.lanes, reset_less=True)
        with m.If(go):
            m.d.sync += chunk.word_select(place, 32 * self.count).eq(Cat(*phases))
        m.d.comb += self.data.eq(chunk)
        m.d.sync += self.write.eq(filled & ~self.start)
