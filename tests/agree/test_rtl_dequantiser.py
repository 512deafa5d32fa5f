"""The RTL's dequantiser does what the simulator's Dequantise does, byte by byte."""

import numpy as np
import pytest

from rtl.vector_bench import VectorBench, command_word
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.instructions import Dequantise
from tapeout.numerics import FORMATS, format_named
from tapeout.rtl.dequantiser import Dequantiser
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories, tile

L1_BITS, SCALE_BITS = 13, 9
L1_BYTES, SCALE_BYTES = GRANULE_BYTES << L1_BITS, GRANULE_BYTES << SCALE_BITS
NAMES = [fmt.name for fmt in FORMATS]
LANES = (4, 64, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 32)))
SPECIAL_SCALES = {
    "e8m0": [0, 1, 2, 126, 127, 250, 253, 254, 255],
    "e4m3": [0x00, 0x80, 0x01, 0x81, 0x07, 0x08, 0x38, 0xB8, 0x7E, 0xFE, 0x7F, 0xFF],
    "bf16": [0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC1],
}


def dequantiser(lanes):
    return Dequantiser(lanes=lanes, address_bits=L1_BITS, scale_address_bits=SCALE_BITS)


def random_dequantise(rng, *, fmt=None, rows=None, columns=None):
    """An operation whose codes lie in the first half of L1, and its numbers in the second."""
    fmt = fmt or FORMATS[rng.integers(len(FORMATS))]
    columns = columns or int(rng.choice([1, 5, 31, 32, 33, 64, 96, 127, 160, 288, 300]))
    granules = -(-fmt.row_bytes(columns) // 16) + int(rng.integers(0, 3))
    return Dequantise(
        src=GRANULE_BYTES * int(rng.integers(0, 40)),
        src_pitch=GRANULE_BYTES * granules,
        scale=GRANULE_BYTES * int(rng.integers(0, 40)),
        scale_pitch=GRANULE_BYTES
        * (-(-max(1, fmt.scale_row_bytes(columns)) // 16) + int(rng.integers(0, 2))),
        format=fmt.code,
        dst=L1_BYTES // 2 + GRANULE_BYTES * int(rng.integers(0, 40)),
        dst_pitch=GRANULE_BYTES * (-(-columns // 4) + int(rng.integers(0, 3))),
        rows=rows if rows is not None else int(rng.integers(1, 5)),
        rows_reg=0,
        columns=columns,
    )


def fill_scales(memory, op, rng):
    """Any scales in some rows, extreme ones in others, and in others those near 1."""
    fmt = FORMATS[op.format]
    if fmt.scale == "none":
        return
    count = fmt.scale_count(op.columns)
    kind = rng.integers(0, 3, (op.rows, 1))
    some = rng.integers(0, 1 << fmt.scale_bits, (op.rows, count))
    extreme = rng.choice(SPECIAL_SCALES[fmt.scale], (op.rows, count))
    near = {"e8m0": 100 + some % 54, "e4m3": some & 0xBF | 0x20, "bf16": some & 0xC3FF | 0x3C00}
    codes = np.choose(kind, [some, extreme, near[fmt.scale]])
    raw = codes.astype(f"<u{fmt.scale_bits // 8}").view(np.uint8)
    tile(memory, op.scale, op.rows, op.scale_pitch, raw.shape[1])[:] = raw


def agree(lanes, ops, seed, *, stalls=0.0, probe=False):
    """Run operations on both, one after the other, on random codes."""
    rng = np.random.default_rng(seed)
    mem = Memories(
        l1_bytes=L1_BYTES, scale_bytes=SCALE_BYTES, acc_bytes=0, hbm=np.zeros(0, np.uint8), fill=0
    )
    l1, scale = np.zeros_like(mem.l1), np.zeros_like(mem.scale)
    ports = {"read": l1, "read_scale": scale, "write": l1}
    bench = VectorBench(dequantiser(lanes), ports, stalls=stalls, seed=seed, probe=probe)
    for op in ops:
        mem.l1[:] = rng.integers(0, 256, L1_BYTES)
        mem.scale[:] = rng.integers(0, 256, SCALE_BYTES)
        fill_scales(mem.scale, op, rng)
        l1[:], scale[:] = mem.l1, mem.scale
        execute(op, [0] * 32, mem)
        bench.run([command_word(op, op.rows)])
        wrong = np.flatnonzero(mem.l1 != l1)
        found = [f"{at:#x}: {l1[at]:02x} not {mem.l1[at]:02x}" for at in wrong[:4]]
        assert not len(wrong), f"{op}: {len(wrong)} bytes differ, {found}"
    return bench


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", NAMES)
def test_every_format(name, lanes):
    rng = np.random.default_rng(lanes)
    fmt = format_named(name)
    agree(lanes, [random_dequantise(rng, fmt=fmt, rows=9, columns=c) for c in (33, 96)], seed=lanes)


@pytest.mark.parametrize("lanes", LANES)
def test_random_operations_under_stalls(lanes):
    rng = np.random.default_rng(10 + lanes)
    agree(lanes, [random_dequantise(rng) for _ in range(8)], seed=3, stalls=0.4, probe=True)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("name", NAMES)
def test_more_of_every_format(name, lanes):
    rng = np.random.default_rng(100 + lanes)
    fmt = format_named(name)
    for stalls in (0.0, 0.1, 0.5):
        ops = [
            random_dequantise(rng, fmt=fmt, rows=int(rng.integers(1, 24)), columns=int(columns))
            for columns in rng.integers(1, 500, 5)
        ]
        agree(lanes, ops, seed=int(10 * stalls), stalls=stalls)
