"""Matrix products of every pair of formats, against exact fractions."""

from typing import Any

import numpy as np
import pytest

from sim.oracle import (
    Expected,
    bytes_of,
    floats,
    get,
    memories,
    packed,
    product,
    put,
    random_rows,
    unpacked,
    values,
)
from tapeout.errors import ConfigError, TrapError
from tapeout.isa import Matmul, Space, VectorMatmul, acc_pitch
from tapeout.numerics import FORMATS, Format, format_named
from tapeout.sim.execute import execute

PAIRS = [(a, b) for a in FORMATS for b in FORMATS if a.family == b.family != "wide"]
A, B, ACC, A_SCALE, B_SCALE = 0x40, 0x4010, 0x800, 0x20, 0x1010
A_PITCH, B_PITCH, A_SCALE_PITCH, B_SCALE_PITCH = 0x110, 0x130, 0x40, 0x30


def matmul(a: Format, b: Format, k_blocks: int, n: int, **rest: int) -> Matmul:
    fields: dict[str, Any] = dict(
        a=A,
        a_pitch=A_PITCH,
        a_scale=A_SCALE,
        a_scale_pitch=A_SCALE_PITCH,
        a_format=a.code,
        b=B,
        b_pitch=B_PITCH,
        b_scale=B_SCALE,
        b_scale_pitch=B_SCALE_PITCH,
        b_format=b.code,
        acc=ACC,
        m=1,
        m_reg=5,
        n=n,
        k_blocks=k_blocks,
        accumulate=0,
        transpose=0,
    )
    return Matmul(**(fields | rest))


def operand(rng: np.random.Generator, mem: Any, fmt: Format, rows: int, k: int, *, is_a: bool):
    elements, scales = random_rows(rng, fmt, rows, k)
    put(mem.l1, *((A, A_PITCH) if is_a else (B, B_PITCH)), elements)
    put(mem.scale, *((A_SCALE, A_SCALE_PITCH) if is_a else (B_SCALE, B_SCALE_PITCH)), scales)
    return values(fmt, elements, scales, k)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda f: f.name)
def test_matmul_of_every_pair_of_formats(a: Format, b: Format):
    rng = np.random.default_rng(100 * a.code + b.code)
    m, n, k_blocks = int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.integers(1, 6))
    mem = memories(rng)
    x = operand(rng, mem, a, m, 32 * k_blocks, is_a=True)
    y = operand(rng, mem, b, n, 32 * k_blocks, is_a=False)
    expected = Expected(mem)
    expected.write(Space.ACC, ACC, acc_pitch(n), bytes_of(product(x, y, None)))
    expected.check(matmul(a, b, k_blocks, n), {5: m - 1})


@pytest.mark.parametrize("name", ["int8", "int4_g128", "mxfp8_e5m2", "nvfp4"])
def test_accumulate_goes_on_from_the_accumulators(name: str):
    fmt, rng = format_named(name), np.random.default_rng(7)
    mem = memories(rng)
    before = rng.normal(size=(3, 5)).astype(np.float32)
    put(mem.acc, ACC, acc_pitch(5), bytes_of(before))
    x = operand(rng, mem, fmt, 3, 96, is_a=True)
    y = operand(rng, mem, fmt, 5, 96, is_a=False)
    expected = Expected(mem)
    expected.write(Space.ACC, ACC, acc_pitch(5), bytes_of(product(x, y, before)))
    expected.check(matmul(fmt, fmt, 3, 5, accumulate=1), {5: 2})


@pytest.mark.parametrize("b", [f for f in FORMATS if f.family != "wide"], ids=lambda f: f.name)
@pytest.mark.parametrize("n", [8, 24, 32])
def test_a_transposed_operand_lies_as_k_rows_and_has_no_scales(b: Format, n: int):
    a = format_named("int8" if b.family == "int" else "mxfp8_e4m3")
    rng = np.random.default_rng(n)
    mem, k = memories(rng), 64
    x = operand(rng, mem, a, 2, k, is_a=True)
    wide = random_rows(rng, b, k, 32)[0]  # 64 rows of 32; the first n columns count
    put(mem.l1, B, B_PITCH, wide)
    codes = [unpacked(row.tobytes(), b.element_bits, 32)[:n] for row in wide]
    columns = [packed([row[i] for row in codes], b.element_bits) for i in range(n)]
    elements = np.array([list(column) for column in columns], np.uint8)
    one = {"none": 0, "e8m0": 127 + (6 if b.name == "mxint8" else 0), "e4m3": 0x38, "bf16": 0x3F80}
    count = b.scale_count(k)
    scale_row = packed([one[b.scale]] * count, b.scale_bits) if count else b""
    scales = np.array([list(scale_row)] * n, np.uint8).reshape(n, -1)
    y = values(b, elements, scales, k)
    if b.name == "mxint8":  # "all scales one" leaves MXINT8's own unit of 2^-6
        y = [[v / 64 for v in row] for row in y]
    expected = Expected(mem)
    expected.write(Space.ACC, ACC, acc_pitch(n), bytes_of(product(x, y, None)))
    expected.check(matmul(a, b, 2, n, transpose=1), {5: 1})


