"""Runs a build's programs step by step, with every choice that a host has left to the test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from machines import ROOT
from tapeout.compiler import Build, write_image
from tapeout.isa import Program
from tapeout.model import Model, load_model
from tapeout.sim import Machine

F32 = NDArray[np.float32]
CHECKPOINTS = sorted((ROOT / "tests" / "checkpoints").iterdir())
COMPILED = [path for path in CHECKPOINTS if path.name != "llama-odd"]  # its heads are no chip's


def checkpoint(name: str) -> tuple[Model, list[int]]:
    """A test checkpoint, and the tokens whose logits are known."""
    directory = ROOT / "tests" / "checkpoints" / name
    ids = load_file(directory / "expected.safetensors")["ids"].tolist()
    return load_model(directory, context_tokens=len(ids)), ids


def shipped(name: str) -> Model:
    """A model of `models/`."""
    return load_model(Path(ROOT / "models" / name))


class Driver:
    """A chip with a model's programs, its pages dealt out in the order `pages`."""

    def __init__(
        self,
        model: Model,
        build: Build,
        *,
        seed: int | None = None,
        pages: Sequence[int] | None = None,
    ):
        self.build, self.seed = build, seed
        self.machine = Machine(build.chip, build.layout.end)
        write_image(self.machine.hbm, build.layout, build.recipe, model)
        sizes, layout = build.sizes, build.layout
        dealt = list(range(sizes.pages)) if pages is None else list(pages)
        each = sizes.pages_per_sequence
        for sequence in range(sizes.sequences):
            at = layout.tables + 4 * layout.table_entries * sequence
            self._write(at, dealt[sequence * each : (sequence + 1) * each])

    def prefill(self, sequence: int, tokens: Sequence[int], *, chunk: int, start: int = 0) -> F32:
        """Logits after each token, the tokens read `chunk` at a time."""
        out: list[F32] = []
        for at in range(0, len(tokens), chunk):
            part = tokens[at : at + chunk]
            positions = range(start + at, start + at + len(part))
            out.append(self.step(self.build.prefill, part, positions, [sequence]))
        return np.concatenate(out)

    def decode(self, rows: Sequence[tuple[int, int, int]]) -> F32:
        """Logits of a step with a row (sequence, token, position) for each sequence."""
        sequences, tokens, positions = zip(*rows, strict=True)
        return self.step(self.build.decode, tokens, positions, sequences)

    def step(
        self,
        program: Program,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        *,
        outputs: int | None = None,
    ) -> F32:
        """Run one step; the logits of its last `outputs` rows."""
        layout = self.build.layout
        outputs = len(tokens) if outputs is None else outputs
        self._write(layout.tokens, tokens)
        self._write(layout.positions, positions)
        self._write(layout.table_numbers, sequences)
        scalars = {"rows": len(tokens), "outputs": outputs, "samples": 0}
        self.machine.run(program, scalars, seed=self.seed)
        if self.seed is not None:
            self.seed += 1
        columns = self.build.architecture.outputs
        pitch = -(-columns // 4) * 4
        size = 4 * pitch * outputs
        data = self.machine.hbm[layout.logits : layout.logits + size].view(np.float32)
        return data.reshape(outputs, pitch)[:, :columns].copy()

    def _write(self, address: int, values: Sequence[int]) -> None:
        data = np.asarray(values, np.uint32).view(np.uint8)
        self.machine.hbm[address : address + data.size] = data
