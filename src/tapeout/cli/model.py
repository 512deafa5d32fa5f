"""`tapeout model`: describe and check models, and measure what formats cost."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(
    help="Describe and check models; measure what formats cost.", no_args_is_help=True
)

Directory = Annotated[Path, typer.Argument(help="A Hugging Face directory, with config.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BITS_PER_KV_ELEMENT = 8


@app.command()
def show(directory: Directory, json: Json = False) -> None:
    """Print a model's architecture, its size and its KV per token. Needs no weights."""
    from tapeout.model import kv_bytes_per_token, load_architecture, parameters

    a = load_architecture(directory)
    figures = {
        "parameters": parameters(a),
        "bf16_bytes": 2 * parameters(a),
        "kv_bytes_per_token": kv_bytes_per_token(a, BITS_PER_KV_ELEMENT),
    }
    if json:
        print(msgspec.json.encode({"architecture": a, **figures}).decode())
    else:
        print(_text(a))


@app.command()
def check(directory: Directory, json: Json = False) -> None:
    """Read every tensor: names, shapes, types and values."""
    from tapeout.model import check_model, load_model
    from tapeout.units import binary

    model = load_model(directory)
    values = check_model(model)
    result = {"directory": str(directory), "tensors": len(model.stored), "values": values}
    text = (
        f"{directory}: good ({len(model.stored)} tensors, {values} values,"
        f" {binary(model.file_bytes)}, all finite)"
    )
    print(msgspec.json.encode(result).decode() if json else text)


@app.command()
def quality(
    directory: Directory,
    chip: Annotated[Path, typer.Option(help="A chip file.")] = Path("chips/mid.toml"),
    format_: Annotated[
        list[str] | None, typer.Option("--format", help="A recipe of formats; all by default.")
    ] = None,
    text: Annotated[Path, typer.Option(help="A text.")] = Path("workloads/heldout.txt"),
    windows: Annotated[int, typer.Option(min=1, help="Pieces of the text.")] = 2,
    window_tokens: Annotated[int, typer.Option(min=2, help="Tokens of a piece.")] = 256,
    json: Json = False,
) -> None:
    """Read a text on the chip in each format: bits per byte, and how far its logits are off."""
    from tapeout.chip import load_chip
    from tapeout.compiler import RECIPES, recipe_named
    from tapeout.config import read_text
    from tapeout.model import load_model, load_tokenizer
    from tapeout.runtime.quality import quality as measure
    from tapeout.runtime.quality import quality_lines, windows_of

    recipes = [recipe_named(name) for name in format_ or RECIPES]
    pieces = windows_of(
        read_text(text), load_tokenizer(directory), windows=windows, window_tokens=window_tokens
    )
    found = measure(load_model(directory), load_chip(chip), recipes, pieces)
    print(msgspec.json.encode(found).decode() if json else "\n".join(quality_lines(found)))


def _text(architecture: object) -> str:
    from tapeout.model import Architecture, kv_bytes_per_token, parameters
    from tapeout.units import binary, si

    a = architecture
    assert isinstance(a, Architecture)
    windows = sorted({w for w in a.window if w is not None})
    head = f"vocabulary {a.vocab_size}" if a.head == "lm" else f"labels {', '.join(a.labels)}"
    size = f"{si(parameters(a))} parameters, {binary(2 * parameters(a))} in BF16"
    rows = {
        a.name: f"{a.model_type}, {size}",
        "layers": f"{a.layers} of hidden {a.hidden}, intermediate {a.intermediate}, {a.activation}",
        "attention": f"{a.heads} heads of {a.head_dim}, {a.kv_heads} for KV, "
        + (
            f"window {windows[0]} in {a.layers - a.window.count(None)} layers"
            if windows
            else "full"
        ),
        "positions": f"{a.max_positions}",
        "head": head + (", tied to the embeddings" if a.tied_embeddings else ""),
        "KV": f"{binary(kv_bytes_per_token(a, BITS_PER_KV_ELEMENT))} per token at 8 bits",
    }
    return "\n".join(f"{name + ':':10} {value}" for name, value in rows.items())
