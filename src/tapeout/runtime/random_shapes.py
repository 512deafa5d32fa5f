"""Choices for random programs: each kind goes through all of its options, over the seeds too."""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import TypeVar

import numpy as np

from tapeout.compiler.emitter import Reg
from tapeout.isa import ROWS_MAX
from tapeout.runtime.random_registers import RandomRegisters

T = TypeVar("T")
STRIDE = 3  # draws of a kind that one program surely makes, more or less
BLOCK, LARGE = 32, 256


ROW_KINDS = ("none", "one", "few", "few", "many")
COLUMN_KINDS = ("one", "ragged", "whole", "large", "large whole")


@dataclass
class Decks:
    """Draws all options of a kind of choice before one comes again.

    It starts where the seed before this one may have stopped.
    """

    seed: int
    drawn: Counter[str] = field(default_factory=Counter[str])

    def draw(self, name: str, options: Sequence[T]) -> T:
        """The next option of a kind of choice."""
        deck, at = divmod(self.seed * STRIDE + self.drawn[name], len(options))
        self.drawn[name] += 1
        return options[_order(zlib.crc32(name.encode()), deck, len(options))[at]]


@cache
def _order(key: int, deck: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng((key, deck)).permutation(count).tolist())


@dataclass
class Shapes:
    """Rows and columns of random operations.

    `turn` is a register that counts the turns of the loop around, if there is one.
    """

    decks: Decks
    registers: RandomRegisters
    lanes: int
    rng: np.random.Generator
    turn: Reg | None = None

    def tile(
        self, name: str, *, rows: int, columns: int, elements: int, most: int = 0, whole: int = 0
    ) -> tuple[int, int]:
        """Rows and columns: at most so many, and so many elements.

        The rows are none, one, a few, many, or (then of few columns) `most`; the columns one,
        ragged, or multiples of `whole`, which are by default whole for all units.
        """
        kinds = (*ROW_KINDS, "most") if most else ROW_KINDS
        row_kind, column_kind = self.decks.draw(name, tuple(product(kinds, COLUMN_KINDS)))
        count = {"none": 0, "one": 1, "most": most}.get(row_kind, 0)
        if row_kind == "few":
            count = self._within(2, min(rows, 16))
        if row_kind == "many":
            count = self._within(17, rows)
        room = 4 * elements if row_kind == "most" else elements
        limit = max(1, min(columns, room // max(1, count)))
        return count, self._columns(column_kind, limit, whole or max(BLOCK, self.lanes))

    def split(self, rows: int) -> tuple[int, int]:
        """The field and the register that together give at most so many rows."""
        kind = self.rng.random()
        if self.turn is not None and kind < 0.4 and rows >= self.turn.high:
            return rows - self.turn.high, self.turn.number
        if kind < 0.4:
            return rows, 0
        if kind < 0.6:
            return 0, self.registers.hold(rows)
        fixed = int(self.rng.integers(ROWS_MAX, endpoint=True))
        fixed = fixed if kind < 0.7 else min(fixed, rows)
        return fixed, self.registers.hold(rows - fixed)

    def _columns(self, kind: str, most: int, whole: int) -> int:
        if kind == "one" or most == 1:
            return 1
        if kind in ("whole", "large whole") and most >= whole:
            least, top = (
                (1, min(4, most // whole))
                if kind == "whole"
                else (-(-LARGE // whole), most // whole)
            )
            return whole * self._within(least, top)
        if kind.startswith("large"):
            return self._within(LARGE, most)
        count = self._within(2, min(most, 5 * BLOCK))
        return count - (count % whole == 0)

    def _within(self, low: int, high: int) -> int:
        """A number in low..high; high if that is less than low."""
        return int(self.rng.integers(min(low, high), high, endpoint=True))
