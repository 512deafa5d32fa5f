"""The same request gives the same bits: whatever the batch, the chunks, the chip and the order."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agree.driver import Driver, checkpoint, shipped
from machines import chip_named, chips
from tapeout.chip import Chip
from tapeout.compiler import RECIPES, Build, build
from tapeout.errors import CapacityError
from tapeout.isa import Program, read_program, write_program
from tapeout.model import Model

F32 = NDArray[np.float32]
CASES = [
    (model, name)
    for model in ("llama3-gqa-tied", "mistral-window")
    for name in ("mxfp8_e4m3", "int4_kv4", "fp32")
]
each_case = pytest.mark.parametrize(("model_name", "recipe"), CASES)
CONTEXT = 48


@cache
def request(model_name: str) -> tuple[Model, list[int]]:
    """A model, and a request of as many tokens as the contexts of these tests."""
    model, _ = checkpoint(model_name)
    vocabulary = model.architecture.vocab_size
    return model, np.random.default_rng(3).integers(0, vocabulary, CONTEXT).tolist()


@cache
def built(
    model_name: str, recipe: str, chip: Chip, *, sequences: int, chunk: int, page_tokens: int = 16
) -> Build:
    return build(
        request(model_name)[0].architecture,
        RECIPES[recipe],
        chip,
        sequences=sequences,
        context_tokens=CONTEXT,
        chunk_tokens=chunk,
        page_tokens=page_tokens,
    )


@cache
def wanted(model_name: str, recipe: str) -> F32:
    """The bits: alone, in one chunk, on `mid`, in program order."""
    model, ids = request(model_name)
    program = built(model_name, recipe, chip_named("mid"), sequences=1, chunk=CONTEXT)
    return Driver(model, program).prefill(0, ids, chunk=CONTEXT)


def assert_same(actual: F32, expected: F32) -> None:
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


@each_case
@pytest.mark.parametrize("chunk", [1, 7, 32])
def test_chunks_of_prefill(model_name: str, recipe: str, chunk: int):
    model, ids = request(model_name)
    program = built(model_name, recipe, chip_named("nano"), sequences=1, chunk=32)
    assert_same(Driver(model, program).prefill(0, ids, chunk=chunk), wanted(model_name, recipe))


@each_case
@pytest.mark.parametrize("chip", ["nano", "small", "mid"])
def test_chips(model_name: str, recipe: str, chip: str):
    model, ids = request(model_name)
    program = built(model_name, recipe, chip_named(chip), sequences=1, chunk=24)
    assert_same(Driver(model, program).prefill(0, ids, chunk=24), wanted(model_name, recipe))


@each_case
@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_decode_in_a_batch_of_eight(model_name: str, recipe: str, chip: str):
    """Eight requests of other tokens and lengths share the steps; they come and go."""
    model, ids = request(model_name)
    program = built(model_name, recipe, chip_named(chip), sequences=8, chunk=16)
    driver = Driver(model, program)
    rng = np.random.default_rng(5)
    mine, start = 5, 20
    others = {s: rng.integers(0, 100, 40).tolist() for s in range(8) if s != mine}
    lengths = {s: int(rng.integers(1, 20)) for s in others}
    for sequence, tokens in others.items():
        driver.prefill(sequence, tokens[: lengths[sequence]], chunk=16)
    rows = [driver.prefill(mine, ids[:start], chunk=16)]
    for at in range(start, CONTEXT):
        batch = [(mine, ids[at], at)]
        for sequence in rng.permutation(list(others))[: rng.integers(0, 8)].tolist():
            if lengths[sequence] < 40:
                batch.append((sequence, others[sequence][lengths[sequence]], lengths[sequence]))
                lengths[sequence] += 1
        place = int(rng.integers(0, len(batch)))
        batch[0], batch[place] = batch[place], batch[0]
        rows.append(driver.decode(batch)[place : place + 1])
    assert_same(np.concatenate(rows), wanted(model_name, recipe))


@each_case
@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_twenty_shuffled_orders(model_name: str, recipe: str, chip: str):
    """Of queues and cores, with other bytes in the cores' memories at the start."""
    model, ids = request(model_name)
    program = built(model_name, recipe, chip_named(chip), sequences=1, chunk=8)
    for seed in range(20):
        driver = Driver(model, program, seed=100 * seed)
        rows = [driver.prefill(0, ids[:11], chunk=8), driver.decode([(0, ids[11], 11)])]
        assert_same(np.concatenate(rows), wanted(model_name, recipe)[:12])


