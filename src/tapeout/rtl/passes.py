"""The order in which the matrix unit multiplies: passes over a super block, and their tiles."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from tapeout.numerics import Format
from tapeout.numerics.blocks import _SCALE_OF_ONE

from .component import Component
from .groups import BLOCKS_BITS, ROW_BITS, log2
from .lanes import GROUPS, LANE_READ, SLOT_BITS, SLOTS, UNPACK, by_format, element_bits, line_blocks
from .stream import Fifo

PITCH_LOG2_BITS = 4
EDGE = data.StructLayout({"format": 4, "transpose": 1})


def size_bits(size: int) -> int:
    """Bits of a number below `size`; at least 1."""
    return max(1, log2(size))


def tile_job(*, group_bits: int) -> data.StructLayout:
    """A product as the array sees it.

    group: of the first result, in units of the array's columns; pitch_log2: of the groups from row
    to row; m, n: less one; fence: what it adds to may still be on its way; nothing: no rows.
    """
    return data.StructLayout(
        {
            "group": group_bits,
            "pitch_log2": PITCH_LOG2_BITS,
            "m": ROW_BITS,
            "n": ROW_BITS,
            "blocks": BLOCKS_BITS,
            "accumulate": 1,
            "fence": 1,
            "nothing": 1,
            "a": EDGE,
            "b": EDGE,
        }
    )


def pass_layout(*, rows: int, columns: int, group_bits: int) -> data.StructLayout:
    """One block of K of a super block: all of its tiles, once.

    row_groups, column_groups: less one; rows, columns: of the last group, less one; tiles: their
    product, up to 15; stride: groups from tile to tile down; first: the accumulators are not read;
    last: nothing of the instruction follows.
    """
    edge = data.StructLayout({"format": 4, "transpose": 1, "block": 2, "free": 1})
    return data.StructLayout(
        {
            "row_groups": 3,
            "column_groups": 3,
            "rows": size_bits(rows),
            "columns": size_bits(columns),
            "tiles": 4,
            "group": group_bits,
            "stride": group_bits,
            "pitch_log2": PITCH_LOG2_BITS,
            "first": 1,
            "last": 1,
            "fence": 1,
            "nothing": 1,
            "a": edge,
            "b": edge,
        }
    )


class PassWalk(Component):
    """Cuts products into passes: for each super block, for each block of K.

    Latency 1 cycle; throughput 1 pass per cycle; stalls when `passes` is not ready.

    Parameters
    ----------
    rows, columns : int
        Of the array.
    group_bits : int
        Bits of the number of a group of accumulators.

    Members
    -------
    jobs : In(stream of tile_job)
    passes : Out(stream of pass_layout)
    """

    def __init__(self, *, rows: int, columns: int, group_bits: int):
        self.rows, self.columns, self.group_bits = rows, columns, group_bits
        self.job = tile_job(group_bits=group_bits)
        self.layout = pass_layout(rows=rows, columns=columns, group_bits=group_bits)
        super().__init__(
            {
                "jobs": In(stream.Signature(self.job)),
                "passes": Out(stream.Signature(self.layout)),
            },
            name=f"passes_{rows}x{columns}_{group_bits}",
        )

    def build(self, m: Module) -> None:
        """Nested loops over M, N and K."""
        job, busy = Signal(self.job, reset_less=True), Signal()
        row, column = (Signal(self.group_bits, name=n, reset_less=True) for n in ("row", "column"))
        m_left, n_left = (Signal(ROW_BITS, name=n, reset_less=True) for n in ("m_left", "n_left"))
        k_left = Signal(BLOCKS_BITS, reset_less=True)
        begun = Signal()
        step = busy & self.passes.ready
        down, across = GROUPS * self.rows, GROUPS * self.columns
        last_k, last_n, last_m = k_left == 1, n_left < across, m_left < down
        last = job.nothing | (last_k & last_n & last_m)
        m.d.comb += self.passes.valid.eq(busy)
        m.d.comb += self.jobs.ready.eq(~busy | (last & self.passes.ready))
        with m.If(step):
            m.d.sync += [begun.eq(1), k_left.eq(Mux(last_k, job.blocks, k_left - 1))]
            with m.If(last_k & ~last_n):
                m.d.sync += [n_left.eq(n_left - across), column.eq(column + GROUPS)]
            with m.Elif(last_k):
                m.d.sync += [n_left.eq(job.n), column.eq(0), m_left.eq(m_left - down)]
                m.d.sync += row.eq(row + (Const(down) << job.pitch_log2))
        with m.If(self.jobs.ready):
            new = self.jobs.payload
            m.d.sync += [busy.eq(self.jobs.valid), job.eq(new), begun.eq(0)]
            m.d.sync += [row.eq(new.group), column.eq(0)]
            m.d.sync += [m_left.eq(new.m), n_left.eq(new.n), k_left.eq(new.blocks)]

        out, first_k = self.passes.payload, k_left == job.blocks
        rows = self._extent(m, "rows", m_left, self.rows)
        columns = self._extent(m, "columns", n_left, self.columns)
        tiles = (rows[0] + 1) * (columns[0] + 1)
        m.d.comb += [
            out.row_groups.eq(rows[0]),
            out.rows.eq(rows[1]),
            out.column_groups.eq(columns[0]),
            out.columns.eq(columns[1]),
            out.tiles.eq(Mux(tiles > 15, 15, tiles)),
            out.group.eq(row + column),
            out.stride.eq(Const(self.rows) << job.pitch_log2),
            out.pitch_log2.eq(job.pitch_log2),
            out.first.eq(first_k & ~job.accumulate),
            out.last.eq(last),
            out.fence.eq(job.fence & ~begun),
            out.nothing.eq(job.nothing),
        ]
        for name in "ab":
            self._edge(m, name, job[name], step, first_k, last_k)

    def _extent(self, m: Module, name: str, left: Any, size: int) -> tuple[Any, Any]:
        """Groups of the super block, and the size of the last one, both less one."""
        some = left < GROUPS * size
        groups, rest = Signal(3, name=f"{name}_groups"), left[: log2(size)]
        m.d.comb += groups.eq(Mux(some, left >> log2(size), GROUPS - 1))
        return groups, Mux(some, rest, size - 1)

    def _edge(self, m: Module, name: str, job: Any, step: Any, first_k: Any, last_k: Any) -> None:
        """Which block of its line an operand is at, and whether it is the last of it."""
        at, here = Signal(2, name=f"{name}_at"), Signal(2, name=f"{name}_block")
        blocks = Mux(job.transpose, 1, by_format(job.format, line_blocks, 3))
        free = last_k | (here == blocks - 1)
        m.d.comb += here.eq(Mux(first_k, 0, at))
        with m.If(step):
            m.d.sync += at.eq(Mux(free, 0, here + 1))
        out = self.passes.payload[name]
        m.d.comb += [
            out.format.eq(job.format),
            out.transpose.eq(job.transpose),
            out.block.eq(here),
            out.free.eq(free),
        ]


def tile_layout(*, rows: int, columns: int, group_bits: int) -> data.StructLayout:
    """Where the results of one array cycle belong.

    valid: there are results; rows, columns: how many of them count, less one; first: they replace
    what is there; last: the instruction ends with them.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "group": group_bits,
            "pitch_log2": PITCH_LOG2_BITS,
            "rows": size_bits(rows),
            "columns": size_bits(columns),
            "first": 1,
            "last": 1,
        }
    )


