"""Single stages compiled alone: a model of one layer whose sizes are free, and a core for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.emitter import Emitter
from tapeout.compiler.layout import Codes, Layout, Sizes, lay_out
from tapeout.compiler.recipe import Recipe
from tapeout.isa import Program, Scalar
from tapeout.model import Architecture, Rope
from tapeout.numerics import Blocks, quantise, tensor_scale, to_bytes
from tapeout.sim import Machine

F32 = NDArray[np.float32]
Stage = Callable[[CoreBuilder], None]


def architecture(
    *, hidden: int = 32, intermediate: int = 32, head_dim: int = 16, vocab_size: int = 32
) -> Architecture:
    """A decoder of one layer with one head."""
    return Architecture(
        name="one",
        model_type="llama",
        vocab_size=vocab_size,
        hidden=hidden,
        layers=1,
        heads=1,
        kv_heads=1,
        head_dim=head_dim,
        intermediate=intermediate,
        norm_eps=1e-5,
        activation="silu",
        tied_embeddings=False,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        qk_norm=False,
        max_positions=1 << 20,
        rope=Rope(inv_freq=(0.5,) * (head_dim // 2), attention_factor=1.0),
        window=(None,),
        head="lm",
        head_bias=False,
        labels=(),
        eos_ids=(),
        bos_id=None,
    )


@dataclass
class Bench:
    """One stage on a machine, with tensors put where the stage finds them."""

    architecture: Architecture
    recipe: Recipe
    chip: Chip
    rows: int
    layout: Layout = field(init=False)
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        sizes = Sizes(rows=self.rows, sequences=1, context_tokens=16)
        self.layout = lay_out(self.architecture, self.recipe, sizes, self.chip)
        self.machine = Machine(self.chip, self.layout.end)

    def program(self, stage: Stage) -> Program:
        """The stage on every core."""
        sizes = Sizes(rows=self.rows, sequences=1, context_tokens=16)
        scalar = Scalar(name="rows", register=1, low=1, high=self.rows)
        cores = []
        for core in range(self.chip.cores):
            emitter = Emitter(constant_end=self.layout.constant_end, pages=sizes.pages)
            b = CoreBuilder(
                emitter=emitter,
                chip=self.chip,
                architecture=self.architecture,
                recipe=self.recipe,
                sizes=sizes,
                layout=self.layout,
                core=core,
                rows=emitter.register(low=1, high=self.rows),
                tokens_per_sequence=self.rows,
            )
            b.load_constants()
            b.stage(stage)
            cores.append(emitter.end())
        return Program(
            name="stage", chip=self.chip.fingerprint, cores=tuple(cores), scalars=(scalar,)
        )

    def run(self, stage: Stage, rows: int, *, seed: int | None = None) -> None:
        self.machine.run(self.program(stage), {"rows": rows}, seed=seed)

    # -- tensors ---------------------------------------------------------------------------

    def put_weight(self, name: str, w: F32) -> tuple[Blocks, np.float32]:
        """Store a matrix as the image does; its blocks, and its factor."""
        p = self.layout.placement(name)
        fmt = self.recipe.of("weights")
        factor = tensor_scale(w, fmt) if p.factor else np.float32(1)
        blocks = quantise(w / factor, fmt, self.recipe.mode)
        elements, scales = to_bytes(blocks)
        self._put(p.address, p.pitch_bytes, elements)
        self._put(p.scale_address, p.scale_pitch_bytes, scales)
        if p.factor:
            at = self.layout.placement(p.factor).address
            self.machine.hbm[at : at + 4] = np.array([factor], np.float32).view(np.uint8)
        return blocks, factor

    def put_activations(self, codes: Codes, x: F32) -> Blocks:
        blocks = quantise(x, codes.format, self.recipe.mode)
        elements, scales = to_bytes(blocks)
        self._put(codes.address, codes.pitch, elements)
        self._put(codes.scale_address, codes.scale_pitch, scales)
        return blocks

    def residual(self, rows: int) -> F32:
        """Rows of the residual, a view."""
        hidden, at = self.architecture.hidden, self.layout.residual
        return self.machine.hbm[at : at + 4 * rows * hidden].view(np.float32).reshape(rows, hidden)

    def codes(self, codes: Codes, columns: int, rows: int) -> tuple[NDArray[np.uint8], ...]:
        """The bytes of elements and of scales of a buffer."""
        row, scale = codes.format.row_bytes(columns), codes.format.scale_row_bytes(columns)
        return (
            self._get(codes.address, codes.pitch, rows, row),
            self._get(codes.scale_address, codes.scale_pitch, rows, scale),
        )

    def _put(self, start: int, pitch: int, rows: NDArray[np.uint8]) -> None:
        for i, row in enumerate(rows):
            self.machine.hbm[start + i * pitch : start + i * pitch + row.size] = row

    def _get(self, start: int, pitch: int, rows: int, size: int) -> NDArray[np.uint8]:
        out = np.zeros((rows, size), np.uint8)
        for i in range(rows):
            out[i] = self.machine.hbm[start + i * pitch : start + i * pitch + size]
        return out
