"""Compiled models on the simulated chip against decoders in plain numpy.

Every architecture in every recipe. Errors are root mean squares over all logits, relative to the
reference's logits. The random test models have large weights, so formats err more in them than in
trained models.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agree.driver import COMPILED, Driver, checkpoint, shipped
from agree.quantised_decoder import quantised_logits
from machines import chip_named
from tapeout.compiler import RECIPES, Build, Recipe, build
from tapeout.model import Model, reference_logits
from tapeout.numerics import format_named

Record = Callable[[str, object], None]
MID = chip_named("mid")
ROUNDING = 2e-6
"""FP32 on the chip against float64: 1.2e-6 measured at most, over all checkpoints and recipes."""

FORMAT_ERRORS: dict[str, tuple[float, float]] = {
    "fp32": (2.5e-7, 7.3e-7),
    "bf16": (0.0023, 0.0062),
    "int8": (0.023, 0.051),
    "int4_g32": (0.25, 0.50),
    "int4_g128": (0.24, 0.48),
    "fp8_e4m3": (0.12, 0.23),
    "fp8_e5m2": (0.20, 0.37),
    "mxfp8_e4m3": (0.13, 0.23),
    "mxfp8_e5m2": (0.29, 0.46),
    "mxfp6_e2m3": (0.12, 0.23),
    "mxfp6_e3m2": (0.18, 0.33),
    "mxfp4": (0.33, 0.53),
    "mxint8": (0.040, 0.078),
    "nvfp4": (0.30, 0.47),
    "mxfp4_kv4": (0.35, 0.63),
    "int4_kv4": (0.28, 0.51),
}
"""The least and the largest error measured over the checkpoints, against exact FP32 weights."""

FLIPS: dict[tuple[str, str], float] = {
    ("qwen2-bias", "int8"): 0.027,
    ("qwen2-bias", "int4_g32"): 0.025,
    ("qwen2-bias", "int4_g128"): 0.024,
    ("qwen2-bias", "int4_kv4"): 0.052,
    ("llama-dynamic", "int4_g32"): 5e-4,
}
"""Where a value lies so near the middle of two codes, or scales, that FP32 takes the other one
than float64. In qwen2-bias it is one BF16 scale, of token 7's first norm, in all four recipes."""


def rms(x: NDArray[np.floating]) -> float:
    return float(np.sqrt((x.astype(np.float64) ** 2).mean()))


def compiled(model: Model, recipe: Recipe, tokens: int, *, page_tokens: int = 16) -> Build:
    return build(
        model.architecture,
        recipe,
        MID,
        sequences=1,
        context_tokens=tokens,
        chunk_tokens=min(tokens, 64),
        page_tokens=page_tokens,
    )


@pytest.mark.parametrize("directory", COMPILED, ids=lambda d: d.name)
def test_every_recipe_computes_the_model(directory: Path, record_property: Record):
    model, ids = checkpoint(directory.name)
    reference = reference_logits(model, ids, double=True)
    size = rms(reference)
    for name, recipe in RECIPES.items():
        logits = Driver(model, compiled(model, recipe, len(ids))).prefill(0, ids, chunk=64)
        rounding = rms(logits - quantised_logits(model, recipe, ids)) / size
        error = rms(logits - reference) / size
        record_property(f"{name} rounding", rounding)
        record_property(f"{name} error", error)
        assert rounding <= 2 * FLIPS.get((directory.name, name), ROUNDING / 2), name
        least, largest = FORMAT_ERRORS[name]
        assert least / 2 <= error <= 2 * largest, f"{name}: {error}"


def test_every_recipe_has_its_error_measured():
    assert set(FORMAT_ERRORS) == set(RECIPES)


@pytest.mark.parametrize("directory", COMPILED, ids=lambda d: d.name)
def test_decode_goes_on_where_prefill_stopped(directory: Path):
    """fp32 logits of tokens fed one by one, against the reference decoder."""
    model, ids = checkpoint(directory.name)
    driver = Driver(model, compiled(model, RECIPES["fp32"], len(ids)))
    half = len(ids) // 2
    rows = [driver.prefill(0, ids[:half], chunk=64)]
    rows += [driver.decode([(0, ids[i], i)]) for i in range(half, len(ids))]
    reference = reference_logits(model, ids, double=True)
    assert rms(np.concatenate(rows) - reference) <= ROUNDING * rms(reference)


@pytest.mark.parametrize(("window", "tokens"), [(None, 900), (50, 300), (128, 300), (130, 300)])
def test_a_context_of_several_chunks_of_keys(window: int | None, tokens: int):
    """Up to eight chunks of 128 keys, with and without a window that skips the first."""
    model = shipped("draft")
    a = model.architecture
    model = replace(
        model, architecture=replace(a, window=(window,) * a.layers, max_positions=tokens)
    )
    ids = np.random.default_rng(1).integers(0, a.vocab_size, tokens).tolist()
    logits = Driver(model, compiled(model, RECIPES["fp32"], tokens)).prefill(0, ids, chunk=64)
    reference = reference_logits(model, ids, double=True)
    assert rms(logits - reference) <= 2 * ROUNDING * rms(reference)


def test_the_shipped_critic_in_its_formats():
    model = shipped("critic")
    ids = np.random.default_rng(1).integers(0, model.architecture.vocab_size, 100).tolist()
    for name in ("fp32", "mxfp8_e4m3", "int4_kv4"):
        logits = Driver(model, compiled(model, RECIPES[name], 100)).prefill(0, ids, chunk=64)
        wanted = quantised_logits(model, RECIPES[name], ids)
        loose = 1 if format_named(RECIPES[name].weights).family == "wide" else 1e4
        assert rms(logits - wanted) <= loose * ROUNDING * rms(wanted), name
