"""Components to readable Verilog: each module once, cleaned by Yosys, written by `writer`.

Amaranth writes next-state processes and a new module for every instance; Yosys' `proc` and
`opt_dff` turn them into registers with enables and resets, which also simulate two to four times
faster. Cells, whose text is written by hand, pass by Yosys.
"""

import gc
import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Shape, Value
from amaranth.lib.wiring import In

from .cell import Cell
from .component import Component, Emitter, port_name
from .large_modules import allow_large_modules
from .memory_list import ListedMemory, instances, list_memories
from .netlist import read_rtlil
from .sram import Sram
from .writer import to_text

RUN = """
import sys
from pyosys import libyosys
libyosys.run_pass(sys.argv[1], libyosys.Design())
"""
CLEAN = (
    "read_rtlil in.il; hierarchy -check -top {top}; proc; setattr -unset init w:*; opt -fast; "
    "wreduce; opt_dff; opt_clean -purge; memory_collect; check -assert; "
    "write_rtlil out.il"
)

NAME = re.compile(r'\\[^\s"\\]+')  # a public name of RTLIL, also inside a string
FAR = 1 << 20  # a number of a port behind all others


@dataclass(frozen=True, kw_only=True)
class Design:
    """A component and everything that it instantiates, leaves first."""

    modules: dict[str, str]
    """The SystemVerilog of each."""
    memories: tuple[ListedMemory, ...]
    instances: dict[str, int]
    """How often each module is there."""


def to_verilog(top: Component) -> str:
    """The SystemVerilog of a component and of everything that it instantiates, leaves first."""
    return "\n".join(_design(top, headers={}).modules.values())


def to_design(top: Component, progress: Callable[[str], None] = lambda _: None) -> Design:
    """The same by module, each under a comment that says what it is, and what is in it.

    `progress` is told each module when it is begun.
    """
    return _design(top, headers=None, progress=progress)


def to_rtlil(top: Component) -> tuple[list[str], list[Cell]]:
    """Yosys' form of a component and of everything that it instantiates, and the cells among it."""
    components, texts = _components(top)
    return list(texts.values()), [each for each in components if isinstance(each, Cell)]


def _design(
    top: Component,
    headers: dict[str, str] | None,
    progress: Callable[[str], None] = lambda _: None,
) -> Design:
    components, texts = _components(top, progress)
    cells = {each.module_name: each for each in components if isinstance(each, Cell)}
    rtlil = "\n".join([*texts.values(), *(_blackbox(cell) for cell in cells.values())])
    if headers is None:
        headers = {each.module_name: inspect.getdoc(each) or "" for each in components}
    written = {name: cell.text for name, cell in cells.items()}
    netlists = read_rtlil(_clean(rtlil, top.module_name))
    srams = {name: cell for name, cell in cells.items() if isinstance(cell, Sram)}
    return Design(
        modules=to_text(netlists, top.module_name, headers, written),
        memories=list_memories(netlists, top.module_name, srams),
        instances=instances(netlists, top.module_name),
    )


def _components(
    top: Component, progress: Callable[[str], None] = lambda _: None
) -> tuple[list[Component], dict[str, str]]:
    """A component and all that it instantiates, and Yosys' form of those that have logic."""
    waiting, seen = [top], {top.module_name}
    found: list[Component] = []
    texts: dict[str, str] = {}
    while waiting:
        component = waiting.pop()
        found.append(component)
        if isinstance(component, Cell):
            continue
        progress(component.module_name)
        texts[component.module_name], children = _rtlil(component)
        waiting += [child for name, child in children.items() if name not in seen]
        seen |= children.keys()
    return found, texts


def _blackbox(cell: Cell) -> str:
    """A cell as Yosys sees it: ports and nothing else."""
    ports = [("clk", 1, "input"), ("rst", 1, "input")]
    for path, member, _ in cell.signature.flatten(cell):
        direction = "input" if member.flow == In else "output"
        ports.append((port_name(path), Shape.cast(member.shape).width, direction))
    wires = (
        f"  wire width {width} {direction} {number} \\{name}\n"
        for number, (name, width, direction) in enumerate(ports, 1)
    )
    return f"attribute \\blackbox 1\nmodule \\{cell.module_name}\n{''.join(wires)}end\n"


def _rtlil(component: Component) -> tuple[str, dict[str, Component]]:
    """The component alone, and what it instantiates."""
    allow_large_modules()
    emitter = Emitter(component)
    ports = {
        port_name(path): (Value.cast(value), None)
        for path, _, value in component.signature.flatten(component)
    }
    with _uncollected():
        text = rtlil.convert(
            component, name=component.module_name, platform=emitter, ports=ports, emit_src=False
        )
    return _plain(_clocked(text)), emitter.instantiated


@contextmanager
def _uncollected() -> Iterator[None]:
    """Amaranth makes millions of small objects, of which none is garbage before its end."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _clocked(text: str) -> str:
    """Give the module a clock and a reset, as every instance has, also if it has no register."""
    start = re.search(r"^module .*\n", text, re.MULTILINE)
    assert start is not None, "no module"
    missing = [
        name for name in ("clk", "rst") if not re.search(rf"^  wire .*\\{name}$", text, re.M)
    ]
    wires = (f"  wire input {FAR + i} \\{name}\n" for i, name in enumerate(missing))
    return text[: start.end()] + "".join(wires) + text[start.end() :]


def _plain(text: str) -> str:
    """Rename what Amaranth calls `sum$12` or `row.c0`, so that Verilog needs no escapes."""
    taken = set(NAME.findall(text))
    plain: dict[str, str] = {}
    for name in sorted(name for name in taken if re.search(r"\W", name[1:])):
        new = "\\" + re.sub(r"\W+", "_", name[1:]).strip("_")
        while new in taken:
            new += "_"
        taken.add(new)
        plain[name] = new
    return NAME.sub(lambda found: plain.get(found[0], found[0]), text)


def _clean(text: str, top: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.il").write_text(text, encoding="utf-8")
        run_yosys(CLEAN.format(top=top), Path(folder))
        return Path(folder, "out.il").read_text(encoding="utf-8")


def run_yosys(passes: str, folder: Path) -> None:
    """Run passes of Yosys in a folder.

    In a process of its own: the library loads its symbols globally and prints to stdout.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, passes],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Yosys refused the RTL:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
