"""Transfers between memory and the core, as the load and the store unit hand them on."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import fields
from tapeout.isa.instructions import LoadPages, LoadTile

from .bursts import TRAP_BITS
from .command import REGISTER_BITS, ROWS_BITS
from .component import Component
from .pages import ENTRY_BYTES, WALK
from .ports import MEMORY_BITS
from .trap import Trap

BITS = {name: field.bits for name, field in (fields(LoadTile) | fields(LoadPages)).items()}
LINE_BITS = (1 << BITS["page_log2"]) - 1  # of a token's place in its page
MEMORY_BYTES_BITS = MEMORY_BITS + 1  # the size of memory

SHARED = {
    "pages": 1,
    "space": BITS["space"],
    "local": BITS["dst"],
    "local_pitch": BITS["dst_pitch"],
    "row_bytes": BITS["row_bytes"],
    "rows": ROWS_BITS,
    "pitch": BITS["src_pitch"],
    "page_log2": BITS["page_log2"],
}

JOB = data.StructLayout(
    SHARED
    | {
        "base": MEMORY_BITS,
        "offset": BITS["offset"],
        "limited": 1,
        "x": signed(REGISTER_BITS),
        "y": signed(REGISTER_BITS),
        "z": signed(REGISTER_BITS),
    }
)
"""A transfer of a tile at base + x; or, with `pages`, of tokens from y on through the table at x.

local, local_pitch: of the on-core memory, in granules. pitch: from row to row in memory, or from
page to page. base, offset: of the pool, with pages. limited: tokens from z on are zero rows.
"""

TASK = data.StructLayout(
    SHARED | {"count": ROWS_BITS, "address": MEMORY_BITS + 1, "line": LINE_BITS, "trap": TRAP_BITS}
)
"""A job whose table is being walked. count: rows that lie in memory, the others are zero.

address: of the first row, or of the first row of page 0. line: of the first token in its page.
trap: why there is nothing to do.
"""


class Jobs(Component):
    """Counts the rows of a job that lie in memory, and starts the walk of its block table.

    A token before the first, and a table that does not lie in memory, trap; then it takes no
    further job. Latency 2 cycles for a tile, 7 with pages; so many cycles for each job. Stalls when
    `tasks` or `walks` is not ready.

    Members
    -------
    jobs : In(stream of JOB)
    tasks : Out(stream of TASK)
    walks : Out(stream of WALK)
    memory_bytes : In(41), the size of memory
    hold : In(1), no walk may start now
    halt : In(1), no job may start now
    table_start, table_end : Out, the bytes of the table whose walk is to start
    """

    def __init__(self) -> None:
        ports = {
            "jobs": In(stream.Signature(JOB)),
            "tasks": Out(stream.Signature(TASK)),
            "walks": Out(stream.Signature(WALK)),
            "memory_bytes": In(MEMORY_BYTES_BITS),
            "hold": In(1),
            "halt": In(1),
            "table_start": Out(MEMORY_BITS),
            "table_end": Out(MEMORY_BYTES_BITS),
        }
        super().__init__(ports, name="jobs")

    def build(self, m: Module) -> None:
        """One sum per state."""
        job = Signal(JOB, reset_less=True)
        table = Signal(signed(REGISTER_BITS + 4), reset_less=True)
        end = Signal(signed(REGISTER_BITS + 5), reset_less=True)
        trapped, free = Signal(), Signal()
        task, walk = self.tasks.payload, self.walks.payload
        m.d.comb += [
            free.eq(~self.tasks.valid),
            self.table_start.eq(walk.address),
            self.table_end.eq(end),
        ]
        with m.If(self.tasks.ready):
            m.d.sync += self.tasks.valid.eq(0)
        with m.If(self.walks.ready):
            m.d.sync += self.walks.valid.eq(0)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.jobs.ready.eq(free & ~self.walks.valid & ~trapped & ~self.halt)
                m.d.sync += job.eq(self.jobs.payload)
                with m.If(self.jobs.valid & self.jobs.ready):
                    m.next = "start"
            with m.State("start"):
                self._start(m, job)
            with m.State("count"):
                self._count(m, job, table)
                m.next = "entries"
            with m.State("entries"):
                last = (task.line + task.count - 1) >> job.page_log2
                m.d.sync += walk.entries.eq(last[:ROWS_BITS] + 1)
                m.next = "end"
            with m.State("end"):
                m.d.sync += end.eq(table + ENTRY_BYTES * walk.entries)
                m.d.sync += [walk.address.eq(table), walk.page_bytes.eq(job.pitch)]
                m.next = "check"
            with m.State("check"):
                bad = (job.y < 0) | (table < 0) | (end > self.memory_bytes)
                with m.If((task.count == 0) | bad):
                    m.d.sync += self.tasks.valid.eq(1)
                    with m.If(task.count != 0):
                        m.d.sync += [task.trap.eq(Trap.ADDRESS), trapped.eq(1)]
                    m.next = "idle"
                with m.Elif(~self.hold):
                    m.d.sync += [self.walks.valid.eq(1), self.tasks.valid.eq(1)]
                    m.next = "idle"

    def _start(self, m: Module, job: Any) -> None:
        """What does not depend on anything else; a tile needs no more."""
        task = self.tasks.payload
        m.d.sync += [task[name].eq(job[name]) for name in SHARED]
        m.d.sync += [
            task.count.eq(job.rows),
            task.address.eq(job.base + Mux(job.pages, job.offset, job.x)),
            task.line.eq(job.y & ((1 << job.page_log2) - 1)),
            task.trap.eq(Trap.NONE),
        ]
        m.next = "count"
        with m.If(~job.pages):
            m.d.sync += self.tasks.valid.eq(1)
            m.next = "idle"

    def _count(self, m: Module, job: Any, table: Signal) -> None:
        """Rows before `z`, and the address of the first entry."""
        m.d.sync += table.eq(job.x + ((job.y >> job.page_log2) << 2))
        span = Signal(signed(REGISTER_BITS + 1))
        m.d.comb += span.eq(job.z - job.y)
        with m.If(job.limited & (span < job.rows)):
            m.d.sync += self.tasks.payload.count.eq(Mux(span < 0, 0, span))
