"""`tapeout rtl`: a chip's hardware: build and verify it."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tapeout.errors import ConfigError, ToolMissingError

if TYPE_CHECKING:
    from tapeout.chip import Chip
    from tapeout.runtime.verification import Campaign, Result

app = typer.Typer(help="Build and verify a chip's hardware.", no_args_is_help=True)

INTERRUPTED = 130

ChipFile = Annotated[Path, typer.Argument(help="A chip file, such as chips/small.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


@app.command()
def verify(
    file: ChipFile,
    programs: Annotated[int, typer.Option(min=1, help="Random programs to run.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; each has the next.")] = 0,
    configurations: Annotated[int, typer.Option(min=0, help="Random chips that run them too.")] = 0,
    configuration: Annotated[
        int | None, typer.Option(min=0, help="Only this random chip runs them.")
    ] = None,
    waves: Annotated[
        Path | None, typer.Option(help="A file for the waveform around the first difference, .fst.")
    ] = None,
    missing: Annotated[bool, typer.Option(help="List what is not covered.")] = False,
) -> None:
    """Compare a chip's hardware with the simulator, after every instruction of random programs."""
    from tapeout.chip import load_chip

    if waves:
        _check_waves(waves)
    base = load_chip(file)
    differs, whole = False, True
    for chip, option in _chips(base, configurations, configuration):
        campaign = _campaign(chip)
        command = f"tapeout rtl verify {shlex.quote(str(file))}{option}"
        whole = _run(campaign, range(seed, seed + programs), command)
        print(f"{campaign.summary}\n{campaign.coverage.report(missing=missing)}", end="")
        if waves and campaign.failed and not differs:
            _write_waves(chip, campaign.failed[0], waves)
        differs = differs or bool(campaign.failed)
        if not whole:
            break
    raise typer.Exit(1 if differs else 0 if whole else INTERRUPTED)


def _chips(base: "Chip", count: int, only: int | None) -> "Iterator[tuple[Chip, str]]":
    """The chips to verify, and the option that names each."""
    from tapeout.runtime.random_chips import random_chip

    if only is None:
        yield base, ""
    for number in range(count) if only is None else [only]:
        yield random_chip(base, number), f" --configuration {number}"


def _campaign(chip: "Chip") -> "Campaign":
    try:
        from tapeout.runtime.verification import Campaign
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"running RTL needs {error.name}, which is not installed",
            hint="pip install 'tapeout[rtl]'",
        ) from None
    campaign = Campaign(chip)
    with _progress(f"{chip.name}: compiling, which takes minutes the first time"):
        campaign.prepare()
    return campaign


def _run(campaign: "Campaign", seeds: range, command: str) -> bool:
    """Run programs; whether all of them were, for Ctrl-C only ends this."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(campaign.chip.name, total=len(seeds))
        try:
            for result in campaign.run(seeds):
                if result.failure:
                    progress.console.print(end="")  # the bar gives way
                    print(
                        f"seed {result.seed}: {result.failure}\n"
                        f"again: {command} --seed {result.seed} --programs 1\n",
                        flush=True,
                    )
                progress.advance(task)
        except KeyboardInterrupt:
            return False
    return True


def _check_waves(path: Path) -> None:
    """What would else be found after hours."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            "the waves must be a file in a folder that exists and may be written", where=str(path)
        )
    if path.suffix != ".fst":
        raise ConfigError(
            f"the waves must be a file .fst, not {path.suffix or path.name}",
            where=str(path),
            hint="GTKWave and Surfer open it; GTKWave's fst2vcd makes VCD of it",
        )


def _write_waves(chip: "Chip", result: "Result", path: Path) -> None:
    from tapeout.runtime.verification import write_waves

    with _progress(f"{chip.name}: compiling with waveforms, which takes minutes the first time"):
        time_ps = write_waves(chip, result, path)
    print(f"waves of seed {result.seed}, which differs at {time_ps} ps: {path}")


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
def _progress(what: str) -> Generator[Callable[[str], None]]:
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
