"""The keys of config.json: which are read, which change nothing, which are refused."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tapeout.config import did_you_mean
from tapeout.errors import ModelError

_READ_KEYS = """
    architectures attention_bias bos_token_id eos_token_id head_dim hidden_act hidden_size
    id2label intermediate_size label2id layer_types max_position_embeddings max_window_layers
    mlp_bias model_type num_attention_heads num_hidden_layers num_key_value_heads num_labels
    original_max_position_embeddings partial_rotary_factor rms_norm_eps rope_parameters rope_scaling
    rope_theta sliding_window tie_word_embeddings token_classification_bias use_sliding_window
    vocab_size
"""
READ = frozenset(_READ_KEYS.split())

IGNORED = {
    "says who wrote the file, and for what": """_name_or_path _commit_hash transformers_version
        vocab_file is_llama_config unsloth_fixed unsloth_version transformers.js_config""",
    "the tensors carry their own type": "torch_dtype dtype use_bfloat16",
    "only training uses it": """attention_dropout classifier_dropout embd_pdrop resid_pdrop
        hidden_dropout initializer_range problem_type finetuning_task
        label_smoothing gradient_checkpointing pad_token_id unk_token_id""",
    "splits or orders the same arithmetic": """pretraining_tp chunk_size_feed_forward use_cache
        _attn_implementation attn_implementation _attn_implementation_autoset
        _flash_attn_2_enabled
        _experts_implementation torchscript tf_legacy_loss""",
    "shapes what the library returns, not what it computes": """output_attentions
        output_hidden_states output_scores return_dict return_dict_in_generate
        keys_to_ignore_at_inference""",
    "encoder-decoder models only": """cross_attention_hidden_size decoder_start_token_id
        sep_token_id tie_encoder_decoder tokenizer_class prefix task_specific_params""",
    "default of sampling; the request decides": """bad_words_ids begin_suppress_tokens
        diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
        exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty
        max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups num_beams
        num_return_sequences remove_invalid_values repetition_penalty suppress_tokens temperature
        top_k top_p typical_p""",
}

REFUSED = {
    "quantization_config": "only unquantised weights (F64, F32, F16, BF16) are read",
    "compression_config": "only unquantised weights (F64, F32, F16, BF16) are read",
    "auto_map": "code that comes with a checkpoint is not run",
    "is_encoder_decoder": "only decoders are supported",
    "is_decoder": "a model of this family is a decoder without saying so",
    "add_cross_attention": "only decoders are supported",
    "pruned_heads": "all heads must be present",
    "num_experts": "mixtures of experts are not supported",
    "num_local_experts": "mixtures of experts are not supported",
    "num_experts_per_tok": "mixtures of experts are not supported",
    "n_routed_experts": "mixtures of experts are not supported",
    "quantization": "only unquantised weights (F64, F32, F16, BF16) are read",
    "use_mrope": "only text positions are supported",
    "rope_interleaved": "only the half-and-half RoPE layout is supported",
    "rope_interleave": "only the half-and-half RoPE layout is supported",
    "attn_logit_softcapping": "attention logits are not capped",
    "final_logit_softcapping": "logits are not capped",
    "attention_chunk_size": "attention in chunks is not supported",
    "parallel_attn": "attention and MLP run one after the other",
    "layer_norm_eps": "the norm is RMSNorm: `rms_norm_eps`",
    "text_config": "only text models are supported, not parts of a multi-modal one",
    "vision_config": "only text models are supported",
}

_IGNORED_KEYS = frozenset(key for keys in IGNORED.values() for key in keys.split())


def refuse_unknown(config: dict[str, Any], path: Path) -> None:
    """Check that every key of a config.json is read or is known to change nothing.

    Raises:
        ModelError: naming the first key that is neither.
    """
    for key, value in config.items():
        if key in READ or key in _IGNORED_KEYS:
            continue
        if key in REFUSED and not value:
            continue
        if key in REFUSED:
            raise ModelError(
                f"`{key}` must be absent or null, not {value!r:.80}",
                where=str(path),
                hint=REFUSED[key],
            )
        raise ModelError(
            f"unknown key `{key}` (value {value!r:.80}){did_you_mean(key, READ)}",
            where=str(path),
            hint="an unknown key may change what the model computes; if it does not, remove it",
        )


class Fields:
    """Typed access to a config.json; every mistake names the key, its value and the file."""

    def __init__(self, config: dict[str, Any], path: Path) -> None:
        self.config = config
        self.path = path

    def error(self, key: str, rule: str, *, hint: str = "") -> ModelError:
        """The error "`key` must be <rule>, not <value>"."""
        if self.config.get(key) is None:
            return ModelError(
                f"`{key}` is missing: must be {rule}", where=str(self.path), hint=hint
            )
        value = self.config[key]
        return ModelError(
            f"`{key}` must be {rule}, not {value!r:.80}", where=str(self.path), hint=hint
        )

    def integer(
        self, key: str, default: int | None = None, *, low: int = 1, high: int = 2**31 - 1
    ) -> int:
        """The integer at `key`, in low..high; absent and null are the default."""
        value = self._get(key, default)
        if not _is_int(value) or not low <= value <= high:
            raise self.error(key, f"an integer in {low}..{high}")
        return value

    def number(self, key: str, default: float | None = None, *, low: float = 0.0) -> float:
        """The number at `key`, finite and at least `low`; absent and null are the default."""
        value = self._get(key, default)
        if not (_is_int(value) or isinstance(value, float)) or not low <= value < float("inf"):
            raise self.error(key, f"a finite number of at least {low:g}")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """The true or false at `key`; absent and null are the default."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def choice(self, key: str, known: Iterable[str], default: str | None = None) -> str:
        """The word at `key`, one of `known`; absent and null are the default."""
        value = self._get(key, default)
        if value not in list(known):
            raise self.error(key, f"one of {', '.join(known)}")
        return value

    def numbers(self, key: str, length: int) -> tuple[float, ...]:
        """The list of `length` positive numbers at `key`."""
        value = self.config.get(key)
        if not isinstance(value, list) or len(value) != length:
            raise self.error(key, f"a list of {length} positive numbers")
        if not all((_is_int(v) or isinstance(v, float)) and 0 < v < float("inf") for v in value):
            raise self.error(key, f"a list of {length} positive numbers")
        return tuple(float(v) for v in value)

    def ids(self, key: str, vocab_size: int) -> tuple[int, ...]:
        """The token ids at `key`: one, a list of them, or null for none."""
        value = self.config.get(key)
        found = [] if value is None else value if isinstance(value, list) else [value]
        if not all(_is_int(v) and 0 <= v < vocab_size for v in found):
            raise self.error(key, f"token ids in 0..{vocab_size - 1}")
        return tuple(found)

    def _get(self, key: str, default: Any) -> Any:
        value = self.config.get(key)
        return default if value is None else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
