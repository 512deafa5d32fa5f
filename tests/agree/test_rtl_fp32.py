"""The RTL's FP32 adder and multiplier are `numerics.add` and `numerics.mul`, bit for bit."""

import numpy as np
import pytest

from rtl.components import started
from tapeout import numerics
from tapeout.rtl.bits import pack
from tapeout.rtl.check import check_protocol, checked_run
from tapeout.rtl.fp32 import ADD_CUTS, MUL_CUTS, PAIR, Adder, Multiplier

SPECIAL = np.array(
    [0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x33800000, 0x33800001, 0x34000000,
     0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x4B7FFFFF, 0x4B800000, 0x7EFFFFFF, 0x7F000000,
     0x7F7FFFFE, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF],
    np.uint32,
)  # fmt: skip
UNITS = [(Adder(stages=ADD_CUTS), numerics.add), (Multiplier(stages=MUL_CUTS), numerics.mul)]
SHALLOW = [
    *((Adder(stages=stages), numerics.add) for stages in (1, 3)),
    *((Multiplier(stages=stages), numerics.mul) for stages in (1, 3)),
]


def operands(n, seed):
    """Pairs of any bits, and pairs whose sum or product is subnormal, tied, cancelled or huge."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 1 << 32, n, dtype=np.uint32)
    kind = rng.integers(0, 6, n)
    any_bits = rng.integers(0, 1 << 32, n, dtype=np.uint32)
    fields = rng.integers(-26, 27, n) << 23
    near = (a + fields + rng.integers(-4, 5, n)).astype(np.uint32)  # aligns within the significand
    opposite = (a + rng.integers(-2, 3, n)).astype(np.uint32) ^ np.uint32(1 << 31)  # cancels
    tiny = any_bits & np.uint32(0x80FFFFFF)  # subnormal, or of the least exponent
    field = (rng.integers(-30, 30, n) + 254 - (a >> 23 & 255)).clip(0, 255)
    edge = (field << 23 | any_bits & 0x007FFFFF).astype(np.uint32)  # product near the least normal
    b = np.choose(kind, [any_bits, near, opposite, tiny, edge, any_bits])
    a = np.where(kind == 3, a & np.uint32(0x81FFFFFF), a)
    few = np.uint32(0xFFFFFFFF) << rng.integers(0, 23, n).astype(np.uint32)  # ties are frequent
    return np.where(rng.random(n) < 0.4, a & few, a), np.where(rng.random(n) < 0.4, b & few, b)


def grid():
    words = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)])
    return np.repeat(words, len(words)), np.tile(words, len(words))


def agree(unit, function, a, b):
    a, b = a.astype(np.uint32), b.astype(np.uint32)
    run = checked_run(started(unit), {"operands": pack(PAIR, a=a, b=b)}, {"result": len(a)})
    got = run.beats["result"].view(np.uint32)[:, 0]
    want = function(a.view(np.float32), b.view(np.float32)).view(np.uint32)
    wrong = np.flatnonzero(got != want)
    found = [f"{a[i]:08x} {b[i]:08x}: {got[i]:08x} not {want[i]:08x}" for i in wrong[:3]]
    assert run.cycle_of["result"][0] == unit.stages
    assert not len(wrong), f"{len(wrong)} of {len(a)}: {found}"


@pytest.mark.parametrize(("unit", "function"), UNITS, ids=lambda x: getattr(x, "module_name", ""))
def test_a_million_pairs(unit, function):
    agree(unit, function, *grid())
    agree(unit, function, *operands(1_000_000, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize(("unit", "function"), UNITS, ids=lambda x: getattr(x, "module_name", ""))
def test_forty_million_pairs(unit, function, seed):
    agree(unit, function, *operands(10_000_000, seed))


@pytest.mark.parametrize(("unit", "function"), SHALLOW, ids=lambda x: getattr(x, "module_name", ""))
def test_other_depths_of_the_pipeline(unit, function):
    agree(unit, function, *grid())
    agree(unit, function, *operands(100_000, seed=9))


@pytest.mark.parametrize("unit", [unit for unit, _ in UNITS], ids=lambda u: u.module_name)
def test_latency_throughput_and_protocol(unit):
    a, b = operands(2000, seed=7)
    sources, sinks = {"operands": pack(PAIR, a=a, b=b)}, {"result": 2000}
    run = started(unit).run(sources, sinks)
    assert run.cycle_of["result"].tolist() == list(range(unit.stages, unit.stages + 2000))
    check_protocol(started(unit), sources, sinks)


def test_stages_are_checked():
    with pytest.raises(ValueError, match=r"stages must be in 1\.\.4, not 5"):
        Adder(stages=5)
