"""The RTL's special functions are those of `numerics`, bit for bit."""

import numpy as np
import pytest

from rtl.components import started
from tapeout import numerics
from tapeout.rtl.bits import pack
from tapeout.rtl.check import check_protocol, checked_run
from tapeout.rtl.sfu import REQUEST, SFU_CUTS, Function, SpecialFunctions

UNIT = SpecialFunctions()
DEFINITIONS = {
    Function.EXP2: numerics.exp2,
    Function.RECIP: numerics.recip,
    Function.RSQRT: numerics.rsqrt,
    Function.SIN_TURNS: numerics.sin_turns,
    Function.COS_TURNS: numerics.cos_turns,
    Function.NORMAL_CDF: numerics.normal_cdf,
}
BINADE = np.arange(1 << 23, dtype=np.uint32)
EDGES = np.array(
    [0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x1FFFFF, 0x200000, 0x200001, 0x7FFFFF, 0x800000,
     0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x40000000, 0x40BFFFFF, 0x40C00000, 0x42FE0000,
     0x42FFFFFF, 0x43000000, 0x4314FFFF, 0x43150000, 0x4317FFFF, 0x43180000, 0x43800000,
     0x7E800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF],
    np.uint32,
)  # fmt: skip


def wanted(function, x):
    operand = x if "TURNS" in function.name else x.view(np.float32)
    return DEFINITIONS[function](operand).view(np.uint32)


def agree(function, x, unit=UNIT):
    x = np.ascontiguousarray(x, np.uint32)
    beats = pack(REQUEST, function=np.full(len(x), int(function)), x=x)
    run = checked_run(started(unit), {"requests": beats}, {"result": len(x)})
    got, want = run.beats["result"].view(np.uint32)[:, 0], wanted(function, x)
    wrong = np.flatnonzero(got != want)
    found = [f"{x[i]:08x}: {got[i]:08x} not {want[i]:08x}" for i in wrong[:3]]
    assert run.cycle_of["result"][0] == unit.stages
    assert not len(wrong), f"{len(wrong)} of {len(x)}: {found}"


def operands(n, seed):
    """Any bits, edges of every binade, moderate numbers, and the cases of every function."""
    rng = np.random.default_rng(seed)
    moderate = (rng.normal(size=n) * rng.choice([1e-3, 1, 10, 100], n)).astype(np.float32)
    fields = np.arange(256, dtype=np.uint32)[:, None] << 23
    corners = np.array([0, 1, 0xFFFF, 0x10000, 0x400000, 0x7FFFFF], np.uint32)
    edges = np.concatenate([EDGES, (fields + corners).reshape(-1)])
    turns = np.arange(0, 1 << 32, 1 << 23, dtype=np.uint64)[:, None] + np.arange(-2, 3)
    return np.concatenate(
        [
            rng.integers(0, 1 << 32, n, dtype=np.uint32),
            moderate.view(np.uint32),
            *(edges | np.uint32(sign << 31) for sign in (0, 1)),
            (turns.reshape(-1).astype(np.int64) & 0xFFFFFFFF).astype(np.uint32),
        ]
    )


@pytest.mark.parametrize("function", Function)
def test_operands_of_every_kind(function):
    agree(function, operands(100_000, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("function", Function)
def test_a_binade_exhaustively(function):
    for field in (127, 128) if function in (Function.RSQRT, Function.EXP2) else (127,):
        agree(function, BINADE | np.uint32(field << 23))


@pytest.mark.slow
@pytest.mark.parametrize("function", Function)
def test_many_operands(function):
    agree(function, operands(4_000_000, seed=2))


@pytest.mark.slow
@pytest.mark.parametrize("stages", [1, 4])
def test_other_depths_of_the_pipeline(stages):
    for function in Function:
        agree(function, operands(20_000, seed=3), SpecialFunctions(stages=stages))


def test_functions_mixed_in_one_pipeline():
    rng = np.random.default_rng(4)
    x = operands(500, seed=5)
    functions = rng.choice(list(Function), len(x))
    sources = {"requests": pack(REQUEST, function=functions, x=x)}
    sinks = {"result": len(x)}
    run = started(UNIT).run(sources, sinks)
    assert run.cycle_of["result"].tolist() == list(range(SFU_CUTS, SFU_CUTS + len(x)))
    got = check_protocol(started(UNIT), sources, sinks)["result"].view(np.uint32)[:, 0]
    for function in Function:
        mine = functions == function
        assert np.array_equal(got[mine], wanted(function, x[mine]))
