import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from tapeout.cli import app
from tapeout.cli.generate import printable
from tapeout.errors import TapeoutError

ROOT = Path(__file__).parents[2]
DRAFT, CRITIC = str(ROOT / "models/draft"), str(ROOT / "models/critic")
FAST = ("--chip", str(ROOT / "chips/mid.toml"), "--max-tokens", "8")
RULES = ("--constitution", str(ROOT / "constitutions/default.toml"))


def invoke(*arguments: str):
    result = CliRunner().invoke(app, ["generate", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_text_goes_to_stdout_and_notes_to_stderr():
    plain = invoke("--model", DRAFT, "--prompt", "The ", *FAST)
    data = json.loads(invoke("--model", DRAFT, "--prompt", "The ", *FAST, "--json").stdout)
    assert plain.stdout == data["text"]
    assert len(data["tokens"]) == 8
    assert data["audit"] is None
    assert "8 tokens, unchecked (no --critic), length" in plain.stderr
    assert "tokens/s" in plain.stderr


def test_a_critic_reads_along(tmp_path: Path):
    out = tmp_path / "out.json"
    run = invoke(
        *("--model", DRAFT, "--prompt", "The ", *FAST, "--critic", CRITIC, *RULES, "-o", str(out))
    )
    data = json.loads(out.read_text())
    assert data["text"] == run.stdout
    assert data["audit"]["leaked_tokens"] == 0
    assert f"{len(data['tokens'])} tokens released" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_held_text_is_shown_nowhere(tmp_path: Path):
    strict = tmp_path / "strict.toml"
    strict.write_text(Path(RULES[1]).read_text().replace("threshold = 0.", "threshold = 0.000000"))
    run = invoke(
        *("--model", DRAFT, "--prompt", "password = '", *FAST, "--critic", CRITIC),
        *("--constitution", str(strict), "--temperature", "0"),
    )
    assert run.stdout == ""
    assert run.stderr.count("held: ") == 4
    assert "0 tokens released, " in run.stderr
    assert " 0 leaked" in run.stderr
    assert "withheld" in run.stderr


def test_a_model_cannot_steer_a_terminal():
    text = "a\tb\n\x1b[2J\x9b\u202eé"
    assert printable(text, encoding="utf-8", terminal=False) == text
    assert printable(text, encoding="utf-8", terminal=True) == "a\tb\n\ufffd[2J\ufffd\ufffdé"
    assert printable("é", encoding="ascii", terminal=False) == "?"


def test_order_seed_and_chip_change_no_token():
    def tokens(chip: str, *more: str) -> list[int]:
        files = ("--model", DRAFT, "--chip", str(ROOT / f"chips/{chip}.toml"))
        run = invoke(*files, "--prompt", "a", "--max-tokens", "3", "--json", *more)
        return json.loads(run.stdout)["tokens"]

    assert tokens("mid") == tokens("nano") == tokens("mid", "--order-seed", "5")


def test_options_reach_the_device():
    def tokens(*more: str) -> list[int]:
        run = invoke("--model", DRAFT, "--prompt", "import ", *FAST, "--json", *more)
        return json.loads(run.stdout)["tokens"]

    greedy = tokens("--temperature", "0")
    hot = ("--temperature", "5")
    assert tokens(*hot) == tokens(*hot, "--context", "64")
    assert tokens(*hot) != tokens(*hot, "--seed", "1")
    assert tokens(*hot, "--top-k", "1") == tokens(*hot, "--top-p", "1e-9") == greedy
    assert tokens("--temperature", "0", "--format", "fp32", "--max-tokens", "3")


def test_output_must_have_a_folder(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none" / "x.json"):
        with pytest.raises(TapeoutError, match="a file in a folder that exists"):
            invoke("--model", DRAFT, "--prompt", "a", *FAST, "-o", str(path))


def tapeout(*arguments: str) -> subprocess.Popen[str]:
    command = "import tapeout.cli; tapeout.cli.main()"
    return subprocess.Popen(
        [sys.executable, "-c", command, "generate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore interrupts, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_mistakes_exit_2_without_a_traceback():
    process = tapeout("--model", DRAFT, "--prompt", "", *FAST)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "error: the prompt must have at least one token, not be empty\n"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path):
    bad = tmp_path / "bad"
    shutil.copytree(DRAFT, bad)
    path = bad / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TapeoutError, match="not a sound safetensors file"):
        invoke("--model", str(bad), "--prompt", "a", *FAST)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path):
    bad = tmp_path / "bad"
    shutil.copytree(DRAFT, bad)
    tensors = load_file(bad / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    save_file(tensors, bad / "model.safetensors")
    with pytest.raises(
        TapeoutError, match=r"model\.layers\.1\.mlp\.up_proj\.weight must be finite"
    ):
        invoke("--model", str(bad), "--prompt", "a", *FAST)


def test_an_interrupt_exits_130_and_leaves_no_file(tmp_path: Path):
    out = tmp_path / "out.json"
    process = tapeout(
        *("--model", DRAFT, "--prompt", "a", "--max-tokens", "500", "-o", str(out)),
        *("--chip", str(ROOT / "chips/small.toml")),
    )
    assert process.stdout
    process.stdout.read(1)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
