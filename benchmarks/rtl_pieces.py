"""Small programs of the compiler's own pieces, with their data: a product, an attention."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tapeout import numerics
from tapeout.chip import Chip
from tapeout.compiler import projections, recipe_named, verify
from tapeout.compiler.attention import attention
from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.emitter import Emitter
from tapeout.compiler.layout import FP32_BYTES, Codes, Layout, Sizes, align, lay_out
from tapeout.compiler.recipe import Recipe
from tapeout.errors import CapacityError
from tapeout.isa.program import Program, Scalar, Table
from tapeout.model import Architecture, Rope
from tapeout.numerics import Format

LARGEST_TILE = 256
NARROWEST_TILE = 64
GIVEN = ("normed", "queries", "keys", "values")
"""What earlier parts of a whole program would have written."""

E4M3_SCALE = 120  # an E8M0 scale of 2^-7


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A program of one core, its arguments, and the memory that it starts from.

    macs: multiply-adds of the matrix unit; stream_bytes: weights, or keys and values, that must
    come from memory at least once in the course of it.
    """

    name: str
    program: Program
    scalars: dict[str, int]
    memory: NDArray[np.uint8]
    macs: int
    stream_bytes: int


def architecture(
    *, hidden: int, outputs: int, heads: int = 1, kv_heads: int = 1, head_dim: int = 32,
    positions: int = 64,
) -> Architecture:  # fmt: skip
    """A decoder of one layer, of which a piece uses a part."""
    return Architecture(
        name="piece", model_type="llama", vocab_size=outputs, hidden=hidden, layers=1,
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, intermediate=64, norm_eps=1e-5,
        activation="silu", tied_embeddings=False, qkv_bias=False, o_bias=False, mlp_bias=False,
        qk_norm=False, max_positions=positions,
        rope=Rope(inv_freq=(1.0,) * (head_dim // 2), attention_factor=1.0),
        window=(None,), head="lm", head_bias=False, labels=(), eos_ids=(), bos_id=None,
    )  # fmt: skip


# ---- products --------------------------------------------------------------------------------


def product(chip: Chip, recipe_name: str, *, m: int, n: int, k: int) -> Piece:
    """[m, k] activations times [n, k] weights, both in memory, to FP32 in memory.

    It is what a step's last product is; with more rows than a step takes, as many steps.
    """
    recipe = recipe_named(recipe_name)
    rows = min(m, LARGEST_TILE, chip.matrix.accumulators // NARROWEST_TILE)
    while True:
        try:
            return _product(chip, recipe, m, n, k, rows)
        except CapacityError:
            if rows == 1:
                raise
            rows = (rows + 1) // 2


def _product(chip: Chip, recipe: Recipe, m: int, n: int, k: int, rows: int) -> Piece:
    a = architecture(hidden=k, outputs=n)
    sizes = Sizes(rows=m, sequences=1, context_tokens=64)
    layout = lay_out(a, recipe, sizes, chip)
    pitch = align(FP32_BYTES * n)

    def body(b: CoreBuilder) -> None:
        for first in range(0, m, rows):
            part = replace(
                layout,
                normed=_from_row(layout.normed, first),
                logits=layout.logits + first * pitch,
            )
            projections.head(replace(b, layout=part, sizes=replace(sizes, rows=rows)))

    if m % rows:
        raise CapacityError(f"rows must be a multiple of {rows}, not {m}")
    program = _program(chip, a, recipe, sizes, layout, rows, body, tokens_per_sequence=rows)
    memory = np.zeros(layout.end, np.uint8)
    rng = np.random.default_rng(1)
    source = layout.normed
    _put(memory, rng, m, k, source.format, (source.address, source.pitch),
         (source.scale_address, source.scale_pitch))  # fmt: skip
    w = layout.placement(a.head_tensor)
    weights = recipe.of("weights")
    _put(memory, rng, n, k, weights, (w.address, w.pitch_bytes),
         (w.scale_address, w.scale_pitch_bytes))  # fmt: skip
    stream = n * (weights.row_bytes(k) + weights.scale_row_bytes(k)) * (m // rows)
    return Piece(
        name=f"{recipe.name} {m}x{n}x{k}", program=program, scalars={"rows": rows},
        memory=memory, macs=m * n * k, stream_bytes=stream,
    )  # fmt: skip


def _from_row(codes: Codes, first: int) -> Codes:
    return replace(
        codes,
        address=codes.address + first * codes.pitch,
        scale_address=codes.scale_address + first * codes.scale_pitch,
    )


def _put(
    memory: NDArray[np.uint8], rng: np.random.Generator, rows: int, k: int, fmt: Format,
    elements: tuple[int, int], scales: tuple[int, int],
) -> None:  # fmt: skip
    """Quantised normal numbers where a tensor lies; of each part (address, pitch)."""
    x = rng.standard_normal((rows, k)).astype(np.float32)
    data = numerics.to_bytes(numerics.quantise(x, fmt))
    for (address, pitch), part in zip((elements, scales), data, strict=True):
        if part.size:
            np.ndarray(part.shape, np.uint8, memory.data, address, (pitch, 1))[:] = part


# ---- attention -------------------------------------------------------------------------------


def attending(
    chip: Chip, recipe_name: str, *, rows: int, context: int, decode: bool,
    heads: int = 4, kv_heads: int = 1, head_dim: int = 64,
) -> Piece:  # fmt: skip
    """Attention of a layer, with the new keys and values appended, at the end of a context.

    rows: sequences of a decode step, or tokens of one sequence's prefill step.
    """
    recipe = recipe_named(recipe_name)
    a = architecture(
        hidden=64, outputs=64, heads=heads, kv_heads=kv_heads, head_dim=head_dim, positions=context
    )
    sequences = rows if decode else 1
    sizes = Sizes(rows=rows, sequences=sequences, context_tokens=context)
    layout = lay_out(a, recipe, sizes, chip)
    program = _program(
        chip, a, recipe, sizes, layout, rows, lambda b: attention(b, 0),
        tokens_per_sequence=1 if decode else rows,
    )  # fmt: skip
    memory = np.zeros(layout.end, np.uint8)
    _fill_attention(memory, layout, sizes)
    first = context - (1 if decode else rows)
    _numbers(memory, layout.positions, [first] * rows if decode else range(first, context))
    _numbers(memory, layout.table_numbers, range(sequences))
    entries = sizes.pages_per_sequence
    for sequence in range(sequences):
        pages = range(sequence * entries, (sequence + 1) * entries)
        _numbers(memory, layout.tables + 4 * sequence * layout.table_entries, pages)
    page = layout.page
    token = 2 * page.key_bytes + page.key_scale_bytes + page.value_scale_bytes
    return Piece(
        name=f"{recipe.name} {'decode' if decode else 'prefill'} of {rows} at {context}",
        program=program, scalars={"rows": rows}, memory=memory,
        macs=2 * rows * heads * head_dim * context,
        stream_bytes=sequences * kv_heads * context * token,
    )  # fmt: skip


def _fill_attention(memory: NDArray[np.uint8], layout: Layout, sizes: Sizes) -> None:
    """Queries, keys and values of the new tokens, and of all pages: finite, of moderate size."""
    rng = np.random.default_rng(2)
    for codes in (layout.queries, layout.keys, layout.values):
        _random(memory, rng, codes.address, sizes.rows * codes.pitch, 0x18, 0x38)
        _scales(memory, rng, codes.scale_address, sizes.rows * codes.scale_pitch, codes.format)
    page = layout.page
    for number in range(sizes.pages):
        start = layout.pool + number * page.page_bytes
        for head in range(page.kv_heads):
            at = start + page.offset(0, head, 0)
            both = 2 * page.key_bytes * page.page_tokens
            _random(memory, rng, at, both, 0x18, 0x38)
            scales = (page.key_scale_bytes + page.value_scale_bytes) * page.page_tokens
            _scales(memory, rng, at + both, scales, page.format)
    scalars = np.zeros((2, 4), np.float32)
    scalars[1, 0] = -np.inf
    data = scalars.view(np.uint8).reshape(-1)
    memory[layout.scalars : layout.scalars + data.size] = data


def _random(
    memory: NDArray[np.uint8], rng: np.random.Generator, at: int, size: int, low: int, high: int
) -> None:
    signs = rng.integers(0, 2, size) << 7
    memory[at : at + size] = rng.integers(low, high, size) | signs


def _scales(
    memory: NDArray[np.uint8], rng: np.random.Generator, at: int, size: int, fmt: Format
) -> None:
    if fmt.scale == "bf16":
        memory[at : at + size].view(np.uint16)[:] = 0x3C00 + rng.integers(0, 64, size // 2)
    elif size:
        memory[at : at + size] = E4M3_SCALE + rng.integers(0, 4, size)


def _numbers(memory: NDArray[np.uint8], at: int, values: range | list[int]) -> None:
    data = np.array(values, np.uint32).view(np.uint8)
    memory[at : at + data.size] = data


# ---- programs --------------------------------------------------------------------------------


def _program(
    chip: Chip, a: Architecture, recipe: Recipe, sizes: Sizes, layout: Layout, rows: int,
    body: Callable[[CoreBuilder], None], *, tokens_per_sequence: int,
) -> Program:  # fmt: skip
    """A proven program of `body` on the first core of a chip."""
    scalar = Scalar(name="rows", register=1, low=1, high=rows)
    emitter = Emitter(constant_end=layout.constant_end, pages=sizes.pages)
    b = CoreBuilder(
        emitter=emitter, chip=chip, architecture=a, recipe=recipe, sizes=sizes, layout=layout,
        core=0, rows=emitter.register(low=scalar.low, high=scalar.high),
        tokens_per_sequence=tokens_per_sequence,
    )  # fmt: skip
    b.load_constants()
    body(b)
    entries = sizes.sequences * layout.table_entries
    tables = (
        ("positions", layout.positions, sizes.rows, sizes.context_tokens),
        ("table numbers", layout.table_numbers, sizes.sequences, sizes.sequences),
        ("tables", layout.tables, entries, sizes.pages),
    )
    program = Program(
        name="piece", chip=chip.fingerprint, cores=(emitter.end(),), scalars=(scalar,),
        regions=tuple(
            replace(each, kind="input") if each.name.removesuffix(" scales") in GIVEN else each
            for each in layout.regions
        ),
        placements=layout.placements,
        tables=tuple(
            Table(name=name, address=address, count=count, low=0, high=most - 1)
            for name, address, count, most in tables
        ),
    )  # fmt: skip
    verify(program, chip)
    return program
