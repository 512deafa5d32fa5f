"""A lane of the vector unit computes what `numerics` does."""

import numpy as np
import pytest

from rtl.components import started
from tapeout import numerics
from tapeout.rtl.vector_lane import (
    ALU_LATENCY,
    MUL_LATENCY,
    SFU_LATENCY,
    AluOp,
    SfuOp,
    VectorLane,
)

SPECIAL = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38], np.float32)


def words(rng, n):
    """FP32 of all sizes, and every special case."""
    bits = rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)
    near = rng.normal(size=n).astype(np.float32)
    return np.choose(rng.integers(0, 3, n), [bits, near, rng.choice(SPECIAL, n)])


def bits_of(values):
    return np.asarray(values, np.float32).view(np.uint32).tolist()


def results(inputs, output, latency, on):
    """What comes out of a pipe that takes a set of inputs in every cycle."""
    model, out = started(VectorLane()), []
    model.set(on, 1)
    for i in range(len(inputs[0][1]) + latency):
        for name, values in inputs:
            model.set(name, int(values[min(i, len(values) - 1)]))
        model.tick()
        out.append(model.get(output))
    return out[latency - 1 : latency - 1 + len(inputs[0][1])]


def pairs(seed, n=400):
    rng = np.random.default_rng(seed)
    a, b = words(rng, n), words(rng, n)
    b[::5] = a[::5]
    return a, b


def test_products():
    a, b = pairs(1)
    inputs = [("mul_a", bits_of(a)), ("mul_b", bits_of(b))]
    assert results(inputs, "product", MUL_LATENCY, "mul_on") == bits_of(numerics.mul(a, b))


@pytest.mark.parametrize("op", AluOp)
def test_the_adder(op):
    a, b = pairs(int(op))
    same = a.view(np.uint32) == b.view(np.uint32)
    wanted = {
        AluOp.ADD: numerics.add(a, b),
        AluOp.SUB: numerics.sub(a, b),
        AluOp.MAX: numerics.maximum(a, b),
        AluOp.LEFT: a,
        AluOp.RIGHT: b,
        AluOp.SCORE: np.where(a == -np.inf, np.float32(-np.inf), numerics.sub(a, b)),
        AluOp.DECAY: np.where(same, np.float32(0), numerics.sub(a, b)),
    }[op]
    inputs = [("alu_a", bits_of(a)), ("alu_b", bits_of(b)), ("alu_op", [int(op)] * len(a))]
    assert results(inputs, "total", ALU_LATENCY, "alu_on") == bits_of(wanted)


@pytest.mark.parametrize("op", SfuOp)
def test_special_functions(op):
    x = words(np.random.default_rng(int(op)), 300)
    wanted = {
        SfuOp.EXP2: numerics.exp2,
        SfuOp.RECIP: numerics.recip,
        SfuOp.RSQRT: numerics.rsqrt,
        SfuOp.SIN: lambda v: numerics.sin_turns(v.view(np.uint32)),
        SfuOp.COS: lambda v: numerics.cos_turns(v.view(np.uint32)),
        SfuOp.CDF: numerics.normal_cdf,
        SfuOp.INVERSE: numerics.softmax_inverse,
    }[op](x)
    inputs = [("sfu_x", bits_of(x)), ("sfu_op", [int(op)] * len(x))]
    assert results(inputs, "function", SFU_LATENCY, "sfu_on") == bits_of(wanted)
