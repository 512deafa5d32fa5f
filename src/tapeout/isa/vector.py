"""Operations of the vector unit."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from tapeout.isa.fields import (
    GRANULE_BYTES,
    Broadcast,
    Columns,
    Field,
    Flag,
    Float32Bits,
    FormatCode,
    HbmAddress,
    HbmPitch,
    L1Address,
    L1Pitch,
    MapFn,
    OperandSpace,
    Queue,
    Register,
    Rows,
    ScaleAddress,
    ScaleModeCode,
    ScalePitch,
    Space,
    acc_pitch,
)


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
    head_dim is a multiple of 8 that divides `columns`.
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

    Scores are FP32, row-major in `space`: in L1 with a pitch of 4 * `columns` bytes, in the
    accumulators with that of a product of so many columns. Row r belongs to the token at position
    R[query] + r // group; column c is the key at position R[key] + c. A key counts if it is not
    after the query and, with `window` > 0, less than `window` before it. `state` holds three FP32
    rows, `state_pitch` bytes apart: running maximum, running sum, and alpha, the factor for what
    was summed before. If `value_format` has scales, each probability is multiplied by its key's
    value scale (at value_scale + 16 * c). The probabilities go to dst in `format`, their scales to
    scale + 16 * row.
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

    @property
    def score_pitch(self) -> int:
        """Bytes from row to row of the scores."""
        return acc_pitch(self.columns) if self.space == Space.ACC else 4 * self.columns


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
    (u64), counter (u64). The token goes to out + 4 * row as a 32-bit integer. All addresses and the
    pitch are multiples of 4.
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
