"""Whole steps of a model on the chip's RTL are those of the simulator, bit by bit."""

import pytest

from agree.driver import checkpoint
from machines import ROOT
from tapeout.chip import load_chip
from tapeout.compiler import RECIPES, build
from tapeout.runtime.step import run_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xfail(reason="the element engine is not there yet", strict=True),
]

CHIP = load_chip(ROOT / "chips" / "nano.toml")


@pytest.mark.parametrize("seed", [None, 1])
def test_a_prefill_step(seed):
    model, ids = checkpoint("mistral-window")
    recipe = RECIPES["mxfp8_e4m3"]
    program = build(model.architecture, recipe, CHIP, sequences=1, context_tokens=50).prefill
    wanted = run_step(program, CHIP, model, ids[:3])
    got = run_step(program, CHIP, model, ids[:3], order_seed=seed, place="rtl")
    assert got.sha256 == wanted.sha256
    assert got.instructions == wanted.instructions
