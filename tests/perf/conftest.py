"""Models, chips and workloads for the tests of the closed forms."""

from pathlib import Path

import pytest

from tapeout.chip import Chip, load_chip
from tapeout.model import Architecture, load_architecture
from tapeout.perf import Workload, load_workload

ROOT = Path(__file__).parents[2]
LLAMA_70B = """{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192,
  "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
  "intermediate_size": 28672, "vocab_size": 128256, "tie_word_embeddings": false,
  "rope_theta": 500000.0, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
  "hidden_act": "silu", "bos_token_id": 128000, "eos_token_id": 128001
}"""


@pytest.fixture
def chat() -> Workload:
    return load_workload(ROOT / "workloads" / "chat.toml")


@pytest.fixture
def full() -> Chip:
    return load_chip(ROOT / "chips" / "full.toml")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    """The sizes of Llama 3.1 70B."""
    directory = tmp_path_factory.mktemp("llama70b")
    (directory / "config.json").write_text(LLAMA_70B)
    return load_architecture(directory)
