"""The mutation campaign: each fault still fits the sources, and its row says that it is caught."""

import ast
import importlib
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "mutations"
PAGE = ROOT / "docs" / "mutations.md"
WANTED = (
    *("wrong signedness", "narrow sum", "off by one", "swapped scale"),
    *("wrong rounding", "lost back-pressure", "handshake loop"),
)


def module(name: str) -> ModuleType:
    """A file of the study; none of its names stays behind for other tests."""
    before = set(sys.modules)
    sys.path.insert(0, str(STUDY))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(STUDY))
        for each in set(sys.modules) - before:
            if (STUDY / f"{each}.py").exists():
                del sys.modules[each]


RUN = module("run")
MUTATIONS: list[Any] = RUN.mutations()
KINDS: dict[str, str] = module("mutations").KINDS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_one_place_and_names_tests(mutation: Any):
    text = (ROOT / mutation.path).read_text(encoding="utf-8")
    mutated = mutation.applied(text)
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(text))
    assert mutation.tests
    for test in mutation.tests:
        file, _, function = test.partition("::")
        written = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        names = {node.name for node in written.body if isinstance(node, ast.FunctionDef)}
        assert function.partition("[")[0] in names | {""}


def test_there_are_many_of_every_kind():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names)) >= 60
    kinds = Counter(mutation.kind for mutation in MUTATIONS)
    assert set(WANTED) <= set(kinds) <= set(KINDS)


def test_the_page_has_every_mutation_and_each_is_caught():
    results = RUN.read_results()
    page = PAGE.read_text(encoding="utf-8")
    for mutation in MUTATIONS:
        assert f"| {mutation.name} |" in page
        result = results[mutation.name]
        assert result["verdict"] == "caught", mutation.name
        assert result["key"].startswith(mutation.definition()), f"{mutation.name} has changed"
    assert page == RUN.text_of(results), "run studies/mutations/run.py"


def seeded(old: str, new: str) -> Any:
    """A fault in the rules of shapes."""
    return module("mutations").Mutation(
        name="seeded", kind="off by one", file="isa/shapes.py", old=old, new=new,
        tests=("tests/isa/test_shapes.py",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return RUN.Tree(tmp_path_factory.mktemp("mutations"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("if end > op.page_bytes:", "if end >= op.page_bytes:", "caught"),
        ("if end > op.page_bytes:", "if op.page_bytes < end:", "survived"),
        ("if end > op.page_bytes:", "if end > op.page_byte:", "broken"),
        ("NUMBER_BYTES = 4", "NUMBER_BYTES = four", "broken"),
    ],
)
def test_a_campaign_tells_what_is_caught(tree: Any, old: str, new: str, verdict: str):
    outcome = RUN.try_mutation(seeded(old, new), tree)
    assert outcome.verdict == verdict
    assert bool(outcome.test) == (verdict == "caught" or new.endswith("page_byte:"))


@pytest.mark.slow
def test_a_test_that_fails_anyway_catches_nothing(tree: Any):
    bad = tree.root / "tests" / "isa" / "test_bad.py"
    bad.write_text("def test_a():\n    assert False\n\n\ndef test_b():\n    pass\n")
    tests = [f"tests/isa/test_bad.py::test_{each}" for each in "ab"]
    assert RUN.failing_without(tree, tests) == {tests[0]}
