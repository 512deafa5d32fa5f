"""The tensors of a checkpoint: safetensors files, checked against the architecture, read lazily."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tapeout.errors import ModelError
from tapeout.model.architecture import Architecture, tensor_shapes
from tapeout.model.json_file import parse_json, read_json
from tapeout.model.load import load_architecture

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where a tensor lies, and how."""

    path: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint: an architecture, and its tensors by their names in the files."""

    directory: Path
    architecture: Architecture
    stored: dict[str, Stored]

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Read a tensor as FP32 (nearest even where it is stored as FP64). Matrices are [out, in].

        Raises:
            ModelError: it holds a value that is not finite, or the file changed.
        """
        place = self.stored[name]
        with opened(place.path) as file, np.errstate(over="ignore"):
            array = np.asarray(file.get_tensor(name)).astype(np.float32)
        if not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array.reshape(-1)))[0])
            raise ModelError(
                f"tensor {name} must be finite in FP32, but element {bad} is {array.flat[bad]}",
                where=str(place.path),
                hint="the checkpoint is damaged, or its training diverged",
            )
        return array

    @property
    def file_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(
            int(np.prod(s.shape, dtype=np.int64)) * DTYPES[s.dtype].itemsize
            for s in self.stored.values()
        )


def load_model(directory: Path, *, context_tokens: int | None = None) -> Model:
    """Open a Hugging Face directory: config.json with one or several safetensors files.

    Headers and shapes are checked now, values when a tensor is read. `context_tokens` as in
    `load_architecture`.

    Raises:
        ModelError: naming the key, file or tensor that is missing, unknown or malformed.
    """
    architecture = load_architecture(directory, context_tokens=context_tokens)
    stored: dict[str, Stored] = {}
    for path in _files(directory):
        for name, place in _contents(path):
            if name in stored:
                raise ModelError(
                    f"tensor {name} is in {stored[name].path.name} too", where=str(path)
                )
            stored[name] = place
    _check_index(directory, stored)
    if architecture.head_bias and "score.bias" not in stored:  # a head without bias is as good
        architecture = replace(architecture, head_bias=False)
    return Model(
        directory=directory, architecture=architecture, stored=_expected(architecture, stored)
    )


def check_model(model: Model) -> int:
    """Read every tensor; the number of values read.

    Raises:
        ModelError: naming the first tensor that holds a value that is not finite.
    """
    return sum(model.tensor(name).size for name in model.stored)


@contextmanager
def opened(path: Path) -> Generator[safe_open]:
    """A memory-mapped safetensors file; its library's errors become ours."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise ModelError(
            f"not a sound safetensors file: {error}",
            where=str(path),
            hint="the download may be incomplete: compare its size with the original",
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read the file: {error}", where=str(path)) from error


def _files(directory: Path) -> list[Path]:
    """The safetensors files of a directory: those of the index, or the only one."""
    index = directory / INDEX
    if (directory / SINGLE).exists():  # wins over an index, as in the reference
        return [directory / SINGLE]
    if not index.exists():
        raise _no_weights(directory)
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError("`weight_map` must be a table from tensor to file", where=str(index))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if PurePosixPath(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ModelError(
                f"a shard must be a *.safetensors file beside the index, not {name!r:.80}",
                where=str(index),
            )
        if not (directory / name).exists():
            raise ModelError(
                f"shard {name} is missing",
                where=str(directory),
                hint=f"the index names {len(names)} shards; download them all",
            )
    return [directory / name for name in names]


def _no_weights(directory: Path) -> ModelError:
    pickles = sorted(p.name for pattern in PICKLES for p in directory.glob(pattern))
    if pickles:
        return ModelError(
            f"weights must be safetensors, not a pickle ({pickles[0]})",
            where=str(directory),
            hint="unpickling runs code; convert it, or download the safetensors version",
        )
    return ModelError(
        "the directory has a config.json but no weights",
        where=str(directory),
        hint="architecture, cost and speed need no weights; this does: add model.safetensors",
    )


def _check_index(directory: Path, stored: dict[str, Stored]) -> None:
    """Each tensor of the index must be in the shard that the index names."""
    index = directory / INDEX
    if (directory / SINGLE).exists():
        return
    for name, shard in read_json(index)["weight_map"].items():
        if name not in stored or stored[name].path.name != shard:
            raise ModelError(
                f"tensor {name} is not in {shard}, as the index says", where=str(index)
            )


def _contents(path: Path) -> Iterator[tuple[str, Stored]]:
    with opened(path) as file:
        _refuse_duplicates(path)
        for name in file.keys():  # noqa: SIM118  (not a dict: it cannot be iterated)
            view = file.get_slice(name)
            shape = tuple(int(n) for n in view.get_shape())
            yield name, Stored(path=path, dtype=str(view.get_dtype()), shape=shape)


def _refuse_duplicates(path: Path) -> None:
    """The library lets the last of two equal names win; called after it has bounded the header."""
    with path.open("rb") as file:
        parse_json(file.read(int.from_bytes(file.read(8), "little")), path)


def _expected(architecture: Architecture, stored: dict[str, Stored]) -> dict[str, Stored]:
    """The tensors that the architecture has, each with its shape, and no other."""
    shapes = tensor_shapes(architecture)
    for name, shape in shapes.items():
        if name not in stored:
            raise ModelError(
                f"tensor {name} is missing; it must have shape {list(shape)}",
                where=str(next(iter(stored.values())).path) if stored else "",
                hint=f"config.json states {architecture.layers} layers",
            )
        place = stored[name]
        if place.shape != shape:
            raise ModelError(
                f"tensor {name} must have shape {list(shape)}, not {list(place.shape)}",
                where=str(place.path),
            )
        if place.dtype not in DTYPES:
            raise ModelError(
                f"tensor {name} must be one of {', '.join(DTYPES)}, not {place.dtype}",
                where=str(place.path),
                hint="quantised checkpoints are not read; give the unquantised one",
            )
    for name, place in stored.items():
        if name not in shapes and not _harmless(name, architecture):
            raise ModelError(
                f"tensor {name} is none of this architecture",
                where=str(place.path),
                hint=f"model type {architecture.model_type} as config.json describes it",
            )
    return {name: stored[name] for name in shapes}


def _harmless(name: str, architecture: Architecture) -> bool:
    """RoPE tables that old files store, and a second copy of tied embeddings."""
    return name.endswith("rotary_emb.inv_freq") or (
        name == "lm_head.weight" and architecture.tied_embeddings
    )
