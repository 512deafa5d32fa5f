"""The vector unit's element engine does what the simulator does, byte by byte."""

from dataclasses import replace

import numpy as np
import pytest

from agree.rtl_vector import (
    ACC_BYTES,
    L1_BYTES,
    SCALE_BYTES,
    numbers,
    random_map,
    random_norm,
    random_product,
    random_rope,
    random_softmax,
)
from rtl.vector_bench import VectorBench, command_word
from tapeout.isa.fields import GRANULE_BYTES, Broadcast, MapFn
from tapeout.numerics import format_named
from tapeout.rtl.command import COMMAND
from tapeout.rtl.vector import VectorUnit
from tapeout.rtl.vector_scales import SCALE_WINDOW
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

LANES = (8, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 32, 64)))  # each is a build
QUERY, KEY = 1, 2


class Bench:
    """A vector unit and the simulator's memories, filled alike."""

    def __init__(self, lanes, *, stalls=0.0, seed=1, probe=False):
        self.rng = np.random.default_rng(seed)
        self.mem = Memories(
            l1_bytes=L1_BYTES, scale_bytes=SCALE_BYTES, acc_bytes=ACC_BYTES,
            hbm=np.zeros(0, np.uint8), fill=0,
        )  # fmt: skip
        self.l1, self.scale = np.zeros_like(self.mem.l1), np.zeros_like(self.mem.scale)
        ports = {
            **dict.fromkeys(("read_a", "read_b", "write"), self.l1),
            **dict.fromkeys(("read_scale", "write_scale"), self.scale),
            "read_acc": self.mem.acc,
        }
        unit = VectorUnit(
            lanes=lanes, l1_granules=L1_BYTES // GRANULE_BYTES,
            scale_granules=SCALE_BYTES // GRANULE_BYTES, accumulators=ACC_BYTES // 8, bus_bits=128,
        )  # fmt: skip
        self.bench = VectorBench(unit, ports, stalls=stalls, seed=seed, probe=probe)

    def agree(self, op, positions=(0, 0), *, kind=None):
        """Run an operation on both; returns the cycles that it took."""
        rng, mem = self.rng, self.mem
        mem.l1[:] = numbers(rng, L1_BYTES // 4, kind=kind).view(np.uint8)
        mem.acc[:] = numbers(rng, ACC_BYTES // 4, kind=kind).view(np.uint8)
        mem.scale[:] = rng.integers(0, 256, SCALE_BYTES)
        self.l1[:], self.scale[:] = mem.l1, mem.scale
        registers = [0] * 32
        registers[QUERY], registers[KEY] = positions
        execute(op, registers, mem)
        rows = op.m if hasattr(op, "m") else op.rows
        word = command_word(op, rows)
        for name, value in zip("xy", positions, strict=True):
            word |= value << COMMAND[name].offset
        start = self.bench.cycle
        (end,) = self.bench.run([word])
        for name, expected, got in (("L1", mem.l1, self.l1), ("scale", mem.scale, self.scale)):
            wrong = np.flatnonzero(expected != got)
            found = [f"{at:#x}: {got[at]:02x} not {expected[at]:02x}" for at in wrong[:8]]
            assert not len(wrong), f"{op}: {len(wrong)} bytes of {name} differ, {found}"
        return end - start


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("fn", list(MapFn), ids=lambda fn: fn.name)
def test_every_function_and_broadcast_of_map(fn, lanes):
    bench = Bench(lanes, seed=lanes + fn)
    for b_mode in Broadcast:
        bench.agree(random_map(bench.rng, fn=fn, b_mode=b_mode, rows=5))
        bench.agree(random_map(bench.rng, fn=fn, b_mode=b_mode))


@pytest.mark.parametrize("lanes", LANES)
def test_norm(lanes):
    bench = Bench(lanes, seed=lanes)
    for columns in (1, 4, 31, 33, 64, 288, None, None):
        bench.agree(random_norm(bench.rng, columns=columns))


@pytest.mark.parametrize("lanes", LANES)
def test_rope(lanes):
    bench = Bench(lanes, seed=lanes)
    for head_dim in (8, 24, 64, 80, None, None):
        bench.agree(random_rope(bench.rng, head_dim=head_dim))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("wide", [False, True])
def test_softmax(lanes, wide):
    bench = Bench(lanes, seed=lanes)
    for _ in range(8):
        bench.agree(*random_softmax(bench.rng, wide=wide))


@pytest.mark.parametrize("lanes", LANES)
def test_softmax_of_every_width(lanes):
    """The widest row fills the ring in which scores wait for its maximum."""
    bench = Bench(lanes, seed=lanes + 1)
    for columns in range(32, 225, 32):
        for rows in (1, 3, lanes - 1, lanes + 1, 2 * lanes + 3):
            most = min(rows, L1_BYTES // 2 // (4 * columns))
            bench.agree(*random_softmax(bench.rng, rows=most, columns=columns))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", ["bf16", "mxfp8_e4m3"])
def test_softmax_takes_a_cycle_for_each_chunk(lanes, name):
    bench, fmt = Bench(lanes, seed=lanes), format_named(name)
    reads = bench.bench.reads
    for rows, columns in ((1, 128), (32, 128), (40, 224)):
        op, positions = random_softmax(bench.rng, rows=rows, columns=columns)
        pitch = fmt.row_bytes(columns)
        op = replace(op, value_format=fmt.code, format=fmt.code, dst_pitch=pitch)
        before = reads["read_a"] + reads["read_acc"]
        cycles = bench.agree(op, positions)
        chunks = op.rows * -(-columns // lanes)
        assert reads["read_a"] + reads["read_acc"] - before == chunks, "scores are read once"
        assert cycles <= 1.05 * chunks + 100 + columns // SCALE_WINDOW


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("transpose", [0, 1])
def test_products(lanes, transpose):
    bench = Bench(lanes, seed=lanes)
    for _ in range(6):
        bench.agree(random_product(bench.rng, transpose=transpose))


def any_operation(rng):
    kinds = (random_map, random_norm, random_rope, random_product)
    pick = int(rng.integers(0, len(kinds) + 1))
    return random_softmax(rng) if pick == len(kinds) else (kinds[pick](rng), (0, 0))


@pytest.mark.parametrize("lanes", LANES)
def test_random_operations_under_stalls(lanes):
    bench = Bench(lanes, stalls=0.4, seed=lanes, probe=True)
    for _ in range(8):
        bench.agree(*any_operation(bench.rng))


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("stalls", [0.0, 0.1, 0.6])
def test_many_random_operations(lanes, stalls):
    bench = Bench(lanes, stalls=stalls, seed=lanes)
    for _ in range(30):
        bench.agree(*any_operation(bench.rng))
