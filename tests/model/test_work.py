from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.model import (
    Architecture,
    kv_bytes_per_token,
    load_architecture,
    load_model,
    parameters,
    step_flops,
    step_work,
    weight_bytes,
)

ROOT = Path(__file__).parents[2]
PUBLISHED = {  # parameters: the totals on the publishers' model pages
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "mistral-7b-v0.1": 7_241_732_096,
    "qwen2-7b-instruct": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
}
WINDOW = load_architecture(ROOT / "models" / "mistral-7b-v0.1")
FULL = load_architecture(ROOT / "models" / "llama-3.1-8b")
TIED = load_architecture(ROOT / "models" / "qwen3-0.6b")
CHECKPOINTS = sorted((ROOT / "tests" / "checkpoints").iterdir())


def test_every_shipped_configuration_is_checked():
    assert {path.name for path in (ROOT / "models").iterdir() if path.is_dir()} >= set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str):
    assert parameters(load_architecture(ROOT / "models" / name)) == PUBLISHED[name]


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_parameters_are_the_values_stored(path: Path):
    model = load_model(path)
    assert parameters(model.architecture) == sum(model.tensor(n).size for n in model.stored)


def test_bytes():
    assert weight_bytes(FULL, 16) == 2 * 8_030_261_248
    assert kv_bytes_per_token(FULL, 8) == 2 * 32 * 8 * 128
    assert kv_bytes_per_token(FULL, 4.25) == 2 * 32 * 8 * 128 * 4.25 / 8


def test_a_decode_step_by_hand():
    work = step_work(FULL, new_tokens=1, context_tokens=999)
    layer = 2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 4096 * 14336
    assert work.matmul_flops == 2 * (32 * layer + 128256 * 4096)
    assert work.attention_flops == 32 * 4 * 4096 * 1000
    assert work.weight_elements == 8_030_261_248 - 128256 * 4096 + 4096
    assert work.kv_elements_read == 32 * 2 * 1024 * 999
    assert work.kv_elements_written == 32 * 2 * 1024


def test_tied_embeddings_are_read_as_the_head():
    assert step_work(TIED, new_tokens=1, context_tokens=0).weight_elements == 596_049_920 + 1024


def test_the_window_bounds_what_is_read():
    assert (
        step_work(WINDOW, new_tokens=1, context_tokens=20_000).kv_elements_read == 32 * 2048 * 4095
    )


@given(
    context=st.integers(0, 6000),
    tokens=st.integers(1, 5000),
    architecture=st.sampled_from([FULL, WINDOW]),
)
def test_prefill_attends_as_much_as_its_tokens_one_by_one(
    context: int, tokens: int, architecture: Architecture
):
    window = architecture.window[0] or 10**9
    seen = sum(min(p + 1, window) for p in range(context, context + tokens))
    work = step_work(architecture, new_tokens=tokens, context_tokens=context)
    assert work.attention_flops == 32 * 4 * 4096 * seen


@given(context=st.integers(0, 10_000), tokens=st.integers(1, 10_000))
def test_flops_are_matmuls_and_attention(context: int, tokens: int):
    work = step_work(FULL, new_tokens=tokens, context_tokens=context)
    flops = step_flops(FULL, new_tokens=tokens, context_tokens=context)
    assert flops == work.matmul_flops + work.attention_flops
    every = step_work(FULL, new_tokens=tokens, context_tokens=context, logit_tokens=tokens)
    assert every.matmul_flops - work.matmul_flops == 2 * (tokens - 1) * 128256 * 4096
