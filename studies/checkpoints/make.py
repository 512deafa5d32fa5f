"""Make the test checkpoints: tiny random models, with the logits of Hugging Face transformers.

    pip install torch==2.13.0 transformers==5.23.0 safetensors
    python studies/checkpoints/make.py tests/checkpoints

Each directory is what `save_pretrained` writes, and `expected.safetensors`: token ids [T] and
float32 logits [T, outputs] of the model as it is stored.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file

SIZES: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,  # large, so that attention and activations are far from linear
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 32,
    "short_factor": [1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0],
}


LABELS = ("benign", "borderline", "harmful")
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def scaled(kind: str, factor: float) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10000.0, "factor": factor}


def write(folder: Path, model: Any, tokens: int, **saving: Any) -> None:
    """Save a model, and its logits for `tokens` random ids."""
    shutil.rmtree(folder, ignore_errors=True)
    model.eval()
    model.save_pretrained(folder, **saving)
    again = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ids = torch.randint(0, model.config.vocab_size, (1, tokens))
    with torch.no_grad():
        logits = again.eval()(ids).logits[0].contiguous()
    save_file({"ids": ids[0].contiguous(), "logits": logits}, folder / "expected.safetensors")


def make(root: Path, name: str, model_class: Any, *, tokens: int = 20, **keys: Any) -> None:
    """Make one checkpoint in bfloat16. Biases and norms are made random too."""
    torch.manual_seed(sum(name.encode()))
    saving = {"max_shard_size": "20KB"} if name == "llama-sharded" else {}
    model = model_class(model_class.config_class(**{**SIZES, **keys}))
    for key, weight in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.3)
        elif "norm" in key:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    write(root / name, model.to(torch.bfloat16), tokens, **saving)


def main(root: Path) -> None:
    llama, mistral = hf.LlamaForCausalLM, hf.MistralForCausalLM
    qwen2, qwen3 = hf.Qwen2ForCausalLM, hf.Qwen3ForCausalLM
    make(root, "llama2-mha", llama, num_key_value_heads=4)
    make(root, "llama3-gqa-tied", llama, tie_word_embeddings=True, rope_parameters=LLAMA3)
    make(root, "qwen2-bias", qwen2, use_sliding_window=True, sliding_window=6, max_window_layers=1)
    make(root, "qwen3-qk-norm", qwen3, head_dim=32, tie_word_embeddings=True, **SMALL)
    make(root, "mistral-window", mistral, sliding_window=8, **SMALL)
    odd = {"vocab_size": 257, "hidden_size": 80, "intermediate_size": 144, "head_dim": 20}
    odd |= {"num_attention_heads": 5, "num_key_value_heads": 1, "tie_word_embeddings": True}
    make(root, "llama-odd", llama, tokens=9, num_hidden_layers=1, **odd)
    biased = {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu_pytorch_tanh"}
    make(root, "llama-bias-linear", llama, rope_parameters=scaled("linear", 4.0), **biased, **SMALL)
    dynamic = {"rope_parameters": scaled("dynamic", 2.0), "max_position_embeddings": 32}
    make(root, "llama-dynamic", llama, tokens=48, hidden_act="gelu", **dynamic, **SMALL)
    make(root, "llama-longrope", llama, tokens=40, rope_parameters=LONGROPE, **SMALL)
    make(root, "llama-sharded", llama, **SMALL)
    make(root, "qwen3-yarn", qwen3, head_dim=16, rope_parameters=YARN, **SMALL)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    make(root, "llama-critic", hf.LlamaForTokenClassification, **labels, **SMALL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
