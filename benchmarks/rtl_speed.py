"""How fast a chip's RTL is simulated: python benchmarks/rtl_speed.py [nano small ...]

For each chip the processor time to make its simulation, or `kept` when it is in the cache, the
thousands of cycles per second of processor time while nothing runs, while a tile is loaded, while
products are computed, and in decode steps of the shipped draft model; each also in parts of the
rate at which nothing runs. A decode step is of one row or of four, in two recipes: `tokens/s` are
the tokens of all its rows together per second of processor time, Python's share included.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tapeout.chip import Chip, load_chip
from tapeout.compiler import build, recipe_named
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import End, Instruction, LoadTile, Loop, Matmul, Set
from tapeout.isa.program import Program
from tapeout.model import load_model
from tapeout.rtl.chip_build import chip_build
from tapeout.rtl.machine import RtlMachine
from tapeout.rtl.simulation import Stop
from tapeout.runtime import Device, Row

ROOT = Path(__file__).parents[1]
RECIPES, BATCHES = ("mxfp8_e4m3", "mxfp4"), (1, 4)
CONTEXT_TOKENS, STEPS = 64, 3
IDLE_CYCLES = 200_000
HBM_BYTES = 1 << 20
ROUNDS = 40  # of an instruction that repeats
LOAD = LoadTile(
    space=0, dst=0, dst_pitch=512, src=0, src_reg=0, src_pitch=512, rows=32, rows_reg=0,
    row_bytes=512,
)  # fmt: skip


def matmul(rows: int) -> Matmul:
    """A product of `rows` rows, 64 columns and K of 512, in MXFP8."""
    return Matmul(
        a=0, a_pitch=512, a_scale=0, a_scale_pitch=16, a_format=1, b=0, b_pitch=512, b_scale=0,
        b_scale_pitch=16, b_format=1, acc=0, m=rows, m_reg=0, n=64, k_blocks=16, accumulate=0,
        transpose=0,
    )  # fmt: skip


def cpu_s(run: Callable[[], object]) -> float:
    """Seconds of processor time, those of finished child processes included."""
    start = os.times()
    run()
    end = os.times()
    return sum(end[:4]) - sum(start[:4])


def repeated(chip: Chip, op: LoadTile | Matmul) -> Program:
    """A program that does the same again and again."""
    code = (
        (Set(rd=1, imm=ROUNDS), Queue.CP),
        (Loop(count=1, length=1), Queue.CP),
        (op, op.queue),
        (End(), Queue.CP),
    )
    core = tuple(Instruction(op=each, queue=queue, waits=(), signal=-1) for each, queue in code)
    return Program(name="speed", chip=chip.fingerprint, cores=(core,), scalars=())


def rate(machine: RtlMachine, run: Callable[[], object]) -> float:
    """Thousands of cycles per second of processor time."""
    before = machine.simulation.cycle
    seconds = cpu_s(run)
    return (machine.simulation.cycle - before) / seconds / 1e3


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Steps of the shipped draft model, each of which reads one token of each of some sequences."""

    cycles: int
    seconds: float
    rows: int

    def __str__(self) -> str:
        step = self.cycles / STEPS
        tokens_per_s = STEPS * self.rows / self.seconds
        return f"{step:12,.0f} {step / self.rows:13,.0f} {tokens_per_s:9.2f}"


def decode(chip: Chip, recipe: str, *, rows: int) -> Decode:
    """A decode of `rows` sequences from the start of their context."""
    model = load_model(ROOT / "models/draft")
    built = build(
        model.architecture,
        recipe_named(recipe),
        chip,
        sequences=rows,
        context_tokens=CONTEXT_TOKENS,
    )
    device = Device(model, built, place="rtl")
    assert isinstance(device.machine, RtlMachine)
    batch = [Row(sequence=device.open(), token=65) for _ in range(rows)]

    def steps() -> None:
        for _ in range(STEPS):
            device.decode(batch)

    before = device.machine.simulation.cycle
    seconds = cpu_s(steps)
    cycles = device.machine.simulation.cycle - before
    return Decode(cycles=cycles, seconds=seconds, rows=rows)


def main(names: list[str]) -> None:
    """Print a table for each chip."""
    for name in names:
        chip = load_chip(ROOT / "chips" / f"{name}.toml")
        seconds = cpu_s(lambda chip=chip: chip_build(chip))
        made = f"{seconds:.0f} s of processor time to make" if seconds > 1 else "kept"
        machine = RtlMachine(chip, HBM_BYTES)
        idle = rate(machine, lambda m=machine: m.simulation.run(IDLE_CYCLES, until=Stop(0)))
        print(f"{name}: {made}\n  while          kHz  of idle\n  idle      {idle:8.1f}     1.00")
        rows = chip.matrix.rows
        for what, op in (
            ("load", LOAD),
            ("1 row", matmul(1)),
            (f"{rows} rows", matmul(rows)),
        ):
            program = repeated(chip, op)
            khz = rate(machine, lambda m=machine, p=program: m.run(p, {}))
            print(f"  {what:8}  {khz:8.1f} {khz / idle:8.2f}")
        print("  decode              kHz  of idle  cycles/step  cycles/token  tokens/s")
        for recipe, batch in product(RECIPES, BATCHES):
            found = decode(chip, recipe, rows=batch)
            khz = found.cycles / found.seconds / 1e3
            print(f"  {recipe:10} x{batch} {khz:8.1f} {khz / idle:8.2f} {found}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["nano", "small"])
