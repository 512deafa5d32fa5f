"""A byte-level Llama in torch; its parameters carry the names of the Hugging Face layout."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The shape of a model; the field names are those of config.json."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    head_dim: int = 32
    vocab_size: int = 256
    max_position_embeddings: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5


def rope_table(shape: Shape) -> tuple[Tensor, Tensor]:
    """Returns cos and sin, [position, head_dim], for pairs (i, i + head_dim/2)."""
    exponent = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
    angle = torch.outer(
        torch.arange(shape.max_position_embeddings).float(), shape.rope_theta**-exponent
    )
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies the rotary position embedding to x, [B, heads, T, head_dim]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class Cache:
    """Keys and values of the positions seen so far; all calls but the first add one position."""

    def __init__(self):
        self.length = 0
        self.seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends to a layer's keys and values and returns them all, [B, heads, T, head_dim]."""
        if layer in self.seen:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self.seen[layer], (k, v), strict=True))
        self.seen[layer] = k, v
        return k, v


class Attention(nn.Module):
    """Causal self-attention with shared key/value heads."""

    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        self.q_proj = nn.Linear(s.hidden_size, s.num_attention_heads * s.head_dim, bias=False)
        self.k_proj = nn.Linear(s.hidden_size, s.num_key_value_heads * s.head_dim, bias=False)
        self.v_proj = nn.Linear(s.hidden_size, s.num_key_value_heads * s.head_dim, bias=False)
        self.o_proj = nn.Linear(s.num_attention_heads * s.head_dim, s.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """Returns what the positions attend to, [B, T, hidden]."""
        batch, length, _ = x.shape
        split = (batch, length, -1, self.s.head_dim)
        q = rotate(self.q_proj(x).view(split).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(split).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(split).transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        groups = self.s.num_attention_heads // self.s.num_key_value_heads
        k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=k.shape[2] == length)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """The gated feed-forward block."""

    def __init__(self, s: Shape):
        super().__init__()
        self.gate_proj = nn.Linear(s.hidden_size, s.intermediate_size, bias=False)
        self.up_proj = nn.Linear(s.hidden_size, s.intermediate_size, bias=False)
        self.down_proj = nn.Linear(s.intermediate_size, s.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, hidden] to the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, s: Shape):
        super().__init__()
        self.self_attn = Attention(s)
        self.mlp = MLP(s)
        self.input_layernorm = nn.RMSNorm(s.hidden_size, eps=s.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(s.hidden_size, eps=s.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """Maps [B, T, hidden] to the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """The stack from token ids [B, T] to normalised hidden states [B, T, hidden]."""

    def __init__(self, s: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(s.vocab_size, s.hidden_size)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.num_hidden_layers))
        self.norm = nn.RMSNorm(s.hidden_size, eps=s.rms_norm_eps)
        cos, sin = rope_table(s)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Returns the normalised hidden states, [B, T, hidden]."""
        x = self.embed_tokens(ids)
        first = cache.length if cache is not None else 0
        here = slice(first, first + ids.shape[1])
        for layer in self.layers:
            x = layer(x, self.cos[here], self.sin[here], cache)
        if cache is not None:
            cache.length = here.stop
        return self.norm(x)


class Llama(nn.Module):
    """Without labels a language model with tied embeddings; with labels a byte classifier."""

    def __init__(self, shape: Shape, labels: int = 0):
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        self.score = nn.Linear(shape.hidden_size, labels) if labels else None
        for name, parameter in self.named_parameters():
            if "embed" in name:
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight", "score.weight")):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Returns logits, [B, T, vocabulary or labels]."""
        x = self.model(ids, cache)
        if self.score is None:
            return F.linear(x, self.model.embed_tokens.weight)
        return self.score(x)
