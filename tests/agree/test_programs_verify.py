"""The verifier proves every program that the compiler makes."""

from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from agree.driver import COMPILED, checkpoint, shipped
from machines import chip_named, chips
from tapeout.chip import Chip
from tapeout.compiler import RECIPES, Build, build, verify
from tapeout.errors import CapacityError


def assert_proved(programs: Build) -> None:
    for program in (programs.prefill, programs.decode):
        proof = verify(program, programs.chip)
        assert proof.instructions == sum(len(core) for core in program.cores)
        assert proof.hazards > 0


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_every_recipe(recipe: str, chip: str):
    model, _ = checkpoint("mistral-window")
    a = model.architecture
    assert_proved(
        build(a, RECIPES[recipe], chip_named(chip), sequences=3, context_tokens=50, chunk_tokens=20)
    )


@pytest.mark.parametrize("directory", COMPILED, ids=lambda d: d.name)
def test_every_architecture(directory: Path):
    model, ids = checkpoint(directory.name)
    a, recipe = model.architecture, RECIPES["mxfp8_e4m3"]
    assert_proved(build(a, recipe, chip_named("small"), sequences=2, context_tokens=len(ids)))


@pytest.mark.parametrize("chip", ["nano", "small", "mid", "full"])
def test_the_shipped_draft_on_every_chip(chip: str):
    a = shipped("draft").architecture
    assert_proved(build(a, RECIPES["int4_kv4"], chip_named(chip), sequences=8, context_tokens=256))


@given(chip=chips(), recipe=st.sampled_from(list(RECIPES)), chunk=st.integers(1, 40))
@settings(max_examples=25)
def test_random_chips(chip: Chip, recipe: str, chunk: int):
    a = checkpoint("mistral-window")[0].architecture
    try:
        built = build(a, RECIPES[recipe], chip, sequences=3, context_tokens=60, chunk_tokens=chunk)
    except CapacityError:
        event("does not fit")
        return
    event("fits")
    assert_proved(built)
