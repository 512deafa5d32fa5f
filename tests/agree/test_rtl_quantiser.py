"""The RTL's quantiser does what the simulator's Quantise and Softmax do, byte by byte."""

import numpy as np
import pytest

from rtl.vector_bench import VectorBench, command_word
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.instructions import Quantise
from tapeout.numerics import FORMATS, ScaleMode, format_named
from tapeout.numerics.blocks import LARGEST
from tapeout.rtl.quantiser import Quantiser
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories, numbers

L1_BITS, SCALE_BITS = 13, 9
L1_BYTES, SCALE_BYTES = GRANULE_BYTES << L1_BITS, GRANULE_BYTES << SCALE_BITS
NAMES = [fmt.name for fmt in FORMATS]
LANES = (4, 8, 32, 64)
SPECIAL = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x3F800000, 0x3FFFFFFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001,
     0x7FC00000, 0x7FFFFFFF, 0x33800000, 0x3E800000, 0x3E7FFFFF, 0x3E800001],
    np.uint32,
)  # fmt: skip


def quantiser(lanes):
    return Quantiser(lanes=lanes, address_bits=L1_BITS, scale_address_bits=SCALE_BITS)


def memories(seed):
    """Random memories: a byte that must not be written shows."""
    mem = Memories(
        l1_bytes=L1_BYTES, scale_bytes=SCALE_BYTES, acc_bytes=1 << 14,
        hbm=np.zeros(0, np.uint8), fill=0,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for memory in (mem.l1, mem.scale):
        memory[:] = rng.integers(0, 256, len(memory))
    return mem


def values(fmt, shape, rng):
    """Numbers of a like size, ties of elements and of scales, tiny ones, any bits, special ones."""
    any_bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    fields = np.choose(
        rng.integers(0, 5, (*shape[:1], 1)),
        [rng.integers(1, 250, (shape[0], 1)), 127, 1, 5, rng.integers(240, 255, (shape[0], 1))],
    )
    spread = rng.choice([1, 4, 12], (shape[0], 1))
    field = np.clip(fields - rng.integers(0, 100, shape) % spread, 0, 254).astype(np.uint32)
    near = any_bits & np.uint32(0x807FFFFF) | field << np.uint32(23)
    few = near & (np.uint32(0xFFFFFFFF) << rng.integers(8, 23, shape).astype(np.uint32))
    tiny = any_bits & np.uint32(0x80FFFFFF)
    special = rng.choice(SPECIAL, shape) | any_bits & np.uint32(1 << 31)
    kind = rng.integers(0, 10, (shape[0], 1))
    out = np.where(kind < 3, near, few)
    out = np.where(kind == 6, tiny, out)
    rare = rng.random(shape) < np.where(kind == 7, 0.03, 0.0)
    out = np.where(rare, special, out)
    out = np.where(kind == 8, np.where(rng.random(shape) < 0.05, any_bits, 0), out)
    zeros = kind == 9
    out = np.where(zeros, any_bits & np.uint32(1 << 31), out)
    return np.where(kind == 5, _ties(fmt, shape, rng), out).astype(np.uint32)


def _ties(fmt, shape, rng):
    """Multiples of half an element's place, a last bit more or less, and the largest element."""
    largest = LARGEST.get(fmt.element, 256.0)
    halves = rng.integers(-256, 257, shape) / 256 * largest
    halves[:, ::16] = largest
    bits = np.asarray(halves, np.float32).view(np.uint32).astype(np.int64)
    exponents = rng.integers(-20, 20, (shape[0], 1)) << 23
    moved = np.where(bits << 1 == 0, bits, bits + exponents)
    return np.where(moved & 0x7FFFFFFF, moved + rng.integers(-1, 2, shape), moved) & 0xFFFFFFFF


def random_quantise(rng, *, fmt=None, mode=None, rows=None, columns=None, per_row=None):
    """An operation whose source lies in the first half of L1, and its codes in the second."""
    fmt = fmt or FORMATS[rng.integers(len(FORMATS))]
    rows = rows if rows is not None else int(rng.integers(1, 5))
    columns = columns or int(rng.choice([1, 5, 31, 32, 33, 64, 96, 127, 160, 288, 300]))
    per_row = bool(rng.integers(2)) if per_row is None else per_row
    granules = -(-4 * columns // 16) + int(rng.integers(0, 3))
    return Quantise(
        src=GRANULE_BYTES * int(rng.integers(0, 40)),
        src_pitch=GRANULE_BYTES * granules,
        dst=L1_BYTES // 2 + GRANULE_BYTES * int(rng.integers(0, 40)),
        dst_pitch=-(-fmt.row_bytes(columns) // 16) * 16 + GRANULE_BYTES * int(rng.integers(0, 3)),
        scale=GRANULE_BYTES * int(rng.integers(0, 40)),
        scale_pitch=-(-max(1, fmt.scale_row_bytes(columns)) // 16) * 16
        + GRANULE_BYTES * int(rng.integers(0, 2)),
        format=fmt.code,
        mode=int(mode if mode is not None else rng.integers(4)),
        per_row=int(per_row),
        rows=rows,
        rows_reg=0,
        columns=columns,
    )


def agree(lanes, ops, seed, *, stalls=0.0, probe=False):
    """Run operations on both, one after the other, each on its own numbers."""
    rng = np.random.default_rng(seed)
    mem = memories(seed)
    l1, scale = mem.l1.copy(), mem.scale.copy()
    ports = {"read": l1, "write": l1, "write_scale": scale}
    bench = VectorBench(quantiser(lanes), ports, stalls=stalls, seed=seed, probe=probe)
    for op in ops:
        fmt = FORMATS[op.format]
        x = values(fmt, (op.rows, op.columns), rng)
        for memory in (mem.l1, l1):
            numbers(memory, op.src, op.rows, op.src_pitch, op.columns, np.uint32)[:] = x
        execute(op, [0] * 32, mem)
        bench.run([command_word(op, op.rows)])
        same(op, mem.l1, l1)
        same(op, mem.scale, scale)
    return bench


def same(op, want, got):
    wrong = np.flatnonzero(want != got)
    found = [f"{at:#x}: {got[at]:02x} not {want[at]:02x}" for at in wrong[:4]]
    assert not len(wrong), f"{op}: {len(wrong)} bytes differ, {found}"


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", NAMES)
def test_every_format(name, lanes):
    rng = np.random.default_rng(lanes)
    fmt = format_named(name)
    ops = [
        random_quantise(rng, fmt=fmt, mode=mode, rows=12, columns=columns, per_row=per_row)
        for columns, mode in zip((96, 33, 160, 288), ScaleMode, strict=True)
        for per_row in ((False, True) if fmt.scale != "none" else (False,))
    ]
    agree(lanes, ops, seed=lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_random_operations_under_stalls(lanes):
    rng = np.random.default_rng(10 + lanes)
    agree(lanes, [random_quantise(rng) for _ in range(20)], seed=3, stalls=0.4, probe=True)
