"""The edges of the matrix unit: a line buffer and a decoder for each row and each column."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK, FORMATS, Format

from .component import Component
from .decode import CODE_BITS, CODES, FORMAT_BITS, Decoder

GROUPS = 8  # groups of rows, and of columns, that a super block has at most
SLOTS = 2 * GROUPS  # groups of lines that the buffers of an edge hold
SLOT_BITS = 4
HALF_BITS = 256  # half of a line of 64 bytes: a block of 32 bytes
PANEL_SCALE_BITS = 64  # the scales of the blocks of a line
UNPACKED = CODE_BITS  # bits of an element in a line that was turned

LANE_READ = data.StructLayout({"slot": SLOT_BITS, "half": 1})
"""Which half of which line leaves the memory."""

UNPACK = data.StructLayout({"half": 1, "part": 1, "width": 4, "scale": 3, "ones": 16, "format": 4})
"""Which block of a line is decoded.

half: of the line; part: which 16 bytes of the half, for 4-bit elements; width: bits of an element;
scale: byte of the first scale of the block among those of the line; ones: the code of a scale of
one, for what has no scales of its own, else 0.
"""


def by_format(code: Any, value: Any, bits: int) -> Any:
    """`value(format)` of the format with this code; 0 if no matrix unit has it."""
    table = [0] * (1 << FORMAT_BITS)
    for fmt in FORMATS:
        if fmt.family != "wide":
            table[fmt.code] = value(fmt)
    if bits == 1:
        return Const(sum(flag << code for code, flag in enumerate(table)), 16).bit_select(code, 1)
    return Array(Const(entry, bits) for entry in table)[code]


def element_bits(fmt: Format) -> int:
    """Bits of an element."""
    return fmt.element_bits


def line_blocks(fmt: Format) -> int:
    """Blocks of K in a line of 64 bytes."""
    return 4 if fmt.element_bits == 4 else 2


def line_scale_bytes(fmt: Format) -> int:
    """Bytes of the scales of a line of 64 bytes."""
    return fmt.scale_row_bytes(BLOCK * line_blocks(fmt)) if fmt.scale != "none" else 0


class Lane(Component):
    """The lines of one row or column, and the decoder of their blocks. Value: `numerics.decode`.

    Latency 2 cycles from `read` to `operand`, which then stays until the next; throughput 1 block
    per cycle; never stalls. `unpack` belongs to the read of the cycle before.

    Parameters
    ----------
    formats : tuple of Format
        Formats that it knows.

    Members
    -------
    write : In(1); slot, low, high, wide : the halves of a line; high is kept if `wide`
    scale_write : In(1); scale_slot, scales : the scales of a line
    read : In(1); at : In(LANE_READ)
    decode : In(1), a read was made in the cycle before; unpack : In(UNPACK)
    operand : Out(OperandLayout(formats))
    """

    def __init__(self, *, formats: tuple[Format, ...]):
        self.decoder = Decoder(formats=formats)
        super().__init__(
            {
                **{name: In(1) for name in ("write", "wide", "scale_write", "read", "decode")},
                **{name: In(SLOT_BITS) for name in ("slot", "scale_slot")},
                **{name: In(HALF_BITS) for name in ("low", "high")},
                "scales": In(PANEL_SCALE_BITS),
                "at": In(LANE_READ),
                "unpack": In(UNPACK),
                "operand": Out(self.decoder.layout),
            },
            name=f"lane_{self.decoder.module_name}",
        )

    def build(self, m: Module) -> None:
        """Two memories of halves and one of scales; of the halves one is read."""
        m.submodules.decoder = decoder = self.decoder
        halves = [
            self._store(m, name, source, self.write & enable, self.slot, self.read & here)
            for name, source, enable, here in (
                ("low", self.low, 1, ~self.at.half),
                ("high", self.high, self.wide, self.at.half),
            )
        ]
        scales = self._store(m, "scales", self.scales, self.scale_write, self.scale_slot, self.read)
        codes = Signal(CODES)
        half = Signal(HALF_BITS)
        m.d.comb += [
            half.eq(Mux(self.unpack.half, halves[1], halves[0])),
            codes.codes.as_value().eq(self._codes(m, half)),
            codes.scales.as_value().eq(self._scales(m, scales)),
            codes.format.eq(self.unpack.format),
            decoder.block.payload.eq(codes),
            decoder.block.valid.eq(self.decode),
            decoder.operand.ready.eq(self.decode),  # so that an operand stays until the next
            self.operand.eq(decoder.operand.payload),
        ]

    def _store(self, m: Module, name: str, source: Any, write: Any, slot: Any, read: Any) -> Any:
        """A memory with a line in each slot; what is read."""
        store = memory.Memory(shape=len(source), depth=SLOTS, init=[])
        m.submodules[name] = store
        into, out = store.write_port(), store.read_port()
        m.d.comb += [into.en.eq(write), into.addr.eq(slot), into.data.eq(source)]
        m.d.comb += [out.en.eq(read), out.addr.eq(self.at.slot)]
        return out.data

    def _codes(self, m: Module, half: Any) -> Any:
        """A byte for each element."""
        four = Signal(HALF_BITS // 2)
        m.d.comb += four.eq(Mux(self.unpack.part, half[HALF_BITS // 2 :], half))
        is_four, is_six = self.unpack.width == 4, self.unpack.width == 6
        codes = []
        for i in range(BLOCK):
            narrow = Mux(is_six, half[6 * i : 6 * i + 6], half[8 * i : 8 * i + 8])
            codes.append(Mux(is_four, four[4 * i : 4 * i + 4], narrow)[:CODE_BITS])
        return Cat(*codes)

    def _scales(self, m: Module, scales: Any) -> Any:
        """The scales of the two halves of the block."""
        word = Signal(16, name="scale")
        own = scales.bit_select(self.unpack.scale << 3, 16)
        m.d.comb += word.eq(Mux(self.unpack.ones.any(), self.unpack.ones, own))
        return Cat(word, word[8:], Const(0, 8))
