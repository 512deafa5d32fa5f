import contextlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tapeout.errors import ModelError
from tapeout.model import check_model, load_model, reference_logits, tensor_shapes

Edit = Callable[..., Path]
CHECKPOINTS = sorted((Path(__file__).parents[1] / "checkpoints").iterdir())
Q = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture
def retold(edited: Edit) -> Callable[..., Path]:
    """A copy of a checkpoint with other tensors; None removes one."""

    def retell(changes: dict[str, NDArray[Any] | None], name: str = "llama2-mha") -> Path:
        directory = edited(name)
        tensors = load_file(directory / "model.safetensors") | changes
        kept = {key: tensor for key, tensor in tensors.items() if tensor is not None}
        save_file(kept, directory / "model.safetensors")
        return directory

    return retell


def with_header(directory: Path, header: bytes, data: bytes, length: int | None = None) -> Path:
    size = struct.pack("<Q", len(header) if length is None else length)
    (directory / "model.safetensors").write_bytes(size + header + data)
    return directory


@pytest.mark.parametrize("directory", CHECKPOINTS, ids=lambda path: path.name)
def test_every_tensor_is_there_and_finite(directory: Path):
    model = load_model(directory)
    shapes = tensor_shapes(model.architecture)
    assert list(model.stored) == list(shapes)
    for name, shape in shapes.items():
        tensor = model.tensor(name)
        assert tensor.shape == shape
        assert tensor.dtype == np.float32
    assert check_model(model) * 2 == model.file_bytes  # all are BF16


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_types_that_are_read(retold: Callable[..., Path], dtype: Any):
    values = np.linspace(-1, 1, 64).astype(dtype)
    model = load_model(retold({NORM: values}))
    np.testing.assert_array_equal(model.tensor(NORM), values.astype(np.float32))


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, np.float32), (np.inf, np.float16), (1e300, np.float64)]
)
def test_a_value_that_is_not_finite_names_its_tensor(
    retold: Callable[..., Path], value: float, dtype: Any
):
    values = np.ones(64, dtype)
    values[17] = value
    model = load_model(retold({NORM: values}))
    with pytest.raises(ModelError, match=f"tensor {NORM} must be finite in FP32, but element 17"):
        check_model(model)


def test_a_tensor_is_missing(retold: Callable[..., Path]):
    with pytest.raises(ModelError, match=rf"tensor {Q} is missing; it must have shape \[64, 64\]"):
        load_model(retold({Q: None}))


def test_a_tensor_too_many(retold: Callable[..., Path]):
    extra = Q.replace("weight", "bias")
    with pytest.raises(ModelError, match=f"tensor {extra} is none of this architecture"):
        load_model(retold({extra: np.ones(64, np.float32)}))


def test_a_layer_too_many(edited: Edit):
    with pytest.raises(ModelError, match=r"tensor model\.layers\.1\..* is none of this archi"):
        load_model(edited("llama2-mha", num_hidden_layers=1))


def test_a_shape_that_does_not_fit(retold: Callable[..., Path]):
    with pytest.raises(ModelError, match=rf"{NORM} must have shape \[64\], not \[63\]"):
        load_model(retold({NORM: np.ones(63, np.float32)}))


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.int8, "I8"), (ml_dtypes.float8_e4m3fn, "F8_E4M3"), (np.bool_, "BOOL")]
)
def test_a_type_that_is_not_read(retold: Callable[..., Path], dtype: Any, name: str):
    with pytest.raises(ModelError, match=f"{NORM} must be one of F64, F32, F16, BF16, not {name}"):
        load_model(retold({NORM: np.ones(64, dtype)}))


def test_what_old_files_hold_besides(retold: Callable[..., Path]):
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    assert check_model(load_model(retold(table)))
    head = {"lm_head.weight": np.ones((128, 64), np.float32)}
    tied = load_model(retold(head, "llama3-gqa-tied"))
    assert "lm_head.weight" not in tied.stored


