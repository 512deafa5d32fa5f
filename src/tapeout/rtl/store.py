"""The store unit: tiles and pages from L1 or the scale memory to memory."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from tapeout.isa.fields import GRANULE_BYTES, Space
from tapeout.isa.instructions import StorePages, StoreTile

from .bursts import Bursts
from .command import COMMAND
from .component import Component
from .jobs import MEMORY_BYTES_BITS
from .memory_fifo import MemoryFifo
from .packer import Packer
from .ports import BURST_BITS, MEMORY_BITS, memory_read, memory_write, read_port, unit_ports
from .runs import Runs
from .steps import SEGMENT, Steps
from .stream import Fifo
from .transfers import Ends, to_job
from .trap import Trap

BURST_BYTES = 1024
SEGMENTS = 16  # whose bytes are on their way
BURSTS = 64  # whose data, or whose response, is still to come
WINDOWS = 8  # that have been asked for, and are not packed

CUT_END = data.StructLayout({"none": 1, "last": 1, "trap": 8})
"""What is left of a burst once it is sent."""


class Store(Component):
    """Executes `StoreTile` and `StorePages`, in order.

    Rows that follow one another in memory are written as one run, in bursts; only their bytes are
    strobed. A row takes a cycle for each window of a beat. A command is done when memory has
    answered all its bursts. Traps with the code of `Trap` when every command before is done:
    ADDRESS for a table or a page outside memory, READ for a table that cannot be read, WRITE for an
    error response. Block tables are read ahead of earlier stores, but not of those that may touch
    them; a command whose own rows overwrite the entries of its rows to come may read either value.

    Parameters
    ----------
    bus_bytes : int
        Width of the bus: a power of two, 16..128.
    l1_granules, scale_granules : int
        Sizes of the on-core memories.

    Members
    -------
    commands, done, trap, busy : see unit_ports; commands of StoreTile and StorePages
    memory : Out(memory_write), data
    table : Out(memory_read), block tables
    read_l1, read_scale : Out(read_port), windows of a beat
    memory_bytes : In(41), the size of memory
    """

    def __init__(self, *, bus_bytes: int, l1_granules: int, scale_granules: int):
        self.bus_bytes = bus_bytes
        granules = bus_bytes // GRANULE_BYTES
        l1 = read_port(granules=granules, address_bits=ceil_log2(l1_granules))
        scale = read_port(granules=granules, address_bits=ceil_log2(scale_granules))
        ports = {
            **unit_ports(COMMAND),
            "memory": Out(memory_write(bus_bits=8 * bus_bytes)),
            "table": Out(memory_read(bus_bits=8 * bus_bytes)),
            "read_l1": Out(l1),
            "read_scale": Out(scale),
            "memory_bytes": In(MEMORY_BYTES_BITS),
        }
        super().__init__(ports, name=f"store_{bus_bytes}_{l1_granules}_{scale_granules}")

    def build(self, m: Module) -> None:
        """Commands become runs and rows; runs become bursts, rows their data."""
        m.submodules.runs = runs = Runs(bus_bytes=self.bus_bytes)
        m.submodules.segments = segments = MemoryFifo(SEGMENT, depth=SEGMENTS)
        m.submodules.steps = steps = Steps(bus_bytes=self.bus_bytes, shorts=False)
        m.submodules.packer = packer = Packer(bus_bytes=self.bus_bytes)
        ends = Ends(m, self)
        to_job(m, self.commands, runs.jobs, tile_class=StoreTile, pages_class=StorePages)
        connect(m, runs.table, flipped(self.table))
        connect(m, runs.segments, segments.input)
        connect(m, segments.output, steps.segments)
        m.d.comb += [runs.memory_bytes.eq(self.memory_bytes), runs.halt.eq(ends.halted)]
        m.submodules.lengths = lengths = MemoryFifo(BURST_BITS, depth=BURSTS)
        self._hold(m, runs, ends)
        self._ask(m, runs.runs, lengths.input, ends)
        self._read(m, steps.steps, packer.pieces)
        self._send(m, packer.beats, lengths.output)

    def _hold(self, m: Module, runs: Any, ends: Ends) -> None:
        """No table is read while an earlier command that is not done may write to it."""
        start = Signal(MEMORY_BITS, name="written_start")  # of what was written since all was done
        end = Signal(MEMORY_BYTES_BITS, name="written_end")
        run = runs.runs.payload
        run_end = run.address + run.bytes
        touched = (runs.table_start < end) & (start < runs.table_end)
        m.d.comb += runs.hold.eq((ends.in_flight != 1) & (runs.ahead | touched))
        with m.If(ends.in_flight == 0):
            m.d.sync += [start.eq(-1), end.eq(0)]
        with m.Elif(runs.runs.valid & runs.runs.ready):
            with m.If(run.address < start):
                m.d.sync += start.eq(run.address)
            with m.If(run_end > end):
                m.d.sync += end.eq(run_end)

    def _ask(self, m: Module, runs: Any, lengths: Any, ends: Ends) -> None:
        """Announce bursts, and follow their responses."""
        m.submodules.bursts = bursts = Bursts(
            bus_bytes=self.bus_bytes, burst_bytes=max(BURST_BYTES, self.bus_bytes)
        )
        m.submodules.expected = expected = MemoryFifo(CUT_END, depth=BURSTS)
        connect(m, runs, bursts.runs)
        cut, request = bursts.bursts, self.memory.request
        note = expected.input
        room = Signal(name="room")
        m.d.comb += [
            room.eq(note.ready & lengths.ready),
            request.valid.eq(cut.valid & ~cut.payload.none & room),
            request.payload.eq(cut.payload.burst),
            cut.ready.eq(room & (request.ready | cut.payload.none)),
            note.valid.eq(cut.valid & lengths.ready & (request.ready | cut.payload.none)),
            note.payload.none.eq(cut.payload.none),
            note.payload.last.eq(cut.payload.last),
            note.payload.trap.eq(cut.payload.trap),
            lengths.valid.eq(request.valid & request.ready),
            lengths.payload.eq(cut.payload.burst.beats),
        ]
        waits, answer = expected.output, self.memory.response
        over = Signal(name="over")
        failed = Signal(name="failed")  # a burst of this command was refused
        wrong = failed | (answer.payload.error & ~waits.payload.none)
        m.d.comb += [
            answer.ready.eq(waits.valid & ~waits.payload.none),
            over.eq(waits.valid & (waits.payload.none | answer.valid)),
            waits.ready.eq(waits.payload.none | answer.valid),
            ends.ended.eq(over & waits.payload.last),
            ends.trap.eq(Mux(ends.ended, Mux(wrong, Trap.WRITE, waits.payload.trap), 0)),
        ]
        with m.If(over):
            m.d.sync += failed.eq(wrong & ~waits.payload.last)

    def _read(self, m: Module, steps: Any, pieces: Any) -> None:
        """Ask for the window of each step; with its data it becomes a piece."""
        bus = exact_log2(self.bus_bytes)
        side = data.StructLayout({"bytes": steps.payload.bytes.shape(), "offset": bus, "ends": 1})
        m.submodules.asked = asked = Fifo(side, depth=WINDOWS)
        m.submodules.windows = windows = MemoryFifo(8 * self.bus_bytes, depth=WINDOWS)
        step = steps.payload
        here, pending = Signal(name="here"), Signal(range(WINDOWS + 1), name="pending")
        nothing, free, go = Signal(name="nothing"), Signal(name="free"), Signal(name="go")
        l1, scale = self.read_l1, self.read_scale
        arrived = Signal(name="arrived")
        ready = Mux(step.space == Space.L1, l1.request.ready, scale.request.ready)
        m.d.comb += [
            nothing.eq(step.zero | (step.bytes == 0)),
            # Answers of the two memories must not overtake each other.
            free.eq(asked.input.ready & ((pending == 0) | (step.space == here))),
            l1.request.valid.eq(steps.valid & ~nothing & free & (step.space == Space.L1)),
            scale.request.valid.eq(steps.valid & ~nothing & free & (step.space == Space.SCALE)),
            l1.request.payload.eq(step.local),
            scale.request.payload.eq(step.local),
            go.eq(steps.valid & ~nothing & free & ready),
            steps.ready.eq(nothing | (free & ready)),
            asked.input.valid.eq(go),
            asked.input.payload.bytes.eq(step.bytes),
            asked.input.payload.offset.eq(step.offset[:bus]),
            asked.input.payload.ends.eq(step.ends),
            arrived.eq(l1.data_valid | scale.data_valid),
            windows.input.valid.eq(arrived),
            windows.input.payload.eq(Mux(here == Space.L1, l1.data, scale.data)),
            pieces.valid.eq(windows.output.valid),
            pieces.payload.data.eq(windows.output.payload),
            pieces.payload.bytes.eq(asked.output.payload.bytes),
            pieces.payload.offset.eq(asked.output.payload.offset),
            pieces.payload.ends.eq(asked.output.payload.ends),
            windows.output.ready.eq(pieces.ready),
            asked.output.ready.eq(pieces.ready & windows.output.valid),
        ]
        m.d.sync += pending.eq(pending + go - arrived)
        with m.If(go):
            m.d.sync += here.eq(step.space)

    def _send(self, m: Module, beats: Any, lengths: Any) -> None:
        """Beats of announced bursts, the last one of each marked."""
        out, count = self.memory.data, Signal(BURST_BITS)
        last = Signal(name="last_beat")
        m.d.comb += [
            last.eq(count == lengths.payload),
            out.valid.eq(beats.valid & lengths.valid),
            out.payload.data.eq(beats.payload.data),
            out.payload.strobe.eq(beats.payload.strobe),
            out.payload.last.eq(last),
            beats.ready.eq(out.ready & lengths.valid),
            lengths.ready.eq(out.valid & out.ready & last),
        ]
        with m.If(out.valid & out.ready):
            m.d.sync += count.eq(Mux(last, 0, count + 1))
