"""The RTL's quantiser does what the simulator's Quantise and Softmax do, byte by byte."""

from dataclasses import replace

import numpy as np
import pytest

from rtl.vector_bench import VectorBench, command_word
from tapeout.isa.fields import GRANULE_BYTES, Space
from tapeout.isa.instructions import Quantise, Softmax
from tapeout.numerics import FORMATS, ScaleMode, decode, format_named, quantise
from tapeout.numerics.blocks import LARGEST
from tapeout.numerics.codes import VALUES
from tapeout.rtl.quantiser import Quantiser
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories, numbers

L1_BITS, SCALE_BITS = 13, 9
L1_BYTES, SCALE_BYTES = GRANULE_BYTES << L1_BITS, GRANULE_BYTES << SCALE_BITS
NAMES = [fmt.name for fmt in FORMATS]
LANES = (4, 64, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 32)))
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
    """Rows of a like size, ties of elements and of scales, tiny ones, any bits, special ones."""
    any_bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    signs = any_bits & np.uint32(1 << 31)
    exponents = np.choose(
        rng.integers(0, 5, (shape[0], 1)),
        [rng.integers(1, 250, (shape[0], 1)), 127, 1, 5, rng.integers(240, 255, (shape[0], 1))],
    )
    spread = rng.choice([1, 4, 12], (shape[0], 1))
    fields = np.clip(exponents - rng.integers(0, 100, shape) % spread, 0, 254).astype(np.uint32)
    near = any_bits & np.uint32(0x807FFFFF) | fields << np.uint32(23)
    short = near & (np.uint32(0xFFFFFFFF) << rng.integers(8, 23, shape).astype(np.uint32))
    tiny = any_bits & np.uint32(0x80FFFFFF)
    special = rng.choice(SPECIAL, shape) | signs
    some_special = np.where(rng.random(shape) < 0.03, special, short)
    sparse = np.where(rng.random(shape) < 0.05, any_bits, signs)
    kinds = [near, short, tiny, some_special, sparse, signs, *[ties(fmt, shape, rng)] * 3]
    return np.choose(rng.integers(0, len(kinds), (shape[0], 1)), kinds).astype(np.uint32)


def ties(fmt, shape, rng):
    """Numbers half-way between two codes or a last bit off, in groups whose scales are so too."""
    if fmt.family == "wide":
        bits = rng.integers(0, 1 << 32, shape) & 0xFFFF0000 | 0x8000
        return _nudged(bits.astype(np.uint32).view(np.float32), rng)
    points = np.unique(VALUES[fmt.element][np.isfinite(VALUES[fmt.element])])
    halves = rng.choice((points[:-1] + points[1:]) / 2, shape)
    if fmt.scale in ("none", "e8m0"):
        exponents = rng.integers(-140, 110, (shape[0], 1)) if fmt.scale == "e8m0" else 0
        x = np.ldexp(halves, exponents).astype(np.float32)
        x[:, ::16] = np.ldexp(points[-1] * rng.choice([1, 0.5, 0.75, 15 / 16]), exponents)
        return _nudged(x, rng)
    codes = rng.integers(1, 0x7E00 if fmt.scale == "bf16" else 0x7D, shape[0])
    mid = (decode(codes, fmt.scale).astype(float) + decode(codes + 1, fmt.scale)) / 2
    with np.errstate(all="ignore"):
        largest = (mid * LARGEST[fmt.element]).astype(np.float32)[:, None]
        largest = _nudged(np.broadcast_to(largest, (shape[0], 32)), rng).view(np.float32)[:, :1]
        scales = decode(quantise(np.broadcast_to(largest, (shape[0], 32)), fmt).scales, fmt.scale)
        x = (halves / (np.float32(1) / scales[:, :1])).astype(np.float32)
    x = _nudged(np.where(np.abs(x) < largest, x, 0), rng).view(np.float32)
    x[:, ::16] = largest
    return x.view(np.uint32)


