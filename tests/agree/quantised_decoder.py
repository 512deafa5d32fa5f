"""The reference decoder in float64, with tensors rounded to a recipe's formats where the chip does.

All else is exact: so what is left between it and the chip is the chip's FP32, and the codes that
fall on the other side of a rounding because of it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tapeout.compiler import Recipe
from tapeout.model import EMBEDDING, FINAL_NORM, Architecture, Model, layer_prefix
from tapeout.numerics import (
    Blocks,
    Format,
    ScaleMode,
    decode_scale,
    dequantise,
    quantise,
    tensor_scale,
)

F64 = NDArray[np.float64]


def rounded(x: F64, fmt: Format, mode: ScaleMode) -> F64:
    """x to a format and back."""
    if fmt.name == "fp32":
        return x
    k = x.shape[-1]
    return dequantise(quantise(x.astype(np.float32), fmt, mode))[..., :k].astype(np.float64)


def weight_in_format(w: NDArray[np.float32], fmt: Format, mode: ScaleMode) -> F64:
    """A matrix as the chip holds it, its tensor's factor included."""
    factor = float(tensor_scale(w, fmt))
    return rounded((w / np.float32(factor)).astype(np.float64), fmt, mode) * factor


def quantised_logits(model: Model, recipe: Recipe, tokens: Sequence[int]) -> F64:
    """Logits after each of at most 128 tokens: [T, outputs]."""
    a, act, mode = model.architecture, recipe.of("activations"), recipe.mode

    def vector(name: str) -> F64:
        return model.tensor(name).astype(np.float64)

    def linear(x: F64, name: str) -> F64:
        w = weight_in_format(model.tensor(f"{name}.weight"), recipe.of("weights"), mode)
        y = x @ w.T
        return y + vector(f"{name}.bias") if f"{name}.bias" in model.stored else y

    x = model.tensor(EMBEDDING)[list(tokens)].astype(np.float64)
    for layer in range(a.layers):
        p = layer_prefix(layer)
        h = rounded(_norm(a, x, vector(f"{p}input_layernorm.weight")), act, mode)
        q, k, v = (
            linear(h, f"{p}self_attn.{n}_proj").reshape(len(x), -1, a.head_dim) for n in "qkv"
        )
        if a.qk_norm:
            q = _norm(a, q, vector(f"{p}self_attn.q_norm.weight"))
            k = _norm(a, k, vector(f"{p}self_attn.k_norm.weight"))
        q = rounded(_turned(a, q, math.log2(math.e) / math.sqrt(a.head_dim)), act, mode)
        k = rounded(_turned(a, k, 1.0), recipe.of("kv"), mode)
        mixed = _attention(a, recipe, q, k, v, a.window[layer])
        x = x + linear(rounded(mixed, act, mode), f"{p}self_attn.o_proj")
        h = rounded(_norm(a, x, vector(f"{p}post_attention_layernorm.weight")), act, mode)
        gated = _activated(a, linear(h, f"{p}mlp.gate_proj")) * linear(h, f"{p}mlp.up_proj")
        x = x + linear(rounded(gated, act, mode), f"{p}mlp.down_proj")
    h = rounded(_norm(a, x, vector(FINAL_NORM)), act, mode)
    return linear(h, a.head_tensor.removesuffix(".weight"))


def _norm(a: Architecture, x: F64, gamma: F64) -> F64:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + a.norm_eps) * gamma


def _turned(a: Architecture, x: F64, factor: float) -> F64:
    angle = np.outer(np.arange(len(x)), a.rope.inv_freq)[:, None]
    c, s = (f(angle) * a.rope.attention_factor * factor for f in (np.cos, np.sin))
    half = a.head_dim // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * c - second * s, second * c + first * s], axis=-1)


def _attention(a: Architecture, recipe: Recipe, q: F64, k: F64, v: F64, window: int | None) -> F64:
    """Scores are in base 2. The probabilities carry the values' scales when they are rounded."""
    blocks = quantise(v.astype(np.float32), recipe.of("kv"), recipe.mode, per_row=True)
    scales = _scales(blocks)  # [T, kv heads]
    values = dequantise(blocks)[..., : a.head_dim].astype(np.float64) / scales[..., None]
    out = np.zeros_like(q)
    index = np.arange(len(q))
    distance = index[:, None] - index
    seen = (distance >= 0) & (distance < (window or len(q)))
    for head in range(a.heads):
        group = head // (a.heads // a.kv_heads)
        s = np.where(seen, q[:, head] @ k[:, group].T, -np.inf)
        p = np.exp2(s - s.max(axis=-1, keepdims=True))
        chunk = np.zeros((len(p), 128))
        chunk[:, : len(q)] = p * scales[:, group]
        held = rounded(chunk, recipe.of("probabilities"), recipe.mode)[:, : len(q)]
        out[:, head] = held @ values[:, group] / p.sum(axis=-1, keepdims=True)
    return out.reshape(len(q), -1)


def _scales(blocks: Blocks) -> F64:
    if blocks.format.scale == "none":
        return np.ones(blocks.codes.shape[:-1])
    return decode_scale(blocks.scales, blocks.format.scale).astype(np.float64)[..., 0]


def _activated(a: Architecture, x: F64) -> F64:
    if a.activation == "silu":
        return x / (1 + np.exp(-x))
    if a.activation == "gelu":
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
