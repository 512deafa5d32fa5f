import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapeout.errors import ModelError
from tapeout.model import load_architecture, tensor_shapes
from tapeout.model.fields import IGNORED, READ, REFUSED

Edit = Callable[..., Path]
FULL, SLIDING = "full_attention", "sliding_attention"


def test_sizes_and_names(edited: Edit):
    a = load_architecture(edited("qwen3-qk-norm"))
    assert (a.name, a.model_type, a.head, a.outputs) == ("qwen3-qk-norm", "qwen3", "lm", 128)
    assert (a.hidden, a.layers, a.heads, a.kv_heads, a.head_dim) == (32, 2, 2, 1, 32)
    assert (a.qk_norm, a.qkv_bias, a.tied_embeddings) == (True, False, True)
    assert a.head_tensor == "model.embed_tokens.weight"
    assert tensor_shapes(a)["model.layers.1.self_attn.o_proj.weight"] == (32, 64)
    assert tensor_shapes(a)["model.layers.1.self_attn.k_norm.weight"] == (32,)


def test_a_critic_has_labels(edited: Edit):
    a = load_architecture(edited("llama-critic"))
    assert (a.head, a.labels, a.outputs) == ("labels", ("benign", "borderline", "harmful"), 3)
    assert (a.head_tensor, a.head_bias) == ("score.weight", True)
    assert tensor_shapes(a)["score.bias"] == (3,)
    assert "lm_head.weight" not in tensor_shapes(a)


def test_the_head_of_a_critic_is_not_tied(edited: Edit):
    a = load_architecture(edited("llama-critic", tie_word_embeddings=True))
    assert not a.tied_embeddings


def test_labels_without_names(edited: Edit):
    assert load_architecture(edited("llama-critic", id2label=...)).labels == ("LABEL_0", "LABEL_1")
    three = edited("llama-critic", id2label=..., num_labels=3)
    assert len(load_architecture(three).labels) == 3