@each_case
@pytest.mark.parametrize("page_tokens", [16, 32, 64, 128])
def test_pages_of_any_size_in_any_order(model_name: str, recipe: str, page_tokens: int):
    model, ids = request(model_name)
    program = built(
        model_name, recipe, chip_named("small"), sequences=3, chunk=20, page_tokens=page_tokens
    )
    for seed in range(2):
        pages = np.random.default_rng(seed).permutation(program.sizes.pages).tolist()
        driver = Driver(model, program, pages=pages)
        driver.machine.hbm[program.layout.pool :] = 255  # what an earlier request left behind
        assert_same(driver.prefill(1, ids, chunk=20), wanted(model_name, recipe))


@pytest.mark.parametrize("outputs", [0, 1, 3])
def test_only_the_last_rows_when_asked(outputs: int):
    model, ids = request("llama3-gqa-tied")
    program = built("llama3-gqa-tied", "mxfp8_e4m3", chip_named("mid"), sequences=1, chunk=8)
    driver = Driver(model, program)
    logits = driver.step(program.prefill, ids[:8], range(8), [0], outputs=outputs)
    assert_same(logits, wanted("llama3-gqa-tied", "mxfp8_e4m3")[8 - outputs : 8])


@each_case
def test_programs_from_files(model_name: str, recipe: str, tmp_path: Path):
    model, ids = request(model_name)
    before = built(model_name, recipe, chip_named("mid"), sequences=1, chunk=32)

    def through_a_file(program: Program) -> Program:
        write_program(program, tmp_path / "program")
        return read_program(tmp_path / "program")

    after = replace(
        before, prefill=through_a_file(before.prefill), decode=through_a_file(before.decode)
    )
    driver = Driver(model, after)
    rows = [driver.prefill(0, ids[:-1], chunk=32), driver.decode([(0, ids[-1], CONTEXT - 1)])]
    assert_same(np.concatenate(rows), wanted(model_name, recipe))


@given(chip=chips(), case=st.sampled_from(CASES), chunk=st.integers(1, 20), data=st.data())
@settings(max_examples=25)
def test_random_chips(chip: Chip, case: tuple[str, str], chunk: int, data: st.DataObject):
    """A model that does not fit is refused; any other computes the same bits."""
    model, ids = request(case[0])
    try:
        program = build(
            model.architecture,
            RECIPES[case[1]],
            chip,
            sequences=2,
            context_tokens=CONTEXT,
            chunk_tokens=chunk,
        )
    except CapacityError:
        event("does not fit")
        return
    event("fits")
    driver = Driver(model, program, seed=data.draw(st.one_of(st.none(), st.integers(0, 99))))
    rows = [driver.prefill(1, ids[:21], chunk=chunk), driver.decode([(1, ids[21], 21)])]
    assert_same(np.concatenate(rows), wanted(*case)[:22])


@pytest.mark.parametrize("recipe", ["mxfp8_e4m3", "int4_kv4"])
def test_the_shipped_draft(recipe: str):
    """400 tokens, four chunks of keys: chips, chunks, pages and an order at once."""
    model = shipped("draft")
    ids = np.random.default_rng(3).integers(0, model.architecture.vocab_size, 400).tolist()
    rows: list[F32] = []
    for chip, chunk, page_tokens, seed in (("mid", 64, 16, None), ("small", 29, 64, 1)):
        program = build(
            model.architecture,
            RECIPES[recipe],
            chip_named(chip),
            sequences=2,
            context_tokens=512,
            chunk_tokens=chunk,
            page_tokens=page_tokens,
        )
        driver = Driver(model, program, seed=seed)
        rows.append(driver.prefill(1, ids[:-3], chunk=chunk))
        tail = [driver.decode([(0, 5, 0), (1, ids[i], i)])[1:] for i in range(397, 400)]
        rows[-1] = np.concatenate([rows[-1], *tail])
    assert_same(rows[0], rows[1])
