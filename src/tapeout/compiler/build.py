"""From a model and a chip to the programs that serve it: prefill in chunks, decode in batches."""

from dataclasses import dataclass

from tapeout.chip import Chip
from tapeout.compiler.decoder import decoder_program
from tapeout.compiler.layout import Layout, Sizes, lay_out
from tapeout.compiler.recipe import Recipe
from tapeout.errors import CapacityError
from tapeout.isa.program import Program
from tapeout.model import Architecture

LARGEST_CHUNK = 256
"""Tokens of a prefill step at most; what fits the core may be less."""


NARROWEST_TILE = 64
"""Columns that a prefill step's products should have at least, for the accumulators they take."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A model compiled for a chip: the memory map and the two programs that share it."""

    architecture: Architecture
    recipe: Recipe
    chip: Chip
    sizes: Sizes
    layout: Layout
    prefill: Program
    decode: Program

    @property
    def chunk_tokens(self) -> int:
        """Tokens of one prefill step at most."""
        return self.sizes.rows


def build(
    architecture: Architecture,
    recipe: Recipe,
    chip: Chip,
    *,
    sequences: int,
    context_tokens: int,
    chunk_tokens: int | None = None,
    page_tokens: int = 16,
) -> Build:
    """Compile a model for `sequences` sequences of at most `context_tokens` each.

    `chunk_tokens` is the largest prefill step; by default the largest that fits the cores.

    Raises:
        CapacityError: if the model or the context does not fit the chip.
        CompileError: if the model has a shape that the chip's tiles cannot have.
    """
    if context_tokens > architecture.max_positions:
        raise CapacityError(
            f"the context must be at most the model's {architecture.max_positions} positions,"
            f" not {context_tokens}"
        )
    if chunk_tokens is not None:
        return _build(
            architecture, recipe, chip, sequences, context_tokens, chunk_tokens, page_tokens
        )
    narrow = chip.matrix.accumulators // NARROWEST_TILE
    chunk = max(1, min(LARGEST_CHUNK, context_tokens, narrow))
    while True:
        try:
            return _build(architecture, recipe, chip, sequences, context_tokens, chunk, page_tokens)
        except CapacityError:
            if chunk == 1:
                raise
            chunk = (chunk + 1) // 2


def _build(
    architecture: Architecture,
    recipe: Recipe,
    chip: Chip,
    sequences: int,
    context_tokens: int,
    chunk_tokens: int,
    page_tokens: int,
) -> Build:
    rows = max(chunk_tokens, sequences)
    sizes = Sizes(
        rows=rows, sequences=sequences, context_tokens=context_tokens, page_tokens=page_tokens
    )
    layout = lay_out(architecture, recipe, sizes, chip)
    prefill = decoder_program(
        architecture,
        recipe,
        sizes,
        layout,
        chip,
        name="prefill",
        rows=chunk_tokens,
        tokens_per_sequence=chunk_tokens,
    )
    decode = decoder_program(
        architecture,
        recipe,
        sizes,
        layout,
        chip,
        name="decode",
        rows=sequences,
        tokens_per_sequence=1,
    )
    return Build(
        architecture=architecture,
        recipe=recipe,
        chip=chip,
        sizes=Sizes(
            rows=chunk_tokens,
            sequences=sequences,
            context_tokens=context_tokens,
            page_tokens=page_tokens,
        ),
        layout=layout,
        prefill=prefill,
        decode=decode,
    )
