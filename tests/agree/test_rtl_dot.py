"""The RTL's dot product of blocks is `numerics.matmul` of [1, 32] blocks, bit for bit."""

import itertools

import numpy as np
import pytest

from rtl.components import started
from tapeout.numerics import BLOCK, FORMATS, Blocks, format_named, matmul
from tapeout.numerics.codes import LAYOUTS, VALUES
from tapeout.rtl.bits import pack
from tapeout.rtl.check import check_protocol, checked_run
from tapeout.rtl.decode import HALVES, element_facts
from tapeout.rtl.dot import BlockDot, DotUnit, dot_widths

ALL = tuple(fmt for fmt in FORMATS if fmt.family != "wide")
INTS = tuple(fmt for fmt in ALL if fmt.family == "int")
FLOATS = tuple(fmt for fmt in ALL if fmt.family == "float")
PAIRS = [*itertools.product(INTS, INTS), *itertools.product(FLOATS, FLOATS)]
NAMES = [f"{a.name}-{b.name}" for a, b in PAIRS]
UNIT = BlockDot(formats=ALL)
LAYOUT = UNIT.pair

EXTREME_SCALES = {
    "e8m0": [0, 1, 126, 127, 128, 253, 254, 255],
    "e4m3": [0x00, 0x80, 0x01, 0x81, 0x07, 0x08, 0x38, 0xB8, 0x7E, 0xFE, 0x7F, 0xFF],
    "bf16": [0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0x7FC1],
}


