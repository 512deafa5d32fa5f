"""RoPE frequencies from config.json: every scaling that the Llama family uses.

Source: the definitions of Hugging Face transformers 5.23, `modeling_rope_utils.py`; the test
checkpoints hold its logits for each kind. Computed here in float64, there in float32.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.config import did_you_mean
from tapeout.errors import ModelError
from tapeout.model.architecture import Rope
from tapeout.model.fields import Fields

F64 = NDArray[np.float64]
KEYS = {  # what each kind of scaling reads
    "default": "",
    "linear": "factor",
    "dynamic": "factor",
    "llama3": "factor low_freq_factor high_freq_factor original_max_position_embeddings",
    "yarn": """factor original_max_position_embeddings attention_factor beta_fast beta_slow mscale
        mscale_all_dim truncate""",
    "longrope": """factor original_max_position_embeddings attention_factor short_factor
        long_factor""",
}
OLD_LONGROPE = "su"  # its name in the first Phi-3 files


def rope_of(config: Fields, head_dim: int, context_tokens: int | None) -> tuple[Rope, int]:
    """The frequencies for a context, and the number of positions for which they hold.

    Without a context: up to `max_position_embeddings`, or for longrope the original length, within
    which its short factors apply. Dynamic and longrope scaling change with the length of the
    text in the reference; here a context fixes them once, so that cached keys stay valid.

    Raises:
        ModelError: the scaling is unknown or malformed, or does not reach `context_tokens`.
    """
    fields, kind = _scaling(config)
    if head_dim % 2:
        raise config.error("head_dim", "even, because RoPE turns pairs")
    stated = config.integer("max_position_embeddings")
    if kind == "longrope":
        inv_freq, factor, reach = _longrope(fields, config, head_dim, context_tokens)
    elif kind == "dynamic":
        inv_freq, factor = _dynamic(fields, head_dim, stated, context_tokens), 1.0
        reach = max(stated, context_tokens or 0)
    else:
        inv_freq, factor = _STATIC[kind](fields, head_dim, stated)
        reach = stated
    if context_tokens is not None and context_tokens > reach:
        raise ModelError(
            f"the context must be at most {reach} tokens, not {context_tokens}",
            where=str(config.path),
            hint=f"RoPE of kind `{kind}` is defined up to `max_position_embeddings`",
        )
    return Rope(inv_freq=tuple(inv_freq.tolist()), attention_factor=factor), reach


def _scaling(config: Fields) -> tuple[Fields, str]:
    """The RoPE parameters under their newer names, checked, and the kind."""
    table = _parameters(config)
    legacy = table.pop("type", None)
    kind = table.pop("rope_type", legacy) or "default"
    kind = "longrope" if kind == OLD_LONGROPE else kind
    if kind not in list(KEYS):
        raise ModelError(
            f"the RoPE type must be one of {', '.join(KEYS)}, not {kind!r:.80}",
            where=str(config.path),
        )
    known = {*KEYS[kind].split(), "rope_theta", "partial_rotary_factor"}
    for key in table:
        if key not in known:
            raise ModelError(
                f"unknown key `{key}` of RoPE type `{kind}`{did_you_mean(key, known)}",
                where=str(config.path),
                hint=f"known are: {', '.join(sorted(known))}",
            )
    table.setdefault("rope_theta", config.config.get("rope_theta"))
    if "original_max_position_embeddings" in known:
        length = "original_max_position_embeddings"
        candidates = (config.config.get(length), table.get(length))
        stated = config.config.get("max_position_embeddings")
        table[length] = next((v for v in candidates if v is not None), stated)
    fields = Fields(table, config.path)
    for place in (fields, config):
        if place.number("partial_rotary_factor", 1.0) != 1.0:
            raise place.error("partial_rotary_factor", "1: RoPE turns whole heads")
    return fields, kind


def _parameters(config: Fields) -> dict[str, Any]:
    """A copy of `rope_parameters` (transformers 5) or `rope_scaling` (4)."""
    old, new = (config.config.get(key) for key in ("rope_scaling", "rope_parameters"))
    for key, value in (("rope_scaling", old), ("rope_parameters", new)):
        if value is not None and not isinstance(value, dict):
            raise config.error(key, "a table or null")
    if old is not None and new is not None and old != new:
        raise config.error("rope_parameters", "the same as `rope_scaling`, where both are given")
    return dict(new or old or {})


def _plain(fields: Fields, head_dim: int, base_factor: float = 1.0) -> F64:
    base = fields.number("rope_theta", 10_000.0, low=1.0) * base_factor
    return base ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def _default(fields: Fields, head_dim: int, _stated: int) -> tuple[F64, float]:
    return _plain(fields, head_dim), 1.0


def _linear(fields: Fields, head_dim: int, _stated: int) -> tuple[F64, float]:
    return _plain(fields, head_dim) / fields.number("factor", low=1.0), 1.0


def _dynamic(fields: Fields, head_dim: int, stated: int, context_tokens: int | None) -> F64:
    """NTK scaling: the base grows with the context beyond the stated positions."""
    factor = fields.number("factor", low=1.0)
    length = max(context_tokens or 0, stated)
    if head_dim <= 2:
        raise ModelError("`head_dim` must be more than 2 for dynamic RoPE", where=str(fields.path))
    growth = (factor * length / stated - (factor - 1)) ** (head_dim / (head_dim - 2))
    return _plain(fields, head_dim, growth)


def _llama3(fields: Fields, head_dim: int, _stated: int) -> tuple[F64, float]:
    """Long wavelengths are divided by `factor`, short ones stay, those between are blended."""
    plain = _plain(fields, head_dim)
    factor = fields.number("factor", low=1.0)
    low, high = fields.number("low_freq_factor"), fields.number("high_freq_factor")
    if not 0 < low < high:
        raise fields.error("high_freq_factor", "more than `low_freq_factor`")
    turns = fields.integer("original_max_position_embeddings") * plain / (2 * np.pi)
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return plain * (blend + (1 - blend) / factor), 1.0


def _yarn(fields: Fields, head_dim: int, stated: int) -> tuple[F64, float]:
    """A ramp over the frequencies between `plain / factor` (slow) and `plain` (fast)."""
    plain = _plain(fields, head_dim)
    original = fields.integer("original_max_position_embeddings")
    factor = fields.number("factor", stated / original, low=1.0)
    base = fields.number("rope_theta", 10_000.0, low=1.0)
    if base <= 1.0:
        raise fields.error("rope_theta", "more than 1 for yarn")

    def index_of(turns: float) -> float:
        """The index whose frequency makes `turns` turns in the original context."""
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    # 0 means absent for these two in the reference as well
    low = index_of(fields.number("beta_fast", 32.0) or 32.0)
    high = index_of(fields.number("beta_slow", 1.0) or 1.0)
    if fields.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high += 0.001 if low == high else 0
    ramp = np.clip((np.arange(head_dim // 2) - low) / (high - low), 0.0, 1.0)
    return plain * (1 - ramp) + plain / factor * ramp, _yarn_attention_factor(fields, factor)


def _yarn_attention_factor(fields: Fields, factor: float) -> float:
    if fields.config.get("attention_factor") is not None:
        return fields.number("attention_factor")
    mscale, all_dim = fields.number("mscale", 0.0), fields.number("mscale_all_dim", 0.0)

    def grow(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0

    return grow(mscale) / grow(all_dim) if mscale and all_dim else grow(1.0)


def _longrope(
    fields: Fields, config: Fields, head_dim: int, context_tokens: int | None
) -> tuple[F64, float, int]:
    stated = config.integer("max_position_embeddings")
    original = fields.integer("original_max_position_embeddings", low=2)
    factor = fields.number("factor", stated / original)
    long = context_tokens is not None and context_tokens > original
    shorts = fields.numbers("short_factor", head_dim // 2)
    longs = fields.numbers("long_factor", head_dim // 2)
    default = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    scale = fields.number("attention_factor", default)
    return (
        _plain(fields, head_dim) / np.asarray(longs if long else shorts),
        scale,
        stated if long else original,
    )


_STATIC = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
