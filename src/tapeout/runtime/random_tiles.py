"""Operands of one random operation: tiles that are loaded, reused, or taken as they lie."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.compiler.emitter import Emitter
from tapeout.isa import GRANULE_BYTES, LoadTile, Operation, Space
from tapeout.runtime.random_memory import Image, Places, Windows
from tapeout.runtime.random_registers import RandomRegisters

U8 = NDArray[np.uint8]
REMEMBERED = 8


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Where an operand lies, and what its bytes mean: "fp32", the name of a format, or any."""

    space: Space
    start: int
    pitch: int
    rows: int
    row_bytes: int
    kind: str

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + max(0, self.rows - 1) * self.pitch + self.row_bytes


@dataclass
class RandomTiles:
    """Places operands; `begin` starts another operation and `emit` ends it."""

    emitter: Emitter
    image: Image
    windows: Windows
    registers: RandomRegisters
    rng: np.random.Generator
    places: Places = field(init=False)
    known: deque[Tile] = field(init=False)
    _results: list[Tile] = field(init=False)

    def __post_init__(self) -> None:
        self.known = deque(maxlen=REMEMBERED)
        self.begin()

    def begin(self) -> None:
        """Forget the operands of the operation before."""
        self.places = Places(self.windows, self.rng)
        self._results = []
        self.registers.release()

    def emit(self, op: Operation) -> None:
        """Append the operation whose operands are placed; what it writes may be read later on."""
        self.emitter.emit(op)
        self.known.extend(self._results)
        self.begin()

    def pitch(self, row_bytes: int, *, most: int = (1 << 15) - 1, tight: bool = False) -> int:
        """A pitch for rows of so many bytes, at most `most` granules."""
        least = -(-row_bytes // GRANULE_BYTES)
        slack = 0 if tight else int(self.rng.choice([0, 0, 0, 1, 2, 5, 17]))
        return GRANULE_BYTES * min(max(1, least + slack), most)

    def read(
        self,
        kind: str,
        rows: int,
        row_bytes: int,
        make: Callable[[], U8],
        *,
        space: Space = Space.L1,
        pitch: int | None = None,
    ) -> Tile:
        """An operand with what `make` gives, with an earlier result, or with what lies there."""
        known = self._known(space, kind, rows, row_bytes, pitch)
        if known is not None:
            self.places.hold(space, known.start, known.end)
            return known
        tile = self.place(kind, rows, row_bytes, space=space, pitch=pitch)
        if rows and space is not Space.ACC and self.rng.random() < 0.85:
            self._load(tile, make())
        return tile

    def write(
        self,
        kind: str,
        rows: int,
        row_bytes: int,
        *,
        space: Space = Space.L1,
        pitch: int | None = None,
        step: int = GRANULE_BYTES,
    ) -> Tile:
        """Room for a result."""
        tile = self.place(kind, rows, row_bytes, space=space, pitch=pitch, step=step)
        self.result(tile)
        return tile

    def result(self, tile: Tile) -> None:
        """Take note that the operation writes a tile."""
        if tile.rows and tile.row_bytes:
            self._results.append(tile)

    def place(
        self,
        kind: str,
        rows: int,
        row_bytes: int,
        *,
        space: Space = Space.L1,
        pitch: int | None = None,
        step: int = GRANULE_BYTES,
    ) -> Tile:
        """A tile where no other of the operation lies."""
        if pitch is None:
            most = (1 << (10 if space is Space.SCALE else 15)) - 1
            pitch = self.pitch(row_bytes, most=most, tight=rows > 1000)
        if rows == 0 or row_bytes == 0:  # it may lie anywhere in the memory
            start = self.windows.size_bytes(space) - step
            return Tile(space=space, start=start, pitch=pitch, rows=rows, row_bytes=0, kind=kind)
        start = self.places.take(space, (rows - 1) * pitch + row_bytes, step=step)
        return Tile(
            space=space, start=start, pitch=pitch, rows=rows, row_bytes=row_bytes, kind=kind
        )

    def _known(
        self, space: Space, kind: str, rows: int, row_bytes: int, pitch: int | None
    ) -> Tile | None:
        """A part of an earlier result, if one fits."""
        if self.rng.random() < 0.6:
            return None
        for tile in reversed(self.known):
            if (tile.space, tile.kind) == (space, kind) and pitch in (None, tile.pitch):
                skip = tile.rows - rows
                if rows and skip >= 0 and tile.row_bytes >= row_bytes:
                    start = tile.start + tile.pitch * int(self.rng.integers(skip + 1))
                    part = Tile(
                        space=space,
                        start=start,
                        pitch=tile.pitch,
                        rows=rows,
                        row_bytes=row_bytes,
                        kind=kind,
                    )
                    if self.places.free(space, part.start, part.end):
                        return part
        return None

    def _load(self, tile: Tile, data: U8) -> None:
        """Bring data to a tile."""
        if not data.size:
            return
        src_pitch = data.shape[1] + int(self.rng.choice([0, 0, 1, 3, 16]))
        if len(data) > 1 and self.rng.random() < 0.03:
            data, src_pitch = data[:1], 0
        op = LoadTile(
            space=tile.space,
            dst=tile.start,
            dst_pitch=tile.pitch,
            src=self.image.place(data, src_pitch),
            src_reg=0,
            src_pitch=src_pitch,
            rows=tile.rows,
            rows_reg=0,
            row_bytes=tile.row_bytes,
        )
        self.emitter.emit(op)
