"""`tapeout program`: build, describe, verify and run programs."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer


class Place(StrEnum):
    """What a program runs on."""

    SIM = "sim"
    RTL = "rtl"


app = typer.Typer(help="Build, describe, verify and run programs.", no_args_is_help=True)

ProgramFile = Annotated[Path, typer.Argument(help="A program file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    file: ProgramFile,
    json: Json = False,
    assembly: Annotated[bool, typer.Option("--assembly", help="Print the listing.")] = False,
) -> None:
    """Print what a program is, its memory map and its instructions per queue."""
    from tapeout.isa import program_text, read_program

    program = read_program(file)
    listing = {"assembly": program_text(program)} if assembly else {}
    if json:
        print(msgspec.json.encode({**_figures(program), **listing}).decode())
    else:
        print(listing["assembly"] if assembly else _text(program))


def _figures(program: object) -> dict[str, object]:
    from tapeout.isa import Program, instruction_counts

    assert isinstance(program, Program)
    names = ("name", "chip", "notes", "scalars", "regions", "tables", "placements")
    figures = {name: getattr(program, name) for name in names}
    return {**figures, "instructions": instruction_counts(program)}


def _text(program: object) -> str:
    from tapeout.isa import Program, head_lines, instruction_counts

    assert isinstance(program, Program)
    lines = head_lines(program)
    for core, counts in enumerate(instruction_counts(program)):
        queues = ", ".join(f"{queue} {count}" for queue, count in counts.items())
        lines.append(f"core {core}: {sum(counts.values())} instructions: {queues}")
    return "\n".join(lines)


@contextmanager
def waiting(on: Place) -> Generator[None]:
    """Say on a terminal, while a chip's RTL is got ready, what takes so long."""
    from rich.console import Console

    console = Console(stderr=True)
    if on is Place.SIM or not console.is_terminal:
        yield
        return
    with console.status("the chip's RTL: made and compiled the first time, which takes minutes"):
        yield


On = Annotated[Place, typer.Option("--on", help="The simulator, or the chip's RTL.")]
ModelDirectory = Annotated[Path, typer.Option("--model", help="A Hugging Face directory.")]
ChipFile = Annotated[Path, typer.Option("--chip", help="A chip file.")]


@app.command()
def build(
    model: ModelDirectory,
    chip: ChipFile,
    format_: Annotated[str, typer.Option("--format", help="Recipe of formats.")] = "mxfp8_e4m3",
    sequences: Annotated[int, typer.Option(help="Sequences at once.", min=1)] = 8,
    context: Annotated[int, typer.Option(help="Tokens of a sequence at most.", min=1)] = 512,
    out: Annotated[Path, typer.Option("-o", help="Folder for the program files.")] = Path("out"),
    json: Json = False,
) -> None:
    """Compile a model for a chip: write prefill.tapeout and decode.tapeout, both verified."""
    from tapeout.chip import load_chip
    from tapeout.compiler import build as compile_model
    from tapeout.compiler import recipe_named, verify
    from tapeout.isa import write_program
    from tapeout.model import load_architecture

    target = load_chip(chip)
    built = compile_model(
        load_architecture(model, context_tokens=context),
        recipe_named(format_),
        target,
        sequences=sequences,
        context_tokens=context,
    )
    out.mkdir(parents=True, exist_ok=True)
    for program in (built.prefill, built.decode):
        proof = verify(program, target)
        path = out / f"{program.name}.tapeout"
        write_program(program, path)
        _print_proof(str(path), proof, json)


def _print_proof(file: str, proof: object, json: bool) -> None:
    figures: dict[str, int] = msgspec.to_builtins(proof)
    if json:
        print(msgspec.json.encode({"file": file, **figures}).decode())
        return
    print(f"{file}: no deadlock, no race, nothing read unwritten, nothing out of bounds")
    print("  " + ", ".join(f"{name} {value:,}" for name, value in figures.items()))


@app.command()
def check(file: ProgramFile, chip: ChipFile, json: Json = False) -> None:
    """Prove that a program is free of deadlock, races and reads of what was never written."""
    from tapeout.chip import load_chip
    from tapeout.compiler import verify
    from tapeout.isa import read_program

    _print_proof(str(file), verify(read_program(file), load_chip(chip)), json)


@app.command()
def run(
    file: ProgramFile,
    chip: ChipFile,
    model: ModelDirectory,
    tokens: Annotated[str, typer.Option(help="Token ids, such as 72,101,108.")],
    order_seed: Annotated[
        int | None, typer.Option("--order-seed", help="Run in a random legal order.")
    ] = None,
    on: On = Place.SIM,
    json: Json = False,
) -> None:
    """Run a prefill program once; print the likeliest next token after each token, and a digest."""
    from tapeout.chip import load_chip
    from tapeout.isa import read_program
    from tapeout.model import load_model
    from tapeout.runtime.step import run_step

    ids = _token_ids(tokens)
    program, silicon, weights = read_program(file), load_chip(chip), load_model(model)
    with waiting(on):
        result = run_step(program, silicon, weights, ids, order_seed=order_seed, place=on.value)
    best = [int(i) for i in result.logits.argmax(axis=1)]
    executed = result.instructions
    if json:
        line = {"next": best, "sha256": result.sha256, "instructions": executed}
        print(msgspec.json.encode(line).decode())
    else:
        print(f"next tokens {best}\nlogits sha256 {result.sha256}\n{executed} instructions")


def _token_ids(text: str) -> list[int]:
    from tapeout.errors import ConfigError

    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(
            f"tokens must be whole numbers, not {text!r}", hint="such as 72,101,108"
        ) from None
