import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.model import app
from tapeout.errors import ConfigError, ModelError

ROOT = Path(__file__).parents[2]
LLAMA = str(ROOT / "models" / "llama-3.1-8b")
CRITIC = str(ROOT / "tests" / "checkpoints" / "llama-critic")


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    return result.stdout


def test_show():
    text = output("show", LLAMA)
    assert "llama, 8.03 G parameters, 14.96 GiB in BF16" in text
    assert "64 KiB per token at 8 bits" in text
    assert "labels benign, borderline, harmful" in output("show", CRITIC)
    assert "window 4096 in 32 layers" in output("show", str(ROOT / "models" / "mistral-7b-v0.1"))


def test_show_json():
    found = json.loads(output("show", LLAMA, "--json"))
    assert found["parameters"] == 8_030_261_248
    assert found["architecture"]["kv_heads"] == 8


def test_check():
    assert "good (22 tensors, 22787 values, 44.51 KiB, all finite)" in output("check", CRITIC)
    assert json.loads(output("check", CRITIC, "--json"))["values"] == 22787


def test_check_without_weights():
    with pytest.raises(ModelError, match="no weights"):
        output("check", LLAMA)


def test_quality():
    words = ("quality", str(ROOT / "models" / "draft"), "--chip", str(ROOT / "chips" / "mid.toml"))
    pieces = ("--windows", "1", "--window-tokens", "64", "--json")
    found = json.loads(output(*words, "--format", "fp32", "--format", "mxfp4", *pieces))
    assert [q["format"] for q in found] == ["reference", "fp32", "mxfp4"]
    exact, fp32, mxfp4 = (q["logit_error"] for q in found)
    assert exact == 0
    assert 0 < fp32 < 1e-5 < mxfp4 < 0.5
    assert abs(found[1]["bits"] / found[0]["bits"] - 1) < 1e-4


def test_quality_is_of_models_that_predict_tokens():
    with pytest.raises(ConfigError, match="must predict tokens, not labels"):
        output("quality", str(ROOT / "models" / "critic"), "--windows", "1")


def test_quality_without_a_text(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read the file"):
        output("quality", str(ROOT / "models" / "draft"), "--text", str(tmp_path / "none.txt"))
