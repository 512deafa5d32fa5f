"""Which bytes have surely been written: reads of anything else are refused.

Bytes that are written whatever the scalars are, are kept in a map of each of the core's memories.
Tiles whose place or rows depend on registers are kept as facts, compared by value: a reader with
provably no more rows than the writers is served.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tapeout.compiler.accesses import Tile
from tapeout.compiler.numbers import Numbers, Value
from tapeout.isa.fields import AluFn, Space

Columns = NDArray[np.bool_]
"""For each byte of a row, whether it is written in every row."""

Guards = frozenset[Value]
"""Loop counts that may be 0: what is written in such loops is there if all of them are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """The bytes of one access: exactly, by value, and at their largest, as a tile."""

    start: Value
    rows: Value
    pitch: int
    row_bytes: int
    tile: Tile

    @property
    def gapless(self) -> bool:
        """Whether the rows follow each other without gaps."""
        return self.pitch == self.row_bytes or (not self.rows.terms and self.rows.constant <= 1)


@dataclass(frozen=True, slots=True)
class _Fact:
    area: Area
    guards: Guards


@dataclass(frozen=True, slots=True)
class _Band:
    """Columns first..last of a reader's rows that a fact covers: rows from -skip up to end."""

    first: int
    last: int
    skip: int
    end: Value


