"""From beats of memory to windows of an on-core memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.isa.fields import GRANULE_BYTES

from .bursts import TRAP_BITS
from .component import Component
from .ports import GRANULE_BITS, memory_read
from .steps import LOCAL_BITS, step_layout
from .trap import Trap


def window_layout(*, bus_bytes: int) -> data.StructLayout:
    """What is written in one cycle; with an empty mask nothing is. last: the job ends with it."""
    return data.StructLayout(
        {
            "space": 1,
            "local": LOCAL_BITS,
            "data": 8 * bus_bytes,
            "mask": bus_bytes,
            "last": 1,
            "trap": TRAP_BITS,
        }
    )


class Aligner(Component):
    """Cuts a stream of beats into windows that start with the bytes that steps name.

    A step takes its bytes from one beat, or from two that follow one another. Beats are dropped
    when their bytes are through, and at the end of a run of memory. A beat with an error makes its
    windows trap.

    Latency 2 cycles; throughput 1 step per cycle, and 1 beat per cycle when a run ends inside every
    beat. Stalls when `windows` is not ready.

    Parameters
    ----------
    bus_bytes : int
        Bytes of a beat and of a window: a power of two, 16..128.

    Members
    -------
    steps : In(stream of step_layout)
    beats : In(stream of the data of memory_read)
    windows : Out(stream of window_layout)
    """

    def __init__(self, *, bus_bytes: int):
        self.bus_bytes = bus_bytes
        ports = {
            "steps": In(stream.Signature(step_layout(bus_bytes=bus_bytes))),
            "beats": In(memory_read(bus_bits=8 * bus_bytes).members["data"].signature.flip()),
            "windows": Out(stream.Signature(window_layout(bus_bytes=bus_bytes))),
        }
        super().__init__(ports, name=f"aligner_{bus_bytes}")

    def build(self, m: Module) -> None:
        """Two beats, shifted by whole granules, then by bytes."""
        bits, bus = 8 * self.bus_bytes, exact_log2(self.bus_bytes)
        fine_bits = exact_log2(GRANULE_BYTES)
        step, beat, window = self.steps.payload, self.beats.payload, self.windows.payload
        held = Signal(bits, reset_less=True)  # the beat before the one at the port
        held_error = Signal(reset_less=True)
        advance, go, reads, both = (Signal() for _ in range(4))
        self._move_beats(m, held, held_error, advance, go, reads, both)
        coarse = Cat(Const(0, exact_log2(GRANULE_BITS)), step.offset[fine_bits:bus])
        turned = Signal(bits + GRANULE_BITS - 8, reset_less=True)
        middle = Signal(step_layout(bus_bytes=self.bus_bytes), reset_less=True)
        middle_valid = Signal()
        with m.If(advance):
            m.d.sync += [middle_valid.eq(go), self.windows.valid.eq(middle_valid)]
            with m.If(go):
                error = reads & (held_error | (both & beat.error))
                m.d.sync += [
                    turned.eq(Mux(step.zero, 0, Cat(held, beat.data) >> coarse)),
                    middle.eq(step),
                    middle.trap.eq(Mux(error, Const(Trap.READ, TRAP_BITS), step.trap)),
                ]
                with m.If(step.zero):
                    m.d.sync += middle.offset.eq(0)
            with m.If(middle_valid):
                fine = Cat(Const(0, 3), middle.offset[:fine_bits])
                straight = (turned >> fine)[:bits]
                mask = (~(Const(-1, self.bus_bytes) << middle.bytes))[: self.bus_bytes]
                m.d.sync += [
                    window.space.eq(middle.space),
                    window.local.eq(middle.local),
                    window.data.eq(self._apart(straight, middle.short, 8)),
                    window.mask.eq(self._apart(mask, middle.short, 1)),
                    window.last.eq(middle.last),
                    window.trap.eq(middle.trap),
                ]

    def _apart(self, rows: Value, short: Value, byte_bits: int) -> Value:
        """Short rows, each moved to a granule of its own; others as they are."""
        out = rows
        for code in range(1, 5):
            size = byte_bits << (code - 1)
            gap = Const(0, byte_bits * GRANULE_BYTES - size)
            parts = (
                Cat(rows[at : at + size], gap)
                for at in range(0, size * self.bus_bytes // GRANULE_BYTES, size)
            )
            out = Mux(short == code, Cat(*parts), out)
        return out

    def _move_beats(
        self,
        m: Module,
        held: Signal,
        held_error: Signal,
        advance: Signal,
        go: Signal,
        reads: Signal,
        both: Signal,
    ) -> None:
        """Whether the step can go, and what becomes of the beat that is held."""
        step, beat = self.steps.payload, self.beats.payload
        bus = exact_log2(self.bus_bytes)
        held_valid, through = Signal(), Signal()
        end = Signal(bus + 2)
        able = Signal()  # as far as the step and what is held say
        m.d.comb += [
            advance.eq(~self.windows.valid | self.windows.ready),
            reads.eq(~step.zero),
            end.eq(step.offset[:bus] + step.bytes),
            both.eq(end > self.bus_bytes),
            through.eq(step.ends | (end >= self.bus_bytes)),
            able.eq(self.steps.valid & advance & (step.zero | held_valid)),
            go.eq(able & (step.zero | ~both | self.beats.valid)),
            self.steps.ready.eq(advance & (step.zero | (held_valid & (~both | self.beats.valid)))),
            self.beats.ready.eq(~held_valid | (able & reads & through)),
        ]
        with m.If(self.beats.valid & self.beats.ready):
            m.d.sync += [held.eq(beat.data), held_error.eq(beat.error)]
        with m.If(~held_valid):
            m.d.sync += held_valid.eq(self.beats.valid)
        with m.Elif(go & reads & through):
            m.d.sync += held_valid.eq(self.beats.valid & ~(step.ends & both))
