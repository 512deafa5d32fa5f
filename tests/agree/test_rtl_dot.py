"""The RTL's dot product of blocks is `numerics.matmul` of [1, 32] blocks, bit for bit."""

import itertools

import numpy as np
import pytest

from rtl.blocks import every_pair, random_blocks
from rtl.components import started
from tapeout.numerics import BLOCK, FORMATS, format_named, matmul
from tapeout.numerics.codes import LAYOUTS, VALUES
from tapeout.rtl.check import check_protocol, checked_run
from tapeout.rtl.decode import element_facts
from tapeout.rtl.dot import BlockDot, DotUnit, dot_widths

ALL = tuple(fmt for fmt in FORMATS if fmt.family != "wide")
INTS = tuple(fmt for fmt in ALL if fmt.family == "int")
FLOATS = tuple(fmt for fmt in ALL if fmt.family == "float")
PAIRS = [*itertools.product(INTS, INTS), *itertools.product(FLOATS, FLOATS)]
NAMES = [f"{a.name}-{b.name}" for a, b in PAIRS]
UNIT = BlockDot(formats=ALL)


def agree(unit, pair, rows, seed):
    rng = np.random.default_rng(seed)
    a, b = (random_blocks(fmt, rows, rng) for fmt in pair)
    run = checked_run(started(unit), {"blocks": every_pair(a, b)}, {"result": rows * rows})
    got = run.beats["result"].view(np.uint32).reshape(rows, rows)
    want = matmul(a, b).view(np.uint32)
    wrong = np.argwhere(got != want)
    found = [f"row {m} of a, {n} of b: {got[m, n]:08x} not {want[m, n]:08x}" for m, n in wrong[:3]]
    assert run.cycle_of["result"][0] == 1 + unit.dot.stages
    assert not len(wrong), f"{len(wrong)} of {got.size}: {found}"


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_every_pair_of_formats(pair):
    agree(UNIT, pair, rows=64, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_every_pair_of_formats_long(pair):
    agree(UNIT, pair, rows=256, seed=2)


def fewer_formats(names, stages):
    formats = tuple(format_named(name) for name in names.split())
    unit = BlockDot(formats=formats, stages=stages)
    for seed, pair in enumerate(itertools.product(formats, formats)):
        if pair[0].family == pair[1].family:
            agree(unit, pair, rows=128, seed=seed)


@pytest.mark.parametrize(("names", "stages"), [("fp8_e5m2", 4), ("mxfp4 nvfp4", 3)])
def test_chips_with_fewer_formats(names, stages):
    fewer_formats(names, stages)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "stages"),
    [("mxfp4", 1), ("int8", 2), ("mxfp8_e4m3", 5), ("mxint8 int4_g32", 6),
     ("mxfp8_e5m2 nvfp4 mxint8", 7), ("int4_g128", 1), ("mxfp6_e3m2 mxfp6_e2m3", 7)],
)  # fmt: skip
def test_more_chips_with_fewer_formats(names, stages):
    fewer_formats(names, stages)


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
