"""Attention over the paged KV cache: append this step's keys and values, then read what counts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tapeout.compiler.append import append, append_rows
from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32
from tapeout.compiler.emitter import ZERO, Reg
from tapeout.compiler.key_chunks import HeadState, KeyBuffers, KeyStream, Turns
from tapeout.compiler.layout import FP32_BYTES, Codes, align, power_of_two
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
from tapeout.numerics import ATTENTION_CHUNK
from tapeout.numerics.formats import padded

TOGETHER = (8, 4, 2, 1)
"""Chunks of keys that overlap; every turn of a loop starts when the one before is done."""

TURNS = tuple(Turns(tiles=t, scales=s) for t, s in ((5, 4), (5, 3), (4, 4), (4, 3)))
"""Buffers that keys and values should have, best first."""


@dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """Tokens of a query tile (a power of two), KV heads per pass, and buffers for keys."""

    tokens: int
    heads: int
    turns: Turns


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
        keys = KeyBuffers(b, plan.turns, plan.tokens * group, buffers)
        key, chunks = _chunks(b, span, window)
        stream = KeyStream(b, layer, states, span, rows, keys, window)
        stream.begin(key)
        for turns, together in _turns(b, chunks):
            with e.loop(turns):
                stream.chunks(key, together)
            e.free(turns)
        e.free(key)
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


def _turns(b: CoreBuilder, chunks: Reg) -> Iterator[tuple[Reg, int]]:
    """Cuts chunks into turns of several that overlap; so often so many, and frees `chunks`."""
    e, most = b.emitter, chunks.high
    for together in TOGETHER:
        if together == 1:
            yield chunks, 1
        elif together <= most:
            shift = together.bit_length() - 1
            turns = e.alu(AluFn.SHR, chunks, imm=shift, low=0, high=most // together)
            done = b.times(turns, together)
            left = e.alu(AluFn.SUB, chunks, done, low=0, high=min(together - 1, most))
            e.free(done, chunks)
            chunks = left
            yield turns, together


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
    values = (b.minus_infinity, b.zero, b.zero)
    for at, value in ((state + i * state_pitch, v) for i, v in enumerate(values)):
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
        plans = [AttentionPlan(tokens=tokens, heads=h, turns=Turns()) for h in range(1, heads + 1)]
        fitting = [plan for plan in plans if _attention_fits(b, plan)]
        if fitting:
            better = [replace(fitting[-1], turns=turns) for turns in TURNS]
            return next((plan for plan in better if _attention_fits(b, plan)), fitting[-1])
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
        KeyBuffers(b, plan.turns, rows, buffers)
    except CapacityError:
        return False
    return True
