"""The instruction set. Every opcode, field and width is written here and nowhere else.

An instruction is an operation plus its synchronisation. Operations are macro-operations: one
covers a whole tile. Numbers in a field are in the field's own unit: an address field with
`unit=16` holds a byte address that must be a multiple of 16.

A `Register` field names one of the command processor's 32 registers (r0 reads as zero); where an
operation has `x` and `x_reg`, the value used is `x` plus the register, read when the command
processor sends the instruction to its queue.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias, get_args

from tapeout.isa.fields import (
    AccAddress,
    AluFn,
    Field,
    Flag,
    FormatCode,
    HbmAddress,
    HbmPitch,
    L1Address,
    L1Pitch,
    Queue,
    Register,
    RowBytes,
    Rows,
    ScalePitch,
    ScaleWordAddress,
    TileSpace,
    acc_pitch,
)
from tapeout.isa.vector import (
    Dequantise,
    Map,
    Norm,
    Quantise,
    Rope,
    Sample,
    Softmax,
    VectorMatmul,
)

# ---- command processor -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Set:
    """R[rd] = imm."""

    opcode: ClassVar[int] = 0x01
    queue: ClassVar[Queue] = Queue.CP
    rd: Register
    imm: Annotated[int, Field(bits=47)]


@dataclass(frozen=True, kw_only=True)
class Alu:
    """R[rd] = fn(R[ra], R[rb] + imm), on signed 48-bit integers; overflow traps."""

    opcode: ClassVar[int] = 0x02
    queue: ClassVar[Queue] = Queue.CP
    fn: Annotated[int, Field(bits=3, kind=AluFn)]
    rd: Register
    ra: Register
    rb: Register
    imm: Annotated[int, Field(bits=47)]


@dataclass(frozen=True, kw_only=True)
class LoadScalar:
    """R[rd] = the unsigned little-endian 32-bit number in memory at address + R[address_reg]."""

    opcode: ClassVar[int] = 0x03
    queue: ClassVar[Queue] = Queue.CP
    rd: Register
    address: HbmAddress
    address_reg: Register


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Repeat the next `length` instructions R[count] times (not at all when R[count] <= 0)."""

    opcode: ClassVar[int] = 0x04
    queue: ClassVar[Queue] = Queue.CP
    count: Register
    length: Annotated[int, Field(bits=16)]


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """Wait until every queue of this core is empty and every core of the chip has come here."""

    opcode: ClassVar[int] = 0x05
    queue: ClassVar[Queue] = Queue.CP


@dataclass(frozen=True, kw_only=True)
class End:
    """Wait until every queue of this core is empty, then stop."""

    opcode: ClassVar[int] = 0x06
    queue: ClassVar[Queue] = Queue.CP


@dataclass(frozen=True, kw_only=True)
class Nop:
    """Do nothing but wait and signal, in the queue that the header names."""

    opcode: ClassVar[int] = 0x07
    queue: ClassVar[None] = None


# ---- load ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LoadTile:
    """Copy `rows` rows of `row_bytes` from memory to `space`."""

    opcode: ClassVar[int] = 0x10
    queue: ClassVar[Queue] = Queue.LD
    space: TileSpace
    dst: L1Address
    dst_pitch: L1Pitch
    src: HbmAddress
    src_reg: Register
    src_pitch: HbmPitch
    rows: Rows
    rows_reg: Register
    row_bytes: RowBytes


@dataclass(frozen=True, kw_only=True)
class LoadPages:
    """Gather the rows of tokens R[first] .. R[first] + rows - 1 through a block table.

    Token t lies in page p = table[t >> page_log2] (32-bit entries at R[table]), at
    pool + p * page_bytes + offset + (t mod 2^page_log2) * row_bytes. Tokens at or beyond R[end]
    are not read: their rows are filled with zero bytes.
    """

    opcode: ClassVar[int] = 0x11
    queue: ClassVar[Queue] = Queue.LD
    space: TileSpace
    dst: L1Address
    dst_pitch: L1Pitch
    table: Register
    first: Register
    end: Register
    rows: Rows
    pool: HbmAddress
    page_bytes: HbmPitch
    offset: HbmPitch
    page_log2: Annotated[int, Field(bits=3)]
    row_bytes: RowBytes


