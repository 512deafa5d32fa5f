"""Workload files: strict, with suggestions."""

from pathlib import Path

import pytest

from tapeout.errors import ConfigError
from tapeout.perf import Workload, load_workload

ROOT = Path(__file__).parents[2]
CHAT = ROOT / "workloads" / "chat.toml"


@pytest.mark.parametrize("path", sorted((ROOT / "workloads").glob("*.toml")), ids=lambda p: p.stem)
def test_the_shipped_workloads_load(path: Path):
    workload = load_workload(path)
    assert workload.name == path.stem
    assert workload.weights in workload.text


def test_lengths(chat: Workload):
    assert chat.mean_context_tokens == 1024 + 256
    assert chat.max_context_tokens == 1024 + 512


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("batch = 64", "batch = 0", "batch"),
        ("batch = 64", "batsh = 64", "unknown key `batsh` at `$`; did you mean `batch`?"),
        ('kv = "fp8_e4m3"', 'kv = "fp8_e4m4"', "did you mean `fp8_e4m3`"),
        ('kv = "fp8_e4m3"', 'kv = "int8"', "must not mix integer and floating-point formats"),
        ("utilisation = 0.5", "utilisation = 1.5", "utilisation"),
        ("utilisation = 0.5", "", "utilisation"),
    ],
)
def test_a_malformed_workload_is_refused(tmp_path: Path, old: str, new: str, problem: str):
    path = tmp_path / "bad.toml"
    assert old in CHAT.read_text()
    path.write_text(CHAT.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_workload(path)
    assert problem in caught.value.problem
    assert caught.value.where == str(path)