def codes(fmt, rows, rng):
    """Random codes, of which most rows are finite, and rows where implementations go wrong."""
    values = VALUES[fmt.element]
    finite = np.flatnonzero(np.isfinite(values))
    top, least = finite[np.argmax(values[finite])], finite[np.argmin(values[finite])]
    small = finite[np.argsort(np.abs(values[finite]))][:4]
    out = finite[rng.integers(0, len(finite), (rows, BLOCK))]
    kind = rng.integers(0, 12, rows)
    out[kind == 0] = top
    out[kind == 1] = least
    out[kind == 2] = np.where(np.arange(BLOCK) % 2, top, least)
    out[kind == 3] = rng.choice(small, (rows, BLOCK))[kind == 3]
    sparse = rng.random((rows, BLOCK)) < 0.9
    out[(kind == 4)[:, None] & sparse] = 0
    mixed = rng.choice([top, least, *small], (rows, BLOCK))
    out[kind == 5] = mixed[kind == 5]
    mirrored = out[:, : BLOCK // 2]  # x and -x: sums cancel
    bits = LAYOUTS[fmt.element].bits
    negated = mirrored ^ (1 << (bits - 1)) if fmt.family == "float" else -mirrored % (1 << bits)
    out[kind == 6, BLOCK // 2 :] = negated[kind == 6]
    anything = rng.integers(0, 1 << fmt.element_bits, (rows, BLOCK))
    few = rng.random((rows, BLOCK)) < 0.05
    out[(kind == 7)[:, None] & few] = anything[(kind == 7)[:, None] & few]
    return out.astype(np.uint8)


def scales(fmt, rows, rng):
    """Scales near 1, near the ends of FP32's range, extreme, and any."""
    shape = (rows, fmt.scale_count(BLOCK))
    if fmt.scale == "none":
        return np.zeros(shape, np.uint8)
    kind = rng.integers(0, 4, (rows, 1))
    exponents = np.choose(
        rng.integers(0, 3, shape),
        [rng.integers(100, 154, shape), rng.integers(45, 82, shape), rng.integers(172, 200, shape)],
    )
    anything = rng.integers(0, 1 << fmt.scale_bits, shape)
    near = {
        "e8m0": exponents,
        "bf16": exponents << 7 | anything & 0x807F,
        "e4m3": anything & 0xBF | 0x20,
    }[fmt.scale]
    extreme = rng.choice(EXTREME_SCALES[fmt.scale], shape)
    out = np.choose(kind, [near, near, extreme, anything])
    return out.astype(np.uint16 if fmt.scale == "bf16" else np.uint8)


def random_blocks(fmt, rows, rng):
    return Blocks(format=fmt, codes=codes(fmt, rows, rng), scales=scales(fmt, rows, rng))


def fields(blocks, rows):
    """Rows of blocks as fields of CODES."""
    both = np.zeros((len(rows), HALVES), np.uint16)
    count = blocks.scales.shape[1]
    both[:, :count] = blocks.scales[rows]
    number = np.full(len(rows), blocks.format.code)
    return {"codes": blocks.codes[rows], "scales": both, "format": number}


def every_pair(a, b):
    """Beats of all rows of A with all rows of B."""
    left = np.repeat(np.arange(len(a.codes)), len(b.codes))
    right = np.tile(np.arange(len(b.codes)), len(a.codes))
    return pack(LAYOUT, a=fields(a, left), b=fields(b, right))


def agree(unit, pair, rows, seed):
    rng = np.random.default_rng(seed)
    a, b = (random_blocks(fmt, rows, rng) for fmt in pair)
    run = checked_run(started(unit), {"blocks": every_pair(a, b)}, {"result": rows * rows})
    got = run.beats["result"].view(np.uint32).reshape(rows, rows)
    want = matmul(a, b).view(np.uint32)
    wrong = np.argwhere(got != want)
    found = [f"row {m} of a, {n} of b: {got[m, n]:08x} not {want[m, n]:08x}" for m, n in wrong[:3]]
    assert not len(wrong), f"{len(wrong)} of {got.size}: {found}"


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_every_pair_of_formats(pair):
    agree(UNIT, pair, rows=64, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_every_pair_of_formats_long(pair, seed):
    agree(UNIT, pair, rows=256, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "stages"),
    [("mxfp4", 1), ("mxfp4 nvfp4", 3), ("int8", 2), ("mxfp8_e4m3", 5), ("fp8_e5m2", 4),
     ("mxint8 int4_g32", 6), ("mxfp8_e5m2 nvfp4 mxint8", 7)],
)  # fmt: skip
def test_chips_with_fewer_formats(names, stages):
    formats = tuple(format_named(name) for name in names.split())
    unit = BlockDot(formats=formats, stages=stages)
    for seed, pair in enumerate(itertools.product(formats, formats)):
        if pair[0].family == pair[1].family:
            agree(unit, pair, rows=128, seed=seed)


def test_latency_throughput_and_protocol():
    rng = np.random.default_rng(3)
    a, b = (random_blocks(format_named(name), 30, rng) for name in ("mxfp8_e5m2", "nvfp4"))
    sources, sinks = {"blocks": every_pair(a, b)}, {"result": 900}
    run = started(UNIT).run(sources, sinks)
    latency = 1 + UNIT.dot.stages
    assert run.cycle_of["result"].tolist() == list(range(latency, latency + 900))
    check_protocol(started(UNIT), sources, sinks)


@pytest.mark.parametrize("element", LAYOUTS)
def test_facts_of_elements(element):
    facts = element_facts(element)
    units = VALUES[element] / 2.0**facts.unit
    magnitudes = np.abs(units[np.isfinite(units)])
    assert magnitudes.max() == facts.max_magnitude
    assert np.all(magnitudes == np.floor(magnitudes))
    assert facts.infinities == np.isinf(units).any()
    assert facts.nans == np.isnan(units).any()


def test_widths_follow_from_the_formats():
    widths = dot_widths(ALL)
    e5m2 = 57344 * 2**16
    assert widths.total == (BLOCK * e5m2 * e5m2).bit_length() + 1 == 70
    assert widths.bins == 2
    small = dot_widths((format_named("mxfp4"),))
    assert (small.total, small.bins, small.factor) == ((BLOCK * 12 * 12).bit_length() + 1, 1, 0)
    ints = dot_widths((format_named("int8"),))
    assert ints.total == (BLOCK * 128 * 128 * 255 * 255).bit_length() + 1


def test_wide_formats_are_refused():
    with pytest.raises(ValueError, match="must be int or float, not bf16"):
        DotUnit(formats=(format_named("bf16"),))
    with pytest.raises(ValueError, match="at least one format"):
        DotUnit(formats=())
