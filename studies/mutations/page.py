"""The table of the campaign, docs/mutations.md."""

from collections import Counter
from pathlib import Path

from mutations import KINDS, Mutation
from trial import Outcome, Verdict

LINE = 90  # characters of an error that are shown


def page(found: list[tuple[Mutation, Outcome]], date: str, certain: int) -> str:
    """The page: mutations, what became of them, and of how many the test was run without, too."""
    caught = [mutation for mutation, outcome in found if outcome.verdict is Verdict.CAUGHT]
    total_s = sum(outcome.wall_s for _, outcome in found)
    lines = [
        "# Mutations",
        "",
        f"{len(caught)} of {len(found)} seeded faults are caught. Each is one change to a copy of"
        " the sources, as someone could make it by mistake",
        "(`studies/mutations/faults/*.toml`); the tests that should notice it then run until one"
        " fails. What does not build is no fault that is caught.",
        "Without a fault these tests pass, as `make test` shows; a campaign that runs to its end"
        " tries each again, which has been done for"
        f" {certain} of them. The runs took",
        f"{total_s / 60:.0f} minutes in all, on a machine that did other things too. Made by",
        "",
        "```console",
        "$ python studies/mutations/run.py",
        "```",
        "",
        f"on {date}; `tests/studies/test_mutations.py` sees that every mutation still fits the"
        " sources, and has its row here. A shorter campaign on the",
        "compiler and the simulator is in [breakage.md](breakage.md).",
        "",
        "| kind | what is wrong | faults | caught |",
        "|---|---|---:|---:|",
    ]
    every, those = (Counter(one.kind for one in ones) for ones in ((m for m, _ in found), caught))
    lines += [
        f"| {kind} | {KINDS[kind]} | {every[kind]} | {those[kind]} |"
        for kind in KINDS
        if every[kind]
    ]
    for room in sorted({mutation.file.split("/")[0] for mutation, _ in found}):
        lines += [
            "",
            f"## `{room}`",
            "",
            "| fault | kind | in | caught by | how it shows | s |",
            "|---|---|---|---|---|---:|",
        ]
        lines += [
            _row(mutation, outcome)
            for mutation, outcome in found
            if mutation.file.startswith(f"{room}/")
        ]
    return "\n".join(lines) + "\n"


def _row(mutation: Mutation, outcome: Outcome) -> str:
    file = Path(mutation.file).name
    path, _, test = outcome.test.partition("::")
    by = f"`{Path(path).name}`: {test}" if outcome.verdict is Verdict.CAUGHT else ""
    cells = [
        mutation.name,
        mutation.kind,
        f"`{file}`",
        by or f"**{outcome.verdict}**",
        outcome.line[:LINE],
        f"{outcome.wall_s:.0f}",
    ]
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Without what a table or its reader would take for something else."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
