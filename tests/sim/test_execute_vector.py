"""The vector unit's operations on tiles, against plain numpy."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.oracle import (
    Expected,
    bytes_of,
    floats,
    fp32,
    get,
    memories,
    put,
    quantised,
    random_rows,
    scale_value,
    values,
)
from tapeout.isa import (
    Broadcast,
    Dequantise,
    Map,
    MapFn,
    Norm,
    Quantise,
    Rope,
    Sample,
    Softmax,
    Space,
)
from tapeout.numerics import FORMATS, Format, ScaleMode, format_named, inverse_temperature, sample
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

F32 = NDArray[np.float32]
SRC, DST, B = 0x50, 0x4000, 0x8000


def normal(rng: np.random.Generator, *shape: int) -> F32:
    return rng.normal(size=shape).astype(np.float32)


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


# ---- map -------------------------------------------------------------------------------------


def spread(b: F32, mode: Broadcast, rows: int, columns: int) -> F32:
    match mode:
        case Broadcast.FULL:
            return b[:rows, :columns]
        case Broadcast.ROW:
            return np.repeat(b[:1, :columns], rows, axis=0)
        case Broadcast.COLUMN:
            return np.repeat(b.reshape(-1)[:rows, None], columns, axis=1)
        case Broadcast.SCALAR:
            return np.full((rows, columns), b[0, 0])


def exact(fn: MapFn, a: F32, b: F32, old: F32) -> F32:
    return {
        MapFn.COPY: a,
        MapFn.ADD: a + b,
        MapFn.SUB: a - b,
        MapFn.MUL: a * b,
        MapFn.MAX: np.maximum(a, b),
        MapFn.FILL: b,
        MapFn.MULADD: old * b + a,
    }[fn]


def close(fn: MapFn, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    erf = np.vectorize(math.erf)(a / math.sqrt(2))
    tanh = np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))
    return {
        MapFn.SILU_MUL: a / (1 + np.exp(-a)) * b,
        MapFn.GELU_MUL: a * (1 + erf) / 2 * b,
        MapFn.GELU_TANH_MUL: a * (1 + tanh) / 2 * b,
        MapFn.NORMALISE: a / b,
    }[fn]


CLOSE = (MapFn.SILU_MUL, MapFn.GELU_MUL, MapFn.GELU_TANH_MUL, MapFn.NORMALISE)
EXACT = tuple(fn for fn in MapFn if fn not in CLOSE)


def map_case(fn: MapFn, mode: Broadcast, space: Space) -> tuple[Memories, Map, F32, F32, F32]:
    rng = np.random.default_rng(10 * fn + mode)
    rows, columns = 5, 7
    mem = memories(rng)
    a, b, old = (normal(rng, rows, columns) for _ in range(3))
    put(mem.space(space), SRC, 0x30, bytes_of(a))
    if mode is Broadcast.COLUMN:  # one number after the other
        put(mem.l1, B, 0, bytes_of(b.reshape(1, -1)))
    else:
        put(mem.l1, B, 0x40, bytes_of(b))
    put(mem.l1, DST, 0x20, bytes_of(old))
    op = Map(
        fn=fn,
        a_space=space,
        a=SRC,
        a_pitch=0x30,
        b=B,
        b_pitch=0x40,
        b_mode=mode,
        dst=DST,
        dst_pitch=0x20,
        rows=2,
        rows_reg=8,
        columns=columns,
    )
    return mem, op, a, spread(b, mode, rows, columns), old


@pytest.mark.parametrize("space", [Space.L1, Space.ACC])
@pytest.mark.parametrize("mode", list(Broadcast))
@pytest.mark.parametrize("fn", EXACT)
def test_map_is_exact(fn: MapFn, mode: Broadcast, space: Space):
    mem, op, a, b, old = map_case(fn, mode, space)
    expected = Expected(mem)
    expected.write(Space.L1, DST, 0x20, bytes_of(exact(fn, a, b, old)))
    expected.check(op, {8: 3})


@pytest.mark.parametrize("mode", list(Broadcast))
@pytest.mark.parametrize("fn", CLOSE)
def test_map_is_close(fn: MapFn, mode: Broadcast):
    mem, op, a, b, _ = map_case(fn, mode, Space.ACC)
    execute(op, [3] * 32, mem)
    actual = floats(get(mem.l1, DST, 0x20, 5, 28))
    wanted = close(fn, a.astype(float), b.astype(float))
    np.testing.assert_allclose(actual, wanted, rtol=2e-5)


def test_a_map_may_write_over_what_it_reads():
    mem = memories(np.random.default_rng(1))
    x = normal(np.random.default_rng(2), 2, 8)
    put(mem.l1, SRC, 0x20, bytes_of(x))
    expected = Expected(mem)
    expected.write(Space.L1, SRC, 0x20, bytes_of(x + x))
    op = Map(
        fn=MapFn.ADD,
        a_space=Space.L1,
        a=SRC,
        a_pitch=0x20,
        b=SRC,
        b_pitch=0x20,
        b_mode=Broadcast.FULL,
        dst=SRC,
        dst_pitch=0x20,
        rows=2,
        rows_reg=0,
        columns=8,
    )
    expected.check(op)


# ---- norm, rope ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (3, 33), (5, 64)])
def test_norm(rows: int, columns: int):
    rng = np.random.default_rng(columns)
    mem = memories(rng)
    x, gamma = normal(rng, rows, columns), normal(rng, 1, columns)
    put(mem.l1, SRC, 0x110, bytes_of(x))
    put(mem.l1, B, 0, bytes_of(gamma))
    op = Norm(
        src=SRC,
        src_pitch=0x110,
        gamma=B,
        eps=bits(0.25),
        dst=DST,
        dst_pitch=0x120,
        rows=rows,
        rows_reg=0,
        columns=columns,
    )
    execute(op, [0] * 32, mem)
    wanted = x / np.sqrt((x.astype(float) ** 2).mean(axis=1, keepdims=True) + 0.25) * gamma
    np.testing.assert_allclose(
        floats(get(mem.l1, DST, 0x120, rows, 4 * columns)), wanted, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("head_dim", "heads"), [(8, 1), (16, 3), (24, 2)])
def test_rope_turns_each_head(head_dim: int, heads: int):
    """Position p turns pair i by p * frequency[i] / 2^64 of a circle."""
    rng = np.random.default_rng(head_dim)
    mem, rows, half = memories(rng), 4, head_dim // 2
    x = normal(rng, rows, heads * head_dim)
    positions = rng.integers(0, 1 << 17, rows).astype("<u4")
    frequencies = rng.integers(0, 1 << 62, half).astype("<u8")
    put(mem.l1, SRC, 0x110, bytes_of(x))
    put(mem.l1, B, 0, bytes_of(positions[None]))
    put(mem.l1, B + 0x100, 0, bytes_of(frequencies[None]))
    op = Rope(
        src=SRC,
        src_pitch=0x110,
        positions=B,
        frequencies=B + 0x100,
        factor=bits(1.5),
        head_dim=head_dim,
        dst=DST,
        dst_pitch=0x120,
        rows=0,
        rows_reg=1,
        columns=heads * head_dim,
    )
    execute(op, [0, rows, *[0] * 30], mem)
    actual = floats(get(mem.l1, DST, 0x120, rows, 4 * heads * head_dim))
    for row in range(rows):
        for i in range(half):
            turns = int(positions[row]) * int(frequencies[i]) % 2**64 / 2**64
            c, s = 1.5 * math.cos(2 * math.pi * turns), 1.5 * math.sin(2 * math.pi * turns)
            for head in range(heads):
                at = head * head_dim + i
                first, second = float(x[row, at]), float(x[row, at + half])
                assert abs(actual[row, at] - (first * c - second * s)) < 2e-6
                assert abs(actual[row, at + half] - (second * c + first * s)) < 2e-6


# ---- softmax ---------------------------------------------------------------------------------


def softmax_op(space: Space, rows: int, **rest: int) -> Softmax:
    fields: dict[str, int] = dict(
        scores=SRC,
        columns=64,
        state=0x1000,
        state_pitch=0x40,
        rows=rows,
        rows_reg=0,
        group=2,
        query=1,
        key=2,
        window=0,
        value_format=format_named("bf16").code,
        value_scale=0x20,
        dst=DST,
        dst_pitch=0x100,
        format=format_named("fp32").code,
        mode=ScaleMode.FLOOR,
        scale=0x800,
    )
    return Softmax(space=space, **(fields | rest))


def softmax_case(rows: int, space: Space) -> tuple[Memories, F32, F32]:
    rng = np.random.default_rng(rows)
    mem = memories(rng)
    scores = 3 * normal(rng, rows, 64)
    put(mem.space(space), SRC, 256, bytes_of(scores))
    state = np.array([[-math.inf] * rows, [0.0] * rows], np.float32)
    state[:, 1::2] = [[0.5], [7.0]]  # every second row has seen keys before
    put(mem.l1, 0x1000, 0x40, bytes_of(state))
    return mem, scores, state


@pytest.mark.parametrize("space", [Space.L1, Space.ACC])
@pytest.mark.parametrize(
    ("window", "query", "key"), [(0, 20, 0), (5, 20, 10), (1, 3, 0), (0, 5, 9)]
)
def test_softmax_counts_exactly_the_keys_in_sight(space: Space, window: int, query: int, key: int):
    rows = 6
    mem, scores, state = softmax_case(rows, space)
    execute(softmax_op(space, rows, window=window), [0, query, key, *[0] * 29], mem)
    p = floats(get(mem.l1, DST, 0x100, rows, 256))
    m, l, alpha = floats(get(mem.l1, 0x1000, 0x40, 3, 4 * rows))  # noqa: E741
    for row in range(rows):
        mine = query + row // 2
        seen = [c for c in range(64) if mine - (window or 10**9) < key + c <= mine]
        peak = max([state[0, row], *scores[row, seen]])
        wanted = np.zeros(64)
        wanted[seen] = np.exp2(scores[row, seen].astype(float) - peak)
        np.testing.assert_allclose(p[row], wanted, rtol=2e-6, atol=1e-30)
        assert ((p[row] != 0) == (wanted != 0)).all()
        assert m[row] == peak
        factor = 1.0 if peak == state[0, row] else np.exp2(float(state[0, row]) - peak)
        np.testing.assert_allclose(alpha[row], factor, rtol=2e-6)
        np.testing.assert_allclose(l[row], state[1, row] * factor + wanted.sum(), rtol=2e-6)


@pytest.mark.parametrize("mode", [ScaleMode.FLOOR, ScaleMode.RCEIL])
@pytest.mark.parametrize("value", ["int8", "mxfp8_e4m3", "mxint8", "nvfp4", "fp8_e4m3"])
@pytest.mark.parametrize("name", ["int8", "mxfp8_e4m3", "mxint8"])
def test_softmax_multiplies_by_value_scales_and_quantises(value: str, name: str, mode: ScaleMode):
    rows, fmt, scaled = 4, format_named(name), format_named(value)
    mem, _, _ = softmax_case(rows, Space.ACC)
    other, _, _ = softmax_case(rows, Space.ACC)
    r = [0, 50, 0, *[0] * 29]
    execute(softmax_op(Space.ACC, rows), r, other)
    p = floats(get(other.l1, DST, 0x100, rows, 256))
    if scaled.scale_bits:
        size = scaled.scale_bits // 8
        scales = random_rows(np.random.default_rng(0), scaled, 64, 32)[1][:, :size]
        put(mem.scale, 0x20, 16, scales)
        codes = [int.from_bytes(row.tobytes(), "little") for row in scales]
        unit = 64 if value == "mxint8" else 1  # MXINT8's 2^-6 belongs to its elements
        p = p * np.array([scale_value(code, scaled) * unit for code in codes], np.float32)
    elements, out_scales = quantised(p, fmt, mode)
    op = softmax_op(Space.ACC, rows, value_format=scaled.code, format=fmt.code, mode=mode)
    execute(op, r, mem)
    np.testing.assert_array_equal(get(mem.l1, DST, 0x100, rows, elements.shape[1]), elements)
    np.testing.assert_array_equal(get(mem.scale, 0x800, 16, rows, out_scales.shape[1]), out_scales)


# ---- quantise, dequantise, sample ------------------------------------------------------------


@pytest.mark.parametrize("per_row", [0, 1])
@pytest.mark.parametrize("mode", list(ScaleMode))
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_quantise(fmt: Format, mode: ScaleMode, per_row: int):
    rng = np.random.default_rng(fmt.code)
    rows, columns = 5, 150
    mem = memories(rng)
    x = normal(rng, rows, columns) * np.exp2(rng.integers(-6, 6, (rows, 1))).astype(np.float32)
    x[1] = 0
    x[2, 0] = np.float32(2.0**100)
    x[3, :32] = np.repeat(np.array([0.5, 1, 1.9375, 1.984375], np.float32), 8)
    elements, scales = quantised(x, fmt, mode, per_row=bool(per_row))
    put(mem.l1, SRC, 0x260, bytes_of(x))
    expected = Expected(mem)
    expected.write(Space.L1, DST, 0x290, elements)
    expected.write(Space.SCALE, 0x60, 0x40, scales)
    op = Quantise(
        src=SRC,
        src_pitch=0x260,
        dst=DST,
        dst_pitch=0x290,
        scale=0x60,
        scale_pitch=0x40,
        format=fmt.code,
        mode=mode,
        per_row=per_row,
        rows=4,
        rows_reg=3,
        columns=columns,
    )
    expected.check(op, {3: 1})


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_dequantise(fmt: Format):
    rng = np.random.default_rng(fmt.code)
    rows, columns = 3, 70
    mem = memories(rng)
    if fmt.family == "wide":
        elements, scales = quantised(normal(rng, rows, 96), fmt, ScaleMode.FLOOR)
    else:
        elements, scales = random_rows(rng, fmt, rows, 96)
    put(mem.l1, SRC, 0x1A0, elements)
    put(mem.scale, 0x60, 0x40, scales)
    expected = Expected(mem)
    wanted = [[fp32(v) for v in row[:columns]] for row in values(fmt, elements, scales, 96)]
    signs = np.array([[v == 0 for v in row] for row in wanted])
    expected.write(Space.L1, DST, 0x130, bytes_of(np.array(wanted, np.float32)))
    op = Dequantise(
        src=SRC,
        src_pitch=0x1A0,
        scale=0x60,
        scale_pitch=0x40,
        format=fmt.code,
        dst=DST,
        dst_pitch=0x130,
        rows=rows,
        rows_reg=0,
        columns=columns,
    )
    execute(op, [0] * 32, mem)
    actual = floats(get(mem.l1, DST, 0x130, rows, 4 * columns))
    actual[signs] = np.abs(actual[signs])  # fractions have no -0
    put(mem.l1, DST, 0x130, bytes_of(actual))
    np.testing.assert_array_equal(mem.l1, expected.spaces[Space.L1])


def test_sample_reads_a_record_for_each_row():
    rng = np.random.default_rng(5)
    mem, rows, columns = memories(rng), 4, 50
    logits = 4 * normal(rng, rows, columns)
    logits[0, [7, 9]] = 100  # a tie: the lowest index
    records = [
        (math.inf, 0, 0, 0, 0),
        (1.0, 3, 0, 11, 2),
        (0.7, 0, 1 << 31, 1 << 40, 3),
        (2.0, 0, 0, 5, 6),
    ]
    put(mem.hbm, 0x100, 212, bytes_of(logits))
    for row, (t, top_k, top_p, seed, counter) in enumerate(records):
        words = np.array([bits(float(t)), top_k, top_p, 0], "<u4").view(np.uint8)
        at = 0x4000 + 32 * row
        mem.hbm[at : at + 32] = [*words, *np.array([seed, counter], "<u8").view(np.uint8)]
    expected = Expected(mem)
    wanted = [
        sample(
            logits[row],
            inv_t=np.float32(t),
            top_k=top_k,
            top_p_q32=top_p or 1 << 32,
            seed=seed,
            counter=counter,
        )
        for row, (t, top_k, top_p, seed, counter) in enumerate(records)
    ]
    assert wanted[0] == 7
    assert np.float32(math.inf) == inverse_temperature(0)
    expected.write(None, 0x6004, 4, bytes_of(np.array(wanted, "<u4")[:, None]))
    op = Sample(
        logits=0x100, pitch=212, columns=columns, parameters=0x4000, out=0x6004, rows=0, rows_reg=2
    )
    expected.check(op, {2: rows})
