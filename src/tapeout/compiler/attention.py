"""Attention over the paged KV cache: append this step's keys and values, then read what counts."""

from dataclasses import dataclass

from tapeout.compiler.append import (
    KEY_SCALES,
    KEYS,
    VALUE_SCALES,
    VALUES,
    append,
    append_rows,
)
from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32
from tapeout.compiler.emitter import ZERO, Reg
from tapeout.compiler.layout import FP32_BYTES, Codes, align, power_of_two, scale_pitch
from tapeout.compiler.spans import Span, each_sequence, in_tiles
from tapeout.errors import CapacityError
from tapeout.isa.fields import (
    GRANULE_BYTES,
    ROWS_MAX,
    AluFn,
    Broadcast,
    MapFn,
    Space,
    acc_pitch,
)
from tapeout.isa.instructions import LoadPages, Softmax
from tapeout.numerics import ATTENTION_CHUNK
from tapeout.numerics.formats import padded


@dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """Tokens of a query tile (a power of two), KV heads per pass, and buffers for keys."""

    tokens: int
    heads: int
    copies: int


@dataclass(frozen=True, kw_only=True)
class HeadState:
    """What one KV head's queries keep in L1 while keys stream by."""

    head: int
    queries: CodesTile
    state: int
    state_pitch: int
    out: Tile32


def attention(b: CoreBuilder, layer: int) -> None:
    """attended = softmax(queries keys^T) values, for this core's KV heads."""
    heads = list(b.mine(b.architecture.kv_heads))
    if not heads:
        return
    plan = plan_attention(b, len(heads))

    def sequence(whole: Span) -> None:
        in_tiles(b, whole, append_rows(b, heads), lambda s: append(b, layer, heads, s))
        in_tiles(b, whole, plan.tokens, lambda s: _attend(b, layer, heads, plan, s))

    each_sequence(b, sequence)


def _attend(b: CoreBuilder, layer: int, heads: list[int], plan: AttentionPlan, span: Span) -> None:
    """Attention of one tile of queries, some heads at a time."""
    e, a = b.emitter, b.architecture
    group = a.heads // a.kv_heads
    rows = b.times(span.count, group)
    window = a.window[layer] or 0
    for start in range(0, len(heads), plan.heads):
        buffers = b.buffers("attention")
        states = [
            _begin(b, head, span, rows, plan.tokens * group, buffers)
            for head in heads[start : start + plan.heads]
        ]
        keys = _KeyBuffers(b, plan, plan.tokens * group, buffers)
        key, chunks = _chunks(b, span, window)
        with e.loop(chunks):
            for state in states:
                _chunk(b, layer, state, span, rows, key, keys, window)
            e.alu(AluFn.ADD, key, imm=ATTENTION_CHUNK, low=0, high=0, to=key)
        e.free(key, chunks)
        for state in states:
            _finish(b, state, span, rows, group)
    e.free(rows)


