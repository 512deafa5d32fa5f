"""The load unit: tiles and pages from memory to L1 or the scale memory."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from tapeout.isa.fields import GRANULE_BYTES, Space
from tapeout.isa.instructions import LoadPages, LoadTile

from .align import Aligner
from .bursts import Bursts
from .command import COMMAND
from .component import Component
from .jobs import MEMORY_BYTES_BITS
from .memory_fifo import MemoryFifo
from .ports import memory_read, unit_ports, write_port
from .runs import Runs
from .steps import SEGMENT, Steps
from .stream import SkidBuffer
from .transfers import Ends, to_job

BURST_BYTES = 1024
SEGMENTS = 16  # whose bytes are on their way: runs of pages, or whole tiles


class Load(Component):
    """Executes `LoadTile` and `LoadPages`, in order.

    Reads of a command are asked for while the data of those before still arrive. A row is written
    in windows of a beat, so the rate is one beat or one window per cycle: rows that follow one
    another on both sides are as fast as one row, rows that are shorter than a beat take a cycle
    each (of 1, 2, 4 or 8 bytes, in granules side by side: a cycle for a window of them), and rows
    whose memory addresses do not touch take the beats that they touch.

    Latency from a command to its first request: 14 cycles for a tile. Traps with the code of `Trap`
    when every command before is done: ADDRESS for a table or a page outside memory, or a token
    before the first; READ for an error response. Takes data of `memory` as fast as the on-core
    memory takes windows, those of `table` always.

    Parameters
    ----------
    bus_bytes : int
        Width of the bus: a power of two, 16..128.
    l1_granules, scale_granules : int
        Sizes of the on-core memories.
    burst_bytes : int
        Bytes of the longest burst; see `Bursts`.

    Members
    -------
    commands, done, trap, busy : see unit_ports; commands of LoadTile and LoadPages
    memory : Out(memory_read), data
    table : Out(memory_read), block tables
    write_l1, write_scale : Out(write_port), windows of a beat
    memory_bytes : In(41), the size of memory
    """

    def __init__(
        self,
        *,
        bus_bytes: int,
        l1_granules: int,
        scale_granules: int,
        burst_bytes: int = BURST_BYTES,
    ):
        self.bus_bytes = bus_bytes
        self.burst_bytes = burst_bytes
        granules = bus_bytes // GRANULE_BYTES
        read = memory_read(bus_bits=8 * bus_bytes)
        l1 = write_port(granules=granules, address_bits=ceil_log2(l1_granules))
        scale = write_port(granules=granules, address_bits=ceil_log2(scale_granules))
        ports = {
            **unit_ports(COMMAND),
            "memory": Out(read),
            "table": Out(read),
            "write_l1": Out(l1),
            "write_scale": Out(scale),
            "memory_bytes": In(MEMORY_BYTES_BITS),
        }
        name = f"load_{bus_bytes}_{l1_granules}_{scale_granules}_{burst_bytes}"
        super().__init__(ports, name=name)

    def build(self, m: Module) -> None:
        """Commands become runs and rows; runs become requests, rows take the data."""
        m.submodules.runs = runs = Runs(bus_bytes=self.bus_bytes)
        m.submodules.segments = segments = MemoryFifo(SEGMENT, depth=SEGMENTS)
        m.submodules.steps = steps = Steps(bus_bytes=self.bus_bytes, shorts=True)
        m.submodules.aligner = aligner = Aligner(bus_bytes=self.bus_bytes)
        m.submodules.out = out = SkidBuffer(aligner.windows.payload.shape())
        ends = Ends(m, self)
        to_job(m, self.commands, runs.jobs, tile_class=LoadTile, pages_class=LoadPages)
        connect(m, runs.table, flipped(self.table))
        connect(m, runs.segments, segments.input)
        connect(m, segments.output, steps.segments)
        connect(m, steps.steps, aligner.steps)
        connect(m, flipped(self.memory.data), aligner.beats)
        connect(m, aligner.windows, out.input)
        m.d.comb += [runs.memory_bytes.eq(self.memory_bytes), runs.halt.eq(ends.halted)]
        self._ask(m, runs.runs)
        self._write(m, out.output, ends)

    def _ask(self, m: Module, runs: Any) -> None:
        """Ask for the bursts of runs."""
        m.submodules.bursts = bursts = Bursts(
            bus_bytes=self.bus_bytes, burst_bytes=self.burst_bytes
        )
        connect(m, runs, bursts.runs)
        cut, request = bursts.bursts, self.memory.request
        m.d.comb += [
            request.valid.eq(cut.valid & ~cut.payload.none),
            request.payload.eq(cut.payload.burst),
            cut.ready.eq(request.ready | cut.payload.none),
        ]

    def _write(self, m: Module, windows: Any, ends: Ends) -> None:
        """Send a window where it belongs; the last one of a command ends it."""
        window = windows.payload
        empty, over = Signal(), Signal()
        l1, scale = self.write_l1.request, self.write_scale.request
        m.d.comb += [
            empty.eq(window.mask == 0),
            l1.valid.eq(windows.valid & ~empty & (window.space == Space.L1)),
            scale.valid.eq(windows.valid & ~empty & (window.space == Space.SCALE)),
            windows.ready.eq(empty | Mux(window.space == Space.L1, l1.ready, scale.ready)),
            over.eq(windows.valid & windows.ready),
            ends.ended.eq(over & window.last),
            ends.trap.eq(Mux(over, window.trap, 0)),
        ]
        for port in (l1, scale):
            m.d.comb += [
                port.payload.address.eq(window.local),
                port.payload.data.eq(window.data),
                port.payload.mask.eq(window.mask),
            ]