def tree_product(a: Any, b: Any, acc: Any) -> Any:
    """FP32 products; a tree of neighbours in each 32; blocks in ascending order."""
    out = np.zeros((len(a), len(b)), np.float32)
    for m in range(len(a)):
        for n in range(len(b)):
            total = None if acc is None else acc[m, n]
            for k in range(0, a.shape[1], 32):
                level = list(a[m, k : k + 32] * b[n, k : k + 32])
                while len(level) > 1:
                    level = [x + y for x, y in zip(level[::2], level[1::2], strict=True)]
                total = level[0] if total is None else total + level[0]
            out[m, n] = total
    return out


@pytest.mark.parametrize("name", ["bf16", "fp32"])
@pytest.mark.parametrize("transpose", [0, 1])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_vector_matmul_adds_in_fp32(name: str, transpose: int, accumulate: int):
    fmt, rng = format_named(name), np.random.default_rng(3)
    m, n, k = 3, 5, 96
    mem = memories(rng)
    a = rng.normal(size=(m, k)).astype(np.float32)
    b = rng.normal(size=(n, k)).astype(np.float32)
    if name == "bf16":
        b = (b.view(np.uint32) & 0xFFFF0000).view(np.float32)
    old = rng.normal(size=(m, n)).astype(np.float32)
    stored = bytes_of(b.T if transpose else b)
    if name == "bf16":
        stored = np.ascontiguousarray(stored.reshape(len(stored), -1, 4)[:, :, 2:])
    put(mem.l1, 0x40, 0x190, bytes_of(a))
    put(mem.l1, 0x2000, 0x1A0, stored.reshape(len(stored), -1))
    put(mem.l1, 0xE000, 0x30, bytes_of(old))
    expected = Expected(mem)
    wanted = tree_product(a, b, old if accumulate else None)
    expected.write(Space.L1, 0xE000, 0x30, bytes_of(wanted))
    op = VectorMatmul(
        a=0x40,
        a_pitch=0x190,
        b=0x2000,
        b_pitch=0x1A0,
        b_format=fmt.code,
        dst=0xE000,
        dst_pitch=0x30,
        m=0,
        m_reg=5,
        n=n,
        k_blocks=k // 32,
        accumulate=accumulate,
        transpose=transpose,
    )
    expected.check(op, {5: m})


def test_no_rows_leave_the_accumulators_alone():
    mem = memories(np.random.default_rng(0))
    fmt = format_named("int8")
    Expected(mem).check(matmul(fmt, fmt, 1, 4), {5: -1})


def test_a_product_outside_the_accumulators_traps():
    mem = memories(np.random.default_rng(0))
    fmt = format_named("int8")
    with pytest.raises(TrapError, match=r"must lie in 0\.\.0x2000"):
        execute(matmul(fmt, fmt, 1, 4, acc=(1 << 13) - 16), [0] * 5 + [1] + [0] * 26, mem)


@pytest.mark.parametrize(("m", "acc"), [(1, 64), (2, 128), (3, 256), (9, 1024)])
def test_a_result_that_does_not_start_on_its_rows_traps(m: int, acc: int):
    mem = memories(np.random.default_rng(0))
    fmt = format_named("int8")
    r = [0] * 5 + [m - 1] + [0] * 26
    with pytest.raises(TrapError, match=f"must start on a multiple of .*, not at {acc:#x}"):
        execute(matmul(fmt, fmt, 1, 4, acc=acc), r, mem)
    execute(matmul(fmt, fmt, 1, 4, acc=2 * acc), r, mem)


def test_a_result_lies_in_one_half():
    mem = memories(np.random.default_rng(0))
    fmt = format_named("int8")
    half = mem.acc.size // 2
    with pytest.raises(TrapError, match="must lie in one half of the accumulators, not across"):
        execute(matmul(fmt, fmt, 1, 4, acc=half - 128), [0] * 5 + [1] + [0] * 26, mem)


def test_families_do_not_mix():
    mem = memories(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="both int or both float"):
        execute(matmul(format_named("int8"), format_named("mxfp4"), 1, 4), [0] * 32, mem)


def test_the_oracle_rounds_once():
    """A sum that two roundings would get wrong: 2^24 + 1 + 2^-8 rounds up in FP32."""
    fmt = format_named("fp8_e5m2")
    a = np.zeros((1, 32), np.uint8)
    a[0, :3] = [0x6C, 0x3C, 0x1C]  # 4096, 1, 2^-8
    b = a.copy()
    b[0, 1:3] = 0x3C
    empty = np.zeros((1, 0), np.uint8)
    x, y = values(fmt, a, empty, 32), values(fmt, b, empty, 32)
    assert x[0][:3] == [4096, 1, 2**-8]
    assert product(x, y, None)[0, 0] == 2**24 + 2
    mem = memories(np.random.default_rng(0))
    put(mem.l1, A, A_PITCH, a)
    put(mem.l1, B, B_PITCH, b)
    execute(matmul(fmt, fmt, 1, 1), [0] * 32, mem)
    assert floats(get(mem.acc, ACC, 4, 1, 4))[0, 0] == 2**24 + 2
