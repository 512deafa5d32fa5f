from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agree.driver import CHECKPOINTS, checkpoint
from compiler.one_layer import architecture
from machines import ROOT, chip_named
from tapeout.compiler import RECIPES, Sizes
from tapeout.compiler.layout import ALIGN_BYTES, EMBEDDING_ROWS, Layout, lay_out, scale_pitch
from tapeout.errors import CapacityError, ConfigError
from tapeout.isa import GRANULE_BYTES
from tapeout.model import EMBEDDING, load_architecture, tensor_shapes
from tapeout.numerics import format_named

MID = chip_named("mid")
recipes = pytest.mark.parametrize("recipe", list(RECIPES))
SIZES = Sizes(rows=9, sequences=3, context_tokens=50)


def laid(recipe: str, name: str = "llama3-gqa-tied", sizes: Sizes = SIZES) -> Layout:
    return lay_out(checkpoint(name)[0].architecture, RECIPES[recipe], sizes, MID)


@recipes
def test_regions_do_not_overlap(recipe: str):
    layout = laid(recipe)
    for one, other in pairwise(layout.regions):
        assert one.end <= other.address, f"{one.name} and {other.name}"
        assert other.address % ALIGN_BYTES == 0
    assert layout.regions[-1].end <= layout.end <= MID.hbm.capacity_bytes


@recipes
def test_what_programs_write_lies_above_what_they_only_read(recipe: str):
    layout = laid(recipe)
    for region in layout.regions:
        assert (region.address >= layout.constant_end) == (
            region.kind in ("work", "pool", "output")
        )


@pytest.mark.parametrize("directory", CHECKPOINTS, ids=lambda d: d.name)
def test_every_tensor_has_a_place_of_its_size(directory: Path):
    a = checkpoint(directory.name)[0].architecture
    layout = laid("nvfp4", directory.name)
    regions = {region.name: region for region in layout.regions}
    shapes = tensor_shapes(a)
    names = {p.name for p in layout.placements if not p.name.endswith(" factor")}
    untied = a.head_tensor != EMBEDDING
    assert names == {*shapes, EMBEDDING_ROWS} - ({EMBEDDING} if untied else set())
    for p in layout.placements:
        if p.name in shapes:
            assert (p.rows * p.columns,) == (regions_size(shapes[p.name]),)
        if p.name.endswith(" factor"):
            assert (p.rows, p.columns, p.format) == (1, 1, "fp32")
            continue
        fmt = format_named(p.format)
        assert p.pitch_bytes >= fmt.row_bytes(p.columns)
        assert p.pitch_bytes % GRANULE_BYTES == p.scale_pitch_bytes % GRANULE_BYTES == 0
        assert regions[p.name].size_bytes == p.pitch_bytes * p.rows
        if p.scale_pitch_bytes:
            assert p.scale_pitch_bytes == scale_pitch(fmt, p.columns)
            assert regions[f"{p.name} scales"].address == p.scale_address
            assert regions[f"{p.name} scales"].size_bytes == p.scale_pitch_bytes * p.rows
        if p.factor:
            assert layout.placement(p.factor).address == regions[p.factor].address


def regions_size(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


def test_formats_of_tensors():
    layout = laid("mxfp4")
    formats = {p.name: p.format for p in layout.placements}
    assert formats[EMBEDDING_ROWS] == "bf16", "rows that are looked up"
    assert formats[EMBEDDING] == "mxfp4", "the tied head"
    assert formats["model.norm.weight"] == "fp32"
    assert formats["model.layers.1.mlp.up_proj.weight"] == "mxfp4"
    assert {p.format for p in laid("fp32").placements} == {"fp32"}


@given(
    st.sampled_from(["int8", "fp8_e4m3", "mxfp4", "nvfp4", "bf16", "fp32", "int4_g128"]),
    st.integers(1, 40).map(lambda x: 4 * x),
    st.sampled_from([1, 2, 4, 16, 128]),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_parts_of_a_page_do_not_overlap(
    name: str, head_dim: int, page_tokens: int, layers: int, kv_heads: int
):
    page = replace(
        laid("fp32").page,
        format=format_named(name),
        head_dim=head_dim,
        page_tokens=page_tokens,
        layers=layers,
        kv_heads=kv_heads,
    )
    sizes = (page.key_bytes, page.key_bytes, page.key_scale_bytes, page.value_scale_bytes)
    parts = sorted(
        (page.offset(layer, head, part), sizes[part] * page_tokens)
        for layer in range(layers)
        for head in range(kv_heads)
        for part in range(4)
    )
    for (start, size), (following, _) in pairwise(parts):
        assert start + size <= following
    assert parts[0][0] == 0
    assert sum(parts[-1]) <= page.page_bytes


def test_a_model_that_does_not_fit_says_what_is_needed():
    sizes = Sizes(rows=4, sequences=100, context_tokens=1 << 17)
    with pytest.raises(CapacityError) as error:
        lay_out(architecture(), RECIPES["fp32"], sizes, chip_named("nano"))
    assert error.value.problem.startswith("weights of ")
    assert "must fit the 268435456 bytes of nano's memory; " in error.value.problem
    assert "less than 100 sequences of 131072 tokens" in error.value.hint


def test_a_page_that_no_instruction_can_name_is_refused():
    a = load_architecture(ROOT / "models" / "llama-3.1-70b")
    sizes = Sizes(rows=1, sequences=1, context_tokens=128, page_tokens=128)
    with pytest.raises(CapacityError, match="a page of 128 tokens must have at most 16777215"):
        lay_out(a, RECIPES["mxfp8_e4m3"], sizes, chip_named("full"))
    lay_out(a, RECIPES["mxfp8_e4m3"], replace(sizes, page_tokens=64), chip_named("full"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be at least 1, not 0"),
        ({"sequences": -1}, "sequences must be at least 1, not -1"),
        ({"context_tokens": 0}, "context_tokens must be at least 1, not 0"),
        ({"page_tokens": 48}, "page_tokens must be a power of two up to 128, not 48"),
        ({"page_tokens": 256}, "page_tokens must be a power of two up to 128, not 256"),
    ],
)
def test_sizes_that_make_no_sense(change: dict[str, int], message: str):
    with pytest.raises(ConfigError, match=message):
        replace(SIZES, **change)


def test_pages_for_every_sequence():
    sizes = Sizes(rows=1, sequences=3, context_tokens=65, page_tokens=16)
    assert sizes.pages_per_sequence == 5
    assert sizes.pages == 15
