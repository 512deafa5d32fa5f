"""Break the code on purpose, one fault at a time, and see that the tests notice.

    python studies/breakage/run.py [--write] [WORDS]

Works on a temporary copy of the tree. WORDS picks the faults whose names hold them; --write puts
the table into docs/breakage.md. Exits with status 1 if a fault survives.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "chips", "models", "pyproject.toml")
PAGE = ROOT / "docs" / "breakage.md"
LIMIT_S = 600


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A mistake to make, and the test file, or the test in it, that must fail then."""

    name: str
    file: str
    old: str
    new: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the tests said: the first test that failed, or nothing."""

    fault: Fault
    caught_by: str
    wall_s: float


def faults(words: str = "") -> list[Fault]:
    """The faults of faults.toml whose names hold `words`."""
    table = tomllib.loads((Path(__file__).parent / "faults.toml").read_text())
    return [fault for one in table["fault"] if words in (fault := Fault(**one)).name]


def copy_tree(to: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, symlinks=True)
        else:
            shutil.copy2(source, to / name)


def seed(fault: Fault, tree: Path) -> str:
    """Put a fault into the tree; the file's text before."""
    path = tree / fault.file
    before = path.read_text()
    if before.count(fault.old) != 1:
        raise SystemExit(
            f"{fault.file} must hold once, not {before.count(fault.old)} times:\n{fault.old}"
        )
    path.write_text(before.replace(fault.old, fault.new))
    return before


def first_failure(tree: Path, test: str) -> str:
    """The name of the first test that fails, or ""."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(
            f"pytest could not run {test}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return lines[0].removeprefix("FAILED ").split(" - ")[0].split("::")[1] if lines else ""


def try_fault(fault: Fault, tree: Path) -> Outcome:
    before = seed(fault, tree)
    start = time.monotonic()
    try:
        caught_by = first_failure(tree, fault.test)
    finally:
        (tree / fault.file).write_text(before)
    return Outcome(fault=fault, caught_by=caught_by, wall_s=time.monotonic() - start)


def page(outcomes: list[Outcome]) -> str:
    """The result as docs/breakage.md."""
    lines = [
        "# Does a test notice?",
        "",
        "Each row is a mistake made on purpose in a copy of the code, the test that failed first,",
        "and the seconds until it did. Made by `python studies/breakage/run.py --write`"
        f" on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        "| fault | in | caught by | s |",
        "|---|---|---|---:|",
    ]
    for one in outcomes:
        where = one.fault.file.removeprefix("src/tapeout/")
        file = Path(one.fault.test.split("::")[0]).name
        test = f"{file}: {one.caught_by}" if one.caught_by else "**nothing**"
        lines.append(f"| {one.fault.name} | `{where}` | {test} | {one.wall_s:.0f} |")
    caught = sum(bool(one.caught_by) for one in outcomes)
    return "\n".join([*lines, "", f"{caught} of {len(outcomes)} faults are caught."]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Break the code; see that the tests notice.")
    parser.add_argument("words", nargs="?", default="")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        copy_tree(tree)
        for fault in faults(asked.words):
            outcomes.append(try_fault(fault, tree))
            last = outcomes[-1]
            print(f"{last.wall_s:5.1f} s  {last.caught_by or 'SURVIVES'}: {fault.name}", flush=True)
    if asked.write:
        PAGE.write_text(page(outcomes))
    return 0 if outcomes and all(one.caught_by for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
