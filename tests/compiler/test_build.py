from dataclasses import replace

import pytest

from agree.driver import checkpoint, shipped
from machines import ROOT, chip_named
from tapeout.compiler import RECIPES, Build, build
from tapeout.compiler.build import LARGEST_CHUNK, NARROWEST_TILE
from tapeout.errors import CapacityError, CompileError, ConfigError
from tapeout.isa import to_bytes
from tapeout.model import load_architecture

NANO = chip_named("nano")
FP8 = RECIPES["mxfp8_e4m3"]


def small(**changes: int) -> Build:
    a = checkpoint("llama3-gqa-tied")[0].architecture
    sizes = {"sequences": 2, "context_tokens": 40} | changes
    return build(a, FP8, NANO, **sizes)


def test_the_two_programs_share_a_map():
    built = small(chunk_tokens=8)
    assert built.prefill.regions == built.decode.regions == built.layout.regions
    assert built.prefill.name == "prefill"
    assert built.decode.name == "decode"
    assert built.chunk_tokens == 8
    scalars = {s.name: s.high for s in built.prefill.scalars}
    assert scalars["rows"] == 8
    assert {s.name: s.high for s in built.decode.scalars}["rows"] == 2


def test_equal_inputs_give_equal_programs():
    assert to_bytes(small().prefill) == to_bytes(small().prefill)


def test_a_program_has_one_code_per_core_and_names_its_chip():
    a = checkpoint("llama3-gqa-tied")[0].architecture
    chip = replace(NANO, cores=3)
    built = build(a, FP8, chip, sequences=1, context_tokens=40)
    assert len(built.decode.cores) == 3
    assert built.decode.chip == chip.fingerprint


def test_the_chunk_follows_the_core():
    """As many rows as leave the accumulators a useful width; fewer if L1 cannot hold them."""
    a = shipped("draft").architecture
    chunks = {
        name: build(a, FP8, chip_named(name), sequences=1, context_tokens=512).chunk_tokens
        for name in ("nano", "mid")
    }
    assert chunks["nano"] == NANO.matrix.accumulators // NARROWEST_TILE
    assert chunks["mid"] == LARGEST_CHUNK
    matrix = replace(NANO.matrix, accumulators=4096)
    tight = replace(NANO, matrix=matrix, core=replace(NANO.core, l1_bytes=12288))
    chunk = build(a, FP8, tight, sequences=1, context_tokens=512).chunk_tokens
    assert 1 <= chunk < matrix.accumulators // NARROWEST_TILE
    with pytest.raises(CapacityError):
        build(a, FP8, tight, sequences=1, context_tokens=512, chunk_tokens=2 * chunk)


def test_a_short_context_needs_no_long_chunk():
    assert small().chunk_tokens <= 40


def test_a_context_beyond_the_model_is_refused():
    with pytest.raises(CapacityError, match="at most the model's 64 positions, not 65"):
        small(context_tokens=65)


def test_a_core_that_is_too_small_for_one_row_is_refused():
    a = shipped("draft").architecture
    tiny = replace(NANO, core=replace(NANO.core, l1_bytes=4096))
    with pytest.raises(CapacityError, match="must fit"):
        build(a, FP8, tiny, sequences=1, context_tokens=64)


def test_sizes_are_checked():
    with pytest.raises(ConfigError, match="page_tokens must be a power of two"):
        small(page_tokens=24)


@pytest.mark.parametrize(("name", "unit"), [("hidden", 4), ("head_dim", 8), ("intermediate", 4)])
def test_shapes_that_no_tile_can_have(name: str, unit: int):
    a = checkpoint("llama3-gqa-tied")[0].architecture
    odd = replace(a, **{name: getattr(a, name) + unit // 2})
    with pytest.raises(CompileError, match=rf"{name} must be a multiple of {unit}, not \d+"):
        build(odd, FP8, NANO, sequences=1, context_tokens=32)


@pytest.mark.parametrize("recipe", ["mxfp8_e4m3", "int4_g128"])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-0.6b"])
def test_published_models_on_the_product_fit_the_instruction_set(name: str, recipe: str):
    """Encoding checks every field of every instruction."""
    a = load_architecture(ROOT / "models" / name)
    a = replace(a, layers=2, window=a.window[:2])  # the layers are alike
    built = build(a, RECIPES[recipe], chip_named("full"), sequences=16, context_tokens=4096)
    for program in (built.prefill, built.decode):
        assert len(to_bytes(program)) > 32 * 16
