"""Random loads and stores of tiles and pages."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.isa import (
    GRANULE_BYTES,
    ROWS_MAX,
    AluFn,
    LoadPages,
    LoadTile,
    Space,
    StorePages,
    StoreTile,
)
from tapeout.runtime.random_memory import PAGE_POOL_BYTES, PAGES
from tapeout.runtime.random_operands import random_bytes, random_numbers
from tapeout.runtime.random_shapes import Shapes
from tapeout.runtime.random_tiles import RandomTiles

U8 = NDArray[np.uint8]
PAGE_BYTES = PAGE_POOL_BYTES // PAGES
TILE_SPACES = (Space.L1, Space.SCALE)
ROW_BYTES = {Space.L1: 3000, Space.SCALE: 600}
TILE_BYTES = {Space.L1: 1 << 13, Space.SCALE: 1 << 11}
ENDS = ("all", "all", "part", "none", "before")


@dataclass
class RandomMoves:
    """Emits operations of the LD and ST queues; each may raise `NoRoomError`."""

    tiles: RandomTiles
    shapes: Shapes
    rng: np.random.Generator

    def load_tile(self) -> None:
        """Load rows from the data, or from where something may have been stored."""
        space, rows, row_bytes = self._shape("load")
        dst = self.tiles.write(self._kind(row_bytes), rows, row_bytes, space=space)
        fixed, rows_reg = self.shapes.split(rows)
        slack = int(self.rng.choice([0, 0, 1, 7, 64]))
        pitch, stride = row_bytes + slack, int(self.rng.integers(40))
        if self.rng.random() < 0.5:
            turn = self.shapes.turn
            more = turn.high if turn is not None and rows <= 64 else 0
            data = self._make(max(1, rows) + more, row_bytes)()
            at = self.tiles.image.place(data, pitch)
            src, src_reg = self._moving(at, stride=pitch if more else 0)
        else:
            size = max(0, rows - 1) * pitch + row_bytes
            region = str(self.rng.choice(["scratch", "scratch", "pages"]))
            src, src_reg = self._somewhere(region, size, stride)
        op = LoadTile(
            space=space,
            dst=dst.start,
            dst_pitch=dst.pitch,
            src=src,
            src_reg=src_reg,
            src_pitch=pitch,
            rows=fixed,
            rows_reg=rows_reg,
            row_bytes=row_bytes,
        )
        self.tiles.emit(op)

    def store_tile(self) -> None:
        """Store rows to the scratch memory or over the pages."""
        space, rows, row_bytes = self._shape("store")
        make = self._make(rows, row_bytes)
        src = self.tiles.read(self._kind(row_bytes), rows, row_bytes, make, space=space)
        fixed, rows_reg = self.shapes.split(rows)
        pitch = row_bytes + int(self.rng.choice([0, 0, 1, 7, 64]))
        region = str(self.rng.choice(["scratch", "scratch", "pages"]))
        size = max(0, rows - 1) * pitch + row_bytes
        dst, dst_reg = self._somewhere(region, size, int(self.rng.integers(40)))
        op = StoreTile(
            space=space,
            src=src.start,
            src_pitch=src.pitch,
            dst=dst,
            dst_reg=dst_reg,
            dst_pitch=pitch,
            rows=fixed,
            rows_reg=rows_reg,
            row_bytes=row_bytes,
        )
        self.tiles.emit(op)

    def load_pages(self) -> None:
        """Gather tokens, some of which lie at or beyond the end."""
        space, rows, row_bytes, page_log2 = self._pages("load pages")
        end_kind = self.shapes.decks.draw("load pages end", ENDS)
        tokens = PAGES << page_log2
        first = int(self.rng.integers(tokens))
        present = max(0, min(rows, tokens - first))
        end = {
            "all": first + present,
            "part": first + int(self.rng.integers(present + 1)),
            "none": first,
            "before": int(self.rng.integers(first + 1)),
        }[end_kind]
        if end_kind == "all" and present == rows:
            end += int(self.rng.choice([0, 1, 1000, 1 << 46]))
        dst = self.tiles.write(self._kind(row_bytes), rows, row_bytes, space=space)
        page_bytes, offset, pool = self._pool(row_bytes, page_log2)
        entries = self.rng.integers(0, PAGES, PAGES).tolist()
        op = LoadPages(
            space=space,
            dst=dst.start,
            dst_pitch=dst.pitch,
            table=self.tiles.registers.hold(self.tiles.image.block_table(entries)),
            first=self.tiles.registers.hold(first),
            end=self.tiles.registers.hold(end),
            rows=rows,
            pool=pool,
            page_bytes=page_bytes,
            offset=offset,
            page_log2=page_log2,
            row_bytes=row_bytes,
        )
        self.tiles.emit(op)

    def store_pages(self) -> None:
        """Scatter tokens over pages that differ."""
        space, rows, row_bytes, page_log2 = self._pages("store pages")
        rows = min(rows, PAGES << page_log2)
        first = int(self.rng.integers((PAGES << page_log2) - rows, endpoint=True))
        make = self._make(rows, row_bytes)
        src = self.tiles.read(self._kind(row_bytes), rows, row_bytes, make, space=space)
        page_bytes, offset, pool = self._pool(row_bytes, page_log2)
        entries = self.rng.permutation(PAGES).tolist()
        op = StorePages(
            space=space,
            src=src.start,
            src_pitch=src.pitch,
            table=self.tiles.registers.hold(self.tiles.image.block_table(entries)),
            first=self.tiles.registers.hold(first),
            count=self.tiles.registers.hold(rows),
            pool=pool,
            page_bytes=page_bytes,
            offset=offset,
            page_log2=page_log2,
            row_bytes=row_bytes,
        )
        self.tiles.emit(op)

    def _shape(self, name: str) -> tuple[Space, int, int]:
        """Space, rows and bytes of a row."""
        space = self.shapes.decks.draw(f"{name} space", TILE_SPACES)
        rows, row_bytes = self.shapes.tile(
            f"{name} {space.name}",
            rows=64,
            columns=ROW_BYTES[space],
            elements=TILE_BYTES[space],
            most=ROWS_MAX if space is Space.L1 else 300,
            whole=GRANULE_BYTES,
        )
        return space, rows, row_bytes

    def _pages(self, name: str) -> tuple[Space, int, int, int]:
        """Space, rows, bytes of a row, and log2 of the tokens of a page."""
        space = self.shapes.decks.draw(f"{name} space", TILE_SPACES)
        page_log2 = self.shapes.decks.draw(f"{name} page", range(8))
        rows, row_bytes = self.shapes.tile(
            name,
            rows=64,
            columns=min(PAGE_BYTES >> page_log2, ROW_BYTES[space]),
            elements=TILE_BYTES[space],
            whole=GRANULE_BYTES,
        )
        return space, rows, row_bytes, page_log2

    def _pool(self, row_bytes: int, page_log2: int) -> tuple[int, int, int]:
        """Bytes of a page, the offset in it, and the address of a pool."""
        size = row_bytes << page_log2
        page_bytes = size + int(self.rng.integers(PAGE_BYTES - size, endpoint=True))
        offset = int(self.rng.integers(page_bytes - size, endpoint=True))
        return page_bytes, offset, self.tiles.image.anywhere("pages", PAGES * page_bytes)

    def _kind(self, row_bytes: int) -> str:
        return "bytes" if row_bytes % 4 else "fp32"

    def _make(self, rows: int, row_bytes: int) -> Callable[[], U8]:
        if row_bytes % 4:
            return lambda: random_bytes(rows, row_bytes, self.rng)
        return lambda: random_numbers(rows, row_bytes // 4, self.rng)

    def _somewhere(self, region: str, size: int, stride: int) -> tuple[int, int]:
        """An address in a region and its register; in loops it may move by `stride`."""
        turn = self.shapes.turn
        if turn is None or self.rng.random() < 0.5:
            stride = 0
        room = size + (turn.high if turn is not None else 0) * stride
        return self._moving(self.tiles.image.anywhere(region, room), stride=stride)

    def _moving(self, address: int, *, stride: int) -> tuple[int, int]:
        """The field and the register of an address, which a loop may move by `stride` a turn."""
        registers, turn = self.tiles.registers, self.shapes.turn
        if stride and turn is not None:
            high = turn.high * stride
            reg = self.tiles.emitter.alu(AluFn.MUL, turn, imm=stride, low=0, high=high)
            registers.held.append(reg)
            return address, reg.number
        kind = self.rng.random()
        if kind < 0.5:
            return address, 0
        if kind < 0.7:
            return 0, registers.hold(address)
        if kind < 0.85:
            far = address + int(self.rng.integers(1 << 30))
            return far, registers.hold(address - far)
        part = int(self.rng.integers(address + 1))
        return part, registers.hold(address - part)
