"""Follows one core's program and proves what its instructions touch, and that it may be touched."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace

from tapeout.chip import Chip
from tapeout.compiler.accesses import Extent, Tile, extents, spread
from tapeout.compiler.limits import (
    READ_ONLY,
    check_bank,
    check_instruction,
    check_local,
    check_pitch,
    memory_sizes,
    region_of,
)
from tapeout.compiler.numbers import ZERO, Numbers, Value
from tapeout.compiler.registers import CommandProcessor, Registers
from tapeout.compiler.structure import Node, Repeat, located
from tapeout.compiler.written import Area, Columns, Guards, Written
from tapeout.errors import CompileError
from tapeout.isa.fields import ROWS_MAX, AluFn, Queue, Space
from tapeout.isa.instructions import (
    Barrier,
    LoadPages,
    LoadScalar,
    LoadTile,
    Operation,
    StorePages,
    StoreTile,
)
from tapeout.isa.program import TABLE_ENTRY_BYTES, Program, Region, Table

Move = LoadTile | StoreTile


@dataclass
class Footprint:
    """What one core's program touches, as far as `follow` has come.

    `tiles` and `turns` are what `Order` needs; `outside` holds which tiles of memory that may
    change were accessed since the last barrier, whether written, and by which instruction; `peak`
    is the highest byte used of each memory, plus 1.
    """

    program: Program
    chip: Chip
    core: int
    numbers: Numbers
    written: Written = field(init=False)
    tiles: dict[int, list[tuple[Tile, bool]]] = field(
        default_factory=dict[int, list[tuple[Tile, bool]]]
    )
    turns: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    outside: dict[tuple[Tile, bool], int] = field(default_factory=dict[tuple[Tile, bool], int])
    peak: dict[Space, int] = field(default_factory=dict[Space, int])

    def __post_init__(self) -> None:
        self.written = Written(self.numbers, memory_sizes(self.chip))
        instructions = self.program.cores[self.core]
        self._cp = CommandProcessor(self.numbers, self.program.tables, instructions)

    def follow(self, nodes: tuple[Node, ...]) -> Generator[None]:
        """Check a program for whatever its scalars and tables are; stop at every barrier.

        Raises:
            CompileError: naming the instruction that breaks a rule.
        """
        registers = {
            scalar.register: self.numbers.named(("scalar", scalar.name), scalar.low, scalar.high)
            for scalar in self.program.scalars
        }
        for node in nodes:
            if isinstance(node, int) and isinstance(self._op(node), Barrier):
                self._step(node, registers, frozenset())
                yield
            else:
                registers = self._walk((node,), registers, ())

    def _op(self, index: int) -> Operation:
        return self.program.cores[self.core][index].op

    def _walk(
        self, nodes: Iterable[Node], registers: Registers, counts: tuple[Value, ...]
    ) -> Registers:
        for node in nodes:
            if isinstance(node, Repeat):
                registers = self._loop(node, registers, counts)
            else:
                guards = frozenset(c for c in counts if self.numbers.low(c) <= 0)
                self._step(node, registers, guards)
        return registers

    def _loop(self, loop: Repeat, registers: Registers, counts: tuple[Value, ...]) -> Registers:
        with located(self.core, loop.at, self._op(loop.at)):
            check_instruction(self.program.cores[self.core][loop.at])
            values = self._cp.enter(loop, registers, len(counts))
        count = values.count
        self.turns[loop.at] = (self.numbers.low(count), self.numbers.high(count))
        if self.numbers.high(count) <= 0:
            raise CompileError(
                "a loop must be able to run at least once",
                where=f"core {self.core}, instruction {loop.at}: {self._op(loop.at)!r}",
            )
        after = self._walk(loop.body, dict(values.entry), (*counts, count))
        self.written.sweep(values.turn, count, self._cp.passing(values))
        return self._cp.leave(values, after)

    def _step(self, index: int, registers: Registers, guards: Guards) -> None:
        instruction = self.program.cores[self.core][index]
        op = instruction.op
        with located(self.core, index, op):
            check_instruction(instruction)
            if instruction.queue is Queue.CP:
                self._cp.execute(op, registers)
                return
            read, write = extents(op)
            reads = [a for e in read if (a := self._area(op, e, registers))]
            writes = [a for e in write if (a := self._area(op, e, registers))]
            if isinstance(op, LoadPages | StorePages):
                self._check_table(op, registers)
            columns = [self._check_read(index, op, area, guards) for area in reads]
            for area in writes:
                self._check_write(index, op, area)
                moved = columns[0] if isinstance(op, Move) and columns else None
                self._note(area, guards, moved)

    # -- from registers to bytes ---------------------------------------------------------------

    def _area(self, op: Operation, extent: Extent, registers: Registers) -> Area | None:
        """The bytes of an extent; None if there are none."""
        numbers = self.numbers
        start = self._cp.read(registers, extent.start_reg) + extent.start
        rows = self._cp.read(registers, extent.rows_reg) + extent.rows
        if extent.paged:
            assert isinstance(op, LoadPages | StorePages)
            rows = Value(self._table(op, registers).high + 1)
        elif extent.rows_reg:
            self._check_rows(rows)
        most = numbers.high(rows)
        if most <= 0 or extent.row_bytes == 0:
            return None
        rows = numbers.positive(rows)  # without a row there is nothing to check
        base = numbers.low(start)
        if base < 0:
            raise CompileError(f"an address must be at least 0, not {base}")
        end = numbers.high(start + (rows - 1) * extent.pitch + extent.row_bytes)
        slack = numbers.high(start) - base
        at = replace(extent, start=0)
        tile = _cut(spread(at, base, base + slack, most, step=start.step), end)
        return Area(
            start=start, rows=rows, pitch=extent.pitch, row_bytes=extent.row_bytes, tile=tile
        )

    def _check_rows(self, rows: Value) -> None:
        low, high = self.numbers.low(rows), self.numbers.high(rows)
        if low < 0 or high > ROWS_MAX:
            raise CompileError(f"rows must be in 0..{ROWS_MAX}, not {low}..{high}")

    def _table(self, op: LoadPages | StorePages, registers: Registers) -> Table:
        start = self._cp.read(registers, op.table)
        low, high = self.numbers.low(start), self.numbers.high(start)
        for table in self.program.tables:
            if table.address <= low and high < table.address + table.count * TABLE_ENTRY_BYTES:
                return table
        raise CompileError(f"the block table must lie in a table of the program, not at {low:#x}")

    def _check_table(self, op: LoadPages | StorePages, registers: Registers) -> None:
        """Check that the entries that are looked up lie in the table."""
        numbers, table = self.numbers, self._table(op, registers)
        named = (op.first, op.end) if isinstance(op, LoadPages) else (op.first, op.count)
        for register in (*named, op.table):
            if numbers.low(self._cp.read(registers, register)) < 0:
                raise CompileError(f"r{register} must be at least 0")
        first, other, start = (self._cp.read(registers, r) for r in (*named, op.table))
        if isinstance(op, LoadPages):
            last = numbers.alu(AluFn.MIN, first + op.rows, other) - 1
        else:
            last = first + other - 1
        entry = numbers.alu(AluFn.SHR, last, Value(op.page_log2))
        high = numbers.high(start + entry * TABLE_ENTRY_BYTES) + TABLE_ENTRY_BYTES
        end = table.address + table.count * TABLE_ENTRY_BYTES
        if high > end:
            raise CompileError(
                f"block table entries must end within `{table.name}`, by {end:#x}, not {high:#x}"
            )

    # -- rules ---------------------------------------------------------------------------------

    def _check_place(self, index: int, op: Operation, area: Area, *, write: bool) -> Region | None:
        """Check where an access goes, and remember it for the checks of order."""
        tile = area.tile
        as_written = replace(tile, rows=2, pitch=area.pitch, row_bytes=area.row_bytes)
        check_pitch(op, as_written if self.numbers.high(area.rows) > 1 else tile, write=write)
        if tile.space is not None:
            check_local(tile, memory_sizes(self.chip)[tile.space])
            check_bank(op, tile, self.chip) if tile.space is Space.ACC else None
            self.peak[tile.space] = max(self.peak.get(tile.space, 0), tile.end)
            region = None
        else:
            region = region_of(tile, self.program.regions, write=write)
        if region is None or region.kind not in READ_ONLY:
            self.tiles.setdefault(index, []).append((tile, write))
            if region is not None:
                self.outside[tile, write] = index
        return region

    def _check_read(self, index: int, op: Operation, area: Area, guards: Guards) -> Columns | None:
        """Check a read; return which columns of it are written, None for all."""
        region = self._check_place(index, op, area, write=False)
        if isinstance(op, LoadScalar) or (region and region.kind in (*READ_ONLY, "pool")):
            return None
        if isinstance(op, LoadPages):  # the table names rows that the program has written
            area = replace(area, rows=ZERO)
        columns = self.written.columns(area, guards)
        if columns.all():
            return None
        if isinstance(op, Move) and columns.any():  # a copy of what is written, and of padding
            return columns
        tile = area.tile
        place = "memory" if tile.space is None else tile.space.name
        missing = int(columns.argmin())
        raise CompileError(
            f"{place} {tile.start}..{tile.end - 1} must be written before it is read;"
            f" byte {missing} of its rows is not, in every run",
            hint="a reader must have no more rows than the writer, as the registers prove",
        )

    def _check_write(self, index: int, op: Operation, area: Area) -> None:
        self._check_place(index, op, area, write=True)

    def _note(self, area: Area, guards: Guards, columns: Columns | None) -> None:
        """Remember what is written: the whole area, or some of its columns."""
        if area.tile.space is None and self.numbers.from_table(area.start):
            # Rows that tables name: together, the turns of the loop write all of them.
            start = Value(self.numbers.low(area.start))
            rows = Value(
                (area.tile.end - area.tile.start - area.row_bytes) // max(1, area.pitch) + 1
            )
            area = replace(area, start=start, rows=rows)
            guards = frozenset(g for g in guards if not self.numbers.from_table(g))
        for first, last in _runs(columns) if columns is not None else [(0, area.row_bytes)]:
            self.written.write(_columns_of(area, first, last), guards)


def _cut(tile: Tile, end: int) -> Tile:
    """A tile without what lies at or beyond `end`."""
    if tile.rows == 1 or not tile.pitch:
        return replace(tile, row_bytes=min(tile.row_bytes, end - tile.start))
    rows = (end - tile.start - tile.row_bytes) // tile.pitch + 1
    return replace(tile, rows=max(1, min(tile.rows, rows)))


def _columns_of(area: Area, first: int, last: int) -> Area:
    if (first, last) == (0, area.row_bytes):
        return area
    size = last - first
    tile = replace(area.tile, start=area.tile.start + first, row_bytes=size)
    return replace(area, start=area.start + first, row_bytes=size, tile=tile)


def _runs(columns: Columns) -> Iterable[tuple[int, int]]:
    """The first and one past the last column of each run of written ones."""
    start = -1
    for i, on in enumerate([*columns.tolist(), False]):
        if on and start < 0:
            start = i
        elif not on and start >= 0:
            yield start, i
            start = -1
