from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tapeout.errors import ModelError
from tapeout.model import load_architecture

Edit = Callable[..., Path]
PLAIN = 10000.0 ** -(np.arange(0, 16, 2) / 16)
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONGROPE = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 32,
    "short_factor": [1.0] * 7 + [2.0],
    "long_factor": [4.0] * 8,
}


def inv_freq(directory: Path, context_tokens: int | None = None) -> NDArray[np.float64]:
    return np.asarray(load_architecture(directory, context_tokens=context_tokens).rope.inv_freq)


def test_default(edited: Edit):
    np.testing.assert_allclose(inv_freq(edited("llama2-mha")), PLAIN, rtol=1e-14)


def test_linear_divides(edited: Edit):
    directory = edited("llama2-mha", rope_parameters={"rope_type": "linear", "factor": 4})
    np.testing.assert_allclose(inv_freq(directory), PLAIN / 4, rtol=1e-14)


def test_llama3_divides_long_waves_and_keeps_short_ones(edited: Edit):
    found = inv_freq(edited("llama2-mha", rope_parameters=LLAMA3))
    turns = 8192 * PLAIN / (2 * np.pi)
    np.testing.assert_allclose(found[turns > 4], PLAIN[turns > 4], rtol=1e-14)
    np.testing.assert_allclose(found[turns < 1], PLAIN[turns < 1] / 8, rtol=1e-14)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert (found < PLAIN)[between].all()
    assert (found > PLAIN / 8)[between].all()


def test_dynamic_is_plain_until_the_context_grows(edited: Edit):
    directory = edited("llama2-mha", rope_parameters={"rope_type": "dynamic", "factor": 2.0})
    np.testing.assert_allclose(inv_freq(directory), PLAIN, rtol=1e-14)
    grown = load_architecture(directory, context_tokens=128)
    base = 10000 * (2 * 128 / 64 - 1) ** (16 / 14)
    np.testing.assert_allclose(grown.rope.inv_freq, base ** -(np.arange(0, 16, 2) / 16), rtol=1e-14)
    assert grown.max_positions == 128


def test_longrope_takes_its_factors_by_the_context(edited: Edit):
    directory = edited("llama2-mha", rope_parameters=LONGROPE)
    short = load_architecture(directory)
    np.testing.assert_allclose(short.rope.inv_freq, PLAIN / ([1] * 7 + [2]), rtol=1e-14)
    assert short.max_positions == 32
    long = load_architecture(directory, context_tokens=33)
    np.testing.assert_allclose(long.rope.inv_freq, PLAIN / 4, rtol=1e-14)
    assert long.max_positions == 64
    assert short.rope.attention_factor == pytest.approx(np.sqrt(1 + np.log(2) / np.log(32)))


def test_the_first_spelling_of_longrope(edited: Edit):
    old = {("type" if k == "rope_type" else k): v for k, v in LONGROPE.items()} | {"type": "su"}
    directory = edited("llama2-mha", rope_parameters=..., rope_scaling=old)
    assert load_architecture(directory).max_positions == 32


def test_the_original_length_outside_wins(edited: Edit):
    directory = edited("llama2-mha", rope_parameters=LONGROPE, original_max_position_embeddings=16)
    assert load_architecture(directory).max_positions == 16


def test_the_original_length_is_the_stated_one_where_none_is_given(edited: Edit):
    longrope = {k: v for k, v in LONGROPE.items() if not k.startswith("original")}
    assert load_architecture(edited("llama2-mha", rope_parameters=longrope)).max_positions == 64


def test_yarn_attention_factor(edited: Edit):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}

    def factor(**more: Any) -> float:
        directory = edited("llama2-mha", rope_parameters=yarn | more)
        return load_architecture(directory).rope.attention_factor

    assert factor() == pytest.approx(0.1 * np.log(4) + 1)
    assert factor(attention_factor=1.5) == 1.5
    assert factor(mscale=1.0, mscale_all_dim=1.0) == 1.0
    assert factor(mscale=0.5, mscale_all_dim=1.0) == pytest.approx(
        (0.05 * np.log(4) + 1) / (0.1 * np.log(4) + 1)
    )


