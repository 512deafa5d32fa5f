"""Compiled simulation of a component: its ports, its clock, and beats through its streams."""

import ctypes
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import verilated
from .component import Component

U8 = NDArray[np.uint8]

STREAMS = verilated.Bench(main="harness.cpp", shared=True)
VIOLATIONS = {
    1: "dropped a beat that was not taken",
    2: "changed a payload that was not taken",
    4: "sent more beats than it should",
    8: "has a ready that follows its own valid or payload",
    16: "has a valid or payload that follows its own ready",
}


class _Stream(ctypes.Structure):
    """`Stream` of harness.cpp."""

    _fields_ = [
        ("valid", ctypes.c_int32),
        ("ready", ctypes.c_int32),
        ("payload", ctypes.c_int32),
        ("is_source", ctypes.c_int32),
        ("beats", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("stamps", ctypes.c_void_p),
        ("gates", ctypes.c_void_p),
        ("gate_count", ctypes.c_int64),
        ("done", ctypes.c_int64),
        ("violations", ctypes.c_int64),
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What happened while beats passed through a component."""

    beats: dict[str, U8]
    """By sink: the beats received, [count, bytes]."""
    cycle_of: dict[str, NDArray[np.int64]]
    """By stream: the cycle in which each beat passed."""
    cycles: int
    violations: tuple[str, ...]
    """What broke the stream protocol, in words; a missing beat is one of them."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A component compiled into a shared library."""

    library: Path
    ports: dict[str, int]
    """Width of each port in bits, in the order of the library's port numbers."""
    traced: bool

    def start(self, *, seed: int = 1, trace: Path | None = None) -> "Model":
        """Return a fresh model; registers hold random values until `reset`."""
        return Model(self, seed=seed, trace=trace)


def build(component: Component, *, trace: bool = False) -> Build:
    """Compile a component, or find it in the cache.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    path = verilated.library(component, STREAMS, trace=trace)
    return Build(library=path, ports=verilated.port_widths(component), traced=trace)


class Model:
    """A running component: ports by name, clock ticks, and beats through its streams."""

    def __init__(self, build: Build, *, seed: int = 1, trace: Path | None = None) -> None:
        self.ports = build.ports
        self._number = {name: i for i, name in enumerate(build.ports)}
        self._model: int | None = None
        self._library = _load(build.library)
        self._model = self._library.model_new(seed)
        if trace is not None:
            assert build.traced, "only a build with `trace` writes waves"
            assert self._library.model_trace(self._model, str(trace).encode()), f"no {trace}"
        self.reset()

    def close(self) -> None:
        """Free the model and finish its waveform."""
        if self._model is not None:
            self._library.model_delete(self._model)
        self._model = None

    def __del__(self) -> None:
        self.close()

    def set(self, port: str, value: int) -> None:
        """Drive an input from now on."""
        self._bytes(port)[:] = np.frombuffer(
            value.to_bytes(-(-self.ports[port] // 8), "little"), np.uint8
        )
        self._library.model_eval(self._model)

    def get(self, port: str) -> int:
        """Value of a port, unsigned."""
        return int.from_bytes(self._bytes(port).tobytes(), "little")

    def tick(self, cycles: int = 1) -> None:
        """Let the clock rise `cycles` times."""
        self._library.model_tick(self._model, cycles)

    def reset(self) -> None:
        """Hold reset for two cycles; inputs become zero."""
        for port in self.streams:
            for end in ("valid", "ready", "payload"):
                self._bytes(f"{port}_{end}")[:] = 0
        self.set("rst", 1)
        self.tick(2)
        self.set("rst", 0)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams among the ports."""
        names = (port.removesuffix("_payload") for port in self.ports if port.endswith("_payload"))
        return tuple(n for n in names if {f"{n}_valid", f"{n}_ready"} <= self.ports.keys())

    def run(
        self,
        sources: dict[str, U8],
        sinks: dict[str, int],
        *,
        gates: dict[str, U8] | None = None,
        probe: bool = False,
        max_cycles: int | None = None,
        drain_cycles: int = 100,
    ) -> Run:
        """Send beats [count, bytes] to the sources and take as many as `sinks` says.

        `gates` holds, per stream, in which cycles (repeated) a transfer may begin; missing ones
        are always open. `probe` also changes valid, ready and payloads inside every cycle, to
        find combinational dependencies that the protocol forbids.
        """
        streams = _Streams(self, sources, sinks, gates or {})
        longest = max([*map(len, sources.values()), *sinks.values()], default=0)
        limit = max_cycles if max_cycles is not None else 1000 + 100 * longest
        cycles = self._library.model_run(
            self._model, streams.table, len(streams.table), limit, drain_cycles, probe
        )
        return streams.finish(cycles)

    def _bytes(self, port: str) -> U8:
        address = self._library.model_port(self._model, self._number[port])
        count = -(-self.ports[port] // 8)
        return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


class _Streams:
    """Tables of a run in the form that harness.cpp reads."""

    def __init__(
        self, model: Model, sources: dict[str, U8], sinks: dict[str, int], gates: dict[str, U8]
    ) -> None:
        self.names = [*sources, *sinks]
        self.sinks = sinks
        self.kept: dict[str, tuple[U8, NDArray[np.int64], U8]] = {}
        self.table = (_Stream * len(self.names))()
        for row, name in zip(self.table, self.names, strict=True):
            width = -(-model.ports[f"{name}_payload"] // 8)
            if name in sources:
                beats = np.ascontiguousarray(sources[name], np.uint8)
                assert beats.shape[1:] == (width,), f"beats of {name} have {width} bytes"
            else:
                beats = np.zeros((sinks[name], width), np.uint8)
            stamps = np.zeros(len(beats), np.int64)
            gate = np.ascontiguousarray(gates.get(name, np.ones(1)), np.uint8)
            self.kept[name] = beats, stamps, gate
            numbers = (model._number[f"{name}_{end}"] for end in ("valid", "ready", "payload"))
            row.valid, row.ready, row.payload = numbers
            row.is_source, row.count, row.gate_count = name in sources, len(beats), len(gate)
            row.beats, row.stamps, row.gates = (each.ctypes.data for each in self.kept[name])

    def finish(self, cycles: int) -> Run:
        violations: list[str] = []
        for row, name in zip(self.table, self.names, strict=True):
            words = (text for bit, text in VIOLATIONS.items() if row.violations & bit)
            violations += [f"{name} {text}" for text in words]
            if row.done < row.count:
                violations.append(f"{name} passed {row.done} of {row.count} beats")
        return Run(
            beats={name: self.kept[name][0] for name in self.sinks},
            cycle_of={name: self.kept[name][1] for name in self.names},
            cycles=cycles,
            violations=tuple(violations),
        )


def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    library.model_new.restype = ctypes.c_void_p
    library.model_new.argtypes = [ctypes.c_int32]
    library.model_port.restype = ctypes.c_void_p
    library.model_port.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.model_delete.argtypes = library.model_eval.argtypes = [ctypes.c_void_p]
    library.model_tick.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.model_trace.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.model_run.restype = ctypes.c_int64
    library.model_run.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int32),
    ]
    return library
