"""The effect of each operation of the LD, ST, MU and VU queues on the memories."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from tapeout import numerics
from tapeout.errors import TrapError
from tapeout.isa.fields import GRANULE_BYTES, ROWS_MAX, Broadcast, MapFn
from tapeout.isa.instructions import (
    Alu,
    Barrier,
    Dequantise,
    End,
    LoadPages,
    LoadScalar,
    LoadTile,
    Loop,
    Map,
    Matmul,
    Nop,
    Norm,
    Operation,
    Quantise,
    Rope,
    Sample,
    Set,
    Softmax,
    StorePages,
    StoreTile,
    VectorMatmul,
)
from tapeout.isa.shapes import shape_problem
from tapeout.numerics import Blocks, Format, ScaleMode, format_of_code
from tapeout.sim.state import F32, Bytes, Memories, numbers, tile

Registers = Sequence[int]
K0 = 32
FP32_BYTES = 4


def execute(op: Operation, r: Registers, mem: Memories) -> None:
    """Apply one operation, with the register values `r` that were frozen when it was sent.

    An operation without rows does nothing.
    """
    if problem := shape_problem(op):
        raise TrapError(problem)
    _execute(op, r, mem)


def _execute(op: Operation, r: Registers, mem: Memories) -> None:
    match op:
        case LoadTile() | LoadPages() | StoreTile() | StorePages():
            _move(op, r, mem)
        case Matmul():
            if m := _rows(op.m, r[op.m_reg]):
                _matmul(op, m, mem)
        case VectorMatmul():
            if m := _rows(op.m, r[op.m_reg]):
                _vector_matmul(op, m, mem)
        case Map() | Norm() | Rope() | Softmax() | Quantise() | Dequantise() | Sample():
            if rows := _rows(op.rows, r[op.rows_reg]):
                _vector(op, rows, r, mem)
        case Nop():
            pass
        case Set() | Alu() | LoadScalar() | Loop() | Barrier() | End():
            raise TrapError(f"{type(op).__name__} must run in the command processor")
        case _:
            assert_never(op)


def _move(op: LoadTile | LoadPages | StoreTile | StorePages, r: Registers, mem: Memories) -> None:
    match op:
        case LoadTile():
            if rows := _rows(op.rows, r[op.rows_reg]):
                _load_tile(op, rows, r, mem)
        case StoreTile():
            if rows := _rows(op.rows, r[op.rows_reg]):
                _store_tile(op, rows, r, mem)
        case LoadPages():
            if op.rows:
                _load_pages(op, r, mem)
        case StorePages():
            if count := _rows(0, r[op.count]):
                _store_pages(op, count, r, mem)


def _vector(
    op: Map | Norm | Rope | Softmax | Quantise | Dequantise | Sample,
    rows: int,
    r: Registers,
    mem: Memories,
) -> None:
    match op:
        case Map():
            _map(op, rows, mem)
        case Norm():
            _norm(op, rows, mem)
        case Rope():
            _rope(op, rows, mem)
        case Softmax():
            _softmax(op, rows, r, mem)
        case Quantise():
            _quantise(op, rows, mem)
        case Dequantise():
            _dequantise(op, rows, mem)
        case Sample():
            _sample(op, rows, mem)


# ---- memory ----------------------------------------------------------------------------------


def _load_tile(op: LoadTile, rows: int, r: Registers, mem: Memories) -> None:
    src = tile(mem.hbm, op.src + r[op.src_reg], rows, op.src_pitch, op.row_bytes)
    tile(mem.space(op.space), op.dst, rows, op.dst_pitch, op.row_bytes)[:] = src


def _store_tile(op: StoreTile, rows: int, r: Registers, mem: Memories) -> None:
    src = tile(mem.space(op.space), op.src, rows, op.src_pitch, op.row_bytes)
    tile(mem.hbm, op.dst + r[op.dst_reg], rows, op.dst_pitch, op.row_bytes)[:] = src


def _load_pages(op: LoadPages, r: Registers, mem: Memories) -> None:
    out = tile(mem.space(op.space), op.dst, op.rows, op.dst_pitch, op.row_bytes)
    first = r[op.first]
    count = max(0, min(op.rows, r[op.end] - first))
    for row, length, address in _page_runs(op, first, count, r, mem):
        out[row : row + length] = tile(mem.hbm, address, length, op.row_bytes, op.row_bytes)
    out[count:] = 0


def _store_pages(op: StorePages, count: int, r: Registers, mem: Memories) -> None:
    src = tile(mem.space(op.space), op.src, count, op.src_pitch, op.row_bytes)
    for row, length, address in _page_runs(op, r[op.first], count, r, mem):
        tile(mem.hbm, address, length, op.row_bytes, op.row_bytes)[:] = src[row : row + length]


def _page_runs(
    op: LoadPages | StorePages, first: int, count: int, r: Registers, mem: Memories
) -> list[tuple[int, int, int]]:
    """(first row, rows, address) of each run of tokens within one page."""
    if count and first < 0:
        raise TrapError(f"the first token must be at least 0, not {first}")
    size = 1 << op.page_log2
    runs: list[tuple[int, int, int]] = []
    row = 0
    while row < count:
        page, line = divmod(first + row, size)
        length = min(size - line, count - row)
        entry = numbers(mem.hbm, r[op.table] + 4 * page, 1, 4, 1, np.uint32)
        base = op.pool + int(entry[0, 0]) * op.page_bytes + op.offset
        runs.append((row, length, base + line * op.row_bytes))
        row += length
    return runs


def _rows(fixed: int, register: int) -> int:
    rows = fixed + register
    if not 0 <= rows <= ROWS_MAX:
        raise TrapError(f"rows must be in 0..{ROWS_MAX}, not {rows}")
    return rows


# ---- products --------------------------------------------------------------------------------


def _operand(
    mem: Memories, fmt: Format, rows: int, k: int, at: tuple[int, int, int, int]
) -> Blocks:
    """Blocks [rows, k] at (address, pitch, scale address, scale pitch)."""
    address, pitch, scale, scale_pitch = at
    elements = tile(mem.l1, address, rows, pitch, fmt.row_bytes(k))
    scales = tile(mem.scale, scale, rows, scale_pitch, fmt.scale_row_bytes(k))
    return numerics.from_bytes(fmt, k, elements, scales)


def _transposed(mem: Memories, fmt: Format, k: int, n: int, address: int, pitch: int) -> Blocks:
    """Blocks [n, k] of elements that lie as [k, n], all scales one."""
    rows = tile(mem.l1, address, k, pitch, fmt.row_bytes(n))
    return numerics.unscaled(
        fmt, np.ascontiguousarray(numerics.unpack(rows, fmt.element_bits)[:, :n].T)
    )


def _matmul(op: Matmul, m: int, mem: Memories) -> None:
    k = K0 * op.k_blocks
    a_format, b_format = format_of_code(op.a_format), format_of_code(op.b_format)
    a = _operand(mem, a_format, m, k, (op.a, op.a_pitch, op.a_scale, op.a_scale_pitch))
    if op.transpose:
        b = _transposed(mem, b_format, k, op.n, op.b, op.b_pitch)
    else:
        b = _operand(mem, b_format, op.n, k, (op.b, op.b_pitch, op.b_scale, op.b_scale_pitch))
    acc: F32 = numbers(mem.acc, op.acc, m, op.acc_pitch, op.n)
    half = mem.acc.size // 2
    if op.acc < half < op.acc + (m - 1) * op.acc_pitch + FP32_BYTES * op.n:
        raise TrapError(f"a result must lie in one half of the accumulators, not across {half:#x}")
    if op.acc % op.acc_alignment(m):
        raise TrapError(
            f"a result of {m} rows must start on a multiple of {op.acc_alignment(m)} bytes,"
            f" not at {op.acc:#x}"
        )
    acc[:] = numerics.matmul(a, b, acc if op.accumulate else None)


def _vector_matmul(op: VectorMatmul, m: int, mem: Memories) -> None:
    k = K0 * op.k_blocks
    fmt = format_of_code(op.b_format)
    a: F32 = numbers(mem.l1, op.a, m, op.a_pitch, k)
    shape = (k, op.n) if op.transpose else (op.n, k)
    rows = tile(mem.l1, op.b, shape[0], op.b_pitch, shape[1] * fmt.element_bits // 8)
    b = numerics.decode(numerics.unpack(rows, fmt.element_bits), fmt.element)
    dst: F32 = numbers(mem.l1, op.dst, m, op.dst_pitch, op.n)
    dst[:] = numerics.matmul_wide(a, b.T if op.transpose else b, dst if op.accumulate else None)


# ---- vector unit -----------------------------------------------------------------------------


def _map(op: Map, rows: int, mem: Memories) -> None:
    dst: F32 = numbers(mem.l1, op.dst, rows, op.dst_pitch, op.columns)
    fn = MapFn(op.fn)
    a: F32 = (
        dst
        if fn is MapFn.FILL
        else numbers(mem.space(op.a_space), op.a, rows, op.a_pitch, op.columns)
    )
    if fn is MapFn.COPY:
        dst[:] = a
        return
    dst[:] = _map_value(fn, a, _map_b(op, rows, mem.l1), dst)


def _map_b(op: Map, rows: int, l1: Bytes) -> F32:
    match Broadcast(op.b_mode):
        case Broadcast.FULL:
            return numbers(l1, op.b, rows, op.b_pitch, op.columns)
        case Broadcast.ROW:
            return numbers(l1, op.b, 1, 0, op.columns)
        case Broadcast.COLUMN:
            return numbers(l1, op.b, rows, 4, 1)
        case Broadcast.SCALAR:
            return numbers(l1, op.b, 1, 0, 1)


def _map_value(fn: MapFn, a: F32, b: F32, old: F32) -> F32:  # noqa: C901  one case a function
    match fn:
        case MapFn.ADD:
            return numerics.add(a, b)
        case MapFn.SUB:
            return numerics.sub(a, b)
        case MapFn.MUL:
            return numerics.mul(a, b)
        case MapFn.MAX:
            return numerics.maximum(a, b)
        case MapFn.SILU_MUL:
            return numerics.mul(numerics.silu(a), b)
        case MapFn.GELU_MUL:
            return numerics.mul(numerics.gelu(a), b)
        case MapFn.GELU_TANH_MUL:
            return numerics.mul(numerics.gelu_tanh(a), b)
        case MapFn.NORMALISE:
            return numerics.mul(a, numerics.softmax_inverse(b))
        case MapFn.MULADD:
            return numerics.add(numerics.mul(old, b), a)
        case MapFn.FILL:
            return np.broadcast_to(b, a.shape)
        case MapFn.COPY:
            return a


def _norm(op: Norm, rows: int, mem: Memories) -> None:
    src: F32 = numbers(mem.l1, op.src, rows, op.src_pitch, op.columns)
    gamma: F32 = numbers(mem.l1, op.gamma, 1, 0, op.columns)[0]
    dst: F32 = numbers(mem.l1, op.dst, rows, op.dst_pitch, op.columns)
    dst[:] = numerics.rms_norm(src, gamma, _float(op.eps))


def _rope(op: Rope, rows: int, mem: Memories) -> None:
    src: F32 = numbers(mem.l1, op.src, rows, op.src_pitch, op.columns)
    positions = numbers(mem.l1, op.positions, rows, 4, 1, np.uint32)[:, 0]
    frequencies = numbers(mem.l1, op.frequencies, 1, 0, op.head_dim // 2, np.uint64)[0]
    dst: F32 = numbers(mem.l1, op.dst, rows, op.dst_pitch, op.columns)
    dst[:] = numerics.rope(
        src,
        positions.astype(np.int64),
        frequencies,
        head_dim=op.head_dim,
        attention_factor=_float(op.factor),
    )


def _softmax(op: Softmax, rows: int, r: Registers, mem: Memories) -> None:
    scores: F32 = numbers(mem.space(op.space), op.scores, rows, op.score_pitch, op.columns)
    state: F32 = numbers(mem.l1, op.state, 3, op.state_pitch, rows)
    query = r[op.query] + np.arange(rows)[:, None] // op.group
    key = r[op.key] + np.arange(op.columns)
    valid = key <= query
    if op.window:
        valid &= key > query - op.window
    p, state[0], state[1], state[2] = numerics.softmax_step(scores, state[0], state[1], valid)
    value_format = format_of_code(op.value_format)
    if value_format.scale != "none":
        codes = tile(
            mem.scale, op.value_scale, op.columns, GRANULE_BYTES, value_format.scale_bits // 8
        )
        scales = numerics.decode_scale(
            numerics.unpack(codes, value_format.scale_bits), value_format.scale
        )
        p = numerics.mul(p, scales.astype(np.float32)[:, 0])
    _write_blocks(
        mem,
        p,
        format_of_code(op.format),
        ScaleMode(op.mode),
        False,
        (op.dst, op.dst_pitch, op.scale, GRANULE_BYTES),
    )


def _quantise(op: Quantise, rows: int, mem: Memories) -> None:
    src: F32 = numbers(mem.l1, op.src, rows, op.src_pitch, op.columns)
    _write_blocks(
        mem,
        src,
        format_of_code(op.format),
        ScaleMode(op.mode),
        bool(op.per_row),
        (op.dst, op.dst_pitch, op.scale, op.scale_pitch),
    )


def _write_blocks(
    mem: Memories,
    x: F32,
    fmt: Format,
    mode: ScaleMode,
    per_row: bool,
    at: tuple[int, int, int, int],
) -> None:
    """Quantise x to (address, pitch, scale address, scale pitch)."""
    address, pitch, scale, scale_pitch = at
    elements, scales = numerics.to_bytes(numerics.quantise(x, fmt, mode, per_row=per_row))
    tile(mem.l1, address, len(x), pitch, elements.shape[1])[:] = elements
    if scales.shape[1]:
        tile(mem.scale, scale, len(x), scale_pitch, scales.shape[1])[:] = scales


def _dequantise(op: Dequantise, rows: int, mem: Memories) -> None:
    fmt = format_of_code(op.format)
    at = (op.src, op.src_pitch, op.scale, op.scale_pitch)
    dst: F32 = numbers(mem.l1, op.dst, rows, op.dst_pitch, op.columns)
    dst[:] = numerics.dequantise(_operand(mem, fmt, rows, op.columns, at))[:, : op.columns]


def _sample(op: Sample, rows: int, mem: Memories) -> None:
    logits: F32 = numbers(mem.hbm, op.logits, rows, op.pitch, op.columns)
    records = tile(mem.hbm, op.parameters, rows, 32, 32)
    out = numbers(mem.hbm, op.out, rows, 4, 1, np.uint32)
    for row in range(rows):
        words = records[row].view(np.uint32)
        seed, counter = (int(v) for v in records[row, 16:].view(np.uint64))
        out[row, 0] = numerics.sample(
            logits[row],
            inv_t=words[:1].view(np.float32)[0],
            top_k=int(words[1]),
            top_p_q32=int(words[2]) or numerics.TOP_P_OFF,
            seed=seed,
            counter=counter,
        )


def _float(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)