def test_yarn_without_rounding_its_range(edited: Edit):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    rounded = inv_freq(edited("llama2-mha", rope_parameters=yarn))
    exact = inv_freq(edited("llama2-mha", rope_parameters=yarn | {"truncate": False}))
    assert (rounded != exact).any()
    for found in (rounded, exact):
        assert (found <= PLAIN * (1 + 1e-14)).all()
        assert (found >= PLAIN / 4 * (1 - 1e-14)).all()


@pytest.mark.parametrize("place", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_names_of_transformers_4_and_5(edited: Edit, place: str, kind: str):
    parameters = {kind: "linear", "factor": 2.0}
    keys: dict[str, Any] = {"rope_parameters": ..., place: parameters, "rope_theta": 500.0}
    found = inv_freq(edited("llama2-mha", **keys))
    np.testing.assert_allclose(found, 500.0 ** -(np.arange(0, 16, 2) / 16) / 2, rtol=1e-14)


def test_theta_inside_wins_and_absent_is_10000(edited: Edit):
    inside = edited("llama2-mha", rope_theta=9.0, rope_parameters={"rope_theta": 100.0})
    assert inv_freq(inside)[1] == pytest.approx(100.0 ** -(1 / 8))
    none = edited("llama2-mha", rope_parameters=..., rope_theta=...)
    np.testing.assert_allclose(inv_freq(none), PLAIN, rtol=1e-14)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rope_type": "mrope"}, "RoPE type must be one of default, linear, .*, not 'mrope'"),
        ({"rope_type": 3}, "RoPE type must be one of .*, not 3"),
        ({"rope_type": "linear"}, "`factor` is missing"),
        ({"rope_type": "linear", "factor": 0.5}, "`factor` must be .* at least 1, not 0.5"),
        ({"rope_type": "linear", "factor": "2"}, "`factor` must be .*, not '2'"),
        ({"rope_type": "linear", "factr": 2.0}, "unknown key `factr`.*did you mean `factor`"),
        ({"rope_type": "default", "mrope_section": [1]}, "unknown key `mrope_section`"),
        ({"full_attention": {"rope_type": "default"}}, "unknown key `full_attention`"),
        ({"partial_rotary_factor": 0.5}, "`partial_rotary_factor` must be 1.*, not 0.5"),
        (LLAMA3 | {"high_freq_factor": 1.0}, "`high_freq_factor` must be more than `low_"),
        (LONGROPE | {"long_factor": [1.0]}, "`long_factor` must be a list of 8 positive numbers"),
        (LONGROPE | {"short_factor": [0.0] * 8}, "`short_factor` must be a list of 8 positive"),
        ({"rope_theta": 0.5}, "`rope_theta` must be a finite number of at least 1, not 0.5"),
        ({"rope_type": "yarn", "factor": 2, "rope_theta": 1}, "`rope_theta` must be more than 1"),
        ([], r"`rope_parameters` must be a table or null, not \[\]"),
    ],
)
def test_what_is_not_understood_is_refused(edited: Edit, parameters: Any, message: str):
    with pytest.raises(ModelError, match=message):
        load_architecture(edited("llama2-mha", rope_parameters=parameters))


def test_two_that_differ(edited: Edit):
    two = {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"factor": 2.0}}
    with pytest.raises(ModelError, match="`rope_parameters` must be the same as `rope_scaling`"):
        load_architecture(edited("llama2-mha", **two))


def test_partial_rotation_outside(edited: Edit):
    with pytest.raises(ModelError, match="`partial_rotary_factor` must be 1"):
        load_architecture(edited("llama2-mha", partial_rotary_factor=0.25))


def test_odd_heads(edited: Edit):
    with pytest.raises(ModelError, match="`head_dim` must be even"):
        load_architecture(edited("llama2-mha", head_dim=15))


def test_dynamic_needs_more_than_a_pair(edited: Edit):
    dynamic = {"rope_type": "dynamic", "factor": 2.0}
    with pytest.raises(ModelError, match="`head_dim` must be more than 2"):
        load_architecture(edited("llama2-mha", head_dim=2, rope_parameters=dynamic))


@pytest.mark.parametrize("name", ["llama2-mha", "qwen3-yarn", "llama-longrope"])
def test_a_context_beyond_the_positions(name: str, edited: Edit):
    assert load_architecture(edited(name), context_tokens=64).max_positions == 64
    with pytest.raises(ModelError, match="the context must be at most 64 tokens, not 65"):
        load_architecture(edited(name), context_tokens=65)
