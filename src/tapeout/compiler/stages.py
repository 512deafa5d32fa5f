"""The stages of a decoder without products: what a core does from memory to memory."""

import numpy as np

from tapeout.compiler.core import (
    Buffers,
    CodesTile,
    CoreBuilder,
    Tile32,
    columns_of,
    l1_tile,
)
from tapeout.compiler.emitter import ZERO, Reg
from tapeout.compiler.layout import EMBEDDING_ROWS, FP32_BYTES, Codes, align, scale_pitch
from tapeout.isa.fields import Space
from tapeout.isa.instructions import Dequantise, LoadPages, Norm, Sample
from tapeout.numerics import format_named

ROW_TILE = 64
"""Rows at most that a stage without products takes at once."""


def float_bits(value: float) -> int:
    """The bits of a number as FP32."""
    return int(np.float32(value).view(np.uint32))


def _row_tile(b: CoreBuilder, bytes_per_row: int, fixed_bytes: int, scale_bytes: int) -> int:
    """Rows that fit the core at once, at least one."""
    l1 = (b.chip.core.l1_bytes - b.constants_end - fixed_bytes) // bytes_per_row
    scales = b.chip.core.scale_bytes // scale_bytes if scale_bytes else l1
    share = -(-b.sizes.rows // b.chip.cores)
    return max(1, min(ROW_TILE, l1, scales, share))


def embed(b: CoreBuilder) -> None:
    """residual[row] = the embedding of tokens[row]."""
    e, hidden = b.emitter, b.architecture.hidden
    p = b.layout.placement(EMBEDDING_ROWS)
    fmt = format_named(p.format)
    row_bytes = fmt.row_bytes(hidden)
    size = _row_tile(b, align(row_bytes) + align(FP32_BYTES * hidden), 0, 0)
    table = e.set(b.layout.tokens)

    def tile(first: int, rows: Reg) -> None:
        buffers = b.buffers("the embedding")
        codes = buffers.take(size * align(row_bytes))
        out = l1_tile(buffers.take(size * align(FP32_BYTES * hidden)), hidden)
        start = e.set(first)
        e.emit(
            LoadPages(
                space=Space.L1,
                dst=codes,
                dst_pitch=align(row_bytes),
                table=table.number,
                first=start.number,
                end=b.rows.number,
                rows=min(size, b.sizes.rows - first),
                pool=p.address,
                page_bytes=p.pitch_bytes,
                offset=0,
                page_log2=0,
                row_bytes=row_bytes,
            )
        )
        e.emit(
            Dequantise(
                src=codes,
                src_pitch=align(row_bytes),
                scale=0,
                scale_pitch=0,
                format=fmt.code,
                dst=out.address,
                dst_pitch=out.pitch,
                rows=0,
                rows_reg=rows.number,
                columns=hidden,
            )
        )
        width = FP32_BYTES * hidden
        target = b.layout.residual + first * width
        b.store(Space.L1, out.address, out.pitch, target, width, width, rows=rows)
        e.free(start)

    b.row_tiles(size, tile)
    e.free(table)


def norm(b: CoreBuilder, gamma: str, skip: Reg = ZERO) -> None:
    """normed[i] = quantised RMSNorm of the residual's row i, `skip` bytes further on."""
    hidden = b.architecture.hidden
    width, target = FP32_BYTES * hidden, b.layout.normed
    per_row = 2 * align(width) + align(target.format.row_bytes(hidden))
    size = _row_tile(b, per_row, align(width), scale_pitch(target.format, hidden))
    weights = b.layout.placement(gamma)
    gamma_at = b.constants_end
    b.load(weights.address, width, Space.L1, gamma_at, align(width), width, rows=1)

    def tile(first: int, rows: Reg) -> None:
        buffers = b.buffers("the norm")
        buffers.take(width)
        x = l1_tile(buffers.take(size * align(width)), hidden)
        y = l1_tile(buffers.take(size * align(width)), hidden)
        source = b.layout.residual + first * width
        b.load(source, width, Space.L1, x.address, x.pitch, width, rows=rows, src_reg=skip)
        b.emitter.emit(
            Norm(
                src=x.address,
                src_pitch=x.pitch,
                gamma=gamma_at,
                eps=float_bits(b.architecture.norm_eps),
                dst=y.address,
                dst_pitch=y.pitch,
                rows=0,
                rows_reg=rows.number,
                columns=hidden,
            )
        )
        _quantise_rows(b, y, target, hidden, first, rows, buffers, size)

    b.row_tiles(size, tile)


def mix(b: CoreBuilder) -> None:
    """mixed = quantised attention output, from head-major to row-major."""
    a, target = b.architecture, b.layout.mixed
    slab = a.heads // a.kv_heads * a.head_dim
    columns, slab_bytes = a.heads * a.head_dim, FP32_BYTES * slab
    per_row = align(FP32_BYTES * columns) + align(target.format.row_bytes(columns))
    size = _row_tile(b, per_row, 0, scale_pitch(target.format, columns))

    def tile(first: int, rows: Reg) -> None:
        buffers = b.buffers("the attention's output")
        x = l1_tile(buffers.take(size * align(FP32_BYTES * columns)), columns)
        for head in range(a.kv_heads):
            source = b.layout.attended + (head * b.sizes.rows + first) * slab_bytes
            at = x.address + head * slab_bytes
            b.load(source, slab_bytes, Space.L1, at, x.pitch, slab_bytes, rows=rows)
        _quantise_rows(b, x, target, columns, first, rows, buffers, size)

    b.row_tiles(size, tile)


def _quantise_rows(
    b: CoreBuilder,
    x: Tile32,
    target: Codes,
    columns: int,
    first: int,
    rows: Reg,
    buffers: Buffers,
    size: int,
) -> None:
    """Quantise an L1 tile and store it as rows first.. of a buffer in memory."""
    fmt = target.format
    codes = CodesTile(
        address=buffers.take(size * align(fmt.row_bytes(columns))),
        pitch=align(fmt.row_bytes(columns)),
        scale=buffers.take_scales(size * scale_pitch(fmt, columns)),
        scale_pitch=scale_pitch(fmt, columns),
    )
    b.quantise(x, codes, fmt.code, rows=rows, columns=columns)
    store_codes(b, codes, target, 0, columns, first, rows)


def store_codes(
    b: CoreBuilder, codes: CodesTile, target: Codes, start: int, columns: int, first: int, rows: Reg
) -> None:
    """Store a quantised tile as columns start.. of rows first.. of a buffer in memory."""
    address, row_bytes, scale, scale_bytes = columns_of(target, start, columns)
    b.store(
        Space.L1,
        codes.address,
        codes.pitch,
        address + first * target.pitch,
        target.pitch,
        row_bytes,
        rows=rows,
    )
    b.store(
        Space.SCALE,
        codes.scale,
        codes.scale_pitch,
        scale + first * target.scale_pitch,
        target.scale_pitch,
        scale_bytes,
        rows=rows,
    )


def sample(b: CoreBuilder, count: Reg) -> None:
    """sampled[i] = a token chosen from logits row i, for the first `count` rows."""
    if b.core == 0:
        b.emitter.emit(
            Sample(
                logits=b.layout.logits,
                pitch=align(FP32_BYTES * b.architecture.outputs),
                columns=b.architecture.outputs,
                parameters=b.layout.parameters,
                out=b.layout.sampled,
                rows=0,
                rows_reg=count.number,
            )
        )