def test_a_critic_without_a_bias(retold: Callable[..., Path]):
    with_bias = load_model(Path(CHECKPOINTS[0]).with_name("llama-critic"))
    without = load_model(retold({"score.bias": None}, "llama-critic"))
    assert without.architecture == replace(with_bias.architecture, head_bias=False)
    difference = reference_logits(with_bias, [1, 2]) - reference_logits(without, [1, 2])
    expected = np.tile(with_bias.tensor("score.bias"), (2, 1))
    np.testing.assert_allclose(difference, expected, atol=1e-6)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        ({}, b"", 1 << 62, "header too large"),
        ({}, b"", 1 << 20, "invalid header length"),
        ({"a": ENTRY}, b"\0\0", None, "not fully covered"),
        ({"a": ENTRY}, b"\0" * 8, None, "not fully covered"),
        ({"a": ENTRY | {"data_offsets": [4, 8]}}, b"\0" * 8, None, "invalid offset for tensor"),
        ({"a": ENTRY | {"data_offsets": [4, 0]}}, b"\0" * 4, None, "invalid offset for tensor"),
        ({"a": ENTRY | {"shape": [2]}}, b"\0" * 4, None, "invalid shape, data type, or offset"),
        ({"a": ENTRY | {"shape": [-1]}}, b"\0" * 4, None, "invalid JSON in header"),
        ({"a": ENTRY | {"shape": [2**40, 2**40]}}, b"\0" * 4, None, "sound safetensors file"),
        ({"a": ENTRY | {"dtype": "F12"}}, b"\0" * 4, None, "unknown variant `F12`"),
        ({"a": ENTRY, "b": ENTRY}, b"\0" * 4, None, "invalid offset for tensor"),
        ([], b"", None, "invalid JSON in header"),
    ],
)
def test_a_damaged_header(edited: Edit, header: Any, data: bytes, length: int | None, message: str):
    directory = with_header(edited("llama2-mha"), json.dumps(header).encode(), data, length)
    with pytest.raises(ModelError, match=message) as info:
        load_model(directory)
    assert info.value.where == str(directory / "model.safetensors")


def test_a_name_twice_in_a_header(edited: Edit):
    entry = json.dumps(ENTRY)
    directory = edited("llama2-mha")
    with_header(directory, f'{{"a": {entry}, "a": {entry}}}'.encode(), b"\0" * 4)
    with pytest.raises(ModelError, match="`a` appears twice"):
        load_model(directory)


def test_no_bytes_and_no_file(edited: Edit):
    directory = edited("llama2-mha")
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="header too small"):
        load_model(directory)
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match="cannot read the file"):
        load_model(directory)


def test_a_file_that_disappears(edited: Edit):
    directory = edited("llama2-mha")
    model = load_model(directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot read the file"):
        model.tensor(NORM)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 40_000), byte=st.integers(0, 255), cut=st.integers(0, 60_000))
def test_damage_anywhere_is_either_harmless_or_explained(
    tmp_path: Path, at: int, byte: int, cut: int
):
    source = CHECKPOINTS[0]
    data = bytearray((source / "model.safetensors").read_bytes())
    data[at % 4000 if byte % 2 else at] = byte  # the header, or anywhere
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(data[: max(cut, len(data) - cut)])
    with contextlib.suppress(ModelError):  # anything else fails the test
        check_model(load_model(tmp_path))


def test_no_weights(tmp_path: Path):
    config = (CHECKPOINTS[0] / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(ModelError, match=r"has a config\.json but no weights") as info:
        load_model(tmp_path)
    assert "need no weights" in info.value.hint
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match=r"not a pickle \(pytorch_model\.bin\)") as info:
        load_model(tmp_path)
    assert "runs code" in info.value.hint


def shards(edited: Edit, **weight_map: str) -> Path:
    directory = edited("llama-sharded")
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= {name.replace("__", "."): shard for name, shard in weight_map.items()}
    path.write_text(json.dumps(index))
    return directory


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "..\\x.safetensors", "x.bin", ""],
)
def test_a_shard_elsewhere(edited: Edit, shard: str):
    with pytest.raises(ModelError, match=r"a shard must be a \*\.safetensors file beside"):
        load_model(shards(edited, model__norm__weight=shard))


def test_a_shard_is_missing(edited: Edit):
    directory = edited("llama-sharded")
    (directory / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match=r"shard model-00002-of-00003\.safetensors is missing"):
        load_model(directory)


def test_an_index_that_is_wrong(edited: Edit):
    first = "model-00001-of-00003.safetensors"
    with pytest.raises(ModelError, match=rf"tensor model\.norm\.weight is not in {first}"):
        load_model(shards(edited, model__norm__weight=first))
    with pytest.raises(ModelError, match=f"tensor more is not in {first}"):
        load_model(shards(edited, more=first))


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_without_a_map(edited: Edit, text: str):
    directory = edited("llama-sharded")
    (directory / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match="`weight_map` must be a table from tensor to file"):
        load_model(directory)


def test_a_tensor_in_two_shards(edited: Edit):
    directory = edited("llama-sharded")
    second = load_file(directory / "model-00002-of-00003.safetensors")
    path = directory / "model-00003-of-00003.safetensors"
    save_file(load_file(path) | dict([next(iter(second.items()))]), path)
    with pytest.raises(ModelError, match=r"is in model-00002-of-00003\.safetensors too"):
        load_model(directory)
