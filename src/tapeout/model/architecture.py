"""What an LLM of the Llama family is: its sizes, its positions, its tensors."""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh"]

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions, with any scaling already applied.

    Elements i and i + head_dim / 2 of a head turn together, by position * inv_freq[i] radians;
    cosine and sine are multiplied by `attention_factor`. inv_freq: [head_dim / 2].
    """

    inv_freq: tuple[float, ...]
    attention_factor: float


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder of the Llama family. `window[i]` is the number of keys that layer i sees, itself
    included; None is all of them. `max_positions` is the context for which `rope` holds.
    """

    name: str
    model_type: str
    vocab_size: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    norm_eps: float
    activation: Activation
    tied_embeddings: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    max_positions: int
    rope: Rope
    window: tuple[int | None, ...]
    head: Literal["lm", "labels"]
    head_bias: bool
    labels: tuple[str, ...]
    eos_ids: tuple[int, ...]
    bos_id: int | None

    @property
    def outputs(self) -> int:
        """Logits per token: the vocabulary or the labels."""
        return self.vocab_size if self.head == "lm" else len(self.labels)

    @property
    def head_tensor(self) -> str:
        """Name of the matrix that makes logits from the last hidden state."""
        if self.head == "labels":
            return "score.weight"
        return EMBEDDING if self.tied_embeddings else "lm_head.weight"


def layer_prefix(layer: int) -> str:
    """The start of the names of a layer's tensors: 3 -> "model.layers.3."."""
    return f"model.layers.{layer}."


def layer_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of one layer's tensors by name without `layer_prefix`. Matrices are [out, in]."""
    a = architecture
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    linears = {
        "self_attn.q_proj": (q, a.hidden, a.qkv_bias),
        "self_attn.k_proj": (kv, a.hidden, a.qkv_bias),
        "self_attn.v_proj": (kv, a.hidden, a.qkv_bias),
        "self_attn.o_proj": (a.hidden, q, a.o_bias),
        "mlp.gate_proj": (a.intermediate, a.hidden, a.mlp_bias),
        "mlp.up_proj": (a.intermediate, a.hidden, a.mlp_bias),
        "mlp.down_proj": (a.hidden, a.intermediate, a.mlp_bias),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (a.hidden,),
        "post_attention_layernorm.weight": (a.hidden,),
    }
    if a.qk_norm:
        shapes["self_attn.q_norm.weight"] = (a.head_dim,)
        shapes["self_attn.k_norm.weight"] = (a.head_dim,)
    for name, (rows, columns, bias) in linears.items():
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)
    return shapes


def tensor_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a model by their names in the checkpoint. Matrices are [out, in]."""
    a = architecture
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (a.vocab_size, a.hidden)}
    for layer in range(a.layers):
        shapes |= {layer_prefix(layer) + name: s for name, s in layer_shapes(a).items()}
    shapes[FINAL_NORM] = (a.hidden,)
    shapes[a.head_tensor] = (a.outputs, a.hidden)
    if a.head_bias:
        shapes["score.bias"] = (a.outputs,)
    return shapes
