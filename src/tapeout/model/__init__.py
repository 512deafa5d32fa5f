"""LLMs of the Llama family: Llama 2 and 3, Mistral, Qwen2 and Qwen3, and critics made from them.

In:  a Hugging Face directory: config.json, *.safetensors, tokenizer.json.
Out: an `Architecture`, a `Model` with its tensors, a `Tokenizer`, the work of a step, and the
     logits of a reference decoder.
"""

from tapeout.model.architecture import (
    EMBEDDING,
    FINAL_NORM,
    Activation,
    Architecture,
    Rope,
    layer_prefix,
    layer_shapes,
    tensor_shapes,
)
from tapeout.model.checkpoint import Model, check_model, load_model
from tapeout.model.load import load_architecture
from tapeout.model.reference import reference_logits
from tapeout.model.tokenizer import TextStream, Tokenizer, load_tokenizer
from tapeout.model.work import (
    StepWork,
    kv_bytes_per_token,
    parameters,
    step_flops,
    step_work,
    weight_bytes,
)

__all__ = [
    "EMBEDDING",
    "FINAL_NORM",
    "Activation",
    "Architecture",
    "Model",
    "Rope",
    "StepWork",
    "TextStream",
    "Tokenizer",
    "check_model",
    "kv_bytes_per_token",
    "layer_prefix",
    "layer_shapes",
    "load_architecture",
    "load_model",
    "load_tokenizer",
    "parameters",
    "reference_logits",
    "step_flops",
    "step_work",
    "tensor_shapes",
    "weight_bytes",
]