def test_names_of_transformers_4(edited: Edit):
    old = edited(
        "llama3-gqa-tied",
        dtype=...,
        torch_dtype="bfloat16",
        rope_parameters=...,
        rope_theta=500000.0,
        rope_scaling={
            "type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        head_dim=...,
    )
    found = load_architecture(old)
    assert found == load_architecture(edited("llama3-gqa-tied"))


def test_grouped_heads_default_to_all(edited: Edit):
    directory = edited("llama2-mha", num_key_value_heads=..., head_dim=None)
    a = load_architecture(directory)
    assert (a.kv_heads, a.head_dim) == (4, 16)


@pytest.mark.parametrize(
    ("name", "changes", "window"),
    [
        ("mistral-window", {}, (8, 8)),
        ("mistral-window", {"sliding_window": None}, (None, None)),
        ("mistral-window", {"sliding_window": ...}, (4096, 4096)),
        ("mistral-window", {"layer_types": [SLIDING, SLIDING]}, (8, 8)),
        ("qwen2-bias", {}, (None, 6)),
        ("qwen2-bias", {"layer_types": ...}, (None, 6)),
        ("qwen2-bias", {"layer_types": None}, (None, 6)),
        ("qwen2-bias", {"layer_types": ..., "max_window_layers": 0}, (6, 6)),
        ("qwen2-bias", {"layer_types": [SLIDING, FULL]}, (6, None)),
        ("qwen2-bias", {"layer_types": ..., "use_sliding_window": False}, (None, None)),
        ("qwen2-bias", {"layer_types": [FULL, FULL], "use_sliding_window": ...}, (None, None)),
        ("llama2-mha", {"layer_types": [FULL, FULL], "sliding_window": None}, (None, None)),
    ],
)
def test_windows(edited: Edit, name: str, changes: dict[str, Any], window: tuple[int | None, ...]):
    assert load_architecture(edited(name, **changes)).window == window


def test_the_end_of_text_is_that_of_generation(edited: Edit):
    directory = edited("llama2-mha", eos_token_id=[3, 4])
    (directory / "generation_config.json").write_text('{"eos_token_id": [5, 6], "top_k": 1}')
    assert load_architecture(directory).eos_ids == (5, 6)
    (directory / "generation_config.json").write_text('{"temperature": 1.0}')
    assert load_architecture(directory).eos_ids == (3, 4)
    (directory / "generation_config.json").unlink()
    assert load_architecture(directory).eos_ids == (3, 4)
    assert load_architecture(edited("llama2-mha", eos_token_id=None)).bos_id == 1
    (directory / "generation_config.json").write_text('{"eos_token_id": 128}')
    with pytest.raises(ModelError, match=r"`eos_token_id` must be token ids in 0\.\.127, not 128"):
        load_architecture(directory)


def test_keys_that_change_nothing(edited: Edit):
    plain = load_architecture(edited("llama2-mha"))
    harmless = {key: 0.5 for keys in IGNORED.values() for key in keys.split()}
    assert load_architecture(edited("llama2-mha", **harmless)) == plain


@pytest.mark.parametrize("key", REFUSED)
def test_keys_that_would_change_it(edited: Edit, key: str):
    assert load_architecture(edited("llama2-mha", **{key: None}))
    with pytest.raises(ModelError, match=f"`{key}` must be absent or null, not 7") as info:
        load_architecture(edited("llama2-mha", **{key: 7}))
    assert info.value.hint == REFUSED[key]


def test_groups_of_keys_do_not_overlap():
    ignored = [key for keys in IGNORED.values() for key in keys.split()]
    assert len(ignored) == len(set(ignored))
    assert not set(ignored) & READ
    assert not set(REFUSED) & (READ | set(ignored))


def test_an_unknown_key_is_named(edited: Edit):
    with pytest.raises(ModelError, match=r"unknown key `hidden_sise` \(value 9\); did you mean"):
        load_architecture(edited("llama2-mha", hidden_sise=9))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama2-mha", {"model_type": "mixtral"}, "`model_type` must be one of llama, .*'mixtral'"),
        ("llama2-mha", {"model_type": ["llama"]}, r"`model_type` must be one of .*\['llama'\]"),
        ("llama2-mha", {"model_type": ...}, "`model_type` is missing"),
        (
            "llama2-mha",
            {"architectures": ["LlamaModel"]},
            "`architectures` must be one of LlamaFor",
        ),
        ("llama2-mha", {"architectures": [["a"]]}, "`architectures` must be one of LlamaFor"),
        ("llama2-mha", {"architectures": "LlamaForCausalLM"}, "in a list, not 'LlamaForCausalLM'"),
        ("llama2-mha", {"hidden_act": "relu"}, "`hidden_act` must be one of silu, .*, not 'relu'"),
        ("llama2-mha", {"hidden_act": ["silu"]}, "`hidden_act` must be one of silu"),
        ("llama2-mha", {"hidden_size": "64"}, "`hidden_size` must be an integer .*, not '64'"),
        ("llama2-mha", {"hidden_size": True}, "`hidden_size` must be an integer .*, not True"),
        ("llama2-mha", {"hidden_size": 10**30}, "`hidden_size` must be an integer in"),
        ("llama2-mha", {"hidden_size": ...}, "`hidden_size` is missing"),
        ("llama2-mha", {"hidden_size": 65, "head_dim": ...}, "a multiple of the 4 attention heads"),
        ("llama2-mha", {"num_key_value_heads": 3}, "a divisor of the 4 attention heads, not 3"),
        ("llama2-mha", {"num_hidden_layers": 0}, "`num_hidden_layers` must be an integer in 1.."),
        ("llama2-mha", {"num_hidden_layers": 10**9}, "`num_hidden_layers` must be .* 1..10000"),
        (
            "llama2-mha",
            {"rms_norm_eps": -1.0},
            "`rms_norm_eps` must be a finite number of at least",
        ),
        ("llama2-mha", {"rms_norm_eps": float("inf")}, "`rms_norm_eps` must be .*, not inf"),
        ("llama2-mha", {"rms_norm_eps": float("nan")}, "`rms_norm_eps` must be .*, not nan"),
        ("llama2-mha", {"tie_word_embeddings": 1}, "`tie_word_embeddings` must be true or false"),
        ("llama2-mha", {"eos_token_id": -1}, "`eos_token_id` must be token ids in 0..127"),
        ("llama2-mha", {"sliding_window": 8}, "`sliding_window` must be absent or null for"),
        ("llama2-mha", {"layer_types": [SLIDING, FULL]}, "`layer_types` must be a list of 2 times"),
        ("llama2-mha", {"layer_types": [FULL]}, "`layer_types` must be a list of 2 times full_"),
        ("llama2-mha", {"layer_types": [{}, {}]}, "`layer_types` must be a list of 2 times full_"),
        ("mistral-window", {"layer_types": [FULL, FULL]}, "a list of 2 times sliding_attention"),
        ("mistral-window", {"attention_bias": True}, "`attention_bias` must be false for model"),
        ("qwen2-bias", {"layer_types": ["linear_attention"] * 2}, "`layer_types` must be a list"),
        ("qwen2-bias", {"use_sliding_window": False}, "2 times full_attention"),
        ("qwen2-bias", {"mlp_bias": True}, "`mlp_bias` must be false for model type qwen2"),
        (
            "qwen2-bias",
            {"layer_types": ..., "max_window_layers": ...},
            "`max_window_layers` is mis",
        ),
        ("llama-critic", {"id2label": {"1": "a"}}, r"`id2label` must be a table from 0\.\.0"),
        ("llama-critic", {"id2label": []}, "`id2label` must be a table from label numbers"),
        (
            "llama-critic",
            {"num_labels": 2},
            "`num_labels` must be the number of labels .*, 3, not 2",
        ),
    ],
)
def test_what_is_not_supported_is_named(
    edited: Edit, name: str, changes: dict[str, Any], message: str
):
    directory = edited(name, **changes)
    with pytest.raises(ModelError, match=message) as info:
        load_architecture(directory)
    assert info.value.where == str(directory / "config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "config.json is not valid JSON"),
        (b"[]", "config.json must hold a JSON object"),
        (b"\xff", "config.json is not UTF-8 text"),
        (b"[" * 100_000, "config.json is not valid JSON"),
        (b'{"vocab_size": 1, "vocab_size": 2}', "`vocab_size` appears twice"),
        (json.dumps({"model_type": "gpt2", "n_embd": 1}).encode(), "unknown key `n_embd`"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: bytes, message: str):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ModelError, match=message):
        load_architecture(tmp_path)


def test_no_directory(tmp_path: Path):
    with pytest.raises(ModelError, match=r"cannot read config.json: No such file") as info:
        load_architecture(tmp_path / "absent")
    assert "directory" in info.value.hint
