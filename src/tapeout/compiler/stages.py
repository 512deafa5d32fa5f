"""The stages of a decoder layer, except attention: what a core does from memory to memory."""

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
from tapeout.compiler.linear import Work, linear
from tapeout.isa.instructions import (
    Broadcast,
    Dequantise,
    LoadPages,
    MapFn,
    Norm,
    Rope,
    Sample,
    Space,
)
from tapeout.isa.program import Placement
from tapeout.numerics import format_named
from tapeout.numerics.formats import BLOCK

ROW_TILE = 64
"""Rows at most that a stage without products takes at once."""


def float_bits(value: float) -> int:
    """The bits of a number as FP32."""
    return int(np.float32(value).view(np.uint32))


# ---- rows in, rows out -----------------------------------------------------------------------


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
    _store_codes(b, codes, target, 0, columns, first, rows)


def _store_codes(
    b: CoreBuilder, codes: CodesTile, target: Codes, start: int, columns: int, first: int, rows: Reg
) -> None:
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


# ---- linear layers ---------------------------------------------------------------------------


def _work(b: CoreBuilder, source: Codes, p: Placement, **rest: int) -> Work:
    target = rest.pop("code_bytes", 0)
    return Work(
        rows=b.sizes.rows,
        k=source.columns,
        n=p.rows,
        unit=rest.pop("unit", BLOCK),
        source=source.format,
        weights=format_named(p.format),
        count=rest.pop("count", 1),
        tiles32=rest.pop("tiles32"),
        code_bytes=target,
    )


def _biased(
    b: CoreBuilder, x: Tile32, name: str, start: int, columns: int, buffers: Buffers, *, into: int
) -> Tile32:
    """x plus a slice of a bias, in L1; x itself if the layer has no bias."""
    if all(p.name != name for p in b.layout.placements):
        return x
    width = FP32_BYTES * columns
    row = buffers.take(width)
    source = b.layout.placement(name).address + FP32_BYTES * start
    b.load(source, width, Space.L1, row, align(width), width, rows=1)
    out = l1_tile(into, columns)
    at = Tile32(space=Space.L1, address=row, pitch=0)
    b.map(MapFn.ADD, x, at, Broadcast.ROW, out, rows=b.rows, columns=columns)
    return out


def _in_l1(b: CoreBuilder, x: Tile32, columns: int, into: int) -> Tile32:
    if x.space is Space.L1:
        return x
    out = l1_tile(into, columns)
    b.map(MapFn.COPY, x, out, Broadcast.FULL, out, rows=b.rows, columns=columns)
    return out


