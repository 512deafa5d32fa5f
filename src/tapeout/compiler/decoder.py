"""A whole model as a program: one step that reads tokens and writes logits and samples."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tapeout.chip import Chip
from tapeout.compiler import projections, stages
from tapeout.compiler.attention import attention
from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.emitter import Emitter, Reg
from tapeout.compiler.layout import FP32_BYTES, Layout, Sizes
from tapeout.compiler.recipe import Recipe
from tapeout.errors import CompileError
from tapeout.isa.fields import AluFn
from tapeout.isa.instructions import Instruction
from tapeout.isa.program import Program, Scalar, Table
from tapeout.isa.shapes import HEAD_UNIT
from tapeout.model import Architecture, layer_prefix

LOG2E = 1 / math.log(2)


def decoder_program(
    architecture: Architecture,
    recipe: Recipe,
    sizes: Sizes,
    layout: Layout,
    chip: Chip,
    *,
    name: str,
    rows: int,
    tokens_per_sequence: int,
) -> Program:
    """One step of at most `rows` rows, of which each sequence has at most `tokens_per_sequence`.

    Run-time scalars: `rows`; of these the last `outputs` want logits; of these the first `samples`
    are sampled.

    Raises:
        CapacityError: if the model does not fit the chip's cores.
        CompileError: if its shapes are not ones that tiles can have.
    """
    _check_shapes(architecture)
    sizes = replace(sizes, rows=rows)
    scalars = _scalars(sizes)
    cores = tuple(
        _core_program(architecture, recipe, sizes, layout, chip, core, scalars, tokens_per_sequence)
        for core in range(chip.cores)
    )
    return Program(
        name=name,
        chip=chip.fingerprint,
        cores=cores,
        scalars=scalars,
        regions=layout.regions,
        tables=_tables(layout, architecture, sizes),
        placements=layout.placements,
        notes={"model": architecture.name, "format": recipe.name},
    )


def _scalars(sizes: Sizes) -> tuple[Scalar, ...]:
    return (
        Scalar(name="rows", register=1, low=1, high=sizes.rows),
        Scalar(name="outputs", register=2, low=0, high=sizes.rows),
        Scalar(name="samples", register=3, low=0, high=min(sizes.rows, sizes.sequences)),
    )


def _tables(layout: Layout, architecture: Architecture, sizes: Sizes) -> tuple[Table, ...]:
    def table(name: str, address: int, count: int, most: int) -> Table:
        return Table(name=name, address=address, count=count, low=0, high=most - 1)

    entries = sizes.sequences * layout.table_entries
    return (
        table("tokens", layout.tokens, sizes.rows, architecture.vocab_size),
        table("positions", layout.positions, sizes.rows, sizes.context_tokens),
        table("table numbers", layout.table_numbers, sizes.sequences, sizes.sequences),
        table("tables", layout.tables, entries, sizes.pages),
    )


def _core_program(
    architecture: Architecture,
    recipe: Recipe,
    sizes: Sizes,
    layout: Layout,
    chip: Chip,
    core: int,
    scalars: tuple[Scalar, ...],
    tokens_per_sequence: int,
) -> tuple[Instruction, ...]:
    emitter = Emitter(constant_end=layout.constant_end, pages=sizes.pages)
    regs = {s.name: emitter.register(low=s.low, high=s.high) for s in scalars}
    b = CoreBuilder(
        emitter=emitter,
        chip=chip,
        architecture=architecture,
        recipe=recipe,
        sizes=sizes,
        layout=layout,
        core=core,
        rows=regs["rows"],
        tokens_per_sequence=tokens_per_sequence,
    )
    b.load_constants()
    b.stage(stages.embed)
    for layer in range(architecture.layers):
        _layer(b, layer)
    outputs = _at_most(b, regs["outputs"], b.rows)
    first = emitter.alu(AluFn.SUB, b.rows, outputs, low=0, high=sizes.rows - 1)
    skip = b.times(first, FP32_BYTES * architecture.hidden)
    last = replace(b, rows=outputs)
    last.stage(lambda c: stages.norm(c, "model.norm.weight", skip))
    last.stage(projections.head)
    samples = _at_most(b, regs["samples"], outputs)
    last.stage(lambda c: stages.sample(c, samples))
    return emitter.end()


def _at_most(b: CoreBuilder, wish: Reg, most: Reg) -> Reg:
    return b.emitter.alu(AluFn.MIN, wish, most, low=0, high=min(wish.high, most.high))


def _layer(b: CoreBuilder, layer: int) -> None:
    a, at = b.architecture, layer_prefix(layer)
    names = {n: f"{at}self_attn.{n}" for n in ("q_proj", "k_proj", "v_proj", "o_proj")}
    turn = float(np.float32(a.rope.attention_factor))
    query_turn = a.rope.attention_factor * LOG2E / math.sqrt(a.head_dim)
    q_norm = f"{at}self_attn.q_norm.weight" if a.qk_norm else None
    k_norm = f"{at}self_attn.k_norm.weight" if a.qk_norm else None
    layout = b.layout
    b.stage(lambda c: stages.norm(c, f"{at}input_layernorm.weight"))
    b.stage(
        lambda c: _all(
            lambda: projections.heads(
                c,
                names["q_proj"],
                layout.queries,
                rotate=query_turn,
                norm_name=q_norm,
                per_row=False,
            ),
            lambda: projections.heads(
                c, names["k_proj"], layout.keys, rotate=turn, norm_name=k_norm, per_row=False
            ),
            lambda: projections.heads(
                c, names["v_proj"], layout.values, rotate=None, norm_name=None, per_row=True
            ),
        )
    )
    b.stage(lambda c: attention(c, layer))
    b.stage(stages.mix)
    b.stage(lambda c: projections.add_to_residual(c, layout.mixed, names["o_proj"]))
    b.stage(lambda c: stages.norm(c, f"{at}post_attention_layernorm.weight"))
    b.stage(lambda c: projections.gate(c, f"{at}mlp"))
    b.stage(lambda c: projections.add_to_residual(c, layout.gated, f"{at}mlp.down_proj"))


def _all(*parts: Callable[[], None]) -> None:
    for part in parts:
        part()


def _check_shapes(a: Architecture) -> None:
    for name, value, of in (
        ("hidden", a.hidden, 4),
        ("head_dim", a.head_dim, HEAD_UNIT),
        ("intermediate", a.intermediate, 4),
    ):
        if value % of:
            raise CompileError(
                f"{name} must be a multiple of {of}, not {value}", where=f"model {a.name}"
            )
