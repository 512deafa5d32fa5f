"""Proofs without bound: a component never breaks what its assertions say.

Assertions and assumptions are Amaranth's `Assert` and `Assume`, usually in a component around the
one that is to be proved. Yosys makes an and-inverter graph of it, ABC's `pdr` proves or refutes.
"""

import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from tapeout.errors import ToolMissingError

from .component import Component, port_name
from .verilog import run_yosys, to_rtlil

# Registers begin with anything; the first cycle is a reset, in which nothing need hold.
PASSES = (
    "read_rtlil in.il; read_verilog -sv cells.sv; read_verilog -formal -sv proof.sv; "
    "hierarchy -check -top proof; proc; flatten; setattr -unset init w:*; memory_map; opt; "
    "chformal -lower; chformal -skip 1; async2sync; dffunmap; opt -nodffe -nosdff; "
    "setundef -undriven -anyseq; delete -output; opt_clean; techmap; opt -fast -nodffe -nosdff; "
    "aigmap; opt_clean; write_aiger -I -B -zinit -ywmap map.json proof.aig"
)
ALL = "read_aiger proof.aig; fold; orpos; scorr; write_aiger left.aig; pdr -T {limit}"
ONE = "read_aiger proof.aig; fold; scorr; pdr -T {limit}; write_cex -n cex.txt"
CHECK = re.compile(
    r'(?P<head>^ *cell \$check )(?P<cell>\S+)(?P<format>\n *parameter \\FORMAT )"(?P<text>.+)"$',
    re.MULTILINE,
)
FAILED = re.compile(r"^Output (\d+) of .* was asserted in frame", re.MULTILINE)
PROVED = "Property proved"
VALUE = re.compile(r"^(pi|lo)(\d+)@(\d+)=([01])", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """That the assertions of a component hold in every cycle, whatever its inputs are."""

    assertions: tuple[str, ...]
    registers: int
    """Bits of state that they depend on, before anything was simplified."""
    elapsed_s: float


class RefutedError(Exception):
    """An assertion that does not hold, and the inputs of each cycle that lead there."""

    def __init__(self, assertion: str, trace: list[dict[str, int]]) -> None:
        rows = (
            f"  {cycle}: {' '.join(f'{name}={value:#x}' for name, value in inputs.items())}"
            for cycle, inputs in enumerate(trace)
        )
        super().__init__("\n".join([f"{assertion} fails in the last of these cycles:", *rows]))
        self.assertion, self.trace = assertion, trace


class UndecidedError(Exception):
    """Neither a proof nor a counterexample was found in the given time."""


def prove(component: Component, *, limit_s: int = 60) -> Proof:
    """Prove all assertions of a component, from reset on, for all inputs that are assumed.

    Raises:
        RefutedError: if one of them does not hold.
        UndecidedError: if that is not known after `limit_s` seconds.
        ToolMissingError: if there is no ABC.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(component, folder)
        run_yosys(PASSES, folder)
        places = json.loads((folder / "map.json").read_text(encoding="utf-8"))
        assertions = tuple(_name(path[-1]) for path in places["asserts"])
        said = _ask(ALL.format(limit=limit_s), folder)
        if FAILED.search(said):  # one of them, and now which
            said = _ask(ONE.format(limit=limit_s), folder)
        if failed := FAILED.search(said):
            cex = (folder / "cex.txt").read_text(encoding="utf-8")
            raise RefutedError(assertions[int(failed[1])], _trace(places["inputs"], cex))
        solved = PROVED in said or _nothing_left(folder / "left.aig")
    if not solved:
        raise UndecidedError(f"not decided in {limit_s} s:\n{said}")
    return Proof(
        assertions=assertions,
        registers=places["latch_count"],
        elapsed_s=time.monotonic() - begun,
    )


def _ask(script: str, folder: Path) -> str:
    """What ABC says."""
    done = subprocess.run(
        [str(_abc()), "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def _nothing_left(aiger: Path) -> bool:
    """Whether simplification alone has shown that the only output is always 0."""
    lines = aiger.read_bytes().split(b"\n")
    _, _, latches, outputs, _ = (int(word) for word in lines[0].split()[1:6])
    return outputs == 1 and lines[1 + latches] == b"0"


def _write(component: Component, folder: Path) -> None:
    """The component, its cells, and around it a reset in the first cycle; all inputs are free."""
    modules, cells = to_rtlil(component)
    text = CHECK.sub(_named, "\n".join(modules))
    (folder / "in.il").write_text(text, encoding="utf-8")
    (folder / "cells.sv").write_text("\n".join(cell.text for cell in cells), encoding="utf-8")
    inputs = {
        port_name(path): Shape.cast(member.shape).width
        for path, member, _ in component.signature.flatten(component)
        if member.flow == In
    }
    declared = "".join(f", input [{width - 1}:0] {name}" for name, width in inputs.items() if width)
    ports = "".join(f", .{name}({name})" for name, width in inputs.items() if width)
    (folder / "proof.sv").write_text(
        f"module proof(input clk{declared});\n"
        f"  {component.module_name} it(.clk(clk), .rst($initstate){ports});\nendmodule\n",
        encoding="utf-8",
    )


def _named(check: re.Match[str]) -> str:
    """An assertion's message becomes the name of its cell, which is still there at the end."""
    plain = re.sub(r"\W+", "_", check["text"])
    return f'{check["head"]}\\{plain}{check["format"]}""'


def _name(cell: str) -> str:
    return cell.removeprefix("\\").replace("_", " ")


def _trace(inputs: list[dict[str, Any]], cex: str) -> list[dict[str, int]]:
    """By cycle: the value of each input."""
    names = {entry["input"]: (entry["path"][-1][1:], entry["offset"]) for entry in inputs}
    trace: list[dict[str, int]] = []
    for kind, number, cycle, value in VALUE.findall(cex):
        name, offset = names.get(int(number), ("clk", 0))
        if kind != "pi" or name == "clk":
            continue
        while len(trace) <= int(cycle):
            trace.append({})
        row = trace[int(cycle)]
        row[name] = row.get(name, 0) | int(value) << offset
    return trace


def _abc() -> Path:
    """ABC, which comes with Yosys.

    Raises:
        ToolMissingError: if it does not.
    """
    found = find_spec("pyosys")
    path = Path(found.origin).with_name("yosys-abc") if found and found.origin else None
    if path is None or not path.exists():
        raise ToolMissingError("proofs need Yosys with ABC", hint="pip install 'tapeout[rtl]'")
    return path
