"""The order in which an operand of a matrix product is read: group of lines by group."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK

from .component import Component
from .lanes import GROUPS, by_format, element_bits, line_blocks, line_scale_bytes

PITCH_BITS = 15
SCALE_PITCH_BITS = 10
ROW_BITS = 12
BLOCKS_BITS = 11
GRANULES = 4  # of a line


def operand_job(*, address_bits: int, scale_bits: int) -> data.StructLayout:
    """An operand of a product.

    offset: of the scales in their granule, in bytes; rows: M or N; inner, outer: how often each
    super block's rows, and then all of it, are read again; transpose: it lies as [K, rows], and has
    no scales.
    """
    return data.StructLayout(
        {
            "address": address_bits,
            "pitch": PITCH_BITS,
            "scale": scale_bits,
            "offset": 4,
            "scale_pitch": SCALE_PITCH_BITS,
            "format": 4,
            "rows": ROW_BITS,
            "blocks": BLOCKS_BITS,
            "inner": 8,
            "outer": 8,
            "transpose": 1,
        }
    )


def line_group(*, address_bits: int, scale_bits: int) -> data.StructLayout:
    """Lines that are read together: those of a group of rows, or 32 lines of K to be turned.

    lines, slots: less one; offset: of the scales in their granule, in bytes; shifted: the line
    starts in the middle of its granule.
    """
    return data.StructLayout(
        {
            "address": address_bits,
            "pitch": PITCH_BITS,
            "scale": scale_bits,
            "scale_pitch": SCALE_PITCH_BITS,
            "offset": 4,
            "lines": 6,
            "slots": 3,
            "scaled": 1,
            "transpose": 1,
            "width": 4,
            "shifted": 1,
        }
    )


class GroupWalk(Component):
    """Cuts operands into groups of lines, in the order in which the matrix unit uses them.

    For each super block of at most 8 groups of rows: for each panel of 64 bytes of K: for each
    group. With `transpose`: for each block of K: for each 64 bytes of columns. Latency 1 cycle;
    throughput 1 group per cycle, also from job to job; stalls when `groups` is not ready.

    Parameters
    ----------
    lanes : int
        Rows of a group.
    turns : bool
        Whether operands may be transposed.
    address_bits, scale_bits : int
        Bits of a granule's number in L1 and in the scale memory.

    Members
    -------
    jobs : In(stream of operand_job)
    groups : Out(stream of line_group)
    """

    def __init__(self, *, lanes: int, turns: bool, address_bits: int, scale_bits: int):
        self.lanes, self.turns = lanes, turns
        sizes = {"address_bits": address_bits, "scale_bits": scale_bits}
        self.address_bits, self.scale_bits = address_bits, scale_bits
        self.job, self.group = operand_job(**sizes), line_group(**sizes)
        super().__init__(
            {
                "jobs": In(stream.Signature(self.job)),
                "groups": Out(stream.Signature(self.group)),
            },
            name=f"groups_{lanes}_{int(turns)}_{address_bits}_{scale_bits}",
        )

    def build(self, m: Module) -> None:
        """Nested loops, all of whose ends are known in the same cycle."""
        self._registers()
        job = self.at_job
        turn = job.transpose if self.turns else Const(0, 1)
        width = by_format(job.format, element_bits, 4)
        scaled = by_format(job.format, lambda fmt: fmt.scale != "none", 1) & ~turn
        blocks = Mux(turn, 1, by_format(job.format, line_blocks, 3))
        span = Mux(turn, Mux(width == 4, 4 * BLOCK, 2 * BLOCK), self.lanes)

        last_group, last_panel = self.in_block <= span, self.k_left <= blocks
        last_block = self.left <= GROUPS * self.lanes
        last_inner, last_outer = self.inner == 0, self.outer == 0
        step = self.busy & self.groups.ready
        last = last_group & last_panel & last_inner & last_block & last_outer
        m.d.comb += [
            self.groups.valid.eq(self.busy),
            self.jobs.ready.eq(~self.busy | (last & self.groups.ready)),
        ]
        with m.If(step):
            with m.If(~last_group):
                self._next_group(m, turn, width, span)
            with m.Elif(~last_panel):
                self._next_panel(m, turn, width, blocks)
            with m.Elif(~last_inner):
                m.d.sync += self.inner.eq(self.inner - 1)
                self._enter(m, self.base, self.scale_base, self.left, self.shifted)
            with m.Elif(~last_block):
                self._next_block(m, turn, width)
            with m.Else():
                m.d.sync += self.outer.eq(self.outer - 1)
                self._enter(m, job.address, job.scale, job.rows, 0)
                m.d.sync += self.inner.eq(job.inner)
        self._load(m)
        self._emit(m, turn, width, span, scaled)

    def _registers(self) -> None:
        self.at_job = Signal(self.job, reset_less=True)
        self.busy = Signal()
        names = {
            **dict.fromkeys(("base", "panel", "line"), self.address_bits),
            **dict.fromkeys(("scale_base", "scale_line"), self.scale_bits),
            **dict.fromkeys(("left", "rows", "in_block"), ROW_BITS),
            **{"k_left": BLOCKS_BITS, "offset": BLOCKS_BITS + 2, "inner": 8, "outer": 8},
            "shifted": 1,
        }
        for name, bits in names.items():
            setattr(self, name, Signal(bits, name=name, reset_less=True))

    def _load(self, m: Module) -> None:
        """Take the next job when there is none or the last group of one leaves."""
        with m.If(self.jobs.ready):
            job = self.jobs.payload
            m.d.sync += [self.busy.eq(self.jobs.valid), self.at_job.eq(job)]
            m.d.sync += [self.inner.eq(job.inner), self.outer.eq(job.outer)]
            self._enter(m, job.address, job.scale, job.rows, 0, new=job)

    def _enter(
        self, m: Module, base: Any, scale: Any, left: Any, shifted: Any, new: Any = None
    ) -> None:
        """Start a super block, of a new job or of the one that it is at."""
        job = self.at_job if new is None else new
        rows = Mux(left < GROUPS * self.lanes, left, GROUPS * self.lanes)
        m.d.sync += [each.eq(base) for each in (self.base, self.panel, self.line)]
        m.d.sync += [each.eq(scale) for each in (self.scale_base, self.scale_line)]
        m.d.sync += [self.left.eq(left), self.rows.eq(rows), self.in_block.eq(rows)]
        m.d.sync += [self.offset.eq(job.offset), self.shifted.eq(shifted)]
        m.d.sync += self.k_left.eq(job.blocks)

    def _next_group(self, m: Module, turn: Any, width: Any, span: Any) -> None:
        ahead = Mux(turn, Mux(width == 6, 3, 4), self.at_job.pitch << log2(self.lanes))
        m.d.sync += [
            self.line.eq(self.line + ahead),
            self.scale_line.eq(self.scale_line + (self.at_job.scale_pitch << log2(self.lanes))),
            self.in_block.eq(self.in_block - span),
        ]

    def _next_panel(self, m: Module, turn: Any, width: Any, blocks: Any) -> None:
        panel = Signal(self.address_bits, name="next_panel")
        ahead = Mux(turn, self.at_job.pitch << log2(BLOCK), Mux(width == 6, 3, 4))
        m.d.comb += panel.eq(self.panel + ahead)
        m.d.sync += [
            self.panel.eq(panel),
            self.line.eq(panel),
            self.scale_line.eq(self.scale_base),
            self.offset.eq(self.offset + by_format(self.at_job.format, line_scale_bytes, 4)),
            self.in_block.eq(self.rows),
            self.k_left.eq(self.k_left - blocks),
        ]

    def _next_block(self, m: Module, turn: Any, width: Any) -> None:
        """Of 6-bit elements 32 columns are a granule and a half."""
        rows = GROUPS * self.lanes
        halves = Mux(width == 8, rows // 8, Mux(width == 6, 3 * rows // 32, rows // 16))
        ahead = Mux(turn, (halves + self.shifted) >> 1, self.at_job.pitch << log2(rows))
        shifted = self.shifted ^ (turn & halves[0])
        scale = self.scale_base + (self.at_job.scale_pitch << log2(rows))
        m.d.sync += self.inner.eq(self.at_job.inner)
        self._enter(m, self.base + ahead, scale, self.left - rows, shifted)

    def _emit(self, m: Module, turn: Any, width: Any, span: Any, scaled: Any) -> None:
        group, job = self.groups.payload, self.at_job
        here = Signal(Shape.cast(range(4 * BLOCK + 1)), name="here")
        m.d.comb += here.eq(Mux(self.in_block < span, self.in_block, span))
        m.d.comb += [
            group.address.eq(self.line),
            group.pitch.eq(job.pitch),
            group.scale.eq(self.scale_line + (self.offset >> 4)),
            group.scale_pitch.eq(job.scale_pitch),
            group.offset.eq(self.offset),
            group.lines.eq(Mux(turn, BLOCK - 1, here - 1)),
            group.slots.eq(Mux(turn, (here - 1) >> log2(self.lanes), 0)),
            group.scaled.eq(scaled),
            group.transpose.eq(turn),
            group.width.eq(width),
            group.shifted.eq(self.shifted),
        ]


def log2(number: int) -> int:
    """The exponent of a power of two."""
    return number.bit_length() - 1
