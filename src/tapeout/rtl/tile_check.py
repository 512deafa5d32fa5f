"""Whether tiles lie within their memories: one tile per cycle, through one multiplier."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import PAYLOAD_BITS
from tapeout.isa.fields import ACC_ROW_BYTES, GRANULE_BYTES, SCALE_WORD_BYTES, Space
from tapeout.numerics.formats import BLOCK, FORMATS, Format

from .command import REGISTER_BITS, ROWS_BITS
from .component import Component
from .ports import MEMORY_BITS
from .tile_words import MEMORY_SPACE, WORD, PitchKind, RowKind

LATENCY = 5
FIELD_BITS = MEMORY_BITS  # of the widest field that a tile uses
LINES_BITS = 16  # of the rows of a tile: as many as k of a transposed operand
COUNT_BITS = 20
PITCH_BITS = 24
ROW_BITS = 24  # of the bytes of a row
START_BITS = REGISTER_BITS + 1
BLOCK_LOG2 = BLOCK.bit_length() - 1
GRANULE_LOG2 = GRANULE_BYTES.bit_length() - 1
SCALE_WORD_LOG2 = SCALE_WORD_BYTES.bit_length() - 1

TILE = data.StructLayout(
    {
        "valid": 1,
        "final": 1,
        "word": WORD,
        "payload": PAYLOAD_BITS,
        "rows": ROWS_BITS,
        "x": signed(REGISTER_BITS),
    }
)
"""A tile to check: its word, and the command that it is of. final: the command's last."""

VERDICT = data.StructLayout({"final": 1, "outside": 1})
"""outside: a tile does not lie in its memory; final: it is the command's last."""

FACTS = data.StructLayout(
    {"block_log2": 2, "sixes": 1, "scaled": 1, "two_bytes": 1, "half_block": 1, "four_blocks": 1}
)
"""What the sizes of a format's blocks and scales are made of."""


