"""Linear layers compiled alone, bit for bit what `numerics.matmul_segmented` defines."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.one_layer import Bench, architecture
from machines import chip_named
from tapeout.chip import Chip
from tapeout.compiler import RECIPES
from tapeout.compiler.plan import MOST_ROWS, Work, _slices  # pyright: ignore[reportPrivateUsage]
from tapeout.compiler.projections import add_to_residual, gate, head
from tapeout.errors import CapacityError
from tapeout.isa import LoadTile, Matmul, VectorMatmul
from tapeout.numerics import (
    Blocks,
    add,
    combine,
    format_named,
    matmul_segmented,
    matmul_wide,
    mul,
    quantise,
    segments,
    silu,
    to_bytes,
)

F32 = NDArray[np.float32]
DOWN = "model.layers.0.mlp.down_proj"
NARROW = [name for name, r in RECIPES.items() if not r.wide and not name.endswith("kv4")]


def product(a: Blocks, b: Blocks, factor: np.float32) -> F32:
    """What a linear layer is, in the matrix unit or, wide, in the vector unit."""
    if b.format.family != "wide":
        out = matmul_segmented(a, b)
    else:
        x, y = a.codes, b.codes
        size = x.shape[1] // segments(x.shape[1])
        parts = [
            matmul_wide(x[:, k : k + size], y[:, k : k + size]) for k in range(0, x.shape[1], size)
        ]
        out = combine(parts)
    return mul(out, factor) if b.format.name in ("fp8_e4m3", "fp8_e5m2", "nvfp4") else out


def down_bench(
    recipe: str, chip: Chip, rows: int, k: int, n: int, seed: int = 0
) -> tuple[Bench, Blocks, F32]:
    """A down projection [n, k] with its operands in place; the activations and the result."""
    bench = Bench(architecture(hidden=n, intermediate=k), RECIPES[recipe], chip, rows)
    rng = np.random.default_rng(seed)
    w, factor = bench.put_weight(f"{DOWN}.weight", rng.normal(size=(n, k)).astype(np.float32))
    x = bench.put_activations(bench.layout.gated, rng.normal(size=(rows, k)).astype(np.float32))
    return bench, x, product(x, w, factor)


def assert_bits(actual: F32, wanted: F32) -> None:
    np.testing.assert_array_equal(actual.view(np.uint32), wanted.view(np.uint32))


def check_down(
    recipe: str, chip: Chip, rows: int, k: int, n: int, seed: int | None = None
) -> Bench:
    bench, _, wanted = down_bench(recipe, chip, rows, k, n)
    old = np.random.default_rng(9).normal(size=(rows, n)).astype(np.float32)
    bench.residual(rows)[:] = old
    bench.run(lambda b: add_to_residual(b, b.layout.gated, DOWN), rows, seed=seed)
    assert_bits(bench.residual(rows), add(wanted, old))
    return bench


@pytest.mark.parametrize("chip", ["nano", "small", "mid"])
@pytest.mark.parametrize("recipe", [*NARROW, "bf16", "fp32"])
def test_every_format_on_every_chip(recipe: str, chip: str):
    rng = np.random.default_rng(sum(map(ord, recipe + chip)))
    rows, k, n = (
        int(rng.integers(1, 20)),
        4 * int(rng.integers(1, 80)),
        4 * int(rng.integers(1, 40)),
    )
    check_down(recipe, chip_named(chip), rows, k, n, seed=3)


@pytest.mark.parametrize(
    ("k", "parts"), [(2016, 1), (2048, 2), (2112, 2), (4096, 4), (5504, 4), (8192, 8), (11008, 8)]
)
@pytest.mark.parametrize("recipe", ["int8", "int4_g128", "mxfp4", "nvfp4", "fp32"])
def test_segments_of_k_are_a_tree(recipe: str, k: int, parts: int):
    """Also where a segment begins within a scale group of 128: 2112 / 2, 5504 / 4, 11008 / 8."""
    assert segments(k) == parts
    check_down(recipe, chip_named("nano"), 3, k, 36)


@pytest.mark.parametrize("k", [32, 100, 160, 1000, 1056])
def test_groups_of_128_that_k_does_not_fill(k: int):
    check_down("int4_g128", chip_named("nano"), 5, k, 40)


@pytest.mark.parametrize("l1_kib", [12, 16, 24, 40])
@pytest.mark.parametrize(
    ("recipe", "k"), [("int4_g128", 2112), ("mxfp8_e4m3", 4096), ("bf16", 2048)]
)
def test_small_cores_slice_k(recipe: str, k: int, l1_kib: int):
    nano = chip_named("nano")
    chip = replace(nano, core=replace(nano.core, l1_bytes=l1_kib * 1024, scale_bytes=2048))
    bench = check_down(recipe, chip, 4, k, 64)
    program = bench.program(lambda b: add_to_residual(b, b.layout.gated, DOWN))
    lengths = {i.op.k_blocks for i in program.cores[0] if isinstance(i.op, Matmul | VectorMatmul)}
    assert max(lengths) * 32 <= k // segments(k)
    if l1_kib == 12:
        assert max(lengths) * 32 < k // segments(k), "the smallest core must slice"


@given(
    recipe=st.sampled_from([*NARROW, "bf16", "fp32"]),
    rows=st.integers(1, 33),
    k=st.integers(1, 700).map(lambda x: 4 * x),
    n=st.integers(1, 60).map(lambda x: 4 * x),
    cores=st.integers(1, 3),
    accumulators=st.integers(5, 11).map(lambda x: 1 << x),
    l1_bytes=st.integers(64, 1000).map(lambda x: 256 * x),
    scale_bytes=st.integers(8, 64).map(lambda x: 256 * x),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
@settings(max_examples=40)
def test_random_layers_on_random_cores(
    recipe: str,
    rows: int,
    k: int,
    n: int,
    cores: int,
    accumulators: int,
    l1_bytes: int,
    scale_bytes: int,
    seed: int | None,
):
    nano = chip_named("nano")
    chip = replace(
        nano,
        cores=cores,
        matrix=replace(nano.matrix, accumulators=accumulators),
        core=replace(nano.core, l1_bytes=l1_bytes, scale_bytes=scale_bytes),
    )
    try:
        check_down(recipe, chip, rows, k, n, seed)
        event("fits")
    except CapacityError:
        event("does not fit")


@pytest.mark.parametrize("recipe", ["int8", "fp8_e4m3", "mxfp4", "nvfp4", "fp32"])
@pytest.mark.parametrize("intermediate", [64, 100])
def test_two_weights_share_the_activations(recipe: str, intermediate: int):
    """gate and up: silu(x gate^T) * (x up^T), quantised; K of two segments."""
    rows, hidden = 5, 2048
    chip = chip_named("nano")
    a = architecture(hidden=hidden, intermediate=intermediate)
    bench = Bench(a, RECIPES[recipe], chip, rows)
    rng = np.random.default_rng(1)
    x = bench.put_activations(
        bench.layout.normed, rng.normal(size=(rows, hidden)).astype(np.float32)
    )
    results: list[F32] = []
    for name in ("gate", "up"):
        w = (rng.normal(size=(intermediate, hidden)) / 32).astype(np.float32)
        results.append(product(x, *bench.put_weight(f"model.layers.0.mlp.{name}_proj.weight", w)))
    bench.run(lambda b: gate(b, "model.layers.0.mlp"), rows, seed=2)
    target = bench.layout.gated
    wanted = quantise(mul(silu(results[0]), results[1]), target.format, RECIPES[recipe].mode)
    for actual, expected in zip(
        bench.codes(target, intermediate, rows), to_bytes(wanted), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("vocab", [5, 33, 200])
@pytest.mark.parametrize("recipe", ["mxfp8_e4m3", "fp32"])
def test_a_head_with_any_number_of_outputs(vocab: int, recipe: str):
    bench = Bench(architecture(vocab_size=vocab, hidden=64), RECIPES[recipe], chip_named("mid"), 3)
    rng = np.random.default_rng(1)
    w = bench.put_weight("lm_head.weight", rng.normal(size=(vocab, 64)).astype(np.float32))
    x = bench.put_activations(bench.layout.normed, rng.normal(size=(3, 64)).astype(np.float32))
    bench.run(head, 2)
    pitch = -(-vocab // 4) * 4
    at = bench.layout.logits
    logits = bench.machine.hbm[at : at + 12 * pitch].view(np.float32).reshape(3, pitch)
    assert_bits(logits[:2, :vocab].copy(), product(x, *w)[:2])
    assert not logits[2].any(), "a row that the step has not got"


def test_fewer_rows_than_the_program_was_built_for():
    bench, _, wanted = down_bench("mxfp8_e4m3", chip_named("nano"), 9, 128, 48)
    bench.run(lambda b: add_to_residual(b, b.layout.gated, DOWN), 4)
    assert_bits(bench.residual(9)[:4], wanted[:4])
    assert not bench.residual(9)[4:].any()


@pytest.mark.parametrize("name", ["int8", "int4_g128", "nvfp4"])
@pytest.mark.parametrize("k", [32, 224, 2112, 4224, 11008])
@pytest.mark.parametrize("pieces", [1, 2, 8, 32])
def test_slices_cover_k_and_keep_scale_groups_whole(name: str, k: int, pieces: int):
    fmt = format_named(name)
    work = Work(
        rows=1, k=k, n=32, unit=32, source=fmt, weights=fmt, count=1, tiles32=1, code_bytes=0
    )
    slices = _slices(work, pieces)
    assert len(slices) == segments(k)
    flat = [s for segment in slices for s in segment]
    assert [start for start, _ in flat] == [sum(n for _, n in flat[:i]) for i in range(len(flat))]
    assert sum(n for _, n in flat) == -(-k // 32) * 32
    for start, length in flat:
        assert start % 32 == length % 32 == 0
        inside = start % fmt.group  # only a slice within one group may begin inside it
        assert not inside or inside + length <= fmt.group


def test_tiles_fit_the_fields_of_instructions():
    """A long, flat product on a large core would like more rows than an instruction names."""
    full = chip_named("full")
    bench = Bench(
        architecture(hidden=1 << 19, intermediate=64), RECIPES["int8"], replace(full, cores=1), 1
    )
    program = bench.program(lambda b: add_to_residual(b, b.layout.gated, DOWN))
    loads = [i.op.rows for i in program.cores[0] if isinstance(i.op, LoadTile)]
    assert max(loads) <= MOST_ROWS
    assert max(loads) > MOST_ROWS - 32, "the case must reach the limit"


def test_a_product_that_fits_no_cut_is_refused():
    nano = chip_named("nano")
    chip = replace(nano, core=replace(nano.core, l1_bytes=2048))
    bench = Bench(architecture(intermediate=4096), RECIPES["fp32"], chip, 64)
    with pytest.raises(CapacityError) as error:
        bench.program(lambda b: add_to_residual(b, b.layout.gated, DOWN))
    assert error.value.problem == "a product of 64 rows with K = 4096 must fit nano's core"
    assert "fewer rows" in error.value.hint
