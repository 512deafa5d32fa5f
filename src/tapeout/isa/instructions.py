"""The instruction set. Every opcode, field and width is written here and nowhere else.

An instruction is an operation plus its synchronisation. Operations are macro-operations: one
covers a whole tile. Numbers in a field are in the field's own unit: an address field with
`unit=16` holds a byte address that must be a multiple of 16.

A `Register` field names one of the command processor's 32 registers (r0 reads as zero); where an
operation has `x` and `x_reg`, the value used is `x` plus the register, read when the command
processor sends the instruction to its queue.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, TypeAlias, get_args

GRANULE_BYTES = 16
"""L1, scale and accumulator addresses and pitches are multiples of this: one 4-bit block."""

REGISTERS = 32
COUNTERS = 64
COUNTER_MAX = 255
"""A counter that would pass this traps."""


class Queue(IntEnum):
    """The in-order queues of a core. CP is the command processor itself."""

    CP = 0
    LD = 1
    ST = 2
    MU = 3
    VU = 4
    BSEL = 5
    NET = 6


class Space(IntEnum):
    """The on-core memories that an operand can live in."""

    L1 = 0
    SCALE = 1
    ACC = 2


class AluFn(IntEnum):
    """What `Alu` computes from a = R[ra] and b = R[rb] + imm; results outside 48 bits trap."""

    ADD = 0
    SUB = 1
    MUL = 2
    MIN = 3
    MAX = 4
    SHR = 5


class MapFn(IntEnum):
    """What `Map` computes per element from a, b and, for MULADD, the old value of dst."""

    COPY = 0  # a
    ADD = 1  # a + b
    SUB = 2  # a - b
    MUL = 3  # a * b
    MAX = 4  # max(a, b)
    SILU_MUL = 5  # silu(a) * b
    GELU_MUL = 6  # gelu(a) * b
    NORMALISE = 7  # a * softmax_inverse(b)
    MULADD = 8  # dst * b + a
    FILL = 9  # b
    GELU_TANH_MUL = 10  # gelu_tanh(a) * b


class Broadcast(IntEnum):
    """How `Map` reads b: an element for each of a's, one per column, one per row, or one."""

    FULL = 0
    ROW = 1
    COLUMN = 2
    SCALAR = 3


@dataclass(frozen=True)
class Field:
    """Width of an instruction field in bits, and the unit that its value counts in."""

    bits: int
    unit: int = 1
    kind: type[IntEnum] | None = None