class TileCheck(Component):
    """Finds tiles that do not lie in their memories. Value: `tapeout.isa.tiles`.

    Latency LATENCY cycles; throughput 1 tile per cycle; never stalls. The command must have at
    least one row, and keep the rules of shapes and formats; otherwise the verdict is anything.

    Parameters
    ----------
    l1_granules, scale_granules : int
        Sizes of L1 and of the scale memory.
    accumulators : int
        FP32 numbers in one half of the accumulators.

    Members
    -------
    tile : In(TILE)
    memory_bytes : In(41), the size of the memory outside
    verdict : Out(VERDICT); both are 0 where there was no tile
    """

    def __init__(self, *, l1_granules: int, scale_granules: int, accumulators: int):
        ports = {"tile": In(TILE), "memory_bytes": In(MEMORY_BITS + 1), "verdict": Out(VERDICT)}
        super().__init__(ports, name=f"tile_check_{l1_granules}_{scale_granules}_{accumulators}")
        self.sizes = {
            Space.L1: l1_granules * GRANULE_BYTES,
            Space.SCALE: scale_granules * GRANULE_BYTES,
            Space.ACC: 2 * 4 * accumulators,
        }

    def build(self, m: Module) -> None:
        """Select fields; bytes of a row and pitch; last row; room that is left; compare."""
        tile, word = self.tile, self.tile.word
        chosen = Stage(m, 1, valid=tile.valid & _applies(tile), final=tile.valid & tile.final)
        start = _slice(tile.payload, word.start, FIELD_BITS)
        code = tile.payload.bit_select(word.row.format_at, 4)
        single = word.row.maybe_single & tile.payload.bit_select(word.row.single_at, 1)
        space = word.space.fixed | _slice(tile.payload, word.space, 2)
        start, x, rows, count, at, kind, code, row_kind, space, half = chosen.registers(
            start=_bytes(start, word.unit_log2),
            x=Mux(word.plus_x, tile.x, 0),
            rows=_amount(tile, word.rows, LINES_BITS),
            count=_amount(tile, word.count, COUNT_BITS),
            pitch=_pitch(tile),
            pitch_kind=word.pitch.kind,
            code=code,
            row_kind=Mux(single, RowKind.SCALE, word.row.kind),
            space=space,
            half=word.half,
        )

        sized = Stage(m, 2, valid=chosen.valid, final=chosen.final)
        row_bytes = _row_bytes(m, row_kind, code, count)
        pitch = _resolved(m, kind, at, count, row_bytes)
        begin, pitch, rows, row_bytes, space, half = sized.registers(
            begin=(start + x.as_signed())[:START_BITS].as_signed(),
            step=pitch,
            last=(rows - 1)[:LINES_BITS],
            row_bytes=row_bytes,
            space=space,
            half=half,
        )

        spanned = Stage(m, 3, valid=sized.valid, final=sized.final)
        span, first_end, negative, limit = spanned.registers(
            span=rows * pitch,
            first_end=(begin.as_signed() + row_bytes)[: START_BITS + 1],
            negative=begin[-1],
            limit=self._limit(m, space, half, begin),
        )
        compared = Stage(m, 4, valid=spanned.valid, final=spanned.final)
        span, room, negative = compared.registers(
            span=span,
            room=(limit - first_end.as_signed())[: START_BITS + 1],
            negative=negative,
        )
        outside = negative | (room.as_signed() < span)
        m.d.sync += self.verdict.outside.eq(compared.valid & outside)
        m.d.sync += self.verdict.final.eq(compared.final)

    def _limit(self, m: Module, space: Any, half: Any, begin: Any) -> Any:
        """Bytes of the memory, or of the half of it that a result must end in."""
        limit = Signal(MEMORY_BITS + 1, name="limit")
        half_bytes = self.sizes[Space.ACC] // 2
        with m.Switch(space):
            for each, size_bytes in self.sizes.items():
                with m.Case(each):
                    m.d.comb += limit.eq(size_bytes)
            with m.Case(MEMORY_SPACE):
                m.d.comb += limit.eq(self.memory_bytes)
        return Mux(half & (begin.as_signed() < half_bytes), half_bytes, limit)


class Stage:
    """Registers that take their values when a tile comes."""

    def __init__(self, m: Module, number: int, *, valid: Any, final: Any):
        self._m, self._number, self._enable = m, number, valid
        self.valid = Signal(name=f"valid{number}")
        self.final = Signal(name=f"final{number}")
        m.d.sync += [self.valid.eq(valid), self.final.eq(final)]

    def registers(self, **values: Any) -> list[Signal]:
        """A register for each value, in their order."""
        out: list[Signal] = []
        for name, value in values.items():
            register = Signal(len(value), name=f"{name}{self._number}", reset_less=True)
            with self._m.If(self._enable):
                self._m.d.sync += register.eq(value)
            out.append(register)
        return out


def _applies(tile: Any) -> Any:
    """Whether both conditions of the word hold."""
    return Cat(
        each.among.bit_select(tile.payload.bit_select(each.at, 4), 1) for each in tile.word.where
    ).all()


def _slice(payload: Any, place: Any, bits: int) -> Any:
    """A field of at most so many bits."""
    mask = (Const(1, bits + 1) << place.width)[: bits + 1] - 1
    return payload.bit_select(place.at, bits) & mask[:bits]


def _amount(tile: Any, amount: Any, bits: int) -> Any:
    """Rows or a count, from wherever the word says."""
    field = _slice(tile.payload, amount, COUNT_BITS)
    return Mux(
        amount.kind[1],
        Mux(amount.kind[0], field << BLOCK_LOG2, field),
        Mux(amount.kind[0], amount.at, tile.rows),
    )[:bits]