# ---- store -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoreTile:
    """Copy `rows` rows of `row_bytes` from `space` to memory."""

    opcode: ClassVar[int] = 0x20
    queue: ClassVar[Queue] = Queue.ST
    space: TileSpace
    src: L1Address
    src_pitch: L1Pitch
    dst: HbmAddress
    dst_reg: Register
    dst_pitch: HbmPitch
    rows: Rows
    rows_reg: Register
    row_bytes: RowBytes


@dataclass(frozen=True, kw_only=True)
class StorePages:
    """Scatter R[count] rows to tokens R[first] .. through a block table, as `LoadPages` reads."""

    opcode: ClassVar[int] = 0x21
    queue: ClassVar[Queue] = Queue.ST
    space: TileSpace
    src: L1Address
    src_pitch: L1Pitch
    table: Register
    first: Register
    count: Register
    pool: HbmAddress
    page_bytes: HbmPitch
    offset: HbmPitch
    page_log2: Annotated[int, Field(bits=3)]
    row_bytes: RowBytes


# ---- matrix unit -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Matmul:
    """acc[m, n] (+)= sum over k of a[m, k] * b[n, k], blocks of 32 in ascending k.

    Value: `tapeout.numerics.matmul`. With `transpose`, b lies in L1 as [k, n] and has no scales.
    acc is FP32, row-major, its rows `acc_pitch` bytes apart: the least power of two of at least 128
    that holds n numbers. It must be a multiple of acc_pitch times the least power of two not below
    m. Scales must begin on a multiple of `shapes.scales_unit`.
    """

    opcode: ClassVar[int] = 0x30
    queue: ClassVar[Queue] = Queue.MU
    a: L1Address
    a_pitch: L1Pitch
    a_scale: ScaleWordAddress
    a_scale_pitch: ScalePitch
    a_format: FormatCode
    b: L1Address
    b_pitch: L1Pitch
    b_scale: ScaleWordAddress
    b_scale_pitch: ScalePitch
    b_format: FormatCode
    acc: AccAddress
    m: Rows
    m_reg: Register
    n: Annotated[int, Field(bits=12)]
    k_blocks: Annotated[int, Field(bits=11)]
    accumulate: Flag
    transpose: Flag

    @property
    def acc_pitch(self) -> int:
        """Bytes from row to row of the result."""
        return acc_pitch(self.n)

    def acc_alignment(self, m: int) -> int:
        """What the address of a result of m rows must be a multiple of."""
        return self.acc_pitch << max(0, m - 1).bit_length()


Operation: TypeAlias = (
    Set
    | Alu
    | LoadScalar
    | Loop
    | Barrier
    | End
    | Nop
    | LoadTile
    | LoadPages
    | StoreTile
    | StorePages
    | Matmul
    | VectorMatmul
    | Map
    | Norm
    | Rope
    | Softmax
    | Quantise
    | Dequantise
    | Sample
)
OPERATIONS: tuple[type[Operation], ...] = get_args(Operation)

RESERVED: dict[range, str] = {
    range(0x08, 0x09): "CALL",
    range(0x09, 0x0A): "BRANCH",
    range(0x0A, 0x0B): "VERDICT",
    range(0x0B, 0x0C): "IRQ",
    range(0x31, 0x32): "REDUCE",
    range(0x50, 0x60): "block selection (BSEL)",
    range(0x60, 0x70): "collectives (NET)",
    range(0x70, 0x80): "pinned ranges (PIN)",
}
"""Opcodes kept for operations to come."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """Wait until a counter is at least `count`, then take `count` from it."""

    counter: int
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An operation, the queue that runs it, and its synchronisation.

    It starts when both waits are met and what stands before it in its queue is done; when it is
    done, it adds one to the counter `signal` (-1: none).
    """

    op: Operation
    queue: Queue
    waits: tuple[Take, ...] = ()
    signal: int = -1
    context: int = 0
