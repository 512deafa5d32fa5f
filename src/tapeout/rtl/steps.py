"""Rows in an on-core memory as steps of one window each."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import fields
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.instructions import LoadTile

from .bursts import TRAP_BITS
from .command import ROWS_BITS
from .component import Component

LOCAL_BITS = fields(LoadTile)["dst"].bits  # of an address in granules
OFFSET_BITS = 12  # of an address in memory, within the range that no burst crosses
LENGTH_BITS = LOCAL_BITS + 5  # of bytes in an on-core memory

SEGMENT = data.StructLayout(
    {
        "space": 1,
        "local": LOCAL_BITS,
        "pitch": LOCAL_BITS,
        "row_bytes": LENGTH_BITS,
        "rows": ROWS_BITS,
        "offset": OFFSET_BITS,
        "stride": OFFSET_BITS,
        "ragged": 1,
        "zero": 1,
        "first": 1,
        "last": 1,
        "trap": TRAP_BITS,
    }
)
"""Rows on the core's side of a transfer; rows is at least 1.

local, pitch: of rows in the on-core memory, in granules; `local` counts only in the first segment
of a job, the others continue one pitch after the last row. offset: low bits of the memory address
of the first byte. ragged: every row is a run of memory for itself, `stride` bytes after the one
before; otherwise all rows are one run. zero: there is nothing in memory, the rows are zero.
A job without rows has one segment of one row of no bytes.
"""


def step_layout(*, bus_bytes: int) -> data.StructLayout:
    """One window of a row: `bytes` from the start of a granule; or a window of short rows.

    short: of rows of 1, 2, 4 or 8 bytes, each in a granule of its own, 1, 2, 3 or 4; otherwise 0.
    offset: low bits of the memory address of its first byte. ends: its run of memory ends with it.
    last: its job ends with it.
    """
    return data.StructLayout(
        {
            "space": 1,
            "local": LOCAL_BITS,
            "bytes": range(bus_bytes + 1),
            "short": 3,
            "offset": OFFSET_BITS,
            "ends": 1,
            "zero": 1,
            "last": 1,
            "trap": TRAP_BITS,
        }
    )


class Steps(Component):
    """Walks the rows of segments, one window of a bus width per step.

    With `shorts`, rows of one run that are in granules side by side, with 1, 2, 4 or 8 bytes in
    each, share a step. Latency 2 cycles; throughput 1 step per cycle, also across segments. Stalls
    when `steps` is not ready.

    Parameters
    ----------
    bus_bytes : int
        Bytes of a window: a power of two.
    shorts : bool
        Whether short rows share a step.

    Members
    -------
    segments : In(stream of SEGMENT)
    steps : Out(stream of step_layout)
    """

    def __init__(self, *, bus_bytes: int, shorts: bool):
        self.bus_bytes, self.shorts = bus_bytes, shorts
        self.granules = max(1, bus_bytes // GRANULE_BYTES)
        step = step_layout(bus_bytes=bus_bytes)
        ports = {"segments": In(stream.Signature(SEGMENT)), "steps": Out(stream.Signature(step))}
        super().__init__(ports, name=f"steps_{bus_bytes}_{int(shorts)}")

    def build(self, m: Module) -> None:
        """Hold one segment and the place in it."""
        new, out = self.segments.payload, self.steps.payload
        now = Signal(SEGMENT, reset_less=True)  # its rows and offset are those of this row
        busy, free, row_ends, ends = (Signal() for _ in range(4))
        left = Signal(LENGTH_BITS, reset_less=True)
        here = Signal(LOCAL_BITS, reset_less=True)
        after = Signal(LOCAL_BITS)  # where the next row starts
        offset = Signal(OFFSET_BITS, reset_less=True)
        count = Signal(range(self.bus_bytes + 1))
        short = Signal(3, reset_less=True)
        rows = Signal(range(self.granules + 1))  # that the step takes
        m.d.comb += [
            free.eq(~self.steps.valid | self.steps.ready),
            row_ends.eq(left <= self.bus_bytes),
            rows.eq(1),
            ends.eq(row_ends & (now.rows == rows)),
            count.eq(Mux(row_ends, left, self.bus_bytes)),
            after.eq(now.local + now.pitch),
            self.segments.ready.eq(~busy | (free & ends)),
        ]
        with m.If(free):
            m.d.sync += [
                self.steps.valid.eq(busy),
                out.space.eq(now.space),
                out.local.eq(here),
                out.bytes.eq(count),
                out.short.eq(short),
                out.offset.eq(offset),
                out.ends.eq(ends | (row_ends & now.ragged)),
                out.zero.eq(now.zero),
                out.last.eq(now.last & ends),
                out.trap.eq(now.trap),
            ]
            with m.If(busy):
                self._advance(m, now, row_ends, rows, count, left, here, after, offset)
                m.d.sync += busy.eq(~ends)
        with m.If(self.segments.valid & self.segments.ready):
            start = Mux(new.first, new.local, Mux(busy, after, now.local))
            m.d.sync += [
                now.eq(new),
                now.local.eq(start),
                here.eq(start),
                left.eq(new.row_bytes),
                offset.eq(new.offset),
                busy.eq(1),
            ]
        if self.shorts and self.granules > 1:
            with m.If(self.segments.valid & self.segments.ready):
                m.d.sync += short.eq(self._short(new))
            with m.If(short != 0):
                m.d.comb += [
                    rows.eq(Mux(now.rows < self.granules, now.rows, self.granules)),
                    count.eq(rows << (short - 1)[:2]),
                    after.eq(now.local + rows),
                ]

    def _short(self, segment: data.View) -> Value:
        """The code of the length of rows that share a step, else 0."""
        together = ~segment.ragged & (segment.pitch == 1)
        codes = (Mux(segment.row_bytes == 1 << i, i + 1, 0) for i in range(4))
        return Mux(together, reduce(or_, codes), 0)

    def _advance(
        self,
        m: Module,
        now: data.View,
        row_ends: Signal,
        rows: Signal,
        count: Signal,
        left: Signal,
        here: Signal,
        after: Signal,
        offset: Signal,
    ) -> None:
        """The next window of the row, or the first one of the next row."""
        m.d.sync += offset.eq(offset + count)
        with m.If(row_ends):
            m.d.sync += [
                now.rows.eq(now.rows - rows),
                now.local.eq(after),
                here.eq(after),
                left.eq(now.row_bytes),
            ]
            with m.If(now.ragged):
                m.d.sync += offset.eq(now.offset + now.stride)
                m.d.sync += now.offset.eq(now.offset + now.stride)
        with m.Else():
            m.d.sync += here.eq(here + self.granules)
            m.d.sync += left.eq(left - self.bus_bytes)
