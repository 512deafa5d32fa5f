"""`tapeout chip`: list, describe and check chips."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="List, describe and check chips.", no_args_is_help=True)

ChipFile = Annotated[Path, typer.Argument(help="A chip file, such as chips/small.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Folder with chip files.")] = Path("chips"),
    json: Json = False,
) -> None:
    """Print a line for each chip file in a folder."""
    from tapeout.chip import load_chip

    chips = [load_chip(path) for path in sorted(folder.glob("*.toml"))]
    if json:
        print(msgspec.json.encode(chips).decode())
        return
    for chip in chips:
        print(_line(chip))


@app.command()
def show(file: ChipFile, json: Json = False) -> None:
    """Print a chip and the figures that it implies."""
    from tapeout.chip import load_chip

    chip = load_chip(file)
    print(msgspec.json.encode(chip).decode() if json else _line(chip))


@app.command()
def check(file: ChipFile, json: Json = False) -> None:
    """Check a chip file."""
    from tapeout.chip import load_chip

    chip = load_chip(file)
    result = {"file": str(file), "name": chip.name, "fingerprint": chip.fingerprint}
    text = f"{file}: good (fingerprint {chip.fingerprint})"
    print(msgspec.json.encode(result).decode() if json else text)


def _line(chip: object) -> str:
    from tapeout.chip import Chip
    from tapeout.units import binary, si

    assert isinstance(chip, Chip)
    return (
        f"{chip.name}: {chip.cores} x {chip.matrix.rows}x{chip.matrix.columns}x32"
        f" at {si(chip.clock_hz, 'Hz')}, {si(chip.ops8_per_s, 'OP/s')} (8-bit),"
        f" L1 {binary(chip.core.l1_bytes)} a core, memory {binary(chip.hbm.capacity_bytes)}"
        f" at {si(chip.hbm.bytes_per_s, 'B/s')}"
    )
