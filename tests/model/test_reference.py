from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tapeout.errors import ModelError
from tapeout.model import load_model, reference_logits

CHECKPOINTS = sorted((Path(__file__).parents[1] / "checkpoints").iterdir())
LLAMA = next(path for path in CHECKPOINTS if path.name == "llama2-mha")


def expected(directory: Path) -> tuple[list[int], NDArray[np.float32]]:
    found = load_file(directory / "expected.safetensors")
    return found["ids"].tolist(), found["logits"]


def relative(actual: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("directory", CHECKPOINTS, ids=lambda path: path.name)
def test_logits_are_those_of_transformers(directory: Path, double: bool):
    ids, wanted = expected(directory)
    model = load_model(directory, context_tokens=len(ids))
    actual = reference_logits(model, ids, double=double)
    assert actual.shape == (len(ids), model.architecture.outputs)
    assert actual.dtype == np.float32
    assert relative(actual, wanted) < 1e-5


def test_a_token_does_not_change_what_came_before():
    ids, _ = expected(LLAMA)
    model = load_model(LLAMA)
    whole = reference_logits(model, ids, double=True)
    part = reference_logits(model, ids[:7], double=True)
    np.testing.assert_allclose(part, whole[:7], rtol=1e-5, atol=1e-6)


def test_a_window_forgets():
    directory = LLAMA.with_name("mistral-window")
    ids, _ = expected(directory)
    model = load_model(directory)
    assert model.architecture.window == (8, 8)
    changed = [(ids[0] + 1) % 128, *ids[1:]]
    difference = reference_logits(model, ids) - reference_logits(model, changed)
    reach = 2 * (8 - 1)  # layers times (window - 1)
    assert np.abs(difference[: reach + 1]).max(axis=1).all()
    assert not difference[reach + 1 :].any()


def test_weights_go_through_the_hook():
    ids, wanted = expected(LLAMA)
    names: list[str] = []

    def coarse(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        names.append(name)
        return np.round(weight * 256) / np.float32(256)

    model = load_model(LLAMA)
    error = relative(reference_logits(model, ids, weights=coarse), wanted)
    assert 1e-4 < error < 0.1
    assert set(names) == set(model.stored)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"takes 1\.\.64 tokens, not 0"),
        ([1] * 65, r"takes 1\.\.64 tokens, not 65"),
        ([1, 128], r"a token must be in 0\.\.127, not 128"),
        ([-1], r"a token must be in 0\.\.127, not -1"),
    ],
)
def test_tokens_that_the_model_cannot_take(tokens: list[int], message: str):
    with pytest.raises(ModelError, match=message):
        reference_logits(load_model(LLAMA), tokens)
