"""An `Architecture` from the config.json of a Hugging Face directory."""

from pathlib import Path

from tapeout.model.architecture import Activation, Architecture
from tapeout.model.fields import Fields, refuse_unknown
from tapeout.model.json_file import read_json
from tapeout.model.rope import rope_of

CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
HEADS = {"ForCausalLM": "lm", "ForTokenClassification": "labels"}
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
MAX_LAYERS = 10_000  # keeps a damaged file from asking for tables of any size
MISTRAL_WINDOW = 4096  # what `sliding_window` is where a Mistral file leaves it out


def load_architecture(directory: Path, *, context_tokens: int | None = None) -> Architecture:
    """Read `config.json` (and the end-of-text tokens of `generation_config.json`) of a directory.

    `context_tokens` is the longest context that will be used, for RoPE that depends on it
    (dynamic, longrope); without it, what the file states.

    Raises:
        ModelError: naming the key and the value that is unknown or unsupported.
    """
    path = directory / "config.json"
    config = read_json(path)
    refuse_unknown(config, path)
    fields = Fields(config, path)
    model_type, head = _kind(fields)
    vocab_size = fields.integer("vocab_size")
    layers = fields.integer("num_hidden_layers", high=MAX_LAYERS)
    heads, kv_heads, head_dim = _heads(fields)
    rope, max_positions = rope_of(fields, head_dim, context_tokens)
    all_bias = _flag_of(fields, "attention_bias", model_type in ("llama", "qwen3"))
    tied = fields.flag("tie_word_embeddings")
    return Architecture(
        name=directory.resolve().name,
        model_type=model_type,
        vocab_size=vocab_size,
        hidden=fields.integer("hidden_size"),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=fields.integer("intermediate_size"),
        norm_eps=fields.number("rms_norm_eps"),
        activation=ACTIVATIONS[fields.choice("hidden_act", ACTIVATIONS, "silu")],
        tied_embeddings=tied and head == "lm",
        qkv_bias=all_bias or model_type == "qwen2",
        o_bias=all_bias,
        mlp_bias=_flag_of(fields, "mlp_bias", model_type == "llama"),
        qk_norm=model_type == "qwen3",
        max_positions=max_positions,
        rope=rope,
        window=_window(fields, model_type, layers),
        head="lm" if head == "lm" else "labels",
        head_bias=head == "labels" and fields.flag("token_classification_bias", True),
        labels=_labels(fields) if head == "labels" else (),
        eos_ids=_eos(fields, directory, vocab_size),
        bos_id=next(iter(fields.ids("bos_token_id", vocab_size)), None),
    )


def _kind(fields: Fields) -> tuple[str, str]:
    """The model type, and "lm" or "labels" by the class that the file names."""
    model_type = fields.choice("model_type", CLASSES)
    known = {CLASSES[model_type] + suffix: head for suffix, head in HEADS.items()}
    named = fields.config.get("architectures") or [next(iter(known))]
    if named not in [[name] for name in known]:
        raise fields.error("architectures", f"one of {', '.join(known)}, in a list")
    return model_type, known[named[0]]


def _heads(fields: Fields) -> tuple[int, int, int]:
    """The numbers of query heads and of KV heads, and their width."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    kv_heads = fields.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise fields.error("num_key_value_heads", f"a divisor of the {heads} attention heads")
    if fields.config.get("head_dim") is None and hidden % heads:
        raise fields.error("hidden_size", f"a multiple of the {heads} attention heads")
    return heads, kv_heads, fields.integer("head_dim", hidden // heads)


def _flag_of(fields: Fields, key: str, honoured: bool) -> bool:
    """A flag of those model types that have it; set in another one, it is a mistake."""
    value = fields.flag(key)
    if value and not honoured:
        raise fields.error(key, f"false for model type {fields.config['model_type']}")
    return value


def _window(fields: Fields, model_type: str, layers: int) -> tuple[int | None, ...]:
    """Per layer, the number of keys that a query sees, itself included."""
    config = fields.config
    full, sliding = "full_attention", "sliding_attention"
    window: int | None = None
    if model_type == "mistral" and config.get("sliding_window", MISTRAL_WINDOW) is not None:
        window = fields.integer("sliding_window", MISTRAL_WINDOW)
    elif model_type.startswith("qwen") and fields.flag("use_sliding_window"):
        window = fields.integer("sliding_window")
    elif model_type == "llama" and config.get("sliding_window") is not None:
        raise fields.error("sliding_window", "absent or null for model type llama")
    kinds = [full if window is None else sliding] * layers
    if model_type.startswith("qwen") and window is not None:
        first = (
            fields.integer("max_window_layers", low=0) if config.get("layer_types") is None else 0
        )
        kinds = [sliding if i >= first else full for i in range(layers)]
    stated = config.get("layer_types")
    if stated is None:
        return tuple(window if kind == sliding else None for kind in kinds)
    mixed = model_type.startswith("qwen") and window is not None
    allowed = [full, sliding] if mixed else [kinds[0]]
    if (
        not isinstance(stated, list)
        or len(stated) != layers
        or any(k not in allowed for k in stated)
    ):
        raise fields.error("layer_types", f"a list of {layers} times {' or '.join(allowed)}")
    return tuple(window if kind == sliding else None for kind in stated)


def _labels(fields: Fields) -> tuple[str, ...]:
    """The names of the labels in order; by default, as the reference does, LABEL_0 and LABEL_1."""
    count = fields.integer("num_labels", 2)
    table = fields.config.get("id2label")
    if table is None:
        return tuple(f"LABEL_{i}" for i in range(count))
    if not isinstance(table, dict) or not table:
        raise fields.error("id2label", "a table from label numbers to names")
    names = [table.get(str(i)) for i in range(len(table))]
    if not all(isinstance(name, str) for name in names):
        raise fields.error("id2label", f"a table from 0..{len(table) - 1} to names")
    if "num_labels" in fields.config and count != len(table):
        raise fields.error("num_labels", f"the number of labels in `id2label`, {len(table)}")
    return tuple(map(str, names))


def _eos(fields: Fields, directory: Path, vocab_size: int) -> tuple[int, ...]:
    """The tokens that end a text; generation_config.json has the last word, as in the reference."""
    stated = fields.ids("eos_token_id", vocab_size)
    path = directory / "generation_config.json"
    if path.exists():
        generation = Fields(read_json(path), path)
        if generation.config.get("eos_token_id") is not None:
            return generation.ids("eos_token_id", vocab_size)
    return stated
