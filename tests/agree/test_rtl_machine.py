"""Models on the chip's RTL: whole steps, and text, are those of the simulator, bit by bit."""

import pytest

from agree.driver import checkpoint
from machines import ROOT
from tapeout.chip import load_chip
from tapeout.compiler import RECIPES, build
from tapeout.model import load_tokenizer
from tapeout.runtime import Request, Sampling, generate, open_device
from tapeout.runtime.step import run_step

DRAFT = ROOT / "models" / "draft"
PROMPTS = ("The river", "def test_", "In 1804 the", "\x7f?")


@pytest.mark.parametrize("seed", [None, 1])
def test_a_prefill_step(seed):
    """With a seed, under random stalls and latencies of the memory."""
    chip = load_chip(ROOT / "chips" / "nano.toml")
    model, ids = checkpoint("mistral-window")
    recipe = RECIPES["mxfp8_e4m3"]
    program = build(model.architecture, recipe, chip, sequences=1, context_tokens=50).prefill
    wanted = run_step(program, chip, model, ids[:3])
    got = run_step(program, chip, model, ids[:3], order_seed=seed, place="rtl")
    assert got.sha256 == wanted.sha256
    assert got.instructions == wanted.instructions


def written(place, chip, *, batch, tokens, order_seed=None):
    """What `generate` tells of a batch's requests: each token, and each text at its end."""
    device = open_device(
        DRAFT, load_chip(ROOT / "chips" / f"{chip}.toml"), RECIPES["mxfp8_e4m3"],
        sequences=batch, context_tokens=128, order_seed=order_seed, place=place,
    )  # fmt: skip
    tokenizer = load_tokenizer(DRAFT)
    requests = [
        Request(
            name=str(i), prompt=tuple(tokenizer.encode(prompt)), max_tokens=tokens,
            sampling=Sampling(temperature=0.8, seed=i), arrives_step=2 * i,
        )
        for i, prompt in enumerate(PROMPTS[:batch])
    ]  # fmt: skip
    return [(e.request, getattr(e, "token", e.text)) for e in generate(device, requests, tokenizer)]


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["nano", "small"])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_shipped_model_writes_the_same_text(chip, batch):
    """Under random stalls and latencies of the memory."""
    wanted = written("sim", chip, batch=batch, tokens=64)
    assert len(wanted) > batch * 64
    assert written("rtl", chip, batch=batch, tokens=64, order_seed=batch) == wanted
