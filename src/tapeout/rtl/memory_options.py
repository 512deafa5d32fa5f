"""How the memory behind a simulated chip behaves: as fast as it may be, or as badly."""

import ctypes
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

RATE_CYCLES = 1024
"""Rates are in beats per so many cycles."""

STALL_CHANCES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Accesses that touch these addresses are answered with an error."""

    start: int
    end: int
    reads: bool = True
    writes: bool = True


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """Latency, bandwidth and bad behaviour of the memory; all within what AXI4 allows.

    Rates are in beats per RATE_CYCLES cycles, 0 for no limit: those of reads and of writes for each
    core, `total_rate` for all together. Spreads are added to latencies at random.
    """

    read_latency_cycles: int = 8
    read_spread_cycles: int = 0
    write_latency_cycles: int = 4
    write_spread_cycles: int = 0
    read_rate: int = 0
    write_rate: int = 0
    total_rate: int = 0
    stall_chance: int = 0
    """Of STALL_CHANCES, in each cycle and channel."""
    stall_cycles: int = 8
    """The longest stall."""
    reorder: bool = False
    """Answers of different IDs come in any order."""
    interleave: bool = False
    """Beats of reads with different IDs mix."""
    early_reads: bool = False
    """Some reads see memory as it was when their address was taken."""
    late_writes: bool = False
    """Some writes take effect only when they are answered."""
    data_first: bool = False
    """The data of a write may come before its address."""
    await_data: bool = False
    """No write address is taken before its data are offered."""
    max_reads: int = 64
    max_writes: int = 64
    fail_read: int = 0
    """This read is answered with an error, counted from 1; 0: none."""
    fail_write: int = 0
    faults: tuple[Fault, ...] = ()

    @classmethod
    def random(cls, seed: int) -> "MemoryOptions":
        """Any legal behaviour without errors."""
        rng = np.random.default_rng([seed, 0xA11])

        def sometimes(values: list[int]) -> int:
            return int(rng.choice(values))

        return cls(
            read_latency_cycles=sometimes([1, 2, 8, 40, 120]),
            read_spread_cycles=sometimes([0, 3, 60]),
            write_latency_cycles=sometimes([1, 2, 8, 60]),
            write_spread_cycles=sometimes([0, 3, 60]),
            read_rate=sometimes([0, 0, 100, 700]),
            write_rate=sometimes([0, 0, 100, 700]),
            total_rate=sometimes([0, 0, 300, 900]),
            stall_chance=sometimes([0, 500, 5000, 20000]),
            stall_cycles=sometimes([1, 4, 30]),
            reorder=bool(rng.integers(2)),
            interleave=bool(rng.integers(2)),
            early_reads=bool(rng.integers(2)),
            late_writes=bool(rng.integers(2)),
            max_reads=sometimes([1, 2, 5, 64]),
            max_writes=sometimes([1, 2, 5, 64]),
        )


class _Options(ctypes.Structure):
    """`Options` of axi_memory.cpp."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("seed", "read_latency", "read_spread", "write_latency", "write_spread"),
            *("read_rate", "write_rate", "total_rate", "stall_chance", "stall_cycles"),
            *("reorder", "interleave", "early_reads", "late_writes", "data_first", "await_data"),
            *("max_reads", "max_writes", "fail_read", "fail_write"),
        )
    ]


def options_struct(options: MemoryOptions, seed: int) -> Any:
    """The options as the simulation reads them.

    Raises:
        ValueError: if a number is negative, or no transaction could ever pass.
    """
    values = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "faults"}
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must be at least 0, not {value}")
    for name in ("max_reads", "max_writes", "read_latency_cycles", "write_latency_cycles"):
        if values[name] < 1:
            raise ValueError(f"{name} must be at least 1, not {values[name]}")
    if not values["stall_chance"] < STALL_CHANCES:
        raise ValueError(f"stall_chance must be below {STALL_CHANCES}")
    names = {name for name, _ in _Options._fields_}
    short = {
        name if name in names else name.removesuffix("_cycles"): int(value)
        for name, value in values.items()
    }
    return _Options(seed=seed, **short)
