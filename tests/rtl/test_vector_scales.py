"""Scales of values as chunks, beside `numerics.decode_scale`."""

import numpy as np
import pytest

from rtl.ring_bench import RingBench, words_of
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.numerics import FORMATS, decode_scale, format_named
from tapeout.numerics.fp32 import NAN_BITS
from tapeout.rtl.ports import READ_LATENCY
from tapeout.rtl.vector_scales import SCALE_WINDOW, ValueScales

SLOW = [pytest.param(lanes, marks=pytest.mark.slow) for lanes in (16, 64, 512)]
LANES = [4, 8, 32, 128, *SLOW]
SCALED = [fmt for fmt in FORMATS if fmt.scale != "none"]
KINDS = [format_named(name) for name in ("int8", "mxint8", "nvfp4")]
ADDRESS_BITS = 10
MAX_COLUMNS = 224
BF16_EDGES = [0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x807F, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7F81]


def memory_of(rng, fmt):
    """Granules of anything, with edges of scales."""
    memory = rng.integers(0, 256, (1 << ADDRESS_BITS, GRANULE_BYTES), dtype=np.uint8)
    edge = rng.random(len(memory)) < 0.3
    edges = BF16_EDGES if fmt.scale == "bf16" else [0, 1, 0x7E, 0x7F, 0x80, 0xFE, 0xFF]
    words = memory[:, :2].copy().view("<u2")[:, 0]
    words[edge] = rng.choice(edges, edge.sum()) | (
        0 if fmt.scale == "bf16" else words[edge] & 0xFF00
    )
    memory[:, :2] = words.astype("<u2")[:, None].view(np.uint8)
    return memory


def bits_of(memory, fmt):
    """The scales at the start of granules as FP32 bits."""
    size = fmt.scale_bits // 8
    codes = memory[:, :size].copy().view(f"<u{size}")[:, 0]
    values = decode_scale(codes, fmt.scale).astype(np.float32)
    return np.where(np.isnan(values), NAN_BITS, values.view(np.uint32))


def bench_of(lanes, **options):
    return RingBench(ValueScales(lanes=lanes, address_bits=ADDRESS_BITS), sources=(), **options)


def start(bench, memory, fmt, columns, address):
    bench.start(memory=memory, on=1, address=address, columns=columns, format=fmt.code)


def check(bench, lanes, memory, fmt, columns, address, rounds):
    """Start, take some rounds of chunks, compare."""
    start(bench, memory, fmt, columns, address)
    want = bits_of(memory[address : address + columns], fmt)
    each = -(-columns // lanes)
    bench.run(each * rounds)
    for i in range(rounds):
        got = np.concatenate([words_of(chunk, lanes) for chunk in bench.out[i * each :][:each]])
        assert np.array_equal(got[:columns], want), (fmt.name, columns, i)
    assert not bench.get("busy")


@pytest.mark.parametrize("share", [1, 0.6, 0.2])
@pytest.mark.parametrize("lanes", LANES)
def test_chunks_of_scales_again_and_again(lanes, share):
    bench = bench_of(lanes, share=share, seed=lanes)
    for fmt in KINDS:
        memory = memory_of(bench.rng, fmt)
        for columns in (32, 96, int(bench.rng.integers(1, 7)) * 32, MAX_COLUMNS):
            address = int(bench.rng.integers(0, len(memory) - columns))
            check(bench, lanes, memory, fmt, columns, address, 3)


@pytest.mark.parametrize("fmt", SCALED, ids=lambda fmt: fmt.name)
def test_scales_of_every_format(fmt):
    bench = bench_of(8)
    memory = memory_of(bench.rng, fmt)
    for address in (0, len(memory) - MAX_COLUMNS):
        check(bench, 8, memory, fmt, MAX_COLUMNS, address, 1)


@pytest.mark.parametrize("fmt", KINDS, ids=lambda fmt: fmt.name)
def test_every_code_of_a_scale(fmt):
    bench, codes = bench_of(8), np.arange(1 << 16, dtype="<u2")
    if fmt.scale == "bf16":
        codes = codes[bench.rng.permutation(len(codes))[: 40 * MAX_COLUMNS]]
    else:
        codes = codes[:896] | np.uint16(0xFF00) * (bench.rng.random(896) < 0.5)
    memory = np.zeros((len(codes), GRANULE_BYTES), np.uint8)
    memory[:, :2] = codes[:, None].view(np.uint8)
    for first in range(0, len(codes), MAX_COLUMNS):
        check(bench, 8, memory[first:], fmt, MAX_COLUMNS, 0, 1)


@pytest.mark.slow
def test_every_bf16_scale():
    bench, fmt = bench_of(8), format_named("int8")
    memory = np.zeros((1 << 16, GRANULE_BYTES), np.uint8)
    memory[:, :2] = np.arange(1 << 16, dtype="<u2")[:, None].view(np.uint8)
    for first in range(0, 1 << 16, 128):
        check(bench, 8, memory[first:], fmt, 128, 0, 1)


@pytest.mark.parametrize("lanes", [4, 32, 128])
def test_a_window_of_scales_and_a_chunk_in_every_cycle(lanes):
    bench, fmt = bench_of(lanes, depth=10_000), format_named("mxint8")
    check(bench, lanes, memory_of(bench.rng, fmt), fmt, MAX_COLUMNS, 5, 20)
    each = -(-MAX_COLUMNS // lanes)
    assert np.array_equal(np.diff(bench.cycles[each - 1 :]), np.ones(19 * each))
    first, last = bench.cycles[0], bench.cycles[each - 1]
    assert first == bench.begun + READ_LATENCY + lanes // SCALE_WINDOW + 7
    assert last - first == (MAX_COLUMNS - lanes) // SCALE_WINDOW, "chunks wait for scales of others"


def test_a_start_forgets_what_was_and_off_does_nothing():
    bench, fmt = bench_of(8), format_named("int8")
    memory = memory_of(bench.rng, fmt)
    for cycles in range(1, 30):
        start(bench, memory, fmt, 96, 7)
        bench.run(1)
        while bench.get("busy"):
            bench.step()
        for _ in range(cycles):
            bench.step()
        check(bench, 8, memory, fmt, 32 + 32 * (cycles % 2), 100 + cycles, 2)
        bench.start(memory=memory, on=0, address=0, columns=32, format=fmt.code)
        assert not bench.get("busy")
        assert bench.drained()
        assert not bench.out


def test_it_is_busy_while_scales_are_missing():
    bench, fmt = bench_of(8, share=0.3), format_named("int8")
    start(bench, memory_of(bench.rng, fmt), fmt, 64, 3)
    seen = 0
    while bench.get("busy"):
        bench.step()
        seen += bench.get("read_data_valid")
        assert bench.cycle < 2000
    assert seen == 64 // SCALE_WINDOW
    assert not bench.answers
