"""`tapeout rtl`: a chip's hardware: build and verify it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(help="Build and verify a chip's hardware.", no_args_is_help=True)

ChipFile = Annotated[Path, typer.Argument(help="A chip file, such as chips/small.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _group() -> None:
    """Keep `build` a verb, also while it is the only one."""


@app.command()
def build(
    file: ChipFile,
    out: Annotated[Path, typer.Option("-o", help="Folder for the files.")] = Path("out/rtl"),
    json: Json = False,
) -> None:
    """Write a chip's Verilog, registers, constraints, descriptions, a guide and a bench."""
    from tapeout.chip import load_chip
    from tapeout.rtl.deliverable import check_folder, deliver, write_delivery

    chip = load_chip(file)
    check_folder(out)
    with _progress(f"{chip.name}: Verilog") as tell:
        files = deliver(chip, tell)
    write_delivery(files, out)
    if json:
        print(msgspec.json.encode({"folder": str(out), "files": sorted(files)}).decode())
    else:
        print(_text(f"tapeout_{chip.name}", out, files))


def _text(name: str, out: Path, files: dict[str, str]) -> str:
    from tapeout.rtl.deliverable import FILE_LIST, MANIFEST, commands

    verilog = [text for path, text in files.items() if path.startswith("rtl/")]
    lines = sum(text.count("\n") for text in verilog)
    rows = {
        "rtl/": f"{len(verilog)} modules, {lines:,} lines of Verilog; top {name}",
        FILE_LIST: "the modules, leaves first",
        "integration.md": "clock, reset, buses, memory map, how a host runs programs",
        "registers.md": "the registers that a host sees",
        f"{name}.xml": "IP-XACT component (IEEE 1685-2014)",
        f"{name}.core": "FuseSoC core",
        f"constraints/{name}.sdc": "timing constraints",
        f"bench/{name}_bench.sv": "a stand-alone bench that runs a program",
        MANIFEST: "fingerprint, and the SHA-256 of each file",
    }
    width = max(map(len, rows))
    table = [f"  {path:{width}}  {what}" for path, what in rows.items()]
    next_ = [f"  {command}" for command in commands(name, _verilator()).values()]
    return "\n".join([f"{out}:", *table, f"next, in {out}:", *next_])


def _verilator() -> str:
    """The command that is there: a distribution's, else the one of the wheel."""
    beside = Path(sys.executable).with_name("verilator-cli")
    if shutil.which("verilator") or not beside.exists():
        return "verilator"
    return "verilator-cli" if shutil.which("verilator-cli") else str(beside)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal which module is being written."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        count = 0

        def tell(name: str) -> None:
            nonlocal count
            count += 1
            status.update(f"{what}: module {count}, {name}")

        yield tell
