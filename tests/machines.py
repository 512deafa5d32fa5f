"""Chips and programs made by hand, for the tests of what runs them."""

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from tapeout.chip import Chip, load_chip
from tapeout.isa import End, Instruction, Operation, Program, Queue, Scalar, Take

ROOT = Path(__file__).parents[1]


def chip_named(name: str) -> Chip:
    """A chip of `chips/`."""
    return load_chip(ROOT / "chips" / f"{name}.toml")


def chip_with_cores(cores: int) -> Chip:
    """A small chip with so many cores."""
    return replace(chip_named("nano"), cores=cores)


@st.composite
def chips(draw: st.DrawFn) -> Chip:
    """A chip of any legal shape; many are too small for a model."""
    rows, columns = 1 << draw(st.integers(0, 4)), 1 << draw(st.integers(2, 4))
    base = chip_named("nano")
    least = max(32, rows * columns).bit_length() - 1
    accumulators = 1 << draw(st.integers(least, 12))
    banks = 1 << draw(st.integers(2, 4))
    l1_bytes = 64 * banks * draw(st.integers(16 * 1024 // (64 * banks), 131072 // (64 * banks)))
    return replace(
        base,
        name="random",
        cores=draw(st.integers(1, 5)),
        matrix=replace(base.matrix, rows=rows, columns=columns, accumulators=accumulators),
        vector=replace(base.vector, lanes=1 << draw(st.integers(2, 5))),
        core=replace(
            base.core,
            l1_banks=banks,
            l1_bytes=l1_bytes,
            scale_bytes=256 * draw(st.integers(8, 128)),
            queue_depth=draw(st.integers(2, 64)),
        ),
    )


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
