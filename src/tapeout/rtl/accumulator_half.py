"""One half of the accumulators: where the rows of tiles lie in its banks."""

from typing import Any

from amaranth.hdl import Cat, Const, Module
from amaranth.lib.wiring import In, Out

from .component import Component
from .ports import GRANULE_BITS
from .sram import Sram

WORD = 32


class TileShape:
    """Where the groups of a tile lie, within one half.

    Group g lies in the bank whose number is the exclusive or of the digits of g, each of as many
    bits as banks have in their numbers, at line g // banks. So the rows of a tile lie in different
    banks whatever their pitch is, and so do neighbouring groups.

    Parameters
    ----------
    rows, columns : int
        Powers of two, 1..64 and 4..32.
    accumulators : int
        Numbers in one half: a power of two, at least 32 and rows * columns.
    """

    def __init__(self, *, rows: int, columns: int, accumulators: int):
        for name, value, least, most in (
            ("rows", rows, 1, 64),
            ("columns", columns, 4, 32),
            ("accumulators", accumulators, max(32, rows * columns), 1 << 30),
        ):
            if value & (value - 1) or not least <= value <= most:
                raise ValueError(f"{name} must be a power of two in {least}..{most}, not {value}")
        self.rows, self.columns = rows, columns
        self.depth = accumulators // (rows * columns)
        self.bank_bits = rows.bit_length() - 1
        self.group_bits = (accumulators // columns).bit_length() - 1
        self.group_granules = columns * WORD // GRANULE_BITS
        self.window_address_bits = (2 * accumulators * WORD // GRANULE_BITS).bit_length() - 1

    def bank(self, group: Any) -> Any:
        """The exclusive or of the digits of a group's number, or of a value that wide."""
        out: Any = Const(0, self.bank_bits)
        for start in range(0, len(group) if self.bank_bits else 0, self.bank_bits or 1):
            out = out ^ group[start : start + self.bank_bits]
        return out[: self.bank_bits]

    def spread(self, bank: Any) -> Any:
        """A bank's number as every digit of a group's number."""
        if isinstance(bank, int):
            bank = Const(bank, self.bank_bits)
        copies = -(-self.group_bits // max(1, self.bank_bits))
        return Cat(bank for _ in range(copies))[: self.group_bits]


class AccumulatorHalf(Component):
    """One half: a memory for each row of a tile.

    Bank b reads line (base ^ (varied & spread(b))) // rows, and the same when it writes.

    Parameters
    ----------
    shape : TileShape

    Members
    -------
    read_banks : In(a bit for each bank that reads); read_base, read_varied : In(group)
    lines : Out(a line), of each bank, one cycle later
    write_banks : In(a bit for each bank that writes); write_base, write_varied : In(group)
    write_lines : In(a line), masks : In(a bit for each of its numbers), for each bank
    """

    def __init__(self, shape: TileShape):
        self.shape = shape
        width = shape.columns * WORD
        ends = {
            f"{end}_{name}": In(bits)
            for end in ("read", "write")
            for name, bits in (
                ("banks", shape.rows),
                ("base", shape.group_bits),
                ("varied", shape.group_bits),
            )
        }
        super().__init__(
            {
                **ends,
                "lines": Out(width).array(shape.rows),
                "write_lines": In(width).array(shape.rows),
                "masks": In(shape.columns).array(shape.rows),
            },
            name=f"accumulator_half_{shape.rows}x{shape.columns}x{shape.depth}",
        )

    def build(self, m: Module) -> None:
        """The banks."""
        shape = self.shape
        for number in range(shape.rows):
            bank = Sram(width=shape.columns * WORD, depth=max(2, shape.depth), part=WORD)
            m.submodules[f"bank{number}"] = bank
            spread = shape.spread(number)
            read = self.read_base ^ (self.read_varied & spread)
            write = self.write_base ^ (self.write_varied & spread)
            m.d.comb += [
                bank.read_enable.eq(self.read_banks[number]),
                bank.read_line.eq(read >> shape.bank_bits),
                self.lines[number].eq(bank.data),
                bank.write_enable.eq(self.write_banks[number]),
                bank.write_line.eq(write >> shape.bank_bits),
                bank.write_data.eq(self.write_lines[number]),
                bank.mask.eq(self.masks[number]),
            ]
