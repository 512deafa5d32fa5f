"""The accumulators: the matrix unit reaches them by tiles, the vector unit by windows."""

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, connect, flipped

from .accumulator_half import WORD, AccumulatorHalf, TileShape
from .component import Component
from .permute import exchanged
from .ports import GRANULE_BITS, PITCH_LOG2_BITS, read_port, tile_read, tile_write
from .tile_lanes import FromBanks, FromBlock, ToBanks, turn_bits
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
        bank_of_block = Signal(self.shape.bank_bits)
        m.d.comb += bank_of_block.eq(self.shape.bank(walk.group))
        touched = exchanged(m, list(walk.touched), bank_of_block, name="touched")
        lines, masks = self._written(m, written)
        halves = []
        for number in range(2):
            half = AccumulatorHalf(self.shape)
            m.submodules[f"half{number}"] = half
            tiles = self.tile_read.enable & (asked.half == number)
            window = walk.go & (walk.half == number)
            writes = self.tile_write.enable & (written.half == number)
            m.d.comb += [
                half.read_banks.eq(Mux(tiles, ~0, Mux(window, Cat(touched), 0))),
                half.read_base.eq(Mux(tiles, asked.base, walk.group)),
                half.read_varied.eq(Mux(tiles, asked.varied, 0)),
                half.write_banks.eq(Mux(writes, Cat(mask.any() for mask in masks), 0)),
                half.write_base.eq(written.base),
                half.write_varied.eq(written.varied),
            ]
            for bank in range(self.shape.rows):
                m.d.comb += half.write_lines[bank].eq(Cat(lane.banks[bank] for lane in lines))
                m.d.comb += half.masks[bank].eq(masks[bank])
            halves.append(half)
        self._answer_tile(m, asked, halves)
        self._answer_window(m, bank_of_block, halves)

    def _place(self, m: Module, tile: Any, name: str) -> Any:
        """How the rows of a tile lie: row i in bank key ^ (i with its bits moved up by turn)."""
        shape = self.shape
        layout = {
            "half": 1,
            "base": shape.group_bits,
            "varied": shape.group_bits,
            "key": shape.bank_bits,
            "turn": turn_bits(shape.rows),
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

    def _written(self, m: Module, place: Any) -> tuple[list[Any], list[Any]]:
        """Lanes with the lines that the banks write, and the banks' masks."""
        rows, columns = self.shape.rows, self.shape.columns
        masks = ToBanks(rows=rows, width=columns)
        words = [ToBanks(rows=rows, width=WORD) for _ in range(columns)]
        for name, lane in [("masks", masks), *((f"to{i}", lane) for i, lane in enumerate(words))]:
            m.submodules[name] = lane
            m.d.comb += [lane.key.eq(place.key), lane.turn.eq(place.turn)]
        for row in range(rows):
            m.d.comb += masks.rows[row].eq(self.tile_write.mask.word_select(row, columns))
            for column, lane in enumerate(words):
                m.d.comb += lane.rows[row].eq(self.tile_write.data[row * columns + column])
        return words, list(masks.banks)

    def _answer_tile(self, m: Module, asked: Any, halves: list[Any]) -> None:
        """The lines of a half, in the order of the tile's rows."""
        rows, columns = self.shape.rows, self.shape.columns
        load = Signal(name="tile_load")
        m.d.sync += load.eq(self.tile_read.enable)
        half, key, turn = _kept(m, self.tile_read.enable, "tile", asked.half, asked.key, asked.turn)
        lanes = []
        for column in range(columns):
            lane = FromBanks(rows=rows, width=WORD)
            m.submodules[f"from{column}"] = lane
            m.d.comb += [
                lane.half.eq(half), lane.key.eq(key), lane.turn.eq(turn), lane.load.eq(load),
            ]  # fmt: skip
            for row in range(rows):
                m.d.comb += [
                    lane.lower[row].eq(halves[0].lines[row].word_select(column, WORD)),
                    lane.upper[row].eq(halves[1].lines[row].word_select(column, WORD)),
                ]
            lanes.append(lane)
        m.d.comb += self.tile_read.data.as_value().eq(
            Cat(lane.rows[row] for row in range(rows) for lane in lanes)
        )

    def _answer_window(self, m: Module, bank_of_block: Any, halves: list[Any]) -> None:
        """The granules of a window that lie in the block which was read."""
        walk, each = self.walk, self.shape.group_granules
        load, ends = Signal(name="window_load"), Signal(name="window_ends")
        m.d.sync += [load.eq(walk.go), ends.eq(walk.ends), self.read.data_valid.eq(ends)]
        half, key, first, chosen = _kept(
            m, walk.go, "window", walk.half, bank_of_block, walk.first, walk.chosen
        )
        count = GRANULE_BITS // WORD
        lanes = []
        for number in range(count):
            lane = FromBlock(
                rows=self.shape.rows, group_granules=each, granules=self.granules, width=WORD
            )
            m.submodules[f"window{number}"] = lane
            m.d.comb += [lane.half.eq(half), lane.key.eq(key), lane.first.eq(first)]
            for i in range(self.shape.rows * each):
                place = i % each * count + number
                for end, source in zip((lane.lower, lane.upper), halves, strict=True):
                    m.d.comb += end[i].eq(source.lines[i // each].word_select(place, WORD))
            for i in range(self.granules):
                m.d.comb += lane.chosen[i].eq(load & chosen[i])
            lanes.append(lane)
        m.d.comb += self.read.data.eq(
            Cat(lane.window[i] for i in range(self.granules) for lane in lanes)
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
