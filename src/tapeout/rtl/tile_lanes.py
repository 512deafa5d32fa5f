"""What lies between the banks of the accumulators and their ports: one number of each row."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .component import Component
from .permute import exchanged, moved_down, renumbered


def turn_bits(rows: int) -> int:
    """Bits of a number of places by which the bits of a row's number move."""
    return max(1, (rows.bit_length() - 2).bit_length())


class ToBanks(Component):
    """Puts the rows of a tile where they lie: row i in bank key ^ (i, its bits moved up by turn).

    Combinational.

    Parameters
    ----------
    rows : int
        A power of two.
    width : int
        Bits of a row.

    Members
    -------
    rows : In(width), of each; banks : Out(width), of each
    key, turn : In
    """

    def __init__(self, *, rows: int, width: int):
        super().__init__(
            {
                "rows": In(width).array(rows),
                "banks": Out(width).array(rows),
                "key": In(max(1, rows.bit_length() - 1)),
                "turn": In(turn_bits(rows)),
            },
            name=f"to_banks_{rows}x{width}",
        )

    def build(self, m: Module) -> None:
        """Undo the steps of `FromBanks`."""
        rows = renumbered(m, list(self.rows), self.turn, name="row", inverse=True)
        for bank, row in zip(self.banks, exchanged(m, rows, self.key, name="bank"), strict=True):
            m.d.comb += bank.eq(row)


class FromBanks(Component):
    """Takes the rows of a tile from the banks of one half, as `ToBanks` has put them there.

    Latency 1 cycle; the rows stay until the next `load`.

    Parameters
    ----------
    rows : int
        A power of two.
    width : int
        Bits of a row.

    Members
    -------
    lower, upper : In(width), of each bank
    half, key, turn : In; load : In(1)
    rows : Out(width), of each
    """

    def __init__(self, *, rows: int, width: int):
        super().__init__(
            {
                "lower": In(width).array(rows),
                "upper": In(width).array(rows),
                "half": In(1),
                "key": In(max(1, rows.bit_length() - 1)),
                "turn": In(turn_bits(rows)),
                "load": In(1),
                "rows": Out(width).array(rows),
            },
            name=f"from_banks_{rows}x{width}",
        )

    def build(self, m: Module) -> None:
        """Choose the half, then order its banks."""
        banks = of_half(m, self.half, self.lower, self.upper)
        banks = exchanged(m, banks, self.key, name="bank")
        rows = renumbered(m, banks, self.turn, name="row")
        for out, row in zip(self.rows, rows, strict=True):
            with m.If(self.load):
                m.d.sync += out.eq(row)


class FromBlock(Component):
    """Takes a window from a block of neighbouring groups: one number of each granule.

    Latency 1 cycle; granules that are not chosen stay.

    Parameters
    ----------
    rows : int
        Groups of a block: a power of two.
    group_granules, granules : int
        Of a group, and of the window: powers of two.
    width : int
        Bits of a number.

    Members
    -------
    lower, upper : In(width), of each granule of each bank
    half, key, first : In; chosen : In(1), for each granule
    window : Out(width), for each granule
    """

    def __init__(self, *, rows: int, group_granules: int, granules: int, width: int):
        size = rows * group_granules
        self.group_granules = group_granules
        super().__init__(
            {
                "lower": In(width).array(size),
                "upper": In(width).array(size),
                "half": In(1),
                "key": In(max(1, rows.bit_length() - 1)),
                "first": In(max(1, size.bit_length() - 1)),
                "chosen": In(1).array(granules),
                "window": Out(width).array(granules),
            },
            name=f"from_block_{rows}x{group_granules}_{granules}x{width}",
        )

    def build(self, m: Module) -> None:
        """Order the groups, then move what the window begins with to its front."""
        each, count = self.group_granules, len(self.window)
        banks = of_half(m, self.half, self.lower, self.upper)
        columns = [exchanged(m, banks[i::each], self.key, name=f"group{i}_") for i in range(each)]
        block = [granule for group in zip(*columns, strict=True) for granule in group]
        placed = moved_down(m, block, self.first, name="place", count=min(count, len(block)))
        for i, (granule, chosen) in enumerate(zip(self.window, self.chosen, strict=True)):
            with m.If(chosen):
                m.d.sync += granule.eq(placed[i % len(placed)])


def of_half(m: Module, half: Any, lower: Any, upper: Any) -> list[Any]:
    """What the lower or the upper half holds."""
    out = []
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        wire = Signal(len(low), name=f"line{i}")
        m.d.comb += wire.eq(Mux(half, high, low))
        out.append(wire)
    return out
