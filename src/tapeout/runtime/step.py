"""One step of a program file: tokens of one new sequence in, logits out."""

import hashlib
from dataclasses import dataclass

import numpy as np

from tapeout.chip import Chip
from tapeout.compiler import recipe_named, write_image
from tapeout.errors import CapacityError, EncodingError
from tapeout.isa.program import Program, Region
from tapeout.model import Model
from tapeout.runtime.device import F32
from tapeout.runtime.machines import AnyMachine, Place, open_machine

FP32_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Logits [tokens, outputs] of a step, and how many instructions it executed."""

    logits: F32
    instructions: int

    @property
    def sha256(self) -> str:
        """Digest of the logits' bits."""
        return hashlib.sha256(self.logits.tobytes()).hexdigest()


def run_step(
    program: Program,
    chip: Chip,
    model: Model,
    tokens: list[int],
    *,
    order_seed: int | None = None,
    place: Place = "sim",
) -> StepResult:
    """Run a `prefill` program once on a fresh machine, with the tokens at positions 0, 1, ...

    Raises:
        CapacityError: if there are no tokens, or more than the program takes.
        EncodingError: if the program is no decoder step.
        TrapError: if the program is for another chip.
    """
    rows = next((s.high for s in program.scalars if s.name == "rows"), 0)
    if program.name != "prefill":
        raise EncodingError(f"the program must be a prefill program, not {program.name}")
    if not 1 <= len(tokens) <= rows:
        raise CapacityError(f"the program takes 1..{rows} tokens at once, not {len(tokens)}")
    vocabulary = model.architecture.vocab_size
    if not all(0 <= token < vocabulary for token in tokens):
        raise CapacityError(f"tokens must be in 0..{vocabulary - 1}")
    machine = open_machine(place, chip, max(region.end for region in program.regions))
    write_image(machine.hbm, program, recipe_named(str(program.notes.get("format", ""))), model)
    count = len(tokens)
    _write(machine, _region(program, "tokens"), np.array(tokens))
    _write(machine, _region(program, "positions"), np.arange(count))
    _write(machine, _region(program, "table numbers"), np.zeros(1, np.int64))
    pages = next(table.high + 1 for table in program.tables if table.name == "tables")
    _write(machine, _region(program, "tables"), np.arange(pages))
    scalars = {"rows": count, "outputs": count, "samples": 0}
    statistics = machine.run(program, scalars, seed=order_seed)
    logits = _region(program, "logits")
    outputs = model.architecture.outputs
    pitch = -(-FP32_BYTES * outputs // 16) * 16
    used = machine.hbm[logits.address : logits.address + pitch * count]
    values = used.view(np.float32).reshape(count, -1)[:, :outputs].copy()
    return StepResult(logits=values, instructions=statistics.instructions)


def _region(program: Program, name: str) -> Region:
    for region in program.regions:
        if region.name == name:
            return region
    raise EncodingError(f"the program must have a region called {name}", where=program.name)


def _write(machine: AnyMachine, region: Region, values: np.typing.NDArray[np.integer]) -> None:
    data = values.astype(np.uint32).view(np.uint8)
    machine.hbm[region.address : region.address + data.size] = data