def heads(
    b: CoreBuilder,
    prefix: str,
    target: Codes,
    *,
    rotate: float | None,
    norm_name: str | None,
    per_row: bool,
) -> None:
    """target = quantised heads of normed @ weights, normed and turned as asked.

    `rotate`: the factor of RoPE's sines and cosines; None for no RoPE.
    """
    head_dim, fmt = b.architecture.head_dim, target.format
    p = b.layout.placement(f"{prefix}.weight")
    source = b.layout.normed
    head_pitch = align(fmt.row_bytes(head_dim))
    work = _work(b, source, p, unit=head_dim, tiles32=2, code_bytes=-(-fmt.element_bits // 8) + 1)
    gamma = b.layout.placement(norm_name).address if norm_name else 0

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        count, width = columns // head_dim, align(FP32_BYTES * columns)
        x_at = buffers.take(b.sizes.rows * width)
        y_at = buffers.take(b.sizes.rows * width)
        x = _biased(b, results[0], f"{prefix}.bias", start, columns, buffers, into=x_at)
        x = _in_l1(b, x, columns, x_at)
        each = b.times(b.rows, count)
        if norm_name:
            x = _norm_heads(b, x, gamma, each, buffers)
        if rotate is not None:
            x = _rotate(b, x, y_at, columns, rotate, buffers)
        scales = target.scale_pitch // (target.pitch // head_pitch)
        codes = CodesTile(
            address=buffers.take(b.sizes.rows * count * head_pitch),
            pitch=head_pitch,
            scale=buffers.take_scales(b.sizes.rows * count * scales),
            scale_pitch=scales,
        )
        flat = Tile32(space=Space.L1, address=x.address, pitch=FP32_BYTES * head_dim)
        b.quantise(flat, codes, fmt.code, rows=each, columns=head_dim, per_row=per_row)
        first = start // head_dim
        _store_heads(b, codes, target, first, count, head_pitch, scales)
        b.emitter.free(each)

    linear(b, source, [p], work, epilogue)


def _store_heads(
    b: CoreBuilder, codes: CodesTile, target: Codes, first: int, count: int, pitch: int, scales: int
) -> None:
    """Store [rows x count] quantised heads as heads first.. of each row."""
    b.store(
        Space.L1,
        codes.address,
        count * pitch,
        target.address + first * pitch,
        target.pitch,
        count * pitch,
        rows=b.rows,
    )
    b.store(
        Space.SCALE,
        codes.scale,
        count * scales,
        target.scale_address + first * scales,
        target.scale_pitch,
        count * scales,
        rows=b.rows,
    )


def _norm_heads(b: CoreBuilder, x: Tile32, gamma: int, each: Reg, buffers: Buffers) -> Tile32:
    head_dim = b.architecture.head_dim
    at = buffers.take(FP32_BYTES * head_dim)
    width = FP32_BYTES * head_dim
    b.load(gamma, width, Space.L1, at, align(width), width, rows=1)
    b.emitter.emit(
        Norm(
            src=x.address,
            src_pitch=width,
            gamma=at,
            eps=float_bits(b.architecture.norm_eps),
            dst=x.address,
            dst_pitch=width,
            rows=0,
            rows_reg=each.number,
            columns=head_dim,
        )
    )
    return x


def _rotate(
    b: CoreBuilder, x: Tile32, into: int, columns: int, factor: float, buffers: Buffers
) -> Tile32:
    positions = buffers.take(4 * b.sizes.rows)
    out = l1_tile(into, columns)
    # Positions lie as one row in memory and on the core, whatever the number of rows.
    width = 4 * b.sizes.rows
    b.load(b.layout.positions, width, Space.L1, positions, align(width), width, rows=1)
    b.emitter.emit(
        Rope(
            src=x.address,
            src_pitch=x.pitch,
            positions=positions,
            frequencies=b.frequencies,
            factor=float_bits(factor),
            head_dim=b.architecture.head_dim,
            dst=out.address,
            dst_pitch=out.pitch,
            rows=0,
            rows_reg=b.rows.number,
            columns=columns,
        )
    )
    return out


def add_to_residual(b: CoreBuilder, source: Codes, prefix: str) -> None:
    """residual += source @ weights (+ bias)."""
    p = b.layout.placement(f"{prefix}.weight")
    work = _work(b, source, p, tiles32=2)
    hidden_bytes = FP32_BYTES * b.architecture.hidden

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        width = FP32_BYTES * columns
        old = l1_tile(buffers.take(b.sizes.rows * align(width)), columns)
        place = b.layout.residual + FP32_BYTES * start
        b.load(place, hidden_bytes, Space.L1, old.address, old.pitch, width, rows=b.rows)
        spare = buffers.take(b.sizes.rows * align(width))
        x = _biased(b, results[0], f"{prefix}.bias", start, columns, buffers, into=spare)
        b.map(MapFn.ADD, x, old, Broadcast.FULL, old, rows=b.rows, columns=columns)
        b.store(Space.L1, old.address, old.pitch, place, hidden_bytes, width, rows=b.rows)

    linear(b, source, [p], work, epilogue)


GATES: dict[str, MapFn] = {
    "silu": MapFn.SILU_MUL,
    "gelu": MapFn.GELU_MUL,
    "gelu_tanh": MapFn.GELU_TANH_MUL,
}


def gate(b: CoreBuilder, prefix: str) -> None:
    """gated = quantised activation(normed @ gate) * (normed @ up)."""
    names = [f"{prefix}.gate_proj", f"{prefix}.up_proj"]
    weights = [b.layout.placement(f"{name}.weight") for name in names]
    target = b.layout.gated
    fmt, fn = target.format, GATES[b.architecture.activation]
    work = _work(
        b,
        b.layout.normed,
        weights[0],
        count=2,
        tiles32=3,
        code_bytes=-(-fmt.element_bits // 8),
    )

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        at = [buffers.take(b.sizes.rows * align(FP32_BYTES * columns)) for _ in range(3)]
        g, u = (
            _biased(b, x, f"{name}.bias", start, columns, buffers, into=into)
            for x, name, into in zip(results, names, at, strict=False)
        )
        u = _in_l1(b, u, columns, at[1])
        out = l1_tile(at[2], columns)
        b.map(fn, g, u, Broadcast.FULL, out, rows=b.rows, columns=columns)
        codes = CodesTile(
            address=buffers.take(b.sizes.rows * align(fmt.row_bytes(columns))),
            pitch=align(fmt.row_bytes(columns)),
            scale=buffers.take_scales(b.sizes.rows * scale_pitch(fmt, columns)),
            scale_pitch=scale_pitch(fmt, columns),
        )
        b.quantise(out, codes, fmt.code, rows=b.rows, columns=columns)
        _store_codes(b, codes, target, start, columns, 0, b.rows)

    linear(b, b.layout.normed, weights, work, epilogue)


def head(b: CoreBuilder) -> None:
    """logits = normed @ head (+ bias)."""
    name = b.architecture.head_tensor
    p = b.layout.placement(name)
    work = _work(b, b.layout.normed, p, tiles32=2)
    pitch = align(FP32_BYTES * b.architecture.outputs)

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        width = FP32_BYTES * columns
        at = buffers.take(b.sizes.rows * align(width))
        x = _biased(b, results[0], "score.bias", start, columns, buffers, into=at)
        x = _in_l1(b, x, columns, at)
        place = b.layout.logits + FP32_BYTES * start
        b.store(Space.L1, x.address, x.pitch, place, pitch, width, rows=b.rows)

    linear(b, b.layout.normed, [p], work, epilogue)


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
