"""How busy the core's RTL keeps its matrix unit and its memory: from its performance counters.

    python benchmarks/rtl_core.py [chips/nano.toml ...]

Runs parts of programs as the compiler emits them, and steps of models/draft, on a chip's RTL with a
memory as fast as the chip file says. What each run leaves in memory is compared with the simulator,
byte by byte. The first run of a chip compiles its RTL, which takes minutes.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rtl_idle import idle_cycles
from rtl_pieces import Piece, attending, product

from tapeout.chip import Chip, load_chip
from tapeout.compiler import build, recipe_named
from tapeout.isa.program import Program
from tapeout.model import Model, load_model
from tapeout.perf import Workload, decode_step, platform_of, prefill_step, step_time
from tapeout.rtl.machine import RtlMachine, RunStatistics
from tapeout.rtl.memory_options import RATE_CYCLES, MemoryOptions
from tapeout.rtl.sizes import core_sizes
from tapeout.runtime import Device, Row
from tapeout.sim import Machine

ROOT = Path(__file__).parents[1]
LATENCY_CYCLES = 120
READS = 128  # under way at once: a beat for each cycle of the latency
DOT = 32  # multiply-adds of a cell in a cycle
PADDED = ("queries scales", "keys scales", "values scales")
"""Written in whole granules: with what lay behind a scale on the core."""

ANCHORS = """\
Beside it, shares of the peak that others report (`shared/research/hardware-anchors.md`):
  matrix unit: RedMulE 98.8 % (31.6 of 32 MAC/cycle), O-POPE 99.97 % (arXiv 2606.02333),
  Tenstorrent 96 % (Blackhole, hand-tuned, GEMM_FLOPS.md)
  memory: Tenstorrent 92 % (micro-benchmark), 83-90 % (Llama-70B decode); FlashDecode ~70 %"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run on the RTL that left the simulator's bits; idle: as of `idle_cycles`."""

    statistics: RunStatistics
    idle: dict[str, int]

    def share(self, counter: str) -> float:
        """A counter's part of all cycles."""
        return self.statistics.counters[counter] / self.statistics.cycles


def memory_options(chip: Chip) -> MemoryOptions:
    """A memory with the chip file's bandwidth and its efficiency, reads and writes together."""
    bus = core_sizes(chip).bus_bytes
    share = chip.hbm.bytes_per_s * chip.hbm.efficiency / (bus * chip.clock_hz * chip.cores)
    return MemoryOptions(
        read_latency_cycles=LATENCY_CYCLES,
        write_latency_cycles=LATENCY_CYCLES,
        total_rate=int(min(1, share) * RATE_CYCLES),
        max_reads=READS,
    )


def bytes_per_cycle(chip: Chip) -> float:
    """What `memory_options` let pass at most."""
    return core_sizes(chip).bus_bytes * memory_options(chip).total_rate / RATE_CYCLES


class Recorder:
    """A machine that keeps the statistics of its last run, in the place of another."""

    def __init__(self, machine: RtlMachine):
        self.machine = machine
        self.last: Result | None = None

    @property
    def hbm(self) -> NDArray[np.uint8]:
        """The machine's."""
        return self.machine.hbm

    def run(
        self, program: Program, scalars: dict[str, int], *, seed: int | None = None
    ) -> RunStatistics:
        """Run on the machine."""
        assert seed is None
        statistics = self.machine.run(program, scalars)
        events = self.machine.simulation.events()
        self.last = Result(statistics=statistics, idle=idle_cycles(program, events))
        return statistics


def run_piece(chip: Chip, piece: Piece) -> Result:
    """Run a piece on a fresh chip.

    Raises:
        AssertionError: if the simulator leaves other bytes in memory.
    """
    machine = RtlMachine(chip, piece.memory.size, options=memory_options(chip))
    expected = Machine(chip, piece.memory.size)
    machine.hbm[:] = expected.hbm[:] = piece.memory
    recorder = Recorder(machine)
    recorder.run(piece.program, piece.scalars)
    expected.run(piece.program, piece.scalars)
    assert np.array_equal(machine.hbm, expected.hbm), f"{piece.name}: RTL and simulator differ"
    assert recorder.last is not None
    return recorder.last


# ---- parts of programs -----------------------------------------------------------------------


def pieces(chip: Chip) -> Iterator[Piece]:
    """Products of prefill and of decode, and attention, that every chip can run."""
    for recipe in ("mxfp8_e4m3", "int8", "mxfp4"):
        yield product(chip, recipe, m=512, n=512, k=512)
    for recipe in ("mxfp8_e4m3", "mxfp4"):
        for m in (1, 4, 8):
            for n in (1024, 4096):  # begin and end weigh less in the larger one
                yield product(chip, recipe, m=m, n=n, k=512)
    yield attending(chip, "mxfp8_e4m3", rows=1, context=2048, decode=True)
    yield attending(chip, "mxfp8_e4m3", rows=16, context=2048, decode=False)