def _nudged(x, rng):
    """Bits of FP32 numbers, some of them moved to a neighbour."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.int64)
    small = bits & 0x7FFFFFFF
    moved = np.clip(small + rng.integers(-1, 2, x.shape), 0, 0x7FFFFFFF)
    return (bits & 0x80000000 | np.where(small == 0, 0, moved)).astype(np.uint32)


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


class Both:
    """The simulator's memories and those of a quantiser: the same before, the same afterwards."""

    def __init__(self, lanes, seed, *, stalls=0.0, probe=False):
        self.rng = np.random.default_rng(seed)
        self.mem = memories(seed)
        self.l1, self.scale = self.mem.l1.copy(), self.mem.scale.copy()
        ports = {"read": self.l1, "write": self.l1, "write_scale": self.scale}
        self.bench = VectorBench(quantiser(lanes), ports, stalls=stalls, seed=seed, probe=probe)

    def agree(self, op):
        """Run a Quantise, on numbers of its own."""
        x = values(FORMATS[op.format], (op.rows, op.columns), self.rng)
        for memory in (self.mem.l1, self.l1):
            numbers(memory, op.src, op.rows, op.src_pitch, op.columns, np.uint32)[:] = x
        execute(op, [0] * 32, self.mem)
        self.bench.run([command_word(op, op.rows)])
        self.same(op)

    def same(self, op):
        """Check every byte of both memories."""
        for want, got in ((self.mem.l1, self.l1), (self.mem.scale, self.scale)):
            wrong = np.flatnonzero(want != got)
            found = [f"{at:#x}: {got[at]:02x} not {want[at]:02x}" for at in wrong[:4]]
            assert not len(wrong), f"{op}: {len(wrong)} bytes differ, {found}"


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", NAMES)
def test_every_format_in_every_mode(name, lanes):
    rng = np.random.default_rng(lanes)
    fmt, both = format_named(name), Both(lanes, seed=lanes)
    for columns, mode in zip((96, 33, 160, 288), ScaleMode, strict=True):
        for per_row in (False, True) if mode < 2 else (False,):
            rows = 800 // columns
            op = dict(fmt=fmt, mode=mode, rows=rows, columns=columns, per_row=per_row)
            both.agree(random_quantise(rng, **op))


@pytest.mark.parametrize("lanes", LANES)
def test_random_operations_under_stalls(lanes):
    rng = np.random.default_rng(10 + lanes)
    both = Both(lanes, seed=3, stalls=0.4, probe=True)
    for _ in range(14):
        both.agree(random_quantise(rng))


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("name", NAMES)
def test_more_of_every_format(name, lanes):
    rng = np.random.default_rng(100 + lanes)
    fmt = format_named(name)
    for stalls in (0.0, 0.1, 0.5):
        both = Both(lanes, seed=int(10 * stalls), stalls=stalls)
        for _ in range(6):
            columns = int(rng.integers(1, 700))
            rows = int(rng.integers(1, max(2, min(64, 6000 // columns))))
            both.agree(random_quantise(rng, fmt=fmt, rows=rows, columns=columns))


@pytest.mark.parametrize("lanes", [4, 64])
def test_codes_may_be_written_where_their_numbers_lie(lanes):
    rng, both = np.random.default_rng(lanes), Both(lanes, seed=5, stalls=0.2)
    for fmt in FORMATS:
        op = random_quantise(rng, fmt=fmt, rows=3, columns=96)
        both.agree(replace(op, dst=op.src, dst_pitch=op.src_pitch))


def softmax(op_format, value_format, rng, *, columns, rows):
    return Softmax(
        space=Space.L1, scores=0x4000, columns=columns, state=0x200, state_pitch=0x100, rows=rows,
        rows_reg=0, group=2, query=1, key=2, window=0, value_format=value_format.code,
        value_scale=0, dst=L1_BYTES // 2, dst_pitch=4 * columns + GRANULE_BYTES,
        format=op_format.code, mode=int(rng.integers(4)), scale=0x800,
    )  # fmt: skip


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_softmax(name, lanes):
    """Probabilities come from the simulator: as FP32 it keeps their bits."""
    fmt, rng = format_named(name), np.random.default_rng(lanes)
    wide, fp8 = format_named("fp32"), format_named("fp8_e4m3")
    for columns, rows in ((32, 3), (128, 5), (224, 2)):
        if fmt.scale_row_bytes(columns) > GRANULE_BYTES:
            continue
        both = Both(lanes, seed=columns, stalls=0.1)
        scores = np.asarray(rng.normal(0, 4, (rows, columns)), np.float32)
        numbers(both.mem.l1, 0x4000, rows, 4 * columns, columns)[:] = scores
        state = numbers(both.mem.l1, 0x200, 3, 0x100, rows)
        registers = [0, columns // 2, 0, *[0] * 29]
        before = both.mem.l1.copy()
        op = softmax(wide, wide, rng, columns=columns, rows=rows)
        state[:2] = [[-np.inf], [0]]
        execute(op, registers, both.mem)
        p = numbers(both.mem.l1, op.dst, rows, op.dst_pitch, columns, np.uint32).copy()
        both.mem.l1[:] = before
        state[:2] = [[-np.inf], [0]]
        op = softmax(fmt, wide if fmt.family == "wide" else fp8, rng, columns=columns, rows=rows)
        execute(op, registers, both.mem)
        both.l1[: L1_BYTES // 2] = both.mem.l1[: L1_BYTES // 2]  # the state is not its business
        both.bench.run([command_word(op, rows)], chunks_of(p, lanes, rng))
        both.same(op)


def chunks_of(p, lanes, rng):
    """Rows in chunks of `lanes` numbers; what lies beyond the columns is anything."""
    extra = -p.shape[1] % lanes
    rest = rng.integers(0, 1 << 32, (len(p), extra), dtype=np.uint32)
    chunks = np.hstack([p, rest]).reshape(-1, lanes)
    return [int.from_bytes(chunk.tobytes(), "little") for chunk in chunks]
