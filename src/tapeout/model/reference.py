"""The reference decoder: the model in plain numpy, without a cache, for comparison."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import ModelError
from tapeout.model.architecture import EMBEDDING, FINAL_NORM, Activation, Architecture, layer_prefix
from tapeout.model.checkpoint import Model

F32 = NDArray[np.float32]
Float = NDArray[np.floating[Any]]
Weights = Callable[[str, F32], F32]
"""(name, weight) -> the weight to use instead: quantised and back, for example."""


def reference_logits(
    model: Model,
    tokens: Sequence[int],
    *,
    weights: Weights = lambda _name, weight: weight,
    double: bool = False,
) -> F32:
    """Logits after each token, [T, vocabulary or labels], in float32, or float64 if `double`.

    Raises:
        ModelError: no tokens, a token outside the vocabulary, or more tokens than positions.
    """
    a = model.architecture
    ids = _checked(a, tokens)

    def weight(name: str) -> Float:
        found = weights(name, model.tensor(name))
        return found.astype(np.float64) if double else found

    def linear(x: Float, name: str) -> Float:
        y = x @ weight(f"{name}.weight").T
        return y + weight(f"{name}.bias") if f"{name}.bias" in model.stored else y

    x = weight(EMBEDDING)[ids]  # [T, hidden]
    for layer in range(a.layers):
        p = layer_prefix(layer)
        h = _rms_norm(x, weight(f"{p}input_layernorm.weight"), a.norm_eps)
        q, k, v = (
            linear(h, f"{p}self_attn.{name}_proj").reshape(len(ids), -1, a.head_dim)
            for name in "qkv"
        )
        if a.qk_norm:
            q = _rms_norm(q, weight(f"{p}self_attn.q_norm.weight"), a.norm_eps)
            k = _rms_norm(k, weight(f"{p}self_attn.k_norm.weight"), a.norm_eps)
        mixed = _attention(a, _rotate(a, q), _rotate(a, k), v, a.window[layer])
        x = x + linear(mixed, f"{p}self_attn.o_proj")
        h = _rms_norm(x, weight(f"{p}post_attention_layernorm.weight"), a.norm_eps)
        gate = _activate(linear(h, f"{p}mlp.gate_proj"), a.activation)
        x = x + linear(gate * linear(h, f"{p}mlp.up_proj"), f"{p}mlp.down_proj")
    x = _rms_norm(x, weight(FINAL_NORM), a.norm_eps)
    return linear(x, a.head_tensor.removesuffix(".weight")).astype(np.float32)


def _checked(a: Architecture, tokens: Sequence[int]) -> NDArray[np.int64]:
    ids = np.asarray(tokens, np.int64)
    if ids.ndim != 1 or not 1 <= len(ids) <= a.max_positions:
        raise ModelError(f"the model takes 1..{a.max_positions} tokens, not {len(ids)}")
    outside = ids[(ids < 0) | (ids >= a.vocab_size)]
    if len(outside):
        raise ModelError(f"a token must be in 0..{a.vocab_size - 1}, not {outside[0]}")
    return ids


def _rms_norm(x: Float, gamma: Float, eps: float) -> Float:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps)) * gamma


def _rotate(a: Architecture, x: Float) -> Float:
    """RoPE on x: [T, heads, head_dim]; angles in float64."""
    angle = np.outer(np.arange(len(x)), np.asarray(a.rope.inv_freq))[:, None, :]
    cos = (np.cos(angle) * a.rope.attention_factor).astype(x.dtype)
    sin = (np.sin(angle) * a.rope.attention_factor).astype(x.dtype)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _attention(a: Architecture, q: Float, k: Float, v: Float, window: int | None) -> Float:
    """Causal attention. q: [T, heads, d]; k, v: [T, kv_heads, d]; result: [T, heads * d]."""
    group = a.heads // a.kv_heads
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) / q.dtype.type(math.sqrt(a.head_dim))
    distance = np.subtract.outer(np.arange(len(q)), np.arange(len(q)))  # query - key
    seen = (distance >= 0) & (distance < (window or len(q)))
    scores = np.where(seen, scores, q.dtype.type(-np.inf))
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares = shares / shares.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", shares, v).reshape(len(q), -1)


def _activate(x: Float, activation: Activation) -> Float:
    match activation:
        case "silu":
            return x / (1 + np.exp(np.minimum(-x, 80)))  # the bound only keeps exp from overflowing
        case "gelu":
            erf = np.vectorize(math.erf, otypes=[x.dtype])
            return x * (1 + erf(x / math.sqrt(2))) / 2
        case "gelu_tanh":
            return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
