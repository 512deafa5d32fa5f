"""The quantiser of the vector unit: FP32 rows to blocks of any format."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from tapeout.isa.vector import Quantise, Softmax
from tapeout.numerics import FORMATS, Format

from .chunk_codes import WIDTH_BITS, WIDTHS, ChunkCodes
from .command import COMMAND, payload
from .component import Component
from .encode import FACTOR, RULE, WORD_BITS, element_rule
from .group_maxima import GROUP_BITS, MAGNITUDE_BITS, SIZES, GroupMaxima, sub_groups
from .group_scale import SCALE_BITS, SCALE_RULE, SCALE_STAGES, GroupScale, scale_rule
from .memory_fifo import MemoryFifo
from .ports import read_port, unit_ports, write_port
from .row_chunks import FLAGS, GROUP_CHUNKS, RowChunks, walk_layout
from .scale_writer import ScaleWriter
from .stream import Fifo
from .trap import Trap

ROW = len(SIZES)  # the group that is not cut by the number of its elements
UNDER_WAY = 16  # chunks between a request and the first step of encoding, without stalls
ASKED = 8  # reads that have not been answered, at most

FACTS = data.StructLayout(
    {
        "rule": RULE,
        "scale": SCALE_RULE,
        "scaled": 1,
        "words": 1,
        "group": GROUP_BITS,
        "group_mask": range(GROUP_CHUNKS),
        "width": WIDTH_BITS,
    }
)
"""What a format means to the parts of the quantiser; see their members."""


def format_facts(fmt: Format, lanes: int) -> dict[str, Any]:
    """The fields of FACTS for a format, without the scale's mode."""
    return {
        "rule": element_rule(fmt.element),
        "scale": scale_rule(fmt),
        "scaled": int(fmt.scale != "none"),
        "words": int(fmt.scale_bits == SCALE_BITS),
        "group": SIZES.index(fmt.group) if fmt.group else ROW,
        "group_mask": max(1, fmt.group // lanes) - 1,
        "width": WIDTHS.index(fmt.element_bits),
    }


def job_layout(*, address_bits: int, scale_address_bits: int) -> data.StructLayout:
    """A command of the quantiser, whichever operation it is of."""
    return data.StructLayout(
        {
            "tile": walk_layout(address_bits=address_bits),
            "dst": address_bits,
            "dst_pitch": address_bits,
            "scale": scale_address_bits,
            "scale_pitch": scale_address_bits,
            "streamed": 1,
            "facts": FACTS,
        }
    )


def _arrived(lanes: int) -> data.StructLayout:
    """A chunk whose numbers are there, padding being zeros."""
    values = data.ArrayLayout(WORD_BITS, lanes)
    return data.StructLayout({"valid": 1, "values": values, **{name: 1 for name in FLAGS}})


@dataclass(frozen=True, kw_only=True)
class _Events:
    """What the end of the pipeline tells its beginning."""

    stored: Any
    """A chunk leaves."""
    finished: Any
    """The last codes of a command are written."""
    written: Any
    """All scales so far are written."""


class Quantiser(Component):
    """Executes `Quantise`, and what `Softmax` does with its probabilities.

    Value: `numerics.quantise` and `numerics.to_bytes`. A command takes about 20 cycles and one per
    chunk of `lanes` columns (of padded rows); with one scale per row two per chunk. Codes may be
    written where their numbers lie (same address, same pitch); other overlaps are undefined.

    Parameters
    ----------
    lanes : int
        Columns of a chunk; a power of two, 4..512.
    address_bits, scale_address_bits : int
        Of addresses in L1 and in the scale memory, in granules.

    Members
    -------
    commands, done, trap, busy : as `ports.unit_ports`; it never traps
    probabilities : In(stream of {values: [lanes] 32 bits}), the rows of a Softmax, row by row in
        ceil(columns / lanes) chunks; what lies beyond the columns may be anything
    read, write : ports of 4 * lanes bytes of L1
    write_scale : write_port of a granule of the scale memory
    """

    def __init__(self, *, lanes: int, address_bits: int, scale_address_bits: int):
        if lanes not in (1 << n for n in range(2, 11)):
            raise ValueError(f"lanes must be a power of two in 4..512, not {lanes}")
        self.lanes, self.address_bits = lanes, address_bits
        self.scale_address_bits = scale_address_bits
        self.job = job_layout(address_bits=address_bits, scale_address_bits=scale_address_bits)
        self.maxima = GroupMaxima(lanes=lanes)
        granules, values = lanes // 4, data.ArrayLayout(WORD_BITS, lanes)
        super().__init__(
            {
                **unit_ports(COMMAND),
                "probabilities": In(stream.Signature(data.StructLayout({"values": values}))),
                "read": Out(read_port(granules=granules, address_bits=address_bits)),
                "write": Out(write_port(granules=granules, address_bits=address_bits)),
                "write_scale": Out(write_port(granules=1, address_bits=scale_address_bits)),
            },
            name=f"quantiser_{lanes}_{address_bits}_{scale_address_bits}",
        )

    def build(self, m: Module) -> None:
        """Chunks come in, their groups are measured while they wait, then they are encoded."""
        job, start, arrived = Signal(self.job), Signal(), Signal(_arrived(self.lanes))
        waiting = self._waiting(m, arrived)
        groups = self._groups(m, job, arrived)
        events = self._outputs(m, job, start, waiting, groups)
        self._control(m, job, start, events)
        self._chunks(m, job, start, events, arrived)

    def _control(self, m: Module, job: Any, start: Signal, events: Any) -> None:
        """One command after the other."""
        command, incoming = self.commands.payload, Signal(self.job)
        running, last_passed = Signal(), Signal()
        self._job(m, command, incoming)
        accepted = self.commands.valid & ~running
        m.d.comb += [
            self.commands.ready.eq(~running),
            self.busy.eq(running),
            self.trap.eq(Trap.NONE),
            self.done.eq(running & last_passed & events.written),
        ]
        m.d.sync += start.eq(accepted & (command.rows != 0))
        with m.If(accepted):
            m.d.sync += [job.eq(incoming), running.eq(1), last_passed.eq(command.rows == 0)]
        with m.Elif(self.done):
            m.d.sync += [running.eq(0), last_passed.eq(0)]
        with m.Elif(events.finished):
            m.d.sync += last_passed.eq(1)

    def _job(self, m: Module, command: Any, job: Any) -> None:
        """What both operations have in common."""
        streamed = command.opcode == Softmax.opcode
        own, other = payload(command, Quantise), payload(command, Softmax)
        facts, fmt = Signal(FACTS, name="format_facts"), Mux(streamed, other.format, own.format)
        with m.Switch(fmt):
            for each in FORMATS:
                with m.Case(each.code):
                    m.d.comb += facts.eq(FACTS.const(format_facts(each, self.lanes)))
        per_row = ~streamed & own.per_row & facts.scaled
        m.d.comb += [
            job.tile.address.eq(own.src),
            job.tile.pitch.eq(own.src_pitch),
            job.tile.rows.eq(command.rows),
            job.tile.columns.eq(Mux(streamed, other.columns, own.columns)),
            job.tile.group_mask.eq(facts.group_mask),
            job.tile.per_row.eq(per_row),
            job.dst.eq(Mux(streamed, other.dst, own.dst)),
            job.dst_pitch.eq(Mux(streamed, other.dst_pitch, own.dst_pitch)),
            job.scale.eq(Mux(streamed, other.scale, own.scale)),
            job.scale_pitch.eq(Mux(streamed, 1, own.scale_pitch)),
            job.streamed.eq(streamed),
            job.facts.eq(facts),
            job.facts.scale.mode.eq(Mux(streamed, other.mode, own.mode)),
            job.facts.group.eq(Mux(per_row, ROW, facts.group)),
        ]

    @property
    def _depth(self) -> int:
        """Chunks that wait for their group, or are on their way there."""
        return max(SIZES) // self.lanes + UNDER_WAY + self.maxima.latency

    def _chunks(self, m: Module, job: Any, start: Signal, events: Any, arrived: Any) -> None:
        """Ask for chunks while there is room; `arrived` is the one that came a cycle ago."""
        m.submodules.walk = walk = RowChunks(lanes=self.lanes, address_bits=self.address_bits)
        m.submodules.asked = asked = Fifo(walk.layout, depth=ASKED)
        under_way = Signal(range(self._depth + 1))
        chunk, request, probabilities = walk.chunks.payload, self.read.request, self.probabilities
        may_pass, passes, arrives, streamed = Signal(), Signal(), Signal(), job.streamed
        tag, values = Signal(walk.layout, name="tag"), Signal(arrived.values.shape())
        read_passes = request.valid & request.ready
        m.d.comb += [
            walk.tile.eq(job.tile),
            walk.start.eq(start),
            may_pass.eq(walk.chunks.valid & (under_way != self._depth)),
            request.payload.eq(chunk.address),
            request.valid.eq(may_pass & ~streamed & asked.input.ready),
            probabilities.ready.eq(may_pass & streamed),
            passes.eq(Mux(streamed, may_pass & probabilities.valid, read_passes)),
            walk.chunks.ready.eq(passes),
            asked.input.valid.eq(read_passes),
            asked.input.payload.eq(chunk),
            asked.output.ready.eq(self.read.data_valid),
            arrives.eq(Mux(streamed, passes, self.read.data_valid)),
            tag.eq(Mux(streamed, chunk, asked.output.payload)),
            values.eq(Mux(streamed, probabilities.payload.values, self.read.data)),
        ]
        m.d.sync += [
            under_way.eq(under_way + (passes & chunk.store) - events.stored),
            arrived.valid.eq(arrives),
        ]
        with m.If(arrives):
            m.d.sync += [arrived[name].eq(tag[name]) for name in FLAGS]
            for i in range(self.lanes):
                m.d.sync += arrived.values[i].eq(Mux(tag.count > i, values[i], 0))

    def _waiting(self, m: Module, chunk: Any) -> MemoryFifo:
        """Chunks wait here until the factors of their group are known."""
        values = chunk.values
        shape = data.StructLayout({"values": values.shape(), "ends": 1, "row_end": 1, "final": 1})
        m.submodules.waiting = waiting = MemoryFifo(shape, depth=self._depth)
        m.d.comb += [
            waiting.input.valid.eq(chunk.valid & chunk.store),
            waiting.input.payload.eq(Cat(values, chunk.ends, chunk.row_end, chunk.final)),
        ]
        return waiting

    def _groups(self, m: Module, job: Any, chunk: Any) -> MemoryFifo:
        """Factors and scales of a chunk's groups, by 16 lanes, in the order of the chunks."""
        m.submodules.maxima = maxima = self.maxima
        count = sub_groups(self.lanes)
        m.d.comb += [
            maxima.valid.eq(chunk.valid & chunk.measure),
            maxima.closes.eq(chunk.closes),
            maxima.group.eq(job.facts.group),
            *(maxima.magnitudes[i].eq(chunk.values[i][:MAGNITUDE_BITS]) for i in range(self.lanes)),
        ]
        factors, scales = [], []
        for i in range(count):
            m.submodules[f"scale{i}"] = each = GroupScale()
            m.d.comb += [each.largest.eq(maxima.largest[i]), each.rule.eq(job.facts.scale)]
            factors.append(each.factor)
            scales.append(each.scale)
        row_end = _later(m, chunk.row_end, maxima.latency + SCALE_STAGES, "row_end")
        valid = _later(m, maxima.closed, SCALE_STAGES, "closed")
        shape = data.StructLayout(
            {
                "factors": data.ArrayLayout(FACTOR, count),
                "scales": data.ArrayLayout(SCALE_BITS, count),
                "row_end": 1,
            }
        )
        # All but one of the groups that are here or on their way have a chunk under way.
        m.submodules.groups = groups = MemoryFifo(shape, depth=self._depth + 1)
        m.d.comb += groups.input.valid.eq(valid)
        m.d.comb += groups.input.payload.eq(Cat(*factors, *scales, row_end))
        return groups

    def _outputs(
        self, m: Module, job: Any, start: Signal, waiting: MemoryFifo, groups: MemoryFifo
    ) -> _Events:
        """A chunk is encoded once the scales of its group have gone to their writer."""
        m.submodules.chunk_codes = codes = ChunkCodes(
            lanes=self.lanes, address_bits=self.address_bits
        )
        m.submodules.scale_writer = scales = ScaleWriter(
            lanes=self.lanes, address_bits=self.scale_address_bits
        )
        connect(m, codes.write, flipped(self.write))
        connect(m, scales.write, flipped(self.write_scale))
        chunk, group = waiting.output.payload, groups.output.payload
        facts, sent, clear, leaves = job.facts, Signal(), Signal(), Signal()
        last_column = job.tile.columns - 1
        tail_blocks = (last_column[: self.lanes.bit_length() - 1] >> 5) + 1
        m.d.comb += [
            codes.start.eq(start),
            codes.address.eq(job.dst),
            codes.pitch.eq(job.dst_pitch),
            codes.rule.eq(facts.rule),
            codes.width.eq(facts.width),
            codes.tail_blocks.eq(tail_blocks),
            codes.chunks.payload.eq(Cat(chunk.values, group.factors, chunk.row_end, chunk.final)),
            scales.start.eq(start),
            scales.address.eq(job.scale),
            scales.pitch.eq(job.scale_pitch),
            scales.words.eq(facts.words),
            scales.group.eq(facts.group),
            scales.tail_blocks.eq(tail_blocks),
            scales.chunks.payload.eq(Cat(group.scales, group.row_end)),
            scales.chunks.valid.eq(groups.output.valid & facts.scaled & ~sent),
            clear.eq(sent | ~facts.scaled | scales.chunks.ready),
            codes.chunks.valid.eq(waiting.output.valid & groups.output.valid & clear),
            waiting.output.ready.eq(groups.output.valid & clear & codes.chunks.ready),
            groups.output.ready.eq(waiting.output.valid & chunk.ends & clear & codes.chunks.ready),
            leaves.eq(codes.chunks.valid & codes.chunks.ready),
        ]
        with m.If(leaves & chunk.ends):
            m.d.sync += sent.eq(0)
        with m.Elif(scales.chunks.valid & scales.chunks.ready):
            m.d.sync += sent.eq(1)
        return _Events(stored=leaves, finished=codes.finished, written=scales.empty)


def _later(m: Module, value: Any, cycles: int, name: str) -> Any:
    for cycle in range(cycles):
        later = Signal(name=f"{name}{cycle}")
        m.d.sync += later.eq(value)
        value = later
    return value
