from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tapeout.chip import load_chip
from tapeout.compiler import recipe_named
from tapeout.errors import CapacityError, ConfigError, ModelError, TapeoutError
from tapeout.runtime import Event, Job, Sampling, open_device, open_session, run, text_of

from .conftest import ROOT

JOB = Job(
    model=ROOT / "models/draft",
    chip=ROOT / "chips/mid.toml",
    prompt="The ",
    max_tokens=12,
    sampling=Sampling(temperature=0.8, seed=1),
    constitution=ROOT / "constitutions/default.toml",
)
CRITIC = ROOT / "models/critic"


def test_a_checked_job_and_an_unchecked_one():
    seen: list[Event] = []
    session = open_session(JOB)
    assert session.request.stop_ids == session.draft.build.architecture.eos_ids == (0,)
    plain = run(JOB, session, seen.append)
    assert (plain.reason, len(plain.tokens), plain.audit) == ("length", 12, None)
    assert bytes(plain.tokens).decode() == plain.text == "".join(text_of(e) for e in seen)
    soft = replace(JOB, critic=CRITIC)
    checked = run(soft, open_session(soft), seen.append)
    assert checked.audit
    assert checked.audit.leaked_tokens == 0
    assert checked.audit.released_tokens == len(checked.tokens)
    if not checked.held:
        assert checked.tokens == plain.tokens


def test_a_constitution_that_forbids_all(tmp_path: Path):
    text = (ROOT / "constitutions/default.toml").read_text()
    strict = "\n".join(
        "threshold = 1e-30" if line.startswith("threshold") else line for line in text.splitlines()
    )
    path = tmp_path / "strict.toml"
    path.write_text(strict)
    job = replace(JOB, critic=CRITIC, constitution=path)
    result = run(job, open_session(job), lambda _: None)
    assert (result.text, result.tokens, result.reason) == ("", (), "withheld")
    assert len(result.held) == 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompt": ""}, ConfigError, "at least one token, not be empty"),
        ({"prompt": "x" * 501}, CapacityError, "501 tokens and 12 more must fit .* 512 positions"),
        ({"max_tokens": 0}, ConfigError, "max_tokens must be at least 1, not 0"),
        ({"context_tokens": 0}, ConfigError, "at least 1 token, not 0"),
        ({"context_tokens": 15}, CapacityError, "must fit the context of 15"),
        ({"context_tokens": 513}, ModelError, "context must be at most 512 tokens, not 513"),
        ({"format": "mxfp9"}, ConfigError, "not mxfp9; did you mean"),
        ({"model": ROOT / "none"}, TapeoutError, "none|config.json"),
        ({"model": ROOT / "models/qwen3-0.6b"}, TapeoutError, "no weights|tokenizer"),
        ({"model": CRITIC, "critic": CRITIC}, ConfigError, "must be a language model"),
        ({"model": CRITIC}, ConfigError, "must be a language model"),
        ({"critic": ROOT / "models/draft"}, ConfigError, "must be a token classifier"),
        ({"critic": ROOT / "none"}, TapeoutError, "none|config.json"),
        ({"critic": CRITIC, "constitution": ROOT / "none.toml"}, ConfigError, "cannot read"),
        ({"chip": ROOT / "none.toml"}, ConfigError, "cannot read"),
    ],
)
def test_mistakes_are_refused(changes: dict[str, Any], error: type, message: str):
    with pytest.raises(error, match=message):
        _first_event(replace(JOB, **changes))


def _first_event(job: Job) -> Event:
    return next(iter(open_session(job).events()))


def test_draft_and_critic_must_share_a_tokenizer():
    job = replace(JOB, critic=ROOT / "tests/checkpoints/llama-odd", prompt="\u00e9 a")
    with pytest.raises(TapeoutError):
        open_session(job)


def test_draft_and_critic_share_one_memory(tmp_path: Path):
    """Each fits the chip's memory alone."""
    chip = load_chip(JOB.chip)
    recipe = recipe_named(JOB.format)
    ends = [
        open_device(path, chip, recipe, sequences=1, context_tokens=16).build.layout.end
        for path in (JOB.model, CRITIC)
    ]
    room = sum(ends) - 1
    assert room > max(ends)
    text = JOB.chip.read_text()
    old = next(line for line in text[text.index("[hbm]") :].splitlines() if "capacity" in line)
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, f"capacity_bytes = {room}"))
    with pytest.raises(CapacityError, match=f"memory together; {room + 1} are needed"):
        open_session(replace(JOB, critic=CRITIC, chip=path))
