"""`tapeout cost` from end to end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.cost import app
from tapeout.errors import ConfigError

ROOT = Path(__file__).parents[2]
FULL = str(ROOT / "chips" / "full.toml")
CHAT = str(ROOT / "workloads" / "chat.toml")
LLAMA_1B = """{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
  "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
  "intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": true,
  "rope_theta": 500000.0, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
  "hidden_act": "silu", "bos_token_id": 128000, "eos_token_id": 128001
}"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(LLAMA_1B)
    return str(tmp_path)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_token(model: str):
    text = run("token", "--model", model, "--chip", FULL, "--workload", CHAT)
    assert text.startswith("chat: 1024 prompt and 512 output tokens, batch 64, fp8_e4m3 weights")
    for word in ("full (built)", "a100 (rented)", "b200 (owned)", "h200_memory_share", "NRE"):
        assert word in text


def test_token_json(model: str):
    report = json.loads(
        run("token", "--model", model, "--chip", FULL, "--workload", CHAT, "--json")
    )
    built = report["rows"][0]
    assert built["platform"] == "full"
    assert 0 < built["usd_per_mtoken"]["low"] < built["usd_per_mtoken"]["high"]


def test_die():
    text = run("die", FULL)
    assert "hbm phy" in text
    assert "package, tested" in text
    assert json.loads(run("die", FULL, "--json"))["chip"] == "full"


def test_a_missing_chip_file_is_an_error_with_a_place(tmp_path: Path):
    path = str(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the file") as caught:
        run("die", path)
    assert caught.value.where == path
