"""Seed faults, one at a time, and see that a test notices each: docs/mutations.md.

    python studies/mutations/run.py [--again] [WORDS]

Works on a copy of the tree. What is known of a mutation is kept in results.json, and is found out
again only when the mutation, its file or a test that it names has changed, or with --again; so the
campaign may be interrupted. WORDS picks the mutations whose names or files hold them. Exits with
status 1 unless all are caught.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from mutations import ROOT, Mutation, mutations
from page import page
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from trial import Outcome, Tree, Verdict, failing_without, try_mutation

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "mutations.md"
STYLES = {Verdict.CAUGHT: "green", Verdict.SURVIVED: "bold red", Verdict.BROKEN: "yellow"}

Results = dict[str, dict[str, object]]


def read_results() -> Results:
    """By the name of a mutation: its key, the date, its outcome, and whether that is certain."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def write_results(results: Results) -> None:
    order = [one.name for one in mutations()]
    kept = {name: results[name] for name in order if name in results}
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=1) + "\n")
    part.replace(RESULTS)


def outcome_of(result: dict[str, object]) -> Outcome:
    return Outcome(
        verdict=Verdict(str(result["verdict"])),
        test=str(result["test"]),
        line=str(result["line"]),
        wall_s=float(str(result["wall_s"])),
    )


def known(mutation: Mutation, results: Results) -> bool:
    result = results.get(mutation.name, {})
    return result.get("key") == mutation.key() and result["verdict"] == Verdict.CAUGHT


def campaign(asked: list[Mutation], results: Results, tree: Tree, console: Console) -> None:
    """Try each mutation; keep what is found out at once."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("mutations", total=len(asked))
        for mutation in asked:
            progress.update(task, description=mutation.file)
            key, outcome = mutation.key(), try_mutation(mutation, tree)
            results[mutation.name] = _result(key, outcome, certain=False)
            write_results(results)
            _say(console, mutation, outcome)
            progress.advance(task)


def make_certain(results: Results, tree: Tree, console: Console) -> None:
    """A test that fails without a mutation, too, has not caught it."""
    open_ = [name for name, r in results.items() if not r["certain"] and r["test"]]
    failing = failing_without(tree, [str(results[name]["test"]) for name in open_])
    for name in open_:
        outcome = outcome_of(results[name])
        if outcome.test in failing:
            outcome = replace(outcome, verdict=Verdict.BROKEN, line="fails without it, too")
            console.print(f"[yellow]{name}: {outcome.test} fails without it, too")
        results[name] = _result(str(results[name]["key"]), outcome, certain=True)
    write_results(results)


def _result(key: str, outcome: Outcome, *, certain: bool) -> dict[str, object]:
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    return {"key": key, "date": date, **asdict(outcome), "certain": certain}


def _say(console: Console, mutation: Mutation, outcome: Outcome) -> None:
    style = STYLES[outcome.verdict]
    console.print(
        f"[{style}]{outcome.verdict:8}[/] {outcome.wall_s:5.0f} s  {mutation.file}: {mutation.name}"
    )
    if outcome.verdict is not Verdict.SURVIVED:
        console.print(f"    {outcome.test}: {outcome.line}", style="dim", markup=False)


def text_of(results: Results) -> str:
    """The page, of all mutations of which something is known."""
    found = [(one, outcome_of(results[one.name])) for one in mutations() if one.name in results]
    mine = [results[one.name] for one, _ in found]
    date = max((str(result["date"]) for result in mine), default="")
    return page(found, date, sum(bool(result["certain"]) for result in mine))


def main() -> int:
    parser = argparse.ArgumentParser(description="Seed faults; see that a test notices each.")
    parser.add_argument("words", nargs="?", default="", help="part of a mutation's name or file")
    parser.add_argument("--again", action="store_true", help="also those that were caught before")
    options = parser.parse_args()
    console, results = Console(highlight=False, soft_wrap=True), read_results()
    chosen = mutations(options.words)
    asked = [one for one in chosen if options.again or not known(one, results)]
    try:
        with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
            tree = Tree(Path(folder))
            campaign(asked, results, tree, console)
            make_certain(results, tree, console)
    except KeyboardInterrupt:
        PAGE.write_text(text_of(results), encoding="utf-8")
        console.print("stopped; what is known is kept")
        return 130
    PAGE.write_text(text_of(results), encoding="utf-8")
    caught = sum(known(one, results) for one in chosen)
    console.print(f"{caught} of {len(chosen)} mutations are caught")
    return 0 if chosen and caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
