"""What the stages of a program share on one core: the emitter, the map, buffers, tile moves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from tapeout.chip import L1_BANK_BYTES, Chip
from tapeout.compiler.emitter import ZERO, Emitter, Reg
from tapeout.compiler.layout import (
    FP32_BYTES,
    SCALAR_CONSTANTS,
    Codes,
    Layout,
    Sizes,
    align,
    scale_offset,
)
from tapeout.compiler.recipe import Recipe
from tapeout.errors import CapacityError
from tapeout.isa.fields import GRANULE_BYTES, AluFn, Broadcast, MapFn, Space
from tapeout.isa.instructions import LoadTile, Map, Matmul, Quantise, StoreTile, VectorMatmul
from tapeout.model import Architecture
from tapeout.numerics import Format
from tapeout.numerics.formats import BLOCK


@dataclass(frozen=True, kw_only=True)
class Tile32:
    """An FP32 tile on the core: rows `pitch` bytes apart, in L1 or in the accumulators."""

    space: Space
    address: int
    pitch: int


@dataclass(frozen=True, kw_only=True)
class CodesTile:
    """A quantised tile on the core: elements in L1, scales in the scale memory."""

    address: int
    pitch: int
    scale: int
    scale_pitch: int


@dataclass
class Buffers:
    """The memories of a core during one stage, handed out from the bottom."""

    l1_bytes: int
    scale_bytes: int
    l1: int = 0
    scale: int = 0
    what: str = ""

    def take(self, size_bytes: int) -> int:
        """An L1 address."""
        address, self.l1 = self.l1, self.l1 + align(size_bytes)
        if self.l1 > self.l1_bytes:
            raise CapacityError(
                f"{self.what} must fit {self.l1_bytes} bytes of L1; {self.l1} are needed",
                hint="ask for fewer rows in a step, or take a chip with more L1",
            )
        return address

    def take_scales(self, size_bytes: int) -> int:
        """A scale memory address."""
        address, self.scale = self.scale, self.scale + align(size_bytes)
        if self.scale > self.scale_bytes:
            raise CapacityError(
                f"{self.what} must fit {self.scale_bytes} bytes of scale memory;"
                f" {self.scale} are needed",
                hint="ask for fewer rows in a step, or take a chip with more scale memory",
            )
        return address


@dataclass(kw_only=True)
class CoreBuilder:
    """One core's program under construction."""

    emitter: Emitter
    chip: Chip
    architecture: Architecture
    recipe: Recipe
    sizes: Sizes
    layout: Layout
    core: int
    rows: Reg
    """Rows of this step: the tokens that it computes."""
    tokens_per_sequence: int
    """1: every row is a sequence of its own; more: all rows are of one sequence."""
    zero: int = 0
    minus_infinity: int = 0
    frequencies: int = 0
    constants_end: int = field(default=0)
    layers: Iterator[int] = field(default_factory=count)
    """Counts linear layers: their activations' scales take buffers in turn."""

    def stage(self, body: "Callable[[CoreBuilder], None]") -> None:
        """Run a stage; where there are other cores, meet them afterwards."""
        body(self)
        if self.chip.cores > 1:
            self.emitter.barrier()

    def load_constants(self) -> None:
        """Fill the start of L1 with what every stage reads."""
        size = GRANULE_BYTES * len(SCALAR_CONSTANTS)
        self.zero, self.minus_infinity = 0, GRANULE_BYTES
        self.frequencies = size
        frequency_bytes = align(4 * self.architecture.head_dim)
        self.constants_end = align(size + frequency_bytes, L1_BANK_BYTES)
        self.load(self.layout.scalars, size, Space.L1, self.zero, size, size, rows=1)
        self.load(
            self.layout.frequencies,
            frequency_bytes,
            Space.L1,
            self.frequencies,
            frequency_bytes,
            frequency_bytes,
            rows=1,
        )

    def buffers(self, what: str) -> Buffers:
        """All of the core's memories above the constants."""
        core = self.chip.core
        return Buffers(core.l1_bytes, core.scale_bytes, l1=self.constants_end, what=what)

    def mine(self, count: int) -> range:
        """Which of `count` equal pieces of work this core does."""
        return range(self.core, count, self.chip.cores)

    # -- moves ---------------------------------------------------------------------------------

    def load(
        self,
        src: int,
        src_pitch: int,
        space: Space,
        dst: int,
        dst_pitch: int,
        row_bytes: int,
        *,
        rows: Reg | int,
        src_reg: Reg = ZERO,
    ) -> None:
        """Copy a tile from memory to the core."""
        if row_bytes:
            self.emitter.emit(
                LoadTile(
                    space=space,
                    dst=dst,
                    dst_pitch=dst_pitch,
                    src=src,
                    src_reg=src_reg.number,
                    src_pitch=src_pitch,
                    rows=rows if isinstance(rows, int) else 0,
                    rows_reg=0 if isinstance(rows, int) else rows.number,
                    row_bytes=row_bytes,
                )
            )

    def store(
        self,
        space: Space,
        src: int,
        src_pitch: int,
        dst: int,
        dst_pitch: int,
        row_bytes: int,
        *,
        rows: Reg | int,
        dst_reg: Reg = ZERO,
    ) -> None:
        """Copy a tile from the core to memory."""
        if row_bytes:
            self.emitter.emit(
                StoreTile(
                    space=space,
                    src=src,
                    src_pitch=src_pitch,
                    dst=dst,
                    dst_reg=dst_reg.number,
                    dst_pitch=dst_pitch,
                    rows=rows if isinstance(rows, int) else 0,
                    rows_reg=0 if isinstance(rows, int) else rows.number,
                    row_bytes=row_bytes,
                )
            )

    # -- vector unit ---------------------------------------------------------------------------

    def map(
        self,
        fn: MapFn,
        a: Tile32,
        b: Tile32,
        mode: Broadcast,
        dst: Tile32,
        *,
        rows: Reg | int,
        columns: int,
    ) -> None:
        """Apply an element-wise function to tiles."""
        self.emitter.emit(
            Map(
                fn=fn,
                a_space=a.space,
                a=a.address,
                a_pitch=a.pitch,
                b=b.address,
                b_pitch=b.pitch,
                b_mode=mode,
                dst=dst.address,
                dst_pitch=dst.pitch,
                rows=rows if isinstance(rows, int) else 0,
                rows_reg=0 if isinstance(rows, int) else rows.number,
                columns=columns,
            )
        )

    def quantise(
        self,
        src: Tile32,
        dst: CodesTile,
        format_code: int,
        *,
        rows: Reg,
        columns: int,
        per_row: bool = False,
    ) -> None:
        """Quantise an FP32 tile of L1."""
        self.emitter.emit(
            Quantise(
                src=src.address,
                src_pitch=src.pitch,
                dst=dst.address,
                dst_pitch=dst.pitch,
                scale=dst.scale,
                scale_pitch=dst.scale_pitch,
                format=format_code,
                mode=self.recipe.mode,
                per_row=per_row,
                rows=0,
                rows_reg=rows.number,
                columns=columns,
            )
        )

    # -- products ------------------------------------------------------------------------------

    def multiply(
        self,
        a: CodesTile,
        w: CodesTile,
        home: Tile32,
        formats: tuple[Format, Format],
        *,
        rows: Reg,
        n: int,
        k: int,
        accumulate: bool = False,
        transpose: bool = False,
    ) -> None:
        """home (+)= a @ w^T; in the vector unit, on FP32 rows of a, if the recipe is wide."""
        if self.recipe.wide:
            self.emitter.emit(
                VectorMatmul(
                    a=a.address,
                    a_pitch=a.pitch,
                    b=w.address,
                    b_pitch=w.pitch,
                    b_format=formats[1].code,
                    dst=home.address,
                    dst_pitch=home.pitch,
                    m=0,
                    m_reg=rows.number,
                    n=n,
                    k_blocks=k // BLOCK,
                    accumulate=accumulate,
                    transpose=transpose,
                )
            )
            return
        self.emitter.emit(
            Matmul(
                a=a.address,
                a_pitch=a.pitch,
                a_scale=a.scale,
                a_scale_pitch=a.scale_pitch,
                a_format=formats[0].code,
                b=w.address,
                b_pitch=w.pitch,
                b_scale=w.scale,
                b_scale_pitch=w.scale_pitch,
                b_format=formats[1].code,
                acc=home.address,
                m=0,
                m_reg=rows.number,
                n=n,
                k_blocks=k // BLOCK,
                accumulate=accumulate,
                transpose=transpose,
            )
        )

    def scalar(self, address: int) -> Tile32:
        """A number in L1 as an operand."""
        return Tile32(space=Space.L1, address=address, pitch=0)

    # -- rows ----------------------------------------------------------------------------------

    def times(self, reg: Reg, factor: int) -> Reg:
        """A register with reg * factor."""
        by = self.emitter.alu(
            AluFn.MUL, reg, imm=factor, low=reg.low * factor, high=reg.high * factor
        )
        return by

    def row_tiles(self, size: int, body: Callable[[int, Reg], None]) -> None:
        """Call body(first row, rows) for each of this core's tiles of at most `size` rows."""
        e = self.emitter
        tiles = -(-self.sizes.rows // size)
        for i in self.mine(tiles):
            first = i * size
            most = min(size, self.sizes.rows - first)
            left = e.alu(AluFn.SUB, self.rows, imm=first, low=-first, high=self.sizes.rows - first)
            some = e.alu(AluFn.MAX, left, imm=0, low=0, high=self.sizes.rows - first, to=None)
            count = e.alu(AluFn.MIN, some, imm=most, low=0, high=most)
            e.free(left, some)
            body(first, count)
            e.free(count)


def columns_of(codes: Codes, start: int, columns: int) -> tuple[int, int, int, int]:
    """(address, row bytes, scale address, scale row bytes) of a slice of columns, in memory."""
    fmt = codes.format
    return (
        codes.address + fmt.row_bytes(start),
        fmt.row_bytes(columns),
        codes.scale_address + scale_offset(fmt, start) if fmt.scale != "none" else 0,
        fmt.scale_row_bytes(columns),
    )


def l1_tile(address: int, columns: int) -> Tile32:
    """An FP32 tile in L1 with rows of `columns`, each starting on a granule."""
    return Tile32(space=Space.L1, address=address, pitch=align(FP32_BYTES * columns))