@dataclass
class Written:
    """What one core knows to be written, in its own memories and outside."""

    numbers: Numbers
    size_bytes: dict[Space, int]
    _maps: dict[tuple[Space, Guards], Columns] = field(
        default_factory=dict[tuple[Space, Guards], Columns]
    )
    _facts: dict[tuple[Space | None, int], dict[_Fact, None]] = field(
        default_factory=dict[tuple[Space | None, int], dict[_Fact, None]]
    )

    def write(self, area: Area, guards: Guards) -> None:
        """Take note of a write, in loops whose turns may be none if one of `guards` is 0."""
        tile = area.tile
        if tile.space is not None and not area.start.terms:
            rows = self.numbers.low(area.rows)
            if rows > 0:
                key = (tile.space, guards)
                if key not in self._maps:
                    self._maps[key] = np.zeros(self.size_bytes[tile.space], np.bool_)
                _rows_of(self._maps[key], tile, rows)[:] = True
            if not area.rows.terms:
                return
        self._facts.setdefault((tile.space, area.pitch), {})[_Fact(area, guards)] = None

    def sweep(self, turn: int, count: Value, passing: frozenset[int]) -> None:
        """Take note of what all turns of a loop have written together.

        A tile that moves by its own rows from turn to turn covers them all: k rows in each of
        `count` turns, or, where turn t has min(k, x - k t), the first min(k count, x). Nothing
        else about it may depend on `passing`, the unknowns that differ from turn to turn.
        """
        for (_, pitch), facts in self._facts.items():
            for fact in list(facts) if pitch else ():
                moved = dict(fact.area.start.terms).get(turn, 0)
                k, rest = divmod(moved, pitch)
                rows = self._swept(fact.area.rows, turn, k, count) if k > 0 and not rest else None
                if rows is None or self.numbers.depends_on(rows, passing):
                    continue
                start = fact.area.start - Value(0, ((turn, moved),))
                if not self.numbers.depends_on(start, passing):
                    area = replace(fact.area, start=start, rows=rows)
                    facts[_Fact(area, fact.guards - {count})] = None

    def _swept(self, rows: Value, turn: int, k: int, count: Value) -> Value | None:
        if rows == Value(k):
            return count * k
        for a, b in self.numbers.least_of(rows):
            rest = b + Value(0, ((turn, k),))
            if a == Value(k):
                return self.numbers.alu(AluFn.MIN, count * k, rest)
        return None

    def columns(self, area: Area, guards: Guards) -> Columns:
        """Which columns of a reader's rows are written, in loops with these counts."""
        covered = np.zeros(area.row_bytes, np.bool_)
        if self._stands(area, guards):
            return ~covered
        covered |= self._mapped(area, guards)
        if not covered.all():
            covered |= self._by_rows(area, guards) | self._by_parts(area, guards)
        if not covered.all() and self._by_span(area, guards):
            covered[:] = True
        return covered

    def share(self, other: "Written") -> None:
        """Learn what another core has written outside."""
        for (space, pitch), facts in other._facts.items():
            if space is None:
                self._facts.setdefault((None, pitch), {}).update(facts)

    def _stands(self, area: Area, guards: Guards) -> bool:
        """Whether this very tile was written."""
        facts = self._facts.get((area.tile.space, area.pitch), {})
        return any(_Fact(area, g) in facts for g in (frozenset[Value](), guards))

    def _mapped(self, area: Area, guards: Guards) -> Columns:
        tile = area.tile
        if tile.space is None or area.start.terms:
            return np.zeros(area.row_bytes, np.bool_)
        covered = np.zeros((tile.rows, area.row_bytes), np.bool_)
        for (space, needed), bytes_ in self._maps.items():
            if space is tile.space and needed <= guards:
                covered |= _rows_of(bytes_, tile, tile.rows)
        whole: Columns = np.logical_and.reduce(covered, axis=0)
        return whole

    def _near(self, area: Area, guards: Guards) -> Iterator[Area]:
        """Areas of facts that hold here and may share bytes with `area`."""
        for (space, _), facts in self._facts.items():
            if space is not area.tile.space:
                continue
            for fact in facts:
                tile = fact.area.tile
                if (
                    tile.start < area.tile.end
                    and area.tile.start < tile.end
                    and fact.guards <= guards
                ):
                    yield fact.area

    def _by_rows(self, area: Area, guards: Guards) -> Columns:
        """Columns that facts of the reader's pitch, or of a part of it, cover in all rows."""
        bands = [b for fact in self._near(area, guards) for b in self._bands(area, fact)]
        covered = np.ones(area.row_bytes, np.bool_)
        row, rows = 0, area.rows
        while True:
            here = [b for b in bands if b.skip + row >= 0]
            done = [b for b in here if self._reaches(b.end, rows)]
            union = _union(done, area.row_bytes)
            ends = sorted({e for b in here if (e := self.numbers.high(b.end)) > row})
            ends = [e for e in ends if e < area.tile.rows]
            if (union >= covered).all() or not ends:
                return covered & union
            least = self.numbers.alu(AluFn.MIN, rows, Value(ends[0]))
            upto = [b for b in here if self._reaches(b.end, least)]
            covered &= _union(upto, area.row_bytes)
            row = ends[0]

    def _by_parts(self, area: Area, guards: Guards) -> Columns:
        """Columns covered by facts of which one row holds several of the reader's."""
        covered = np.zeros(area.row_bytes, np.bool_)
        pitches = {fact.pitch for fact in self._near(area, guards) if fact.pitch > area.pitch}
        for pitch in pitches if area.pitch else ():
            count, rest = divmod(pitch, area.pitch)
            if rest or (rows := area.rows.quotient(count)) is None:
                continue
            whole = np.ones(area.row_bytes, np.bool_)
            for i in range(count):
                start = area.start + i * area.pitch
                whole &= self._by_rows(replace(area, start=start, rows=rows, pitch=pitch), guards)
            covered |= whole
        return covered

    def _bands(self, area: Area, fact: Area) -> Iterator[_Band]:
        """The columns of a fact as a reader sees them, once for each of its rows in a pitch."""
        pitch = area.pitch
        if pitch == 0 or fact.pitch == 0 or pitch % fact.pitch:
            return
        count = pitch // fact.pitch
        rows = fact.rows if count == 1 else fact.rows.quotient(count)
        if rows is None:
            return
        for i in range(count):
            away = area.start - fact.start - i * fact.pitch
            column = away.constant % pitch
            skipped = (away - column).quotient(pitch)
            if skipped is None:
                continue
            skip = self.numbers.low(skipped)
            end = rows - skipped
            # The reader's column c is the fact's column + c, or that less the pitch, a row later.
            if column < fact.row_bytes:
                yield _Band(0, fact.row_bytes - column, skip, end)
            if column + area.row_bytes > pitch:
                yield _Band(pitch - column, pitch - column + fact.row_bytes, skip + 1, end - 1)

    def _reaches(self, end: Value, rows: Value) -> bool:
        """Whether end >= rows is proven."""
        return self.numbers.low(end - rows) >= 0

    def _by_span(self, area: Area, guards: Guards) -> bool:
        """Whether tiles without gaps cover the reader from its first byte to its last."""
        length = (area.rows - 1) * area.pitch + area.row_bytes
        if area.pitch == 0:
            length = Value(area.row_bytes)
        spans: list[tuple[int, Value]] = []
        for fact in self._near(area, guards):
            away = area.start - fact.start
            if fact.gapless:
                size = fact.rows * fact.row_bytes
                spans.append((self.numbers.low(away), size - away))
        at = 0
        while True:
            here = [end for skip, end in spans if skip + at >= 0]
            if any(self._reaches(end, length) for end in here):
                return True
            ends = sorted({e for end in here if (e := self.numbers.high(end)) > at}, reverse=True)
            for e in ends:
                least = self.numbers.alu(AluFn.MIN, length, Value(e))
                if any(self._reaches(end, least) for end in here):
                    at = e
                    break
            else:
                return False


def _rows_of(bytes_: Columns, tile: Tile, rows: int) -> Columns:
    """The rows of a tile as a view of a memory. [rows, row_bytes]"""
    start = tile.start
    size = (rows - 1) * tile.pitch + tile.row_bytes
    return np.lib.stride_tricks.as_strided(
        bytes_[start : start + size], (rows, tile.row_bytes), (tile.pitch, 1)
    )


def _union(bands: list[_Band], row_bytes: int) -> Columns:
    covered = np.zeros(row_bytes, np.bool_)
    for band in bands:
        covered[max(0, band.first) : max(0, band.last)] = True
    return covered
