"""Chips and programs made by hand, for the tests of what runs them."""

from dataclasses import replace
from pathlib import Path

from tapeout.chip import Chip, load_chip
from tapeout.isa import End, Instruction, Operation, Program, Queue, Scalar, Take

ROOT = Path(__file__).parents[1]


def chip_named(name: str) -> Chip:
    """A chip of `chips/`."""
    return load_chip(ROOT / "chips" / f"{name}.toml")


def chip_with_cores(cores: int) -> Chip:
    """A small chip with so many cores."""
    return replace(chip_named("nano"), cores=cores)


def send(op: Operation, *waits: Take, signal: int = -1, queue: Queue | None = None) -> Instruction:
    """An instruction in its operation's queue, or in `queue`."""
    where = queue if queue is not None else op.queue
    assert where is not None
    return Instruction(op=op, queue=where, waits=waits, signal=signal)


def program_of(
    chip: Chip, *cores: tuple[Instruction, ...], scalars: tuple[Scalar, ...] = ()
) -> Program:
    """A program with End behind each core's instructions."""
    return Program(
        name="test",
        chip=chip.fingerprint,
        cores=tuple((*code, send(End())) for code in cores),
        scalars=scalars,
    )
