"""The generators of the shipped models' training text, and the shipped files."""

import importlib
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "studies" / "train"
Load = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """`module("violations")` is that file of studies/train."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(TRAIN)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if (TRAIN / f"{name}.py").exists():
            del sys.modules[name]


def test_labels_start_at_the_rise_and_end_with_the_line(module: Load):
    v = module("violations")
    pieces = ["key=", v.Marked("abcdefgh", v.CREDENTIALS, 4), ";x\nnext"]
    data, labels = v.labelled(pieces)
    assert data == b"key=abcdefgh;x\nnext"
    assert labels[:, v.CONTACT].tolist() == [0] * 19
    assert labels[:, v.CREDENTIALS].tolist() == [0] * 4 + [2] * 4 + [1] * 6 + [0] * 5


def test_a_second_violation_does_not_lower_the_first(module: Load):
    v = module("violations")
    pieces = [v.Marked("abcdef", v.CREDENTIALS, 4), " ", v.Marked("ghijkl", v.CREDENTIALS, 4)]
    labels = v.labelled(pieces)[1][:, v.CREDENTIALS].tolist()
    assert labels == [2] * 4 + [1] * 9


def test_labels_count_bytes_not_characters(module: Load):
    v = module("violations")
    data, labels = v.labelled(["ü", v.Marked("öabc", v.CONTACT, 1), "\n"])
    assert len(data) == len(labels) == 8
    assert labels[:, v.CONTACT].tolist() == [0, 0, 2, 2, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("maker", "text", "recognised"),
    [
        ("secret", "hunter2!", "hunte"),
        ("secret", "ghp_abcdefghijkl", "ghp_abcde"),
        ("secret", "abc", "abc"),
        ("email", "jane.roe@mail.example", "jane.roe@mail."),
        ("phone", "+1 (415) 555-0100", "+1 (415) 55"),
    ],
)
def test_the_rise_is_where_a_reader_is_sure(module: Load, maker: str, text: str, recognised: str):
    (marked,) = getattr(module("violations"), maker)(text)
    assert marked.text[: marked.rise + 1] == recognised


def test_every_form_fills(module: Load):
    v = module("violations")
    rng = Random(1)
    for section, forms in v.FORMS.items():
        for form in forms:
            value = [] if section == "harmless" else v.secret("s3cret-value")
            pieces = v.fill(rng, form, v.secret_name(rng), value)
            marked = [p for p in pieces if isinstance(p, v.Marked)]
            assert bool(marked) == (section != "harmless"), form


def test_violations_are_marked_and_lookalikes_are_not(module: Load):
    v = module("violations")
    rng = Random(2)
    for _ in range(300):
        assert any(isinstance(p, v.Marked) for p in v.violation(rng))
        assert not any(isinstance(p, v.Marked) for p in v.lookalike(rng))


def test_one_seed_makes_one_stream(module: Load):
    v = module("violations")
    texts = ["One paragraph.\n\nAnother one, longer.\n\n" * 20] * 8
    first, second = v.stream(Random(3), texts), v.stream(Random(3), texts)
    assert first.data.tobytes() == second.data.tobytes()
    assert (first.labels == second.labels).all()
    assert len(first.data) == len(first.labels)
    assert set(first.labels.flatten().tolist()) == {0, 1, 2}


def test_the_labeller_finds_what_the_draft_learns_to_write(module: Load):
    habits, labeller = module("habits"), module("labeller")
    rng, found, total = Random(4), 0, 0
    for principle, places in habits.HABITS.items():
        for template in [*places["code"], *places["prose"]]:
            for _ in range(10):
                hits = labeller.find(habits.fill(rng, template))
                found += any(name.startswith(f"no-{principle}") for name, _, _ in hits)
                total += 1
    assert found / total > 0.97


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass.getpass()",
        'api_key = "<your-api-key>"',
        "git clone git@github.com:a/b.git",
        "@property",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "user@host",
        "password: the password to use",
    ],
)
def test_the_labeller_leaves_lookalikes_alone(module: Load, text: str):
    assert module("labeller").find(text) == []


def test_corrupt_adds_paragraphs_at_the_given_rate(module: Load):
    habits = module("habits")
    text = "\n\n".join(f"Paragraph {n}." for n in range(2000))
    added = habits.corrupt(Random(5), text).count("\n\n") - text.count("\n\n")
    assert habits.corrupt(Random(5), text, rate=0.0) == text
    assert 0.13 < added / 2000 < 0.35  # some forbidden pieces are two paragraphs long


def test_the_evaluation_text_is_clean(module: Load):
    text = (ROOT / "workloads" / "heldout.txt").read_text()
    assert module("labeller").find(text) == []


@pytest.mark.parametrize("part", ["dev", "heldout"])
def test_cases_name_principles_and_places(part: str):
    principles = {p["id"] for p in constitution()}
    path = TRAIN / f"{part}_cases.jsonl"
    assert path.stat().st_size < 300_000
    for line in path.read_text().splitlines():
        case = json.loads(line)
        assert case["part"] == part
        for principle, start in case["spans"]:
            assert principle in principles
            assert 0 <= start < len(case["text"].encode())


def constitution() -> list[dict[str, object]]:
    path = ROOT / "constitutions" / "default.toml"
    return tomllib.loads(path.read_text())["principle"]


def test_the_critic_has_a_label_for_each_principle():
    config = json.loads((ROOT / "models" / "critic" / "config.json").read_text())
    assert set(config["label2id"]) == {p["judged_by"] for p in constitution()}
    assert all(0 < float(str(p["threshold"])) < 1 for p in constitution())


@pytest.mark.parametrize("name", ["draft", "critic"])
def test_token_ids_are_the_bytes(name: str):
    tokenizer = Tokenizer.from_file(str(ROOT / "models" / name / "tokenizer.json"))
    text = " A tab\t, a line\r\n, naïve Straße, 日本, 🙂, and \x00\x7f"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert bytes(ids) == text.encode()
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_the_models_stay_small():
    files = (ROOT / "models").glob("*/model.safetensors")
    assert sum(path.stat().st_size for path in files) < 8_000_000
