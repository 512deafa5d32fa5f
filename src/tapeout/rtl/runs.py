"""The runs of memory that a transfer touches, and the rows that they are on the core's side."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from tapeout.isa.fields import GRANULE_BYTES

from .bursts import RUN, RUN_BITS
from .command import ROWS_BITS
from .component import Component
from .jobs import BITS, JOB, LINE_BITS, MEMORY_BYTES_BITS, TASK, Jobs
from .pages import PAGE, PageTable
from .ports import MEMORY_BITS, memory_read
from .steps import OFFSET_BITS, SEGMENT
from .stream import Fifo
from .trap import Trap

TASKS = 2  # whose table is read while an earlier one is cut
DIGIT_BITS = 8  # of rows: so many are multiplied in one cycle
EXACT_BITS = MEMORY_BITS + 18  # of an address that may lie outside memory


class RunCutter(Component):
    """Cuts a task into runs of memory, each as long as possible, and their rows.

    Rows that follow one another on both sides become one row. A page that does not lie in memory,
    or whose entry could not be read, traps; then nothing follows. 6 cycles for a tile that is one
    run, else 3 and one for each row; 5 for each page and 2 for a task with pages. Stalls when
    `runs` or `segments` is not ready, and at a page until `pages` gives it.

    Members
    -------
    tasks : In(stream of TASK)
    pages : In(stream of PAGE)
    runs : Out(stream of RUN)
    segments : Out(stream of SEGMENT)
    memory_bytes : In(41), the size of memory
    halt : In(1), no task may start now
    busy : Out(1), a run of a task is still to come
    """

    def __init__(self) -> None:
        ports = {
            "tasks": In(stream.Signature(TASK)),
            "pages": In(stream.Signature(PAGE)),
            "runs": Out(stream.Signature(RUN)),
            "segments": Out(stream.Signature(SEGMENT)),
            "memory_bytes": In(MEMORY_BYTES_BITS),
            "halt": In(1),
            "busy": Out(1),
        }
        super().__init__(ports, name="run_cutter")

    def build(self, m: Module) -> None:
        """Of each piece the rows, the bytes, the address, the check; then the next piece."""
        self._registers()
        free = Signal()
        m.d.comb += free.eq(
            (~self.runs.valid | self.runs.ready) & (~self.segments.valid | self.segments.ready)
        )
        for port in (self.runs, self.segments):
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)
        with m.FSM() as states:
            m.d.comb += self.busy.eq(~states.ongoing("idle") | self.runs.valid)
            with m.State("idle"):
                self._accept(m)
            with m.State("skew"):
                self._multiply(m, self.task.line)
                m.next = "size"
            with m.State("size"):
                self._size(m)
            with m.State("low"):
                self._multiply(m, self.rows[:DIGIT_BITS])
                m.d.sync += self.start.eq(self.task.address + self.skew)
                m.next = "high"
            with m.State("high"):
                self._locate(m)
            with m.State("end"):
                m.d.sync += self.total.eq(self.total + (self.product << DIGIT_BITS))
                m.d.sync += self.end.eq(self.start + self.total)
                m.next = "emit"
            with m.State("emit"):
                refused = self.failed | (self.end > self.memory_bytes)
                with m.If(self.task.pages & refused):
                    trap = Mux(self.failed, Const(Trap.READ, 8), Const(Trap.ADDRESS, 8))
                    m.d.sync += self.task.trap.eq(trap)
                    m.next = "rest"
                with m.Elif(free):
                    self._emit(m)
            with m.State("rows"), m.If(free):
                self._next_row(m)
            with m.State("rest"), m.If(free):
                self._rest(m)
            with m.State("halted"):
                pass

    def _registers(self) -> None:
        self.task = Signal(TASK, reset_less=True)
        self.left = Signal(ROWS_BITS, reset_less=True)  # rows that are still to be cut
        self.rows = Signal(ROWS_BITS, reset_less=True)  # of the piece
        self.first = Signal(reset_less=True)
        self.product = Signal(BITS["row_bytes"] + DIGIT_BITS, reset_less=True)
        self.skew = Signal(BITS["row_bytes"] + LINE_BITS, reset_less=True)  # the first token's
        self.total = Signal(RUN_BITS, reset_less=True)  # bytes of the piece
        self.start = Signal(EXACT_BITS, reset_less=True)
        self.end = Signal(EXACT_BITS, reset_less=True)
        self.failed = Signal(reset_less=True)  # the page could not be read
        self.ragged = Signal(reset_less=True)
        self.packed = Signal(reset_less=True)  # rows follow one another on both sides

    def _multiply(self, m: Module, digit: Any) -> None:
        m.d.sync += self.product.eq(digit * self.task.row_bytes)

    def _accept(self, m: Module) -> None:
        new = self.tasks.payload
        m.d.comb += self.tasks.ready.eq(~self.halt)
        m.d.sync += [self.task.eq(new), self.left.eq(new.count), self.first.eq(1)]
        m.d.sync += self.product.eq(0)
        with m.If(self.tasks.valid & ~self.halt):
            with m.If((new.count == 0) | (new.trap != 0)):
                m.next = "rest"
            with m.Elif(new.pages):
                m.next = "skew"
            with m.Else():
                m.next = "size"

    def _size(self, m: Module) -> None:
        """The rows of the piece: to the end of the page, or all; and how they lie."""
        task = self.task
        room = Signal(range((1 << LINE_BITS) + 1))
        m.d.comb += room.eq((1 << task.page_log2) - task.line)
        one_run = task.pages | (task.pitch == task.row_bytes) | (self.left == 1)
        m.d.sync += [
            self.rows.eq(Mux(task.pages & (room < self.left), room, self.left)),
            self.skew.eq(Mux(self.first, self.product, 0)),
            self.ragged.eq(~one_run),
            self.packed.eq(one_run & (task.local_pitch * GRANULE_BYTES == task.row_bytes)),
            self.start.eq(task.address[:MEMORY_BITS]),
            self.total.eq(task.row_bytes),
        ]
        m.next = "low"
        with m.If(~one_run):
            m.next = "emit"

    def _locate(self, m: Module) -> None:
        """Add the page's place; of a tile, multiply the other digit of its rows."""
        m.d.sync += [self.total.eq(self.product), self.failed.eq(self.pages.payload.error)]
        with m.If(self.task.pages):
            m.d.comb += self.pages.ready.eq(1)
            with m.If(self.pages.valid):
                m.d.sync += self.start.eq(self.start + self.pages.payload.start)
                m.d.sync += self.product.eq(0)
                m.next = "end"
        with m.Else():
            m.d.sync += self.start.eq(self.task.address[:MEMORY_BITS])
            self._multiply(m, self.rows[DIGIT_BITS:])
            m.next = "end"

    def _emit(self, m: Module) -> None:
        """The rows of the piece, and its run: or of rows that do not touch, the first one."""
        task, run, segment = self.task, self.runs.payload, self.segments.payload
        is_last = self.left == self.rows
        m.d.sync += [
            self.runs.valid.eq(1),
            run.address.eq(self.start),
            run.bytes.eq(self.total),
            run.last.eq(is_last & ~self.ragged),
            run.trap.eq(Trap.NONE),
            self.segments.valid.eq(1),
            segment.space.eq(task.space),
            segment.local.eq(task.local),
            segment.pitch.eq(Mux(self.packed, self.total // GRANULE_BYTES, task.local_pitch)),
            segment.row_bytes.eq(Mux(self.packed, self.total, task.row_bytes)),
            segment.rows.eq(Mux(self.packed, 1, self.rows)),
            segment.offset.eq(self.start[:OFFSET_BITS]),
            segment.stride.eq(task.pitch[:OFFSET_BITS]),
            segment.ragged.eq(self.ragged),
            segment.zero.eq(0),
            segment.first.eq(self.first),
            segment.last.eq(is_last & (task.count == task.rows)),
            segment.trap.eq(Trap.NONE),
            self.first.eq(0),
            self.task.line.eq(0),
            self.left.eq(self.left - Mux(self.ragged, 1, self.rows)),
        ]
        with m.If(self.ragged):
            m.next = "rows"
        with m.Elif(~is_last):
            m.next = "size"
        with m.Elif(task.count == task.rows):
            m.next = "idle"
        with m.Else():
            m.next = "rest"

    def _next_row(self, m: Module) -> None:
        start = self.start[:MEMORY_BITS] + self.task.pitch
        m.d.sync += [
            self.runs.valid.eq(1),
            self.runs.payload.address.eq(start),
            self.runs.payload.last.eq(self.left == 1),
            self.start.eq(start),
            self.left.eq(self.left - 1),
        ]
        with m.If(self.left == 1):
            m.next = "idle"

    def _rest(self, m: Module) -> None:
        """Rows that are zero; of a job without any, or that traps, only that it is over."""
        task, run, segment = self.task, self.runs.payload, self.segments.payload
        trap = task.trap != 0
        nothing = trap | (task.rows == 0)
        m.d.sync += [
            self.runs.valid.eq(nothing),
            run.bytes.eq(0),
            run.last.eq(1),
            run.trap.eq(task.trap),
            self.segments.valid.eq(1),
            segment.space.eq(task.space),
            segment.local.eq(task.local),
            segment.pitch.eq(task.local_pitch),
            segment.row_bytes.eq(Mux(nothing, 0, task.row_bytes)),
            segment.rows.eq(Mux(nothing, 1, task.rows - task.count)),
            segment.ragged.eq(0),
            segment.zero.eq(1),
            segment.first.eq(self.first),
            segment.last.eq(1),
            segment.trap.eq(task.trap),
        ]
        m.next = "idle"
        with m.If(trap):
            m.next = "halted"


class Runs(Component):
    """Jobs in order, as runs of memory and rows of the core: `Jobs`, `PageTable`, `RunCutter`.

    The tables of up to TASKS + 1 jobs are read ahead. Stalls when `runs` or `segments` is not
    ready. After a job that traps nothing follows.

    Parameters
    ----------
    bus_bytes : int
        Width of the bus: a power of two, 16..128.

    Members
    -------
    jobs : In(stream of JOB)
    runs : Out(stream of RUN)
    segments : Out(stream of SEGMENT)
    table : Out(memory_read)
    memory_bytes : In(41), the size of memory
    hold : In(1), the table at table_start..table_end - 1 may not be read now
    halt : In(1), nothing new may start now
    table_start, table_end : Out
    ahead : Out(1), runs of jobs before that of the table are still to come
    """

    def __init__(self, *, bus_bytes: int):
        self.bus_bytes = bus_bytes
        ports = {
            "jobs": In(stream.Signature(JOB)),
            "runs": Out(stream.Signature(RUN)),
            "segments": Out(stream.Signature(SEGMENT)),
            "table": Out(memory_read(bus_bits=8 * bus_bytes)),
            "memory_bytes": In(MEMORY_BYTES_BITS),
            "hold": In(1),
            "halt": In(1),
            "table_start": Out(MEMORY_BITS),
            "table_end": Out(MEMORY_BYTES_BITS),
            "ahead": Out(1),
        }
        super().__init__(ports, name=f"runs_{bus_bytes}")

    def build(self, m: Module) -> None:
        """Connect the parts."""
        m.submodules.start = start = Jobs()
        m.submodules.tasks = tasks = Fifo(TASK, depth=TASKS)
        m.submodules.walk = walk = PageTable(bus_bytes=self.bus_bytes)
        m.submodules.cutter = cutter = RunCutter()
        connect(m, flipped(self.jobs), start.jobs)
        connect(m, start.tasks, tasks.input)
        connect(m, start.walks, walk.walks)
        connect(m, tasks.output, cutter.tasks)
        connect(m, walk.pages, cutter.pages)
        connect(m, walk.table, flipped(self.table))
        connect(m, cutter.runs, flipped(self.runs))
        connect(m, cutter.segments, flipped(self.segments))
        m.d.comb += [
            start.memory_bytes.eq(self.memory_bytes),
            start.hold.eq(self.hold),
            start.halt.eq(self.halt),
            cutter.memory_bytes.eq(self.memory_bytes),
            cutter.halt.eq(self.halt),
            self.table_start.eq(start.table_start),
            self.table_end.eq(start.table_end),
            self.ahead.eq(start.tasks.valid | (tasks.level != 0) | cutter.busy),
        ]