def print_piece(chip: Chip, piece: Piece, result: Result) -> None:
    """Print a line of the table."""
    cycles = result.statistics.cycles
    array = DOT * chip.matrix.rows * chip.matrix.columns
    stream = piece.stream_bytes / bytes_per_cycle(chip)
    print(
        f"{piece.name:32} {cycles:8} {result.share('MU_BUSY'):8.1%}"
        f" {piece.macs / array / cycles:8.1%} {_beats(chip, result):8.1%}"
        f" {stream / cycles:8.1%}  {_idle(result)}"
    )


def _beats(chip: Chip, result: Result) -> float:
    """Beats that passed, of those that could have."""
    counters, bus = result.statistics.counters, core_sizes(chip).bus_bytes
    moved = (counters["READ_BEATS"] + counters["WRITE_BEATS"]) * bus
    return moved / result.statistics.cycles / bytes_per_cycle(chip)


def _idle(result: Result) -> str:
    cycles = result.statistics.cycles
    return " ".join(f"{name} {count / cycles:5.1%}" for name, count in result.idle.items())


# ---- whole steps -----------------------------------------------------------------------------


def steps(chip: Chip, model: Model, recipe: str) -> Iterator[tuple[str, Result, float]]:
    """A prefill step and decode steps of a model: name, result, seconds by the closed form."""
    for batch in (1, 4):
        built = build(
            model.architecture, recipe_named(recipe), chip, sequences=batch, context_tokens=256
        )
        device, expected = Device(model, built, place="rtl"), Device(model, built)
        assert isinstance(device.machine, RtlMachine)
        device.machine.fresh(memory_options(chip))
        device.machine = recorder = Recorder(device.machine)
        tokens = [(7 * i) % 251 for i in range(built.chunk_tokens)]
        work = Workload(
            name="step", prompt_tokens=len(tokens), output_tokens=2, batch=batch, weights=recipe,
            activations=recipe, kv=recipe, utilisation=1.0,
        )  # fmt: skip
        platform = platform_of(chip)
        rows: list[Row] = []
        for number in range(batch):
            for one in (device, expected):
                sequence = one.open()
                one.prefill(sequence, tokens)
            rows.append(Row(sequence=sequence, token=65))
            _compare(device, expected)
            if number == 0 and batch == 1:
                time_s = step_time(platform, prefill_step(model.architecture, work)).total_s.mid
                assert recorder.last is not None
                yield f"{recipe} prefill of {len(tokens)}", recorder.last, time_s
        for one in (device, expected):
            one.decode(rows)
        _compare(device, expected)
        time_s = step_time(platform, decode_step(model.architecture, work)).total_s.mid
        assert recorder.last is not None
        yield f"{recipe} decode of {batch}", recorder.last, time_s


def _compare(one: Device, other: Device) -> None:
    for region in one.build.layout.regions:
        span = slice(region.address, region.end)
        equal = np.array_equal(one.machine.hbm[span], other.machine.hbm[span])
        assert equal or region.name in PADDED, f"{region.name}: RTL and simulator differ"


def print_step(chip: Chip, name: str, result: Result, time_s: float) -> None:
    """Print a line of the second table."""
    cycles, closed = result.statistics.cycles, time_s * chip.clock_hz
    print(
        f"{name:32} {cycles:8} {result.share('MU_BUSY'):8.1%} {_beats(chip, result):8.1%}"
        f" {closed:8.0f} {cycles / closed:7.2f}x  {_idle(result)}"
    )


def main(paths: list[str]) -> None:
    """Print both tables for each chip."""
    model = load_model(ROOT / "models/draft")
    for path in paths:
        chip = load_chip(Path(path))
        print(
            f"{chip.name}: {chip.matrix.rows} x {chip.matrix.columns} cells; memory of"
            f" {core_sizes(chip).bus_bytes} bytes a cycle x {memory_options(chip).total_rate}"
            f"/{RATE_CYCLES} (efficiency {chip.hbm.efficiency}), latency {LATENCY_CYCLES} cycles,"
            f" {READS} reads at once"
        )
        print(f"{'':32}   cycles  MU busy     MACs   memory   stream  MU idle for")
        for piece in pieces(chip):
            print_piece(chip, piece, run_piece(chip, piece))
        print(f"{'models/draft':32}   cycles  MU busy   memory   closed    ratio  MU idle for")
        for name, result, time_s in steps(chip, model, "mxfp8_e4m3"):
            print_step(chip, name, result, time_s)
    print(ANCHORS)


if __name__ == "__main__":
    main(sys.argv[1:] or [str(ROOT / "chips" / f"{name}.toml") for name in ("small", "nano")])