def _pitch(tile: Any) -> Any:
    """The pitch in bytes, unless it follows from the row."""
    place = tile.word.pitch
    field = _slice(tile.payload, place, PITCH_BITS)
    granules = Mux(place.kind == PitchKind.GRANULES, field << GRANULE_LOG2, field)
    return Mux(place.kind == PitchKind.CONSTANT, place.at, granules)[:PITCH_BITS]


def _resolved(m: Module, kind: Any, at: Any, count: Any, row_bytes: Any) -> Any:
    """The pitch, also where it follows from the row."""
    pitch = Signal(PITCH_BITS, name="pitch")
    with m.If(kind == PitchKind.DENSE):
        m.d.comb += pitch.eq(row_bytes)
    with m.Elif(kind == PitchKind.SPREAD):
        least = ACC_ROW_BYTES.bit_length() - 1
        columns = [1 << b for b in range(least - 2, 12)]
        m.d.comb += pitch.eq(4 * 2 * columns[-1])
        for most in reversed(columns):
            with m.If(count <= most):
                m.d.comb += pitch.eq(4 * most)
    with m.Else():
        m.d.comb += pitch.eq(at)
    return pitch


def _bytes(value: Any, unit_log2: Any) -> Any:
    """What a field holds, in bytes, if it counts in granules, words of scales or bytes."""
    bytes_: Any = value
    for log2 in (SCALE_WORD_LOG2, GRANULE_LOG2):
        bytes_ = Mux(unit_log2 == log2, value[: FIELD_BITS - log2] << log2, bytes_)
    return bytes_


def _row_bytes(m: Module, kind: Any, code: Any, count: Any) -> Any:
    """Bytes of a row of `count` numbers, elements or scales."""
    blocks = Signal(COUNT_BITS - BLOCK_LOG2 + 1, name="blocks")
    m.d.comb += blocks.eq((count + BLOCK - 1) >> BLOCK_LOG2)
    facts = Signal(FACTS, name="facts")
    with m.Switch(code):
        for fmt in FORMATS:
            with m.Case(fmt.code):
                m.d.comb += facts.eq(FACTS.const(_facts(fmt)))
    sixes = Mux(facts.sixes, blocks << 3, 0)
    elements = (blocks << 4 << facts.block_log2) + sixes
    groups = Mux(facts.four_blocks, (blocks + 3) >> 2, Mux(facts.half_block, blocks << 1, blocks))
    scales = Mux(facts.two_bytes, groups << 1, groups)
    scales = Mux(facts.scaled, scales, 0)
    scale = Cat(facts.scaled & ~facts.two_bytes, facts.two_bytes)
    packed = count << facts.block_log2[0] << 1  # only of wide formats
    row_bytes = Signal(ROW_BITS, name="bytes_of_row")
    with m.Switch(kind):
        for each, value in (
            (RowKind.BYTES, count),
            (RowKind.NUMBERS, count << 2),
            (RowKind.BLOCKS, elements),
            (RowKind.ELEMENTS, packed),
            (RowKind.SCALES, scales),
            (RowKind.SCALE, scale),
        ):
            with m.Case(each):
                m.d.comb += row_bytes.eq(value)
    return row_bytes


def _facts(fmt: Format) -> dict[str, int]:
    """Blocks have 16 bytes times a power of two, or half as many more; scales one byte or two."""
    log2 = (fmt.block_bytes // 16).bit_length() - 1
    sixes = fmt.block_bytes == 24
    assert fmt.block_bytes == (16 << log2) + 8 * sixes
    assert fmt.group in (0, BLOCK // 2, BLOCK, 4 * BLOCK)
    assert fmt.scale_bits in (0, 8, 16)
    return {
        "block_log2": log2,
        "sixes": int(sixes),
        "scaled": int(fmt.scale_bits > 0),
        "two_bytes": int(fmt.scale_bits == 16),
        "half_block": int(fmt.group == BLOCK // 2),
        "four_blocks": int(fmt.group == 4 * BLOCK),
    }
