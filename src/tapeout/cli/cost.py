"""`tapeout cost`: what a die, a package and a token cost."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="Price dies, packages and tokens.", no_args_is_help=True)

ChipFile = Annotated[Path, typer.Argument(help="A chip file, such as chips/full.toml.")]
ChipOption = Annotated[Path, typer.Option("--chip", help="A chip file.")]
Model = Annotated[Path, typer.Option("--model", help="A directory with a config.json.")]
WorkloadFile = Annotated[Path, typer.Option("--workload", help="A workload file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("die")
def die_(file: ChipFile, json: Json = False) -> None:
    """Print the area, yield and price of a chip's die and package."""
    from tapeout.chip import load_chip
    from tapeout.cost import die_lines, die_report

    report = die_report(load_chip(file))
    print(msgspec.json.encode(report).decode() if json else "\n".join(die_lines(report)))


@app.command("token")
def token_(
    model: Model,
    chip: ChipOption = Path("chips/full.toml"),
    workload: WorkloadFile = Path("workloads/chat.toml"),
    json: Json = False,
) -> None:
    """Print what a million output tokens cost on a chip and on GPUs."""
    from tapeout.chip import load_chip
    from tapeout.cost import token_lines, token_report
    from tapeout.model import load_architecture
    from tapeout.perf import load_workload, speeds

    ours, load = load_chip(chip), load_workload(workload)
    found = speeds(ours, load_architecture(model), load)
    report = token_report(ours, found, utilisation=load.utilisation, traffic=load.text)
    print(msgspec.json.encode(report).decode() if json else "\n".join(token_lines(report)))
