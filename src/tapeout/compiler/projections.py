"""The linear layers of a decoder: each with what becomes of its results, from memory to memory."""

from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32, l1_tile
from tapeout.compiler.emitter import Reg
from tapeout.compiler.layout import FP32_BYTES, Codes, align, scale_pitch
from tapeout.compiler.linear import linear
from tapeout.compiler.plan import Work
from tapeout.compiler.stages import float_bits, store_codes
from tapeout.isa.fields import Broadcast, MapFn, Space
from tapeout.isa.instructions import Norm, Rope
from tapeout.isa.program import Placement
from tapeout.numerics import format_named
from tapeout.numerics.formats import BLOCK


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


def _has(b: CoreBuilder, name: str) -> bool:
    return any(p.name == name for p in b.layout.placements)


def _biased(
    b: CoreBuilder, x: Tile32, name: str, start: int, columns: int, buffers: Buffers, *, into: int
) -> Tile32:
    """x plus a slice of a bias, in L1; x itself if the layer has no bias."""
    if not _has(b, name):
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
    tiles32, code_bytes = 1 + (rotate is not None), -(-fmt.element_bits // 8) + 1
    work = _work(b, source, p, unit=head_dim, tiles32=tiles32, code_bytes=code_bytes)
    gamma = b.layout.placement(norm_name).address if norm_name else 0

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        count, width = columns // head_dim, align(FP32_BYTES * columns)
        x_at = buffers.take(b.sizes.rows * width)
        y_at = buffers.take(b.sizes.rows * width) if rotate is not None else x_at
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
    biased = _has(b, f"{prefix}.bias")
    work = _work(b, source, p, tiles32=1 + biased)
    hidden_bytes = FP32_BYTES * b.architecture.hidden

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        width = FP32_BYTES * columns
        old = l1_tile(buffers.take(b.sizes.rows * align(width)), columns)
        place = b.layout.residual + FP32_BYTES * start
        b.load(place, hidden_bytes, Space.L1, old.address, old.pitch, width, rows=b.rows)
        spare = buffers.take(b.sizes.rows * align(width) * biased)
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
    # The second result may be read while the first one of the next tile is made.
    names = [f"{prefix}.up_proj", f"{prefix}.gate_proj"]
    weights = [b.layout.placement(f"{name}.weight") for name in names]
    target = b.layout.gated
    fmt, fn = target.format, GATES[b.architecture.activation]
    work = _work(
        b,
        b.layout.normed,
        weights[0],
        count=2,
        tiles32=2,
        code_bytes=-(-fmt.element_bits // 8),
    )

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        at = [buffers.take(b.sizes.rows * align(FP32_BYTES * columns)) for _ in range(2)]
        u, g = (
            _biased(b, x, f"{name}.bias", start, columns, buffers, into=into)
            for x, name, into in zip(results, names, at, strict=False)
        )
        u = _in_l1(b, u, columns, at[0])
        out = l1_tile(at[1], columns)
        b.map(fn, g, u, Broadcast.FULL, out, rows=b.rows, columns=columns)
        codes = CodesTile(
            address=buffers.take(b.sizes.rows * align(fmt.row_bytes(columns))),
            pitch=align(fmt.row_bytes(columns)),
            scale=buffers.take_scales(b.sizes.rows * scale_pitch(fmt, columns)),
            scale_pitch=scale_pitch(fmt, columns),
        )
        b.quantise(out, codes, fmt.code, rows=b.rows, columns=columns)
        store_codes(b, codes, target, start, columns, 0, b.rows)

    linear(b, b.layout.normed, weights, work, epilogue)


def head(b: CoreBuilder) -> None:
    """logits = normed @ head (+ bias)."""
    name = b.architecture.head_tensor
    p = b.layout.placement(name)
    work = _work(b, b.layout.normed, p, tiles32=1)
    pitch = align(FP32_BYTES * b.architecture.outputs)

    def epilogue(start: int, columns: int, results: list[Tile32], buffers: Buffers) -> None:
        width = FP32_BYTES * columns
        at = buffers.take(b.sizes.rows * align(width))
        x = _biased(b, results[0], "score.bias", start, columns, buffers, into=at)
        x = _in_l1(b, x, columns, at)
        place = b.layout.logits + FP32_BYTES * start
        b.store(Space.L1, x.address, x.pitch, place, pitch, width, rows=b.rows)

    linear(b, b.layout.normed, [p], work, epilogue)