def _chunks(b: CoreBuilder, span: Span, window: int) -> tuple[Reg, Reg]:
    """The first key and the number of chunks that the span's queries see."""
    e, context = b.emitter, b.sizes.context_tokens
    shift, most = ATTENTION_CHUNK.bit_length() - 1, -(-context // ATTENTION_CHUNK)
    last = e.alu(AluFn.ADD, span.position, span.count, low=1, high=context)
    up = e.alu(AluFn.ADD, last, imm=ATTENTION_CHUNK - 1, low=0, high=context + ATTENTION_CHUNK)
    end = e.alu(AluFn.SHR, up, imm=shift, low=1, high=most)
    e.free(last, up)
    key = e.register(low=0, high=context + ATTENTION_CHUNK)
    if not window:
        e.alu(AluFn.ADD, ZERO, low=0, high=0, to=key)
        return key, end
    oldest = e.alu(AluFn.SUB, span.position, imm=window - 1, low=-window, high=context)
    seen = e.alu(AluFn.MAX, oldest, low=0, high=context)
    first = e.alu(AluFn.SHR, seen, imm=shift, low=0, high=most)
    count = e.alu(AluFn.SUB, end, first, low=1, high=most)
    e.alu(AluFn.MUL, first, imm=ATTENTION_CHUNK, low=0, high=0, to=key)
    e.free(oldest, seen, first, end)
    return key, count


class _KeyBuffers:
    """Buffers that chunks of keys, values and probabilities take in turn."""

    def __init__(self, b: CoreBuilder, plan: AttentionPlan, rows: int, buffers: Buffers):
        kv, p = b.recipe.of("kv"), b.recipe.of("probabilities")
        head = b.architecture.head_dim
        self.pitch, self.scale_pitch = align(kv.row_bytes(head)), scale_pitch(kv, head)
        p_pitch = align(p.row_bytes(ATTENTION_CHUNK))
        scaled = bool(self.scale_pitch)
        self.turn = 0
        self.sets = [
            (
                buffers.take(ATTENTION_CHUNK * self.pitch),
                buffers.take_scales(ATTENTION_CHUNK * self.scale_pitch),
                buffers.take(ATTENTION_CHUNK * self.pitch),
                buffers.take_scales(ATTENTION_CHUNK * GRANULE_BYTES if scaled else 0),
            )
            for _ in range(plan.copies)
        ]
        self.probabilities = CodesTile(
            address=buffers.take(rows * p_pitch),
            pitch=p_pitch,
            scale=buffers.take_scales(rows * GRANULE_BYTES if p.scale != "none" else 0),
            scale_pitch=GRANULE_BYTES,
        )
        self.scores, self.mixed = _results(b, rows, buffers)

    def next(self) -> tuple[int, int, int, int]:
        """Keys, key scales, values, value scales of the next chunk."""
        self.turn += 1
        return self.sets[self.turn % len(self.sets)]


def _results(b: CoreBuilder, rows: int, buffers: Buffers) -> tuple[Tile32, Tile32]:
    """Where scores and weighted values are made: the accumulator banks, or L1 if wide."""
    n = padded(b.architecture.head_dim)
    if b.recipe.wide:
        scores = buffers.take(rows * FP32_BYTES * ATTENTION_CHUNK)
        mixed = buffers.take(rows * FP32_BYTES * n)
        return (
            Tile32(space=Space.L1, address=scores, pitch=FP32_BYTES * ATTENTION_CHUNK),
            Tile32(space=Space.L1, address=mixed, pitch=FP32_BYTES * n),
        )
    bank = FP32_BYTES * b.chip.matrix.accumulators
    return (
        Tile32(space=Space.ACC, address=0, pitch=acc_pitch(ATTENTION_CHUNK)),
        Tile32(space=Space.ACC, address=bank, pitch=acc_pitch(n)),
    )


def _begin(
    b: CoreBuilder, head: int, span: Span, rows: Reg, most: int, buffers: Buffers
) -> HeadState:
    """Load a head's queries, and start its sums."""
    a, source = b.architecture, b.layout.queries
    pitch, scales = source.pitch // a.heads, source.scale_pitch // a.heads
    group, n = a.heads // a.kv_heads, padded(a.head_dim)
    queries = CodesTile(
        address=buffers.take(most * pitch),
        pitch=pitch,
        scale=buffers.take_scales(most * scales),
        scale_pitch=scales,
    )
    _load_queries(b, source, head * group, group, span, queries)
    state_pitch = align(FP32_BYTES * most)
    state = buffers.take(3 * state_pitch)
    out = Tile32(space=Space.L1, address=buffers.take(most * FP32_BYTES * n), pitch=FP32_BYTES * n)
    for at, value in ((state, b.minus_infinity), (state + state_pitch, b.zero)):
        line = Tile32(space=Space.L1, address=at, pitch=GRANULE_BYTES)
        b.map(MapFn.FILL, line, b.scalar(value), Broadcast.SCALAR, line, rows=1, columns=most)
    b.map(MapFn.FILL, out, b.scalar(b.zero), Broadcast.SCALAR, out, rows=rows, columns=n)
    return HeadState(head=head, queries=queries, state=state, state_pitch=state_pitch, out=out)


def _load_queries(
    b: CoreBuilder, source: Codes, first: int, group: int, span: Span, to: CodesTile
) -> None:
    for address, pitch, line, dst, space in (
        (source.address, source.pitch, to.pitch, to.address, Space.L1),
        (source.scale_address, source.scale_pitch, to.scale_pitch, to.scale, Space.SCALE),
    ):
        if line:
            skip = b.times(span.row, pitch)
            width = group * line
            place = address + first * line
            b.load(place, pitch, space, dst, width, width, rows=span.count, src_reg=skip)
            b.emitter.free(skip)


def _chunk(
    b: CoreBuilder,
    layer: int,
    s: HeadState,
    span: Span,
    rows: Reg,
    key: Reg,
    keys: _KeyBuffers,
    window: int,
) -> None:
    """Take one chunk of keys and values into a head's sums."""
    page, a = b.layout.page, b.architecture
    k, k_scale, v, v_scale = keys.next()
    group, n = a.heads // a.kv_heads, padded(a.head_dim)
    _load_pages(
        b, Space.L1, k, keys.pitch, span, key, page.offset(layer, s.head, KEYS), page.key_bytes
    )
    if keys.scale_pitch:
        offset = page.offset(layer, s.head, KEY_SCALES)
        _load_pages(
            b, Space.SCALE, k_scale, keys.scale_pitch, span, key, offset, page.key_scale_bytes
        )
    _product(
        b,
        s.queries,
        CodesTile(address=k, pitch=keys.pitch, scale=k_scale, scale_pitch=keys.scale_pitch),
        keys.scores,
        rows,
        ATTENTION_CHUNK,
        n,
        transpose=False,
    )
    _load_pages(
        b, Space.L1, v, keys.pitch, span, key, page.offset(layer, s.head, VALUES), page.key_bytes
    )
    if keys.scale_pitch:
        offset = page.offset(layer, s.head, VALUE_SCALES)
        _load_pages(
            b, Space.SCALE, v_scale, GRANULE_BYTES, span, key, offset, page.value_scale_bytes
        )
    b.emitter.emit(
        Softmax(
            space=keys.scores.space,
            scores=keys.scores.address,
            columns=ATTENTION_CHUNK,
            state=s.state,
            state_pitch=s.state_pitch,
            rows=0,
            rows_reg=rows.number,
            group=group,
            query=span.position.number,
            key=key.number,
            window=window,
            value_format=b.recipe.of("kv").code,
            value_scale=v_scale,
            dst=keys.probabilities.address,
            dst_pitch=keys.probabilities.pitch,
            format=b.recipe.of("probabilities").code,
            mode=b.recipe.mode,
            scale=keys.probabilities.scale,
        )
    )
    values = CodesTile(address=v, pitch=keys.pitch, scale=0, scale_pitch=0)
    _product(b, keys.probabilities, values, keys.mixed, rows, n, ATTENTION_CHUNK, transpose=True)
    alpha = Tile32(space=Space.L1, address=s.state + 2 * s.state_pitch, pitch=0)
    b.map(MapFn.MULADD, keys.mixed, alpha, Broadcast.COLUMN, s.out, rows=rows, columns=n)


def _load_pages(
    b: CoreBuilder, space: Space, dst: int, pitch: int, span: Span, key: Reg, offset: int, size: int
) -> None:
    page = b.layout.page
    b.emitter.emit(
        LoadPages(
            space=space,
            dst=dst,
            dst_pitch=pitch,
            table=span.table.number,
            first=key.number,
            end=span.end.number,
            rows=ATTENTION_CHUNK,
            pool=b.layout.pool,
            page_bytes=page.page_bytes,
            offset=offset,
            page_log2=page.page_tokens.bit_length() - 1,
            row_bytes=size,
        )
    )


def _product(
    b: CoreBuilder,
    x: CodesTile,
    w: CodesTile,
    out: Tile32,
    rows: Reg,
    n: int,
    k: int,
    *,
    transpose: bool,
) -> None:
    b.multiply(
        x,
        w,
        out,
        (b.recipe.of("probabilities" if transpose else "activations"), b.recipe.of("kv")),
        rows=rows,
        n=n,
        k=k,
        transpose=transpose,
    )


def _finish(b: CoreBuilder, s: HeadState, span: Span, rows: Reg, group: int) -> None:
    """Divide a head's sums, and store them head-major."""
    head_dim, n = b.architecture.head_dim, padded(b.architecture.head_dim)
    total = Tile32(space=Space.L1, address=s.state + s.state_pitch, pitch=0)
    b.map(MapFn.NORMALISE, s.out, total, Broadcast.COLUMN, s.out, rows=rows, columns=n)
    slab = FP32_BYTES * group * head_dim
    skip = b.times(span.row, slab)
    place = b.layout.attended + s.head * b.sizes.rows * slab
    whole = n == head_dim
    width = slab if whole else FP32_BYTES * head_dim
    for g in range(1 if whole else group):
        b.store(
            Space.L1,
            s.out.address + g * s.out.pitch,
            group * s.out.pitch,
            place + g * width,
            slab,
            width,
            rows=span.count,
            dst_reg=skip,
        )
    b.emitter.free(skip)


# ---- planning --------------------------------------------------------------------------------


def plan_attention(b: CoreBuilder, heads: int) -> AttentionPlan:
    """The largest query tile that fits, then as many heads at once, then two buffers for keys.

    Raises:
        CapacityError: if not even one token of one head fits.
    """
    tokens = 1 << (b.tokens_per_sequence - 1).bit_length()
    while tokens >= 1:
        if _attention_fits(b, AttentionPlan(tokens=tokens, heads=1, copies=1)):
            most = max(
                h
                for h in range(1, heads + 1)
                if _attention_fits(b, AttentionPlan(tokens=tokens, heads=h, copies=1))
            )
            double = AttentionPlan(tokens=tokens, heads=most, copies=2)
            return (
                double
                if _attention_fits(b, double)
                else AttentionPlan(tokens=tokens, heads=most, copies=1)
            )
        tokens //= 2
    a = b.architecture
    raise CapacityError(
        f"attention with {a.heads // a.kv_heads} query heads per KV head of {a.head_dim}"
        f" must fit {b.chip.name}'s core",
        hint="take a chip with more L1 and accumulators, or a KV format with fewer bits",
    )


def _attention_fits(b: CoreBuilder, plan: AttentionPlan) -> bool:
    a, core = b.architecture, b.chip.core
    rows, n = plan.tokens * (a.heads // a.kv_heads), padded(a.head_dim)
    results_bytes = power_of_two(rows) * max(acc_pitch(ATTENTION_CHUNK), acc_pitch(n))
    if not b.recipe.wide and results_bytes > FP32_BYTES * b.chip.matrix.accumulators:
        return False
    if rows > ROWS_MAX:
        return False
    buffers = Buffers(core.l1_bytes, core.scale_bytes, l1=b.constants_end, what="attention")
    source = b.layout.queries
    try:
        for _ in range(plan.heads):
            buffers.take(rows * source.pitch // a.heads)
            buffers.take_scales(rows * source.scale_pitch // a.heads)
            buffers.take(3 * align(FP32_BYTES * rows))
            buffers.take(rows * FP32_BYTES * n)
        _KeyBuffers(b, plan, rows, buffers)
    except CapacityError:
        return False
    return True
