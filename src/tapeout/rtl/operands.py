"""The fetchers of the matrix unit: the lines of an operand and their scales, ahead of the array."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature, connect, flipped

from .component import Component
from .groups import GRANULES, GroupWalk, line_group, operand_job
from .lanes import HALF_BITS, PANEL_SCALE_BITS, SLOT_BITS, SLOTS
from .ports import GRANULE_BITS, read_port
from .stream import Fifo
from .transposer import Transposer

REQUESTS = 4  # requests that wait for their memory
PENDING = 8  # groups whose lines are on their way

LINE_TAG = data.StructLayout(
    {"slot": SLOT_BITS, "lines": 6, "slots": 3, "width": 4, "transpose": 1, "shifted": 1}
)
SCALE_TAG = data.StructLayout({"slot": SLOT_BITS, "lines": 6, "offset": 4})


class LineRequests(Component):
    """Asks for the lines of groups and for their scales, when there is room for them.

    Throughput 1 line per cycle, also from group to group. A group waits until its slots are free,
    and after lines that are turned those that are not wait until `turned`.

    Parameters
    ----------
    address_bits, scale_bits : int
        Bits of a granule's number in L1 and in the scale memory.

    Members
    -------
    groups : In(stream of line_group)
    lines : Out(stream of address_bits); scales : Out(stream of scale_bits); the requests
    line_tags : Out(stream of LINE_TAG); scale_tags : Out(stream of SCALE_TAG); what comes when
    free : In(1), a slot is free again
    unscaled : Out(SLOTS), slots that wait for no scales from now on
    turned : In(1), a window of lines has been turned
    """

    def __init__(self, *, address_bits: int, scale_bits: int):
        self.layout = line_group(address_bits=address_bits, scale_bits=scale_bits)
        super().__init__(
            {
                "groups": In(stream.Signature(self.layout)),
                "lines": Out(stream.Signature(address_bits)),
                "scales": Out(stream.Signature(scale_bits)),
                "line_tags": Out(stream.Signature(LINE_TAG)),
                "scale_tags": Out(stream.Signature(SCALE_TAG)),
                "free": In(1),
                "unscaled": Out(SLOTS),
                "turned": In(1),
            },
            name=f"line_requests_{address_bits}_{scale_bits}",
        )
        self.address_bits, self.scale_bits = address_bits, scale_bits

    def build(self, m: Module) -> None:
        """A group at a time, line by line."""
        group, active = Signal(self.layout, reset_less=True), Signal()
        m.submodules.line_fifo = lines = Fifo(self.address_bits, depth=REQUESTS)
        m.submodules.scale_fifo = scales = Fifo(self.scale_bits, depth=REQUESTS)
        connect(m, flipped(self.lines), lines.output)
        connect(m, flipped(self.scales), scales.output)
        step = active & lines.input.ready & (scales.input.ready | ~group.scaled)
        m.d.comb += [
            lines.input.valid.eq(step),
            lines.input.payload.eq(group.address),
            scales.input.valid.eq(step & group.scaled),
            scales.input.payload.eq(group.scale),
        ]
        with m.If(step):
            m.d.sync += [
                group.address.eq(group.address + group.pitch),
                group.scale.eq(group.scale + group.scale_pitch),
                group.lines.eq(group.lines - 1),
                active.eq(group.lines != 0),
            ]
        taken, new = self._allocate(m, ~active | (step & (group.lines == 0)))
        with m.If(taken):
            m.d.sync += [group.eq(new), active.eq(1)]

    def _allocate(self, m: Module, idle: Any) -> tuple[Any, Any]:
        """Take the next group, and slots for it; returns whether it is taken, and the group."""
        m.submodules.group_fifo = groups = Fifo(self.layout, depth=2)
        connect(m, flipped(self.groups), groups.input)
        new = data.View(self.layout, groups.output.payload)
        slot, room = Signal(SLOT_BITS), Signal(range(SLOTS + 1), init=SLOTS)
        turning = Signal(range(SLOTS + 1))
        line_tags, scale_tags = self._tags(m)
        fits = room > new.slots
        waits = ~new.transpose & (turning != 0)
        taken = Signal()
        m.d.comb += groups.output.ready.eq(
            idle & fits & ~waits & line_tags.input.ready & scale_tags.input.ready
        )
        m.d.comb += taken.eq(groups.output.valid & groups.output.ready)
        used = Mux(taken, new.slots + 1, 0)
        m.d.sync += room.eq(room + self.free - used)
        m.d.sync += slot.eq(slot + used)
        m.d.sync += turning.eq(turning + (taken & new.transpose) - self.turned)
        mask = ((Const(2) << new.slots) - 1)[:8]
        twice = Cat(mask, Const(0, 8)) << slot
        around = (twice[:SLOTS] | twice[SLOTS:])[:SLOTS]
        m.d.comb += self.unscaled.eq(Mux(taken & ~new.scaled, around, 0))
        line, scale = line_tags.input.payload, scale_tags.input.payload
        m.d.comb += [
            line_tags.input.valid.eq(taken),
            scale_tags.input.valid.eq(taken & new.scaled),
            *(line[name].eq(new[name]) for name, _ in LINE_TAG if name != "slot"),
            line.slot.eq(slot),
            scale.slot.eq(slot),
            scale.lines.eq(new.lines),
            scale.offset.eq(new.offset),
        ]
        return taken, new

    def _tags(self, m: Module) -> tuple[Any, Any]:
        m.submodules.line_tag_fifo = line_tags = Fifo(LINE_TAG, depth=PENDING)
        m.submodules.scale_tag_fifo = scale_tags = Fifo(SCALE_TAG, depth=PENDING)
        connect(m, flipped(self.line_tags), line_tags.output)
        connect(m, flipped(self.scale_tags), scale_tags.output)
        return line_tags, scale_tags


def lane_write(*, lanes: int, blocks: int) -> Signature:
    """A line, or blocks that were turned, on their way into line buffers.

    lanes: which take it; blocks: the low half of the line, or one for each column modulo 4; high:
    the other half, where `wide`.
    """
    return Signature(
        {
            "lanes": Out(lanes),
            "slot": Out(SLOT_BITS),
            "blocks": Out(blocks * HALF_BITS),
            "high": Out(HALF_BITS),
            "wide": Out(1),
        }
    )


def scale_write(*, lanes: int) -> Signature:
    """The scales of a line on their way into a line buffer."""
    return Signature({"lanes": Out(lanes), "slot": Out(SLOT_BITS), "data": Out(PANEL_SCALE_BITS)})


class OperandFetcher(Component):
    """Reads an operand's lines and scales, in the order of `GroupWalk`, into line buffers.

    Throughput 1 line per cycle. Stalls while the slots of the line buffers are taken.

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
    elements : Out(read_port of 4 granules); scales : Out(read_port of 1 granule)
    write : Out(lane_write); scale_write : Out(scale_write)
    full : Out(SLOTS), slots that hold all lines of their group, with scales
    free : In(1); free_slot : In(4), which is not used any more
    """

    def __init__(self, *, lanes: int, turns: bool, address_bits: int, scale_bits: int):
        self.lanes, self.turns = lanes, turns
        sizes = {"address_bits": address_bits, "scale_bits": scale_bits}
        self.walk = GroupWalk(lanes=lanes, turns=turns, **sizes)
        self.requests = LineRequests(**sizes)
        super().__init__(
            {
                "jobs": In(stream.Signature(operand_job(**sizes))),
                "elements": Out(read_port(granules=GRANULES, address_bits=address_bits)),
                "scales": Out(read_port(granules=1, address_bits=scale_bits)),
                "write": Out(lane_write(lanes=lanes, blocks=4 if turns else 1)),
                "scale_write": Out(scale_write(lanes=lanes)),
                "full": Out(SLOTS),
                "free": In(1),
                "free_slot": In(SLOT_BITS),
            },
            name=f"operand_{lanes}_{int(turns)}_{address_bits}_{scale_bits}",
        )

    def build(self, m: Module) -> None:
        """What is asked for, what comes, and which slots are full."""
        m.submodules.walk, m.submodules.requests = self.walk, self.requests
        requests = self.requests
        connect(m, flipped(self.jobs), self.walk.jobs)
        connect(m, self.walk.groups, requests.groups)
        connect(m, requests.lines, flipped(self.elements.request))
        connect(m, requests.scales, flipped(self.scales.request))
        m.d.comb += requests.free.eq(self.free)
        full, full_slot = self._lines(m)
        scaled, scaled_slot = self._scale_lines(m)
        lines, scales = Signal(SLOTS), Signal(SLOTS)
        freed = self.free << self.free_slot
        m.d.sync += lines.eq((lines & ~freed) | (full << full_slot))
        m.d.sync += scales.eq((scales & ~freed) | (scaled << scaled_slot) | requests.unscaled)
        m.d.comb += self.full.eq(lines & scales)

    def _lines(self, m: Module) -> tuple[Any, Any]:
        """Write lines; returns whether a slot is full with them, and which."""
        tags, tag = self.requests.line_tags, self.requests.line_tags.payload
        line, valid = Signal(2 * HALF_BITS, reset_less=True), Signal()
        row = Signal(6)
        last = row == tag.lines
        m.d.sync += valid.eq(self.elements.data_valid)
        with m.If(self.elements.data_valid):
            m.d.sync += line.eq(self.elements.data)
        with m.If(valid):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        straight = valid & ~tag.transpose
        write = self.write
        high = Mux(tag.width == 6, line[192:448], line[HALF_BITS:])
        m.d.comb += [
            tags.ready.eq(valid & last),
            write.lanes.eq(straight << row),
            write.slot.eq(tag.slot),
            write.blocks.eq(line[:HALF_BITS]),
            write.high.eq(high),
            write.wide.eq(1),
        ]
        full, slot = Signal(), Signal(SLOT_BITS)
        m.d.comb += [full.eq(straight & last), slot.eq(tag.slot)]
        if self.turns:
            self._turn(m, line, valid & tag.transpose, row, full, slot)
        return full, slot

    def _turn(self, m: Module, line: Any, valid: Any, row: Any, full: Any, slot: Any) -> None:
        """Send lines through the transposer; its columns come when no other lines do."""
        m.submodules.transposer = turn = Transposer(columns=self.lanes)
        tag, write = self.requests.line_tags.payload, self.write
        shifted = Mux(tag.shifted, line[64:], line)
        bytes_of_six = [Cat(shifted[6 * i : 6 * i + 6], Const(0, 2)) for i in range(64)]
        m.d.comb += [
            turn.line.eq(Mux(tag.width == 6, Cat(*bytes_of_six), shifted)),
            turn.valid.eq(valid),
            turn.row.eq(row),
            turn.narrow.eq(tag.width == 4),
            turn.slot.eq(tag.slot),
            turn.slots.eq(tag.slots),
            self.requests.turned.eq(turn.done),
            write.blocks.eq(line[:HALF_BITS].replicate(4)),
        ]
        with m.If(turn.write.any()):
            m.d.comb += [
                write.lanes.eq(turn.write),
                write.slot.eq(turn.to),
                write.blocks.eq(turn.blocks),
                write.wide.eq(0),
                full.eq(turn.full),
                slot.eq(turn.to),
            ]

    def _scale_lines(self, m: Module) -> tuple[Any, Any]:
        """Write scales; returns whether a slot is full with them, and which."""
        tags, tag = self.requests.scale_tags, self.requests.scale_tags.payload
        line, valid = Signal(GRANULE_BITS, reset_less=True), Signal()
        row = Signal(6)
        last = row == tag.lines
        m.d.sync += valid.eq(self.scales.data_valid)
        with m.If(self.scales.data_valid):
            m.d.sync += line.eq(self.scales.data)
        with m.If(valid):
            m.d.sync += row.eq(Mux(last, 0, row + 1))
        m.d.comb += [
            tags.ready.eq(valid & last),
            self.scale_write.lanes.eq(valid << row),
            self.scale_write.slot.eq(tag.slot),
            self.scale_write.data.eq(line >> (tag.offset << 3)),
        ]
        return valid & last, tag.slot
