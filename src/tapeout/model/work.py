"""How much a model is and does: parameters, bytes, and the work of a step."""

import math
from dataclasses import dataclass

from tapeout.model.architecture import EMBEDDING, Architecture, tensor_shapes


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """What one forward step of one sequence multiplies and moves, in elements of any format.

    A multiply-add is 2 FLOPs. Weights are read once per step whatever the tokens; of the embedding
    table only the rows of the new tokens. KV read is that of tokens before this step.
    """

    matmul_flops: int
    attention_flops: int
    weight_elements: int
    kv_elements_read: int
    kv_elements_written: int


def parameters(architecture: Architecture) -> int:
    """Number of weights; tied embeddings count once."""
    return sum(math.prod(shape) for shape in tensor_shapes(architecture).values())


def weight_bytes(architecture: Architecture, bits_per_element: float) -> float:
    """Bytes of all weights at that many bits each, scales included if the bits include them."""
    return parameters(architecture) * bits_per_element / 8


def kv_bytes_per_token(architecture: Architecture, bits_per_element: float) -> float:
    """Bytes of keys and values that a token adds, over all layers."""
    return architecture.layers * _kv_elements(architecture) * bits_per_element / 8


def step_work(
    architecture: Architecture, *, new_tokens: int, context_tokens: int, logit_tokens: int = 1
) -> StepWork:
    """The work of `new_tokens` (1 is decode, more is prefill) after `context_tokens` in the cache.

    Logits are made for `logit_tokens` of the new tokens.
    """
    a = architecture
    head = math.prod(tensor_shapes(a)[a.head_tensor])
    body = sum(
        math.prod(shape)
        for name, shape in tensor_shapes(a).items()
        if len(shape) == 2 and name not in (EMBEDDING, a.head_tensor)
    )
    keys = sum(_keys_seen(new_tokens, context_tokens, window) for window in a.window)
    cached = sum(context_tokens if w is None else min(context_tokens, w - 1) for w in a.window)
    streamed = parameters(a) - (0 if a.head_tensor == EMBEDDING else a.vocab_size * a.hidden)
    return StepWork(
        matmul_flops=2 * (new_tokens * body + logit_tokens * head),
        attention_flops=4 * a.heads * a.head_dim * keys,
        weight_elements=streamed + new_tokens * a.hidden,
        kv_elements_read=_kv_elements(a) * cached,
        kv_elements_written=_kv_elements(a) * a.layers * new_tokens,
    )


def step_flops(architecture: Architecture, *, new_tokens: int, context_tokens: int) -> int:
    """FLOPs of a step's matrix products, attention included, with logits for its last token."""
    work = step_work(architecture, new_tokens=new_tokens, context_tokens=context_tokens)
    return work.matmul_flops + work.attention_flops


def _kv_elements(architecture: Architecture) -> int:
    """Elements of one token's keys and values in one layer."""
    return 2 * architecture.kv_heads * architecture.head_dim


def _keys_seen(new_tokens: int, context_tokens: int, window: int | None) -> int:
    """Sum over the new tokens of the keys that each sees, itself included, in one layer."""
    last = context_tokens + new_tokens
    if window is None or last <= window:
        return new_tokens * (context_tokens + 1 + last) // 2
    growing = max(window - context_tokens, 0)  # new tokens that do not fill the window yet
    return growing * (context_tokens + 1 + window) // 2 + (new_tokens - growing) * window