Register = Annotated[int, Field(bits=5)]
L1Address = Annotated[int, Field(bits=20, unit=GRANULE_BYTES)]
L1Pitch = Annotated[int, Field(bits=15, unit=GRANULE_BYTES)]
ScaleAddress = Annotated[int, Field(bits=16, unit=GRANULE_BYTES)]
ScalePitch = Annotated[int, Field(bits=10, unit=GRANULE_BYTES)]
AccAddress = Annotated[int, Field(bits=16, unit=GRANULE_BYTES)]
HbmAddress = Annotated[int, Field(bits=40)]
HbmPitch = Annotated[int, Field(bits=24)]
Rows = Annotated[int, Field(bits=11)]
RowBytes = Annotated[int, Field(bits=19)]
Columns = Annotated[int, Field(bits=17)]
FormatCode = Annotated[int, Field(bits=4)]
ScaleModeCode = Annotated[int, Field(bits=2)]
Float32Bits = Annotated[int, Field(bits=32)]
Flag = Annotated[int, Field(bits=1)]
TileSpace = Annotated[int, Field(bits=1, kind=Space)]
OperandSpace = Annotated[int, Field(bits=2, kind=Space)]


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
    acc is FP32, row-major with pitch n.
    """

    opcode: ClassVar[int] = 0x30
    queue: ClassVar[Queue] = Queue.MU
    a: L1Address
    a_pitch: L1Pitch
    a_scale: ScaleAddress
    a_scale_pitch: ScalePitch
    a_format: FormatCode
    b: L1Address
    b_pitch: L1Pitch
    b_scale: ScaleAddress
    b_scale_pitch: ScalePitch
    b_format: FormatCode
    acc: AccAddress
    m: Rows
    m_reg: Register
    n: Annotated[int, Field(bits=12)]
    k_blocks: Annotated[int, Field(bits=11)]
    accumulate: Flag
    transpose: Flag


# ---- vector unit -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VectorMatmul:
    """dst[m, n] (+)= sum over k of a[m, k] * b[n, k] in FP32, for operands kept wide.

    Value: `tapeout.numerics.matmul_wide`. a is FP32; b is `bf16` or `fp32`. With `transpose`, b
    lies as [k, n].
    """

    opcode: ClassVar[int] = 0x40
    queue: ClassVar[Queue] = Queue.VU
    a: L1Address
    a_pitch: L1Pitch
    b: L1Address
    b_pitch: L1Pitch
    b_format: FormatCode
    dst: L1Address
    dst_pitch: L1Pitch
    m: Rows
    m_reg: Register
    n: Annotated[int, Field(bits=12)]
    k_blocks: Annotated[int, Field(bits=11)]
    accumulate: Flag
    transpose: Flag


@dataclass(frozen=True, kw_only=True)
class Map:
    """dst = fn(a, b) on FP32 tiles of `rows` x `columns`; a may lie in the accumulators."""

    opcode: ClassVar[int] = 0x41
    queue: ClassVar[Queue] = Queue.VU
    fn: Annotated[int, Field(bits=4, kind=MapFn)]
    a_space: OperandSpace
    a: L1Address
    a_pitch: L1Pitch
    b: L1Address
    b_pitch: L1Pitch
    b_mode: Annotated[int, Field(bits=2, kind=Broadcast)]
    dst: L1Address
    dst_pitch: L1Pitch
    rows: Rows
    rows_reg: Register
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Norm:
    """dst = RMSNorm of each row, times gamma. Value: `tapeout.numerics.rms_norm`."""

    opcode: ClassVar[int] = 0x42
    queue: ClassVar[Queue] = Queue.VU
    src: L1Address
    src_pitch: L1Pitch
    gamma: L1Address
    eps: Float32Bits
    dst: L1Address
    dst_pitch: L1Pitch
    rows: Rows
    rows_reg: Register
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Rope:
    """dst = each head of each row turned by its row's position. Value: `tapeout.numerics.rope`.

    positions: 32-bit integers, one per row; frequencies: head_dim / 2 64-bit fractions of a turn.
    """

    opcode: ClassVar[int] = 0x43
    queue: ClassVar[Queue] = Queue.VU
    src: L1Address
    src_pitch: L1Pitch
    positions: L1Address
    frequencies: L1Address
    factor: Float32Bits
    head_dim: Annotated[int, Field(bits=11)]
    dst: L1Address
    dst_pitch: L1Pitch
    rows: Rows
    rows_reg: Register
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """One chunk of keys of an online softmax. Value: `tapeout.numerics.softmax_step`.

    Scores are FP32, row-major with pitch 4 * `columns` bytes, in `space`. Row r belongs to the
    token at position R[query] + r // group; column c is the key at position R[key] + c. A key
    counts if it is not after the query and, with `window` > 0, less than `window` before it.
    `state` holds three FP32 rows, `state_pitch` bytes apart: running maximum, running sum, and
    alpha, the factor for what was summed before. If `value_format` has scales, each probability is
    multiplied by its key's value scale (at value_scale + 16 * c). The probabilities go to dst in
    `format`, their scales to scale + 16 * row.
    """

    opcode: ClassVar[int] = 0x44
    queue: ClassVar[Queue] = Queue.VU
    space: OperandSpace
    scores: L1Address
    columns: Annotated[int, Field(bits=8)]
    state: L1Address
    state_pitch: Annotated[int, Field(bits=9, unit=GRANULE_BYTES)]
    rows: Rows
    rows_reg: Register
    group: Annotated[int, Field(bits=7)]
    query: Register
    key: Register
    window: Annotated[int, Field(bits=18)]
    value_format: FormatCode
    value_scale: ScaleAddress
    dst: L1Address
    dst_pitch: L1Pitch
    format: FormatCode
    mode: ScaleModeCode
    scale: ScaleAddress


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """Write an FP32 tile as blocks of `format`. Value: `tapeout.numerics.quantise`."""

    opcode: ClassVar[int] = 0x45
    queue: ClassVar[Queue] = Queue.VU
    src: L1Address
    src_pitch: L1Pitch
    dst: L1Address
    dst_pitch: L1Pitch
    scale: ScaleAddress
    scale_pitch: ScalePitch
    format: FormatCode
    mode: ScaleModeCode
    per_row: Flag
    rows: Rows
    rows_reg: Register
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Dequantise:
    """Read blocks of `format` as an FP32 tile. Value: `tapeout.numerics.dequantise`."""

    opcode: ClassVar[int] = 0x46
    queue: ClassVar[Queue] = Queue.VU
    src: L1Address
    src_pitch: L1Pitch
    scale: ScaleAddress
    scale_pitch: ScalePitch
    format: FormatCode
    dst: L1Address
    dst_pitch: L1Pitch
    rows: Rows
    rows_reg: Register
    columns: Columns


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Choose a token for each row of FP32 logits in memory. Value: `tapeout.numerics.sample`.

    The logits are streamed from memory in as many passes as the filters need. The row's
    parameters are a 32-byte record: inverse temperature times log2(e) as FP32 (+inf asks for the
    largest logit), top_k (u32, 0 = all), top_p (u32, 32-bit fraction, 0 = all), a zero word, seed
    (u64), counter (u64). The token goes to out + 4 * row as a 32-bit integer.
    """

    opcode: ClassVar[int] = 0x47
    queue: ClassVar[Queue] = Queue.VU
    logits: HbmAddress
    pitch: HbmPitch
    columns: Annotated[int, Field(bits=20)]
    parameters: HbmAddress
    out: HbmAddress
    rows: Rows
    rows_reg: Register


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

# Opcodes kept for what follows: 0x08 CALL, 0x09 BRANCH, 0x0a VERDICT, 0x0b IRQ, 0x31 REDUCE,
# 0x50.. block selection (BSEL), 0x60.. collectives (NET), 0x70.. pinned ranges (PIN).


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
