"""Choices for random programs: each kind goes through all of its options, over the seeds too."""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import numpy as np

from tapeout.compiler.emitter import Reg
from tapeout.isa import ROWS_MAX
from tapeout.runtime.random_registers import RandomRegisters

T = TypeVar("T")
STRIDE = 3  # draws of a kind that one program surely makes, more or less
BLOCK = 32


@dataclass
class Decks:
    """Draws options in a fixed shuffled order, from where the seed before this one stopped."""

    seed: int
    drawn: Counter[str] = field(default_factory=Counter[str])

    def draw(self, name: str, options: Sequence[T]) -> T:
        """The next option of a kind of choice."""
        order = _order(zlib.crc32(name.encode()), len(options))
        at = self.seed * STRIDE + self.drawn[name]
        self.drawn[name] += 1
        return options[order[at % len(options)]]


@cache
def _order(key: int, count: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(key).permutation(count).tolist())


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

    def rows(self, name: str, *, limit: int, most: int = 0) -> int:
        """A number of rows: none, one, few, many up to `limit`, or `most` if there is one."""
        kinds = ("none", "one", "few", "few", "many", *(("most",) if most else ()))
        match self.decks.draw(f"{name} rows", kinds):
            case "none":
                return 0
            case "one":
                return 1
            case "few":
                return int(self.rng.integers(2, 1 + min(limit, 16), endpoint=True))
            case "many":
                return int(self.rng.integers(min(17, limit), limit, endpoint=True))
            case _:
                return most

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

    def columns(self, name: str, most: int) -> int:
        """A number of columns up to `most`: one, ragged, whole chunks of lanes, or a lot."""
        whole = max(BLOCK, self.lanes)
        kinds = ("one", "ragged", "ragged", "whole", "whole", "large")
        kind = self.decks.draw(f"{name} columns", kinds)
        if kind == "one" or most == 1:
            return 1
        if kind == "large":
            return int(self.rng.integers(max(2, most // 2), most, endpoint=True))
        if kind == "whole" and most >= whole:
            return whole * int(self.rng.integers(1, min(4, most // whole), endpoint=True))
        count = int(self.rng.integers(2, min(most, 5 * BLOCK), endpoint=True))
        return count - (count % BLOCK == 0)
