"""`tapeout program`: describe programs."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="Describe programs.", no_args_is_help=True)

ProgramFile = Annotated[Path, typer.Argument(help="A program file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def group() -> None:
    """Describe programs."""


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
