"""The chip description: one immutable tree of numbers, read from one TOML file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tapeout import config

K0 = 32
"""Lanes of a dot-product unit: the elements of one block (8-bit formats; 4-bit ones run twice)."""

L1_BANK_BYTES = 64
"""Width of a bank of L1."""

SCALE_LINE_BYTES = 256
"""Width of all banks of the scale memory."""

Count = Annotated[int, Meta(gt=0, le=1 << 20)]
Bytes = Annotated[int, Meta(gt=0)]
Rate = Annotated[float, Meta(gt=0)]


def _power_of_two(name: str, value: int) -> None:
    if value & (value - 1):
        raise ValueError(f"{name} must be a power of two, not {value}")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value}")


def _multiple(name: str, value: int, of: int) -> None:
    if value % of:
        raise ValueError(f"{name} must be a multiple of {of}, not {value}")


@dataclass(frozen=True, kw_only=True)
class MatrixUnit:
    """`rows` x `columns` dot-product units of 32 lanes, and two banks of FP32 accumulators."""

    rows: Count
    columns: Count
    accumulators: Count
    """FP32 entries of one accumulator bank: the largest M x N of one matrix instruction."""

    def __post_init__(self) -> None:
        _power_of_two("matrix.rows", self.rows)
        _power_of_two("matrix.columns", self.columns)
        _power_of_two("matrix.accumulators", self.accumulators)
        _within("matrix.rows", self.rows, 1, 64)
        # Four FP32 numbers fill a granule; rows of results are at least 32 numbers apart.
        _within("matrix.columns", self.columns, 4, 32)
        _within(
            "matrix.accumulators", self.accumulators, max(32, self.rows * self.columns), 1 << 17
        )

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-adds of 8-bit operands per cycle; 4-bit pairs run at twice this rate."""
        return self.rows * self.columns * K0


@dataclass(frozen=True, kw_only=True)
class VectorUnit:
    """FP32 lanes for element-wise work, reductions, softmax, norms and the quantiser."""

    lanes: Count

    def __post_init__(self) -> None:
        _power_of_two("vector.lanes", self.lanes)
        _within("vector.lanes", self.lanes, 4, 512)


@dataclass(frozen=True, kw_only=True)
class Local:
    """Memories of one core: the L1 scratchpad and the memory for block scales."""

    l1_bytes: Bytes
    l1_banks: Count
    scale_bytes: Bytes
    queue_depth: Annotated[int, Meta(ge=2, le=64)] = 16
    """Instructions that the command processor may send ahead to one queue."""

    def __post_init__(self) -> None:
        _power_of_two("core.l1_banks", self.l1_banks)
        _multiple("core.l1_bytes", self.l1_bytes, L1_BANK_BYTES * self.l1_banks)
        _multiple("core.scale_bytes", self.scale_bytes, SCALE_LINE_BYTES)
        _within("core.l1_banks", self.l1_banks, 4, 1 << 10)
        if self.l1_bytes > 1 << 24:
            raise ValueError(f"core.l1_bytes must be at most 16 MiB, not {self.l1_bytes}")
        if self.scale_bytes > 1 << 19:
            raise ValueError(f"core.scale_bytes must be at most 512 KiB, not {self.scale_bytes}")


@dataclass(frozen=True, kw_only=True)
class SharedSram:
    """Memory on the die that all cores share; ranges of it can be pinned."""

    capacity_bytes: Bytes
    bytes_per_s: Rate


@dataclass(frozen=True, kw_only=True)
class Hbm:
    """Memory outside the die (for the small instances, an AXI memory of the same shape)."""

    generation: Literal["AXI", "HBM3E", "HBM4"]
    stacks: Annotated[int, Meta(ge=0, le=16)]
    capacity_bytes: Bytes
    bytes_per_s: Rate
    efficiency: Annotated[float, Meta(gt=0, le=1)]
    """Share of `bytes_per_s` that long bursts reach."""

    def __post_init__(self) -> None:
        if (self.stacks == 0) != (self.generation == "AXI"):
            raise ValueError("hbm.stacks must be 0 for an AXI memory and at least 1 for HBM")
        if self.capacity_bytes > 1 << 40:
            raise ValueError(f"hbm.capacity_bytes must be at most 1 TiB, not {self.capacity_bytes}")


@dataclass(frozen=True, kw_only=True)
class Process:
    """Where and how the chip is made; names of figures in `tapeout.facts`."""

    node: Literal["N5", "N3", "N2", "SF2"]
    power_w: Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A complete accelerator. Equal chips generate byte-identical RTL and programs."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
    clock_hz: Rate
    cores: Annotated[int, Meta(ge=1, le=64)]
    matrix: MatrixUnit
    vector: VectorUnit
    core: Local
    l2: SharedSram
    hbm: Hbm
    process: Process

    def __post_init__(self) -> None:
        most = self.core.l1_banks * L1_BANK_BYTES // 8
        if self.vector.lanes > most:
            raise ValueError(
                f"vector.lanes must be at most {most}, half the width of {self.core.l1_banks} banks"
                f" of L1, not {self.vector.lanes}"
            )

    @property
    def macs_per_s(self) -> float:
        """Peak multiply-adds per second of 8-bit operands, all cores."""
        return self.cores * self.matrix.macs_per_cycle * self.clock_hz

    @property
    def ops8_per_s(self) -> float:
        """Peak operations per second of 8-bit formats; one multiply-add counts as two."""
        return 2 * self.macs_per_s

    @property
    def ops4_per_s(self) -> float:
        """Peak operations per second when both operands have 4 bits."""
        return 2 * self.ops8_per_s

    @property
    def achieved_bytes_per_s(self) -> float:
        """Memory bandwidth that long bursts reach."""
        return self.hbm.bytes_per_s * self.hbm.efficiency

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that a program carries, so that it runs on no other chip."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]


def load_chip(path: Path) -> Chip:
    """Read and check a chip file; raises `ConfigError`."""
    return config.load(path, Chip)