class TileIssue(Component):
    """Goes through the tiles of passes when their operands are there.

    A tile comes again no sooner than `revisit` cycles later. Throughput 1 tile per cycle; stalls
    while operands are missing.

    Parameters
    ----------
    rows, columns : int
        Of the array.
    group_bits : int
        Bits of the number of a group of accumulators.
    revisit : int
        Cycles from the issue of a tile until another may read what it wrote.

    Members
    -------
    passes : In(stream of pass_layout)
    a, b : of each operand: full : In(SLOTS); free : Out(1), free_slot : Out(4); read : Out(1), at :
    Out(LANE_READ), unpack : Out(UNPACK), what the lanes read in this cycle
    tile : Out(tile_layout)
    busy : Out(1), a tile is issued; waiting : Out(1), a tile lacks operands
    """

    def __init__(self, *, rows: int, columns: int, group_bits: int, revisit: int):
        self.rows, self.columns, self.group_bits = rows, columns, group_bits
        self.revisit = revisit
        self.passes_layout = pass_layout(rows=rows, columns=columns, group_bits=group_bits)
        ports: dict[str, Any] = {}
        for name in "ab":
            ports |= {
                f"{name}_full": In(SLOTS),
                f"{name}_free": Out(1),
                f"{name}_free_slot": Out(SLOT_BITS),
                f"{name}_read": Out(1),
                f"{name}_at": Out(LANE_READ),
                f"{name}_unpack": Out(UNPACK),
            }
        super().__init__(
            {
                "passes": In(stream.Signature(self.passes_layout)),
                **ports,
                "tile": Out(tile_layout(rows=rows, columns=columns, group_bits=group_bits)),
                "busy": Out(1),
                "waiting": Out(1),
            },
            name=f"issue_{rows}x{columns}_{group_bits}_{revisit}",
        )

    def build(self, m: Module) -> None:
        """Two counters within a pass, and what has been issued lately."""
        m.submodules.pass_fifo = fifo = Fifo(self.passes_layout, depth=2)
        connect(m, flipped(self.passes), fifo.input)
        self.queued = queued = fifo.output
        self.now = now = data.View(self.passes_layout, queued.payload)
        down, across = Signal(3), Signal(3)
        row = Signal(self.group_bits)  # from the first tile of the pass
        slots = {name: Signal(SLOT_BITS, name=f"{name}_slot") for name in "ab"}  # of the pass
        at = {name: Signal(SLOT_BITS, name=f"{name}_here") for name in "ab"}
        last_down, last_across = down == now.row_groups, across == now.column_groups
        there, issue = Signal(), Signal()
        recent = self._recent(m, issue)
        begins = (down == 0) & (across == 0)
        free_of = (recent < now.tiles) & ~(now.fence & begins & (recent != 0))
        m.d.comb += [
            at["a"].eq(slots["a"] + down),
            at["b"].eq(slots["b"] + across),
            there.eq(self.a_full.bit_select(at["a"], 1) & self.b_full.bit_select(at["b"], 1)),
            issue.eq(queued.valid & ~now.nothing & there & free_of),
            queued.ready.eq(now.nothing | (there & free_of & last_down & last_across)),
            self.busy.eq(issue),
            self.waiting.eq(queued.valid & ~now.nothing & ~there),
        ]
        with m.If(issue):
            m.d.sync += across.eq(Mux(last_across, 0, across + 1))
            with m.If(last_across):
                m.d.sync += [
                    down.eq(Mux(last_down, 0, down + 1)),
                    row.eq(Mux(last_down, 0, row + now.stride)),
                ]
            with m.If(last_across & last_down):
                for name, groups in (("a", now.row_groups), ("b", now.column_groups)):
                    with m.If(now[name].free):
                        m.d.sync += slots[name].eq(slots[name] + groups + 1)
        ends = {"a": last_across, "b": last_down}
        for name in "ab":
            self._lanes(m, name, at[name], issue & ends[name])
        m.d.comb += [self.a_read.eq(issue & (across == 0)), self.b_read.eq(issue)]
        self._tile(m, issue, row + across, last_down, last_across)

    def _recent(self, m: Module, issue: Any) -> Any:
        """Tiles issued in the last `revisit` - 1 cycles.

        With fewer of them than tiles in a pass, the last visit of the next tile is as long ago.
        """
        history = Signal(self.revisit - 1)
        recent = Signal(range(self.revisit))
        m.d.sync += history.eq((history << 1) | issue)
        m.d.sync += recent.eq(recent + issue - history[-1])
        return recent

    def _lanes(self, m: Module, name: str, slot: Any, ends: Any) -> None:
        """What the lanes of an operand read and decode, and which slot is free after it."""
        now = self.now[name]
        at, unpack = getattr(self, f"{name}_at"), getattr(self, f"{name}_unpack")
        width = by_format(now.format, element_bits, 4)
        four = (width == 4) & ~now.transpose
        half = Mux(four, now.block[1], now.block[0])
        bytewise = by_format(now.format, lambda fmt: fmt.scale == "e8m0", 1)
        shared = by_format(now.format, lambda fmt: fmt.group > 32, 1)
        scale = Mux(shared, 0, Mux(bytewise, now.block, now.block << 1))
        m.d.comb += [
            getattr(self, f"{name}_free").eq(now.free & ends),
            getattr(self, f"{name}_free_slot").eq(slot),
            at.slot.eq(slot),
            at.half.eq(half),
            unpack.half.eq(half),
            unpack.part.eq(now.block[0]),
            unpack.width.eq(Mux(now.transpose, 8, width)),
            unpack.scale.eq(scale),
            unpack.ones.eq(Mux(now.transpose, by_format(now.format, _ones, 16), 0)),
            unpack.format.eq(now.format),
        ]

    def _tile(self, m: Module, issue: Any, group: Any, last_down: Any, last_across: Any) -> None:
        now, tile = self.now, self.tile
        full = {"rows": self.rows - 1, "columns": self.columns - 1}
        token = self.queued.valid & self.queued.ready
        m.d.comb += [
            tile.valid.eq(issue),
            tile.group.eq(now.group + group),
            tile.pitch_log2.eq(now.pitch_log2),
            tile.rows.eq(Mux(last_down, now.rows, full["rows"])),
            tile.columns.eq(Mux(last_across, now.columns, full["columns"])),
            tile.first.eq(now.first),
            tile.last.eq(token & now.last),
        ]


def _ones(fmt: Format) -> int:
    """A scale of one for each half of a block, or 0 without scales."""
    one = _SCALE_OF_ONE.get(fmt.scale, 0)
    return one * 0x101 if fmt.scale == "e4m3" else one
