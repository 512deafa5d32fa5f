"""The accumulators: the matrix unit reaches them by tiles, the vector unit by windows."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, connect, flipped

from .accumulator_half import AccumulatorHalf, TileShape
from .component import Component
from .permute import exchanged, moved_down, renumbered
from .ports import GRANULE_BITS, PITCH_LOG2_BITS, read_port, tile_read, tile_write
from .window_walk import WindowWalk

TILE_LATENCY = 2
"""Cycles from a read of a tile to its data."""


class Accumulators(Component):
    """Two halves of FP32 numbers, in the order of their addresses.

    The matrix unit reads one tile and writes one in every cycle, in any half, and is never
    stalled. A tile that is read holds what was written in earlier cycles.

    The vector unit reads windows, one block of rows * columns numbers per cycle, in cycles in
    which the matrix unit does not read that half; a window that lies in several blocks takes as
    many. Latency 3 cycles if nothing is in the way; throughput 1 block per cycle. A number is read
    as it was in some cycle after its request passed and before its data came.

    Parameters
    ----------
    rows, columns : int
        Of a tile: powers of two, 1..64 and 4..32.
    accumulators : int
        Numbers in one half: a power of two, at least 32 and rows * columns.
    lane_granules : int
        Granules of a window: a power of two.

    Members
    -------
    tile_read : In(tile_read); tile_write : In(tile_write)
    read : In(read_port of lane_granules), addresses in granules over both halves
    """

    def __init__(self, *, rows: int, columns: int, accumulators: int, lane_granules: int):
        self.shape = TileShape(rows=rows, columns=columns, accumulators=accumulators)
        self.walk = WindowWalk(self.shape, granules=lane_granules)
        self.granules = lane_granules
        tiles = {"rows": rows, "columns": columns, "group_bits": self.shape.group_bits + 1}
        bits = self.shape.window_address_bits
        super().__init__(
            {
                "tile_read": In(tile_read(**tiles)),
                "tile_write": In(tile_write(**tiles)),
                "read": In(read_port(granules=lane_granules, address_bits=bits)),
            },
            name=f"accumulators_{rows}x{columns}x{accumulators}_{lane_granules}",
        )

    def build(self, m: Module) -> None:
        """Both halves see the same addresses; each is read by one of the two units."""
        m.submodules.walk = walk = self.walk
        connect(m, flipped(self.read.request), walk.request)
        asked, written = (
            self._place(m, self.tile_read, "read"),
            self._place(m, self.tile_write, "write"),
        )
        m.d.comb += walk.blocked.eq(self.tile_read.enable & (asked.half == walk.half))
        touched = exchanged(list(walk.touched), self.shape.bank(walk.group))
        lines, masks = self._written(written)
        halves = []
        for number in range(2):
            half = AccumulatorHalf(self.shape)
            m.submodules[f"half{number}"] = half
            tiles = self.tile_read.enable & (asked.half == number)
            window = walk.go & (walk.half == number)
            m.d.comb += [
                half.read_banks.eq(Mux(tiles, ~0, Mux(window, Cat(touched), 0))),
                half.read_base.eq(Mux(tiles, asked.base, walk.group)),
                half.read_varied.eq(Mux(tiles, asked.varied, 0)),
                half.write_banks.eq(
                    Mux(written.half == number, Cat(mask.any() for mask in masks), 0)
                ),
                half.write_base.eq(written.base),
                half.write_varied.eq(written.varied),
                Cat(half.write_lines).eq(Cat(lines)),
                Cat(half.mask).eq(Cat(masks)),
            ]
            halves.append(half)
        self._answer_tile(m, asked, halves)
        self._answer_window(m, walk, halves)

    def _place(self, m: Module, tile: Any, name: str) -> Any:
        """How the rows of a tile lie: row i in bank key ^ (i with its bits moved up by turn)."""
        shape = self.shape
        layout = {
            "half": 1,
            "base": shape.group_bits,
            "varied": shape.group_bits,
            "key": shape.bank_bits,
            "turn": max(1, (shape.bank_bits - 1).bit_length()),
        }
        place = {key: Signal(bits, name=f"{name}_{key}") for key, bits in layout.items()}
        group = tile.group[:-1]
        with m.Switch(tile.pitch_log2):
            for pitch in range(1 << PITCH_LOG2_BITS):
                with m.Case(pitch):
                    varied = (1 << shape.bank_bits) - 1 << pitch & (1 << shape.group_bits) - 1
                    m.d.comb += place["varied"].eq(varied)
                    m.d.comb += place["turn"].eq(pitch % max(1, shape.bank_bits))
        m.d.comb += [
            place["half"].eq(tile.group[-1]),
            place["key"].eq(shape.bank(group)),
            place["base"].eq(group ^ (place["varied"] & shape.spread(place["key"]))),
        ]
        return SimpleNamespace(**place)

    def _written(self, place: Any) -> tuple[list[Any], ...]:
        """The lines that the banks write, and their masks."""
        rows, columns = self.shape.rows, self.shape.columns
        tile = self.tile_write
        words = [Cat(tile.data[row * columns : (row + 1) * columns]) for row in range(rows)]
        masks = [
            Mux(tile.enable, tile.mask[row * columns : (row + 1) * columns], 0)
            for row in range(rows)
        ]
        return tuple(
            exchanged(renumbered(items, place.turn, inverse=True), place.key)
            for items in (words, masks)
        )

    def _answer_tile(self, m: Module, asked: Any, halves: list[Any]) -> None:
        """The lines of a half, in the order of the tile's rows."""
        answer = Signal(name="tile_answer")
        m.d.sync += answer.eq(self.tile_read.enable)
        kept = _kept(m, self.tile_read.enable, "tile", asked.half, asked.key, asked.turn)
        half, key, turn = kept
        lines = [Mux(half, odd, even) for even, odd in zip(*(h.lines for h in halves), strict=True)]
        with m.If(answer):
            m.d.sync += Cat(self.tile_read.data).eq(Cat(renumbered(exchanged(lines, key), turn)))

    def _answer_window(self, m: Module, walk: Any, halves: list[Any]) -> None:
        """The granules of a window that lie in the block which was read."""
        answer, ends = Signal(name="window_answer"), Signal(name="window_ends")
        m.d.sync += [answer.eq(walk.go), ends.eq(walk.ends), self.read.data_valid.eq(ends)]
        half, key, first, chosen = _kept(
            m, walk.go, "window", walk.half, self.shape.bank(walk.group), walk.first, walk.chosen
        )
        lines = [Mux(half, odd, even) for even, odd in zip(*(h.lines for h in halves), strict=True)]
        each = self.shape.group_granules
        granules = [
            line.word_select(i, GRANULE_BITS) for line in exchanged(lines, key) for i in range(each)
        ]
        placed = moved_down(granules, first)
        for number in range(self.granules):
            with m.If(answer & chosen[number]):
                m.d.sync += self.read.data.word_select(number, GRANULE_BITS).eq(
                    placed[number % len(placed)]
                )


def _kept(m: Module, enable: Any, name: str, *values: Any) -> list[Signal]:
    """Registers with the values of the last cycle with `enable`."""
    out = []
    for i, value in enumerate(values):
        register = Signal(len(value), name=f"{name}_kept{i}", reset_less=True)
        with m.If(enable):
            m.d.sync += register.eq(value)
        out.append(register)
    return out
