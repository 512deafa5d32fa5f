"""Checkpoints in the Hugging Face layout: config.json, model.safetensors, tokenizer.json."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model import Llama, Shape


def byte_characters() -> list[str]:
    """Returns for each byte the printable character by which GPT-2's byte-level BPE writes it."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table |= {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def tokenizer() -> dict[str, object]:
    """Returns tokenizer.json of a tokenizer whose ids are the bytes of the UTF-8 text."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {**level, "use_regex": False},
        "post_processor": None,
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(byte_characters())},
            "merges": [],
        },
    }


def config(shape: Shape, labels: list[str]) -> dict[str, object]:
    """Returns config.json."""
    common = {
        "model_type": "llama",
        **asdict(shape),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    if not labels:
        return {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True, **common}
    return {
        "architectures": ["LlamaForTokenClassification"],
        "tie_word_embeddings": False,
        "problem_type": "multi_label_classification",
        "id2label": {str(n): label for n, label in enumerate(labels)},
        "label2id": {label: n for n, label in enumerate(labels)},
        **common,
    }


def write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(model: Llama, folder: Path, labels: list[str] | None = None) -> None:
    """Writes the model in bfloat16; whatever is measured is measured on this file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "config.json", config(model.shape, labels or []))
    write(folder / "tokenizer.json", tokenizer())
    if not labels:
        generation = {"bos_token_id": 0, "eos_token_id": 0, "do_sample": True, "temperature": 0.8}
        write(folder / "generation_config.json", generation)


def load(folder: Path) -> Llama:
    """Reads a checkpoint; computes in float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = Shape(**{field.name: config[field.name] for field in fields(Shape)})
    model = Llama(shape, len(config.get("id2label", {})))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.float().eval()
