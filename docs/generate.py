"""Write the pages and pictures that are made from the code; `--check` only compares them.

In the pages of `RUN` the output under each `$ command` of a console block is that command's.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tapeout.chip import load_chip
from tapeout.facts import figures_page
from tapeout.isa import isa_page
from tapeout.numerics import numerics_page
from tapeout.report import diagram_file

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MADE: dict[str, Callable[[], str]] = {
    "chip.svg": lambda: diagram_file(load_chip(ROOT / "chips/full.toml")),
    "figures.md": figures_page,
    "isa.md": isa_page,
    "numerics.md": numerics_page,
}
RUN = ("tour.md",)
CONSOLE = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)


def main(check: bool) -> int:
    """Write every page, or print the names of those that differ and return 1."""
    texts = {name: page() for name, page in MADE.items()} | {name: _run(name) for name in RUN}
    old = [name for name, text in texts.items() if text != _read(name)]
    if check and old:
        print(f"docs/{', docs/'.join(old)}: not as the code is; run `make docs`", file=sys.stderr)
        return 1
    for name in old:
        (DOCS / name).write_text(texts[name], encoding="utf-8")
    print(f"docs: {len(texts)} files from the code, {len(old)} of them changed")
    return 0


def _read(name: str) -> str:
    path = DOCS / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _run(name: str) -> str:
    """The page with its commands run again, one after the other."""
    return CONSOLE.sub(lambda block: _outputs(block[0]), _read(name))


def _outputs(block: str) -> str:
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"{line}\n{_output(line[2:])}" for line in commands)


def _output(command: str) -> str:
    """What a command prints; what it says to standard error too, without a colour."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
