"""Where a random program's data lies: memory outside as it is filled, and places on the core."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.isa import GRANULE_BYTES, WORD_BYTES, Region, Space, Table
from tapeout.isa.program import Kind

U8 = NDArray[np.uint8]

PAGES = 8
"""Entries of a block table that may be used, and pages of a pool."""

MOST_L1_BYTES, MOST_SCALE_BYTES, MOST_ACC_BYTES = 1 << 16, 1 << 13, 1 << 14
PAGE_POOL_BYTES, SCRATCH_BYTES = 1 << 16, 1 << 15
CELL_BYTES = 16  # of inputs for each instruction
MEMORY_UNIT = 1 << 12


class NoRoomError(Exception):
    """A random operation does not fit beside its operands: another one must be drawn."""


@dataclass(frozen=True)
class Windows:
    """The parts of the core's memories that random programs use: both ends, or all of them."""

    chip: Chip

    def size_bytes(self, space: Space) -> int:
        """Bytes of a memory."""
        return {
            Space.L1: self.chip.core.l1_bytes,
            Space.SCALE: self.chip.core.scale_bytes,
            Space.ACC: 8 * self.chip.matrix.accumulators,
        }[space]

    def windows(self, space: Space) -> list[tuple[int, int]]:
        """First address and first address after of each part, at most two."""
        size = self.size_bytes(space)
        most = {
            Space.L1: MOST_L1_BYTES,
            Space.SCALE: MOST_SCALE_BYTES,
            Space.ACC: MOST_ACC_BYTES,
        }[space]
        if size <= 2 * most and space is not Space.ACC:
            return [(0, size)]
        part = min(most, size // 2)  # each in a half of the accumulators
        return [(0, part), (size - part, size)]


class Places:
    """Where the operands of one operation lie: what it writes overlaps nothing else."""

    def __init__(self, windows: Windows, rng: np.random.Generator):
        self.windows, self.rng = windows, rng
        self.taken: list[tuple[Space, int, int]] = []

    def free(self, space: Space, start: int, end: int) -> bool:
        """Whether nothing of the operation lies there."""
        return not any(s is space and a < end and start < b for s, a, b in self.taken)

    def hold(self, space: Space, start: int, end: int) -> None:
        """Take note that something lies there."""
        self.taken.append((space, start, end))

    def take(self, space: Space, extent: int, *, step: int = GRANULE_BYTES) -> int:
        """A place for so many bytes, often at the end of the memory; raises `NoRoomError`."""
        rng, windows = self.rng, self.windows.windows(space)
        last = (windows[-1][1] - extent) // step * step
        for attempt in range(12):
            low, high = windows[int(rng.integers(len(windows)))]
            room = (high - extent - low) // step
            if room < 0:
                continue
            start = low + step * int(rng.integers(room + 1))
            if attempt == 0 and rng.random() < 0.15 and last >= windows[-1][0]:
                start = last
            if self.free(space, start, start + extent):
                self.hold(space, start, start + extent)
                return start
        return self._first_fit(space, extent, step)

    def _first_fit(self, space: Space, extent: int, step: int) -> int:
        for low, high in self.windows.windows(space):
            after = [-(-b // step) * step for s, _, b in self.taken if s is space]
            for start in (low, *after):
                if low <= start <= high - extent and self.free(space, start, start + extent):
                    self.hold(space, start, start + extent)
                    return start
        raise NoRoomError


class Image:
    """Memory outside at the start: the program's words, its inputs and data, and room to write.

    Every byte that no data fills is random.
    """

    def __init__(self, chip: Chip, *, instructions: int, data_bytes: int, rng: np.random.Generator):
        windows = Windows(chip)
        dump = sum(b - a for space in Space for a, b in windows.windows(space))
        others = instructions * (WORD_BYTES + CELL_BYTES) + PAGE_POOL_BYTES + dump + SCRATCH_BYTES
        data_bytes += dump  # what fills the core
        data_bytes += -(others + data_bytes) % MEMORY_UNIT
        self.rng, at = rng, 0
        self.regions: dict[str, Region] = {}
        layout: list[tuple[str, Kind, int]] = [
            ("program", "constants", instructions * WORD_BYTES),
            ("inputs", "input", instructions * CELL_BYTES),
            ("data", "constants", data_bytes),
            ("pages", "pool", PAGE_POOL_BYTES),
            ("dump", "output", dump),
            ("scratch", "pool", SCRATCH_BYTES),
        ]
        for name, kind, size in layout:
            self.regions[name] = Region(name=name, address=at, size_bytes=size, kind=kind)
            at += size
        self.memory: U8 = rng.integers(0, 256, at, np.uint8)
        self.tables: list[Table] = []
        self._input = self.regions["inputs"].address
        self._data = self.regions["data"].address
        self._dump = self.regions["dump"].address

    @property
    def constant_end(self) -> int:
        """Memory below is never written."""
        return self.regions["pages"].address

    def place(self, rows: U8, pitch: int, *, align: int = 1) -> int:
        """Put rows into the data, so many bytes apart; where they start.

        Where the data is full, they are some that are there already.
        """
        size = (len(rows) - 1) * pitch + rows.shape[1]
        start = self._data + int(self.rng.choice([0, 0, 1, 3, 16, 33]))
        start = -(-start // align) * align
        if start + size > self.regions["data"].end:
            return self.anywhere("data", size, align=align)
        for i, row in enumerate(rows):
            self.memory[start + i * pitch : start + i * pitch + len(row)] = row
        self._data = start + size
        return start

    def cell(self, value: int) -> int:
        """An input that holds a number of 32 bits."""
        return self._table([value], value, value)

    def block_table(self, pages: list[int]) -> int:
        """A block table with these entries."""
        return self._table(pages, 0, PAGES - 1)

    def _table(self, values: list[int], low: int, high: int) -> int:
        address = self._input
        self._input += 4 * len(values) + 4 * int(self.rng.integers(3))
        assert self._input <= self.regions["inputs"].end
        data = np.array(values, np.uint32).view(np.uint8)
        self.memory[address : address + data.size] = data
        name = f"table {len(self.tables)}"
        table = Table(name=name, address=address, count=len(values), low=low, high=high)
        self.tables.append(table)
        return address

    def anywhere(self, region: str, size: int, *, align: int = 1) -> int:
        """A place in a region for so many bytes, often its end; raises `NoRoomError`."""
        where = self.regions[region]
        if self.rng.random() < 0.3:
            align = GRANULE_BYTES
        room = (where.size_bytes - size) // align
        if room < 0:
            raise NoRoomError
        if self.rng.random() < 0.15:
            return where.address + room * align
        return where.address + align * int(self.rng.integers(room + 1))

    def dump(self, size: int) -> int:
        """The next so many bytes of what is stored at the end."""
        start = self._dump
        self._dump += size
        assert self._dump <= self.regions["dump"].end
        return start
