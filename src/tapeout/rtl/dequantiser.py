"""The dequantiser of the vector unit: blocks of any format to FP32 rows."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Out, connect, flipped

from tapeout.isa.vector import Dequantise
from tapeout.numerics import BLOCK, FORMATS, Format

from .block_reader import BlockReader
from .chunk_codes import WIDTHS
from .command import COMMAND, payload
from .component import Component
from .decode_element import (
    DECODE_CUTS,
    ELEMENT,
    SCALE,
    SCALING,
    ElementDecoder,
    decoded_scale,
    element_layout,
    scaling,
)
from .encode import WORD_BITS
from .ports import read_port, unit_ports, write_port
from .trap import Trap

HALF = BLOCK // 2  # elements of the smallest group


class Dequantiser(Component):
    """Executes `Dequantise`. Value: `numerics.dequantise`.

    A block of 32 takes some 8 cycles, with fewer lanes than 32 one more for each read and each
    write beyond the first. Codes and scales must not lie where numbers are written.

    Parameters
    ----------
    lanes : int
        Numbers of a window; a power of two, 4..512. No more than 32 are written at a time.
    address_bits, scale_address_bits : int
        Of addresses in L1 and in the scale memory, in granules.

    Members
    -------
    commands, done, trap, busy : as `ports.unit_ports`; it never traps
    read, write : ports of 4 * lanes bytes of L1
    read_scale : read_port of a granule of the scale memory
    """

    def __init__(self, *, lanes: int, address_bits: int, scale_address_bits: int):
        if lanes not in (1 << n for n in range(2, 11)):
            raise ValueError(f"lanes must be a power of two in 4..512, not {lanes}")
        granules = lanes // 4
        self.lanes, self.address_bits = min(lanes, BLOCK), address_bits
        self.reader = BlockReader(
            granules=granules, address_bits=address_bits, scale_address_bits=scale_address_bits
        )
        self.job = data.StructLayout(
            {
                "tile": self.reader.layout,
                "dst": address_bits,
                "dst_pitch": address_bits,
                "element": ELEMENT,
                "scaling": SCALING,
            }
        )
        super().__init__(
            {
                **unit_ports(COMMAND),
                "read": Out(read_port(granules=granules, address_bits=address_bits)),
                "read_scale": Out(read_port(granules=1, address_bits=scale_address_bits)),
                "write": Out(write_port(granules=granules, address_bits=address_bits)),
            },
            name=f"dequantiser_{lanes}_{address_bits}_{scale_address_bits}",
        )

    def build(self, m: Module) -> None:
        """One command after the other; its blocks are read, and decoded `lanes` at a time."""
        m.submodules.reader = reader = self.reader
        connect(m, reader.read, flipped(self.read))
        connect(m, reader.read_scale, flipped(self.read_scale))
        job, incoming, running, start = Signal(self.job), Signal(self.job), Signal(), Signal()
        finished = self._decode(m, job, start)
        command = self.commands.payload
        self._job(m, command, incoming)
        accepted = self.commands.valid & ~running
        m.d.comb += [
            reader.tile.eq(job.tile),
            reader.start.eq(start),
            self.commands.ready.eq(~running),
            self.busy.eq(running | self.done),
            self.trap.eq(Trap.NONE),
        ]
        m.d.sync += [start.eq(accepted & (command.rows != 0)), self.done.eq(0)]
        with m.If(accepted):
            m.d.sync += [job.eq(incoming), running.eq(command.rows != 0)]
            m.d.sync += self.done.eq(command.rows == 0)
        with m.Elif(finished):
            m.d.sync += [running.eq(0), self.done.eq(1)]

    def _job(self, m: Module, command: Any, job: Any) -> None:
        """A command as the parts need it."""
        own, tile = payload(command, Dequantise), job.tile
        with m.Switch(own.format):
            for each in FORMATS:
                with m.Case(each.code):
                    facts = tile_facts(each)
                    m.d.comb += [tile[name].eq(value) for name, value in facts.items()]
                    m.d.comb += job.element.eq(ELEMENT.const(element_layout(each)))
                    m.d.comb += job.scaling.eq(SCALING.const(scaling(each)))
        m.d.comb += [
            tile.address.eq(own.src),
            tile.pitch.eq(own.src_pitch),
            tile.scale.eq(own.scale),
            tile.scale_pitch.eq(own.scale_pitch),
            tile.rows.eq(command.rows),
            tile.columns.eq(own.columns),
            job.dst.eq(own.dst),
            job.dst_pitch.eq(own.dst_pitch),
        ]

    def _decode(self, m: Module, job: Any, start: Signal) -> Any:
        """Decode the blocks and write them; returns whether the last number passes."""
        blocks, block = self.reader.blocks, self.reader.blocks.payload
        advance, emitting = Signal(), Signal()
        pieces = BLOCK // self.lanes
        piece, last_piece = Signal(range(max(2, pieces))), Signal(range(max(2, pieces)))
        row, address = Signal(self.address_bits), Signal(self.address_bits)
        last = Signal()
        m.d.comb += [last.eq(piece == last_piece), blocks.ready.eq(emitting & advance & last)]
        with m.If(start):
            m.d.sync += [row.eq(job.dst), address.eq(job.dst)]
        with m.Elif(emitting & advance):
            m.d.sync += [piece.eq(Mux(last, 0, piece + 1)), address.eq(address + self.lanes // 4)]
            with m.If(last):
                m.d.sync += emitting.eq(0)
            with m.If(last & block.row_end):
                m.d.sync += [row.eq(row + job.dst_pitch), address.eq(row + job.dst_pitch)]
        with m.Elif(blocks.valid & ~emitting):
            m.d.sync += emitting.eq(1)
            m.d.sync += last_piece.eq((block.columns - 1) >> (self.lanes.bit_length() - 1))
        scales = self._scales(m, job)
        words = self._lanes(m, job, advance, piece, scales)
        left = block.columns - piece * self.lanes
        present = Cat(*((left > lane) for lane in range(self.lanes)))
        flags = Cat(emitting, last & block.final, present, address)
        return self._write(m, advance, flags, words)

    def _scales(self, m: Module, job: Any) -> list[Any]:
        """The scale of each half of a block, a cycle after the block is there."""
        block, out = self.reader.blocks.payload, []
        for half in range(2):
            word = Mux(job.tile.halves, block.scale.word_select(half, 8), block.scale)
            scale = Signal(SCALE, name=f"scale{half}", reset_less=True)
            m.d.sync += scale.eq(decoded_scale(m, word, job.scaling))
            out.append(scale)
        return out

    def _lanes(
        self, m: Module, job: Any, advance: Signal, piece: Signal, scales: list[Any]
    ) -> list[Any]:
        """The numbers of a piece of a block, three steps later."""
        codes = Signal(self.lanes * WORD_BITS)
        stored = self.reader.blocks.payload.codes
        with m.Switch(job.tile.width):
            for number, bits in enumerate(WIDTHS):
                with m.Case(number):
                    mine = Signal(self.lanes * bits, name=f"codes{bits}")
                    m.d.comb += mine.eq(stored.word_select(piece, self.lanes * bits))
                    for i in range(self.lanes):
                        m.d.comb += codes.word_select(i, WORD_BITS).eq(mine.word_select(i, bits))
        first = Signal(SCALE, name="first")
        m.d.comb += first.eq(Mux((piece * self.lanes)[4:], scales[1], scales[0]))
        words = []
        for i in range(self.lanes):
            m.submodules[f"lane{i}"] = lane = ElementDecoder()
            m.d.comb += [
                lane.advance.eq(advance),
                lane.code.eq(codes.word_select(i, WORD_BITS)),
                lane.scale.eq(scales[1] if i >= HALF else first),
                lane.element.eq(job.element),
            ]
            words.append(lane.value)
        return words

    def _write(self, m: Module, advance: Any, flags: Any, words: list[Any]) -> Any:
        """Write the numbers of a piece; returns whether the last one passes."""
        for step in range(DECODE_CUTS):
            later = Signal(len(flags), name=f"flags{step}")
            with m.If(advance):
                m.d.sync += later.eq(flags)
            flags = later
        valid, final, present, address = (
            flags[0],
            flags[1],
            flags[2 : 2 + self.lanes],
            flags[2 + self.lanes :],
        )
        request, out = self.write.request, self.write.request.payload
        m.d.comb += [
            request.valid.eq(valid),
            advance.eq(~request.valid | request.ready),
            out.address.eq(address),
            out.data.eq(Cat(*words)),
            out.mask.eq(Cat(*(lane.replicate(4) for lane in present))),
        ]
        return request.valid & request.ready & final


def tile_facts(fmt: Format) -> dict[str, int]:
    """What a format says of the fields of `block_reader.stored_layout`."""
    return {
        "scaled": int(fmt.scale != "none"),
        "halves": int(fmt.group == HALF),
        "words": int(fmt.scale_bits == 16),
        "shared": int(fmt.group == 4 * BLOCK),
        "width": WIDTHS.index(fmt.element_bits),
    }
