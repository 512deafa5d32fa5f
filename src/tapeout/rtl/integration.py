"""The page for whoever puts a chip's Verilog into a system."""

from collections.abc import Iterable
from importlib.resources import files
from string import Template

from tapeout.chip import Chip
from tapeout.isa import Queue

from .axi import BUFFERABLE, UNPRIVILEGED
from .core import UNITS
from .ip_xact import port_list
from .memory_list import ListedMemory
from .ports import MEMORY_BITS
from .registers_map import (
    BLOCK_BYTES,
    CONTEXT_PAIRS,
    CONTEXTS,
    COUNTERS,
    ContextState,
    register,
)
from .sizes import CoreSizes, core_sizes
from .top import RESET_CYCLES, Top
from .traffic import WRITES_AHEAD, User, reach, read_users, write_users
from .trap import Trap
from .verilog import Design

QUEUES = ("cp", *UNITS)


def integration_guide(chip: Chip, top: Top, design: Design) -> str:
    """What must be connected, what the chip asks of its surroundings, how a host runs a program."""
    page = files("tapeout.rtl").joinpath("integration.md").read_text(encoding="utf-8")
    control_bits = top.control_block.address_bits
    return Template(page).substitute(
        **_bus(core_sizes(chip)),
        **_host(),
        name=top.module_name,
        chip=chip.name,
        fingerprint=chip.fingerprint,
        cores=chip.cores,
        s="s" * (chip.cores > 1),
        clock_ghz=f"{chip.clock_hz / 1e9:g}",
        reset_cycles=RESET_CYCLES,
        gates=design.instances["clock_gate"],
        l1_bytes=chip.core.l1_bytes,
        scale_bytes=chip.core.scale_bytes,
        acc_bytes=8 * chip.matrix.accumulators,
        control_bits=control_bits,
        control_bytes=1 << control_bits,
        block_bytes=BLOCK_BYTES,
        queues=", ".join(QUEUES),
        macros=_macros(design.memories),
        ports=_rows((f"`{name}`", way, width) for name, width, way in port_list(top)),
    )


def _bus(sizes: CoreSizes) -> dict[str, object]:
    """What the page says of the AXI4 master."""
    reads, writes = read_users(sizes), write_users(sizes)
    return {
        "address_bits": MEMORY_BITS,
        "bus_bits": sizes.bus_bits,
        "bus_bytes": sizes.bus_bytes,
        "size": sizes.bus_bytes.bit_length() - 1,
        "longest_beats": max(user.longest_beats for user in (*reads, *writes)),
        "burst_bytes": reach(sizes),
        "cache": f"{BUFFERABLE:04b}",
        "prot": f"{UNPRIVILEGED:03b}",
        "writes_ahead": WRITES_AHEAD,
        "reads": _users(reads),
        "writes": _users(writes),
    }


def _host() -> dict[str, object]:
    """What the page says of the registers."""
    trap, interrupts, counters = register("TRAP"), register("INTERRUPT_STATUS"), COUNTERS
    return {
        "contexts": CONTEXTS,
        "clear_cycles": CONTEXTS * CONTEXT_PAIRS,
        "states": ", ".join(f"{state.value} {state.name.lower()}" for state in ContextState),
        "interrupts": ", ".join(f"{b.low} `{b.name}`: {b.meaning}" for b in interrupts.fields),
        "trap_fields": _table(
            ("bits", "field", "meaning"),
            ((f"{b.low}..{b.low + b.bits - 1}", f"`{b.name}`", b.meaning) for b in trap.fields),
        ),
        "queue_numbers": ", ".join(f"{Queue[name.upper()].value} {name}" for name in QUEUES),
        "traps": _table(
            ("code", "name", "meaning"), ((t.value, f"`{t.name}`", t.meaning) for t in Trap)
        ),
        "counters": _table(
            ("offset", "name", "counts"),
            ((f"`{register(c.name).offset:#05x}`", f"`{c.name}`", c.meaning) for c in counters),
        ),
    }


def _users(users: tuple[User, ...]) -> str:
    return _table(
        ("ID", "who", "what", "longest burst, beats", "bursts at once"),
        (
            (i, f"`{u.name}`", u.what, u.longest_beats, u.outstanding or "as accepted")
            for i, u in enumerate(users)
        ),
    )


def _macros(memories: tuple[ListedMemory, ...]) -> str:
    """Every memory, the largest first."""
    head = (
        "module", "arrays", "lines", "bits", "parts written", "read, write ports", "read",
        "same line", "copies", "bits in all",
    )  # fmt: skip
    return _table(
        head,
        (
            (
                f"`{each.module}`",
                ", ".join(f"`{name}`" for name in each.arrays),
                each.lines,
                each.bits,
                each.parts,
                f"{each.reads}, {each.writes}",
                "clock" if each.clocked else "now",
                "new" if each.new_data else "old",
                each.copies,
                f"{each.all_bits:,}",
            )
            for each in memories
        ),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", _rows(rows)])


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
