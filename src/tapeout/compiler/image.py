"""What a model's weights and constants look like in the chip's memory, byte by byte."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tapeout import numerics
from tapeout.compiler.layout import EMBEDDING_ROWS, FP32_BYTES, Layout
from tapeout.compiler.recipe import Recipe
from tapeout.errors import ModelError
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.program import Placement, Program
from tapeout.model import EMBEDDING, Model, tensor_shapes

Rows = NDArray[np.uint8]


def write_image(memory: Rows, home: Layout | Program, recipe: Recipe, model: Model) -> None:
    """Fill the weights and constants of a layout, or of a program that was built on it.

    Raises:
        ModelError: if a tensor is damaged, missing or of another shape than was compiled.
    """
    for placement in home.placements:
        if placement.name.endswith(" factor"):
            continue
        for address, pitch, rows in tensor_rows(placement, home, recipe, model):
            view = np.ndarray(rows.shape, np.uint8, memory.data, address, (pitch, 1))
            view[:] = rows
    for address, data in _constants(home, model):
        memory[address : address + data.size] = data


def tensor_rows(
    placement: Placement, home: Layout | Program, recipe: Recipe, model: Model
) -> Iterator[tuple[int, int, Rows]]:
    """(address, pitch, rows of bytes) of a tensor's elements, its scales and its factor."""
    name = EMBEDDING if placement.name == EMBEDDING_ROWS else placement.name
    shape = tensor_shapes(model.architecture).get(name, ())
    if (placement.rows, placement.columns) != ((1, *shape) if len(shape) == 1 else shape):
        raise ModelError(
            f"{name} must be {placement.rows} x {placement.columns}, not {shape or 'absent'}",
            where=str(model.directory),
            hint="the program was compiled for another model",
        )
    x = np.asarray(model.tensor(name), np.float32).reshape(placement.rows, placement.columns)
    fmt = numerics.format_named(placement.format)
    if placement.factor:
        factor = numerics.tensor_scale(x, fmt)
        with np.errstate(all="ignore"):
            x = x / factor
        at = next(p.address for p in home.placements if p.name == placement.factor)
        yield at, FP32_BYTES, np.array([[factor]], np.float32).view(np.uint8)
    elements, scales = numerics.to_bytes(numerics.quantise(x, fmt, recipe.mode))
    yield placement.address, placement.pitch_bytes, elements
    if scales.shape[1]:
        yield placement.scale_address, placement.scale_pitch_bytes, scales


def _constants(home: Layout | Program, model: Model) -> Iterator[tuple[int, Rows]]:
    at = {region.name: region.address for region in home.regions}
    scalars = np.zeros((2, GRANULE_BYTES // FP32_BYTES), np.float32)
    scalars[1, 0] = -np.inf
    yield at["scalars"], scalars.view(np.uint8).reshape(-1)
    inv_freq = np.array(model.architecture.rope.inv_freq, np.float64)
    yield at["frequencies"], numerics.frequencies_q64(inv_freq).view(np.uint8)
