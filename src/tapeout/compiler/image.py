"""What a model's weights and constants look like in the chip's memory, byte by byte."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tapeout import numerics
from tapeout.compiler.layout import EMBEDDING_ROWS, FP32_BYTES, Layout
from tapeout.compiler.recipe import Recipe
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.program import Placement
from tapeout.model import EMBEDDING, Model

Rows = NDArray[np.uint8]


def write_image(memory: Rows, layout: Layout, recipe: Recipe, model: Model) -> None:
    """Fill the weights and constants of `layout` in `memory`.

    Raises:
        ModelError: if a tensor is damaged.
    """
    for placement in layout.placements:
        if placement.name.endswith(" factor"):
            continue
        for address, pitch, rows in tensor_rows(placement, layout, recipe, model):
            view = np.ndarray(rows.shape, np.uint8, memory.data, address, (pitch, 1))
            view[:] = rows
    for address, data in _constants(layout, model):
        memory[address : address + data.size] = data


def tensor_rows(
    placement: Placement, layout: Layout, recipe: Recipe, model: Model
) -> Iterator[tuple[int, int, Rows]]:
    """(address, pitch, rows of bytes) of a tensor's elements, its scales and its factor."""
    tensor = model.tensor(EMBEDDING if placement.name == EMBEDDING_ROWS else placement.name)
    x = np.asarray(tensor, np.float32).reshape(placement.rows, placement.columns)
    fmt = numerics.format_named(placement.format)
    if placement.factor:
        factor = numerics.tensor_scale(x, fmt)
        with np.errstate(all="ignore"):
            x = x / factor
        at = layout.placement(placement.factor).address
        yield at, FP32_BYTES, np.array([[factor]], np.float32).view(np.uint8)
    elements, scales = numerics.to_bytes(numerics.quantise(x, fmt, recipe.mode))
    yield placement.address, placement.pitch_bytes, elements
    if scales.shape[1]:
        yield placement.scale_address, placement.scale_pitch_bytes, scales


def _constants(layout: Layout, model: Model) -> Iterator[tuple[int, Rows]]:
    scalars = np.zeros((2, GRANULE_BYTES // FP32_BYTES), np.float32)
    scalars[1, 0] = -np.inf
    yield layout.scalars, scalars.view(np.uint8).reshape(-1)
    inv_freq = np.array(model.architecture.rope.inv_freq, np.float64)
    yield layout.frequencies, numerics.frequencies_q64(inv_freq).view(np.uint8)
