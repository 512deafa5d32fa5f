"""The bytes that a model's tensors become in memory."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from agree.driver import CHECKPOINTS, checkpoint
from machines import chip_named
from tapeout.compiler import RECIPES, Sizes, write_image
from tapeout.compiler.layout import EMBEDDING_ROWS, lay_out
from tapeout.model import EMBEDDING
from tapeout.numerics import dequantise, format_named, from_bytes, quantise, tensor_scale, to_bytes

SIZES = Sizes(rows=4, sequences=1, context_tokens=16)


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("name", ["llama-odd", "llama3-gqa-tied", "llama-critic"])
def test_every_tensor_is_its_quantised_self(name: str, recipe: str):
    model, _ = checkpoint(name)
    layout = lay_out(model.architecture, RECIPES[recipe], SIZES, chip_named("mid"))
    memory = np.full(layout.end, 0xA5, np.uint8)
    write_image(memory, layout, RECIPES[recipe], model)
    for p in layout.placements:
        if p.name.endswith(" factor"):
            continue
        x = model.tensor(EMBEDDING if p.name == EMBEDDING_ROWS else p.name)
        x = x.reshape(p.rows, p.columns)
        fmt = format_named(p.format)
        factor = tensor_scale(x, fmt) if p.factor else np.float32(1)
        elements, scales = to_bytes(quantise(x / factor, fmt, RECIPES[recipe].mode))
        for row in range(p.rows):
            at = p.address + row * p.pitch_bytes
            assert memory[at : at + elements.shape[1]].tobytes() == elements[row].tobytes()
            at = p.scale_address + row * p.scale_pitch_bytes
            assert memory[at : at + scales.shape[1]].tobytes() == scales[row].tobytes()
        if p.factor:
            at = layout.placement(p.factor).address
            assert memory[at : at + 4].view(np.float32)[0] == factor


def test_a_factor_lets_a_matrix_use_the_whole_range():
    model, _ = checkpoint("llama2-mha")
    recipe = RECIPES["fp8_e4m3"]
    layout = lay_out(model.architecture, recipe, SIZES, chip_named("mid"))
    memory = np.zeros(layout.end, np.uint8)
    write_image(memory, layout, recipe, model)
    p = layout.placement("model.layers.0.mlp.up_proj.weight")
    rows = memory[p.address : p.address + p.rows * p.pitch_bytes].reshape(p.rows, -1)
    fmt = format_named("fp8_e4m3")
    blocks = from_bytes(
        fmt, p.columns, rows[:, : fmt.row_bytes(p.columns)], np.zeros((p.rows, 0), np.uint8)
    )
    assert np.abs(dequantise(blocks)).max() == 448


@pytest.mark.parametrize("directory", CHECKPOINTS[:3], ids=lambda d: d.name)
def test_constants(directory: Path):
    model, _ = checkpoint(directory.name)
    layout = lay_out(model.architecture, RECIPES["bf16"], SIZES, chip_named("mid"))
    memory = np.full(layout.end, 0xA5, np.uint8)
    write_image(memory, layout, RECIPES["bf16"], model)
    scalars = memory[layout.scalars : layout.scalars + 32].view(np.float32)
    assert scalars[0] == 0
    assert scalars[4] == -np.inf
    half = model.architecture.head_dim // 2
    turns = memory[layout.frequencies : layout.frequencies + 8 * half].view(np.uint64)
    wanted = np.array(model.architecture.rope.inv_freq) / (2 * np.pi) * 2.0**64
    np.testing.assert_allclose(turns.astype(float), wanted, rtol=1e-14)
    assert not (memory[layout.residual : layout.end] != 0xA5).any(), "only weights and constants"


def test_embedding_rows_are_bf16():
    model, _ = checkpoint("llama2-mha")
    layout = lay_out(model.architecture, RECIPES["int8"], SIZES, chip_named("mid"))
    memory = np.zeros(layout.end, np.uint8)
    write_image(memory, layout, RECIPES["int8"], model)
    p = layout.placement(EMBEDDING_ROWS)
    stored = memory[p.address : p.address + 2 * p.columns].view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(stored.astype(np.float32), model.tensor(EMBEDDING)[0])
