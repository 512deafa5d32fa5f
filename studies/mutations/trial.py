"""One mutation at a time in a copy of the tree, and what the tests say."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mutations import ROOT, Mutation

COPIED = ("src", "tests")
LINKED = ("chips", "models", "docs", "workloads", "constitutions", "studies", "pyproject.toml")
LIMIT_S = 600
HERE = Path(__file__).parent


class Verdict(StrEnum):
    """What became of a mutation."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    BROKEN = "broken"
    """The mutated program cannot be built, or the test fails without the mutation too."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the tests said of a mutation."""

    verdict: Verdict
    test: str
    """The first that failed."""
    line: str
    """The first line of its error."""
    wall_s: float


class Tree:
    """A copy of the repository, with builds of its own beside those that are there already."""

    def __init__(self, folder: Path):
        self.root, self.builds, self.reports = folder / "tree", folder / "cache", folder / "report"
        self.root.mkdir()
        for name in COPIED:
            shutil.copytree(ROOT / name, self.root / name, symlinks=True)
        for name in LINKED:
            (self.root / name).symlink_to(ROOT / name)
        self._adopt_builds()

    def _adopt_builds(self) -> None:
        """Builds are kept by their content: those of the tree as it is need not be made again."""
        mine = self.builds / "tapeout" / "rtl"
        mine.mkdir(parents=True)
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        for build in (Path(base) / "tapeout" / "rtl").glob("*"):
            (mine / build.name).symlink_to(build)

    @contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[None]:
        """The tree with a mutation."""
        path = self.root / mutation.path
        before, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(mutation.applied(before), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # numba's cache looks at it

    def run(
        self, tests: Iterable[str], *options: str, fresh: str = "", limit_s: float | None = LIMIT_S
    ) -> dict[str, object]:
        """Run tests on the tree; what `watch` reports, or nothing if they ran too long.

        fresh: a folder in which numba compiles everything anew.
        """
        self.reports.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(p) for p in (self.root / "src", HERE)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CACHE_HOME": str(self.builds),
            "MUTATION_REPORT": str(self.reports),
        }
        if fresh:
            environment["NUMBA_CACHE_DIR"] = str(self.builds / fresh)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "watch"]
        try:
            done = subprocess.run(
                ["nice", "-n", "5", *command, *options, *tests],
                cwd=self.root, env=environment, capture_output=True, text=True,
                timeout=limit_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {}
        if not self.reports.exists():
            return {"broken": True, "failed": "", "line": (done.stdout + done.stderr)[-200:]}
        report = json.loads(self.reports.read_text())
        assert Path(report["package"]).is_relative_to(self.root), report["package"]
        return report


def try_mutation(mutation: Mutation, tree: Tree) -> Outcome:
    """Run the tests that a mutation names, up to the first failure."""
    start = time.monotonic()
    # Numba's cache does not notice that a function in another file has changed.
    fresh = mutation.key() if mutation.file.startswith("numerics/") else ""
    with tree.mutated(mutation):
        report = tree.run(mutation.tests, "-x", fresh=fresh)
    if fresh:
        shutil.rmtree(tree.builds / fresh, ignore_errors=True)
    return Outcome(
        verdict=_verdict(report),
        test=str(report.get("failed", "")),
        line=str(report.get("line", f"still running after {LIMIT_S} s"))[:200],
        wall_s=round(time.monotonic() - start, 1),
    )


def _verdict(report: dict[str, object]) -> Verdict:
    if not report or report["broken"]:
        return Verdict.BROKEN
    if report["failed"]:
        return Verdict.CAUGHT
    return Verdict.SURVIVED if report["exit"] == 0 and report["passed"] else Verdict.BROKEN


def failing_without(tree: Tree, tests: Iterable[str]) -> set[str]:
    """Those of some tests that fail on the tree as it is."""
    failing: set[str] = set()
    left = sorted(set(tests))
    while left:
        report = tree.run(left, "-x", limit_s=None)  # nothing hangs without a mutation
        if not report["failed"]:
            return failing if report.get("exit") == 0 else failing | set(left)
        failing.add(str(report["failed"]))
        left.remove(str(report["failed"]))
    return failing
