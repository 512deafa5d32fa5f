"""Large modules that a simulation compiles once, however often a chip instantiates them.

Verilator copies every module into its parent, so that a chip is as much C++ as it has gates. It
merges the code of the instances of a module that stays by itself, but only where nothing of their
surroundings has come into it: so their ports are public, and what numbers its temporaries across
the whole chip is off.
"""

import re
from collections import Counter

FLAGS = ("-fno-dfg", "-fno-table")
LEAST_COPIED = 20_000
"""Characters of Verilog that copies of a module would add: fewer make the simulation faster, for a
module that stays by itself computes its ports in every cycle, whoever reads them."""

MODULE = re.compile(r"^module (\w+)\b.*?^endmodule", re.MULTILINE | re.DOTALL)
INSTANCE = re.compile(r"^ +(\w+) \w+ \($", re.MULTILINE)
PORT = re.compile(r"^ +(?:input|output)(?: reg)?(?: \[[\d:]+\])? \\?(\w+) ?[,;]?$", re.MULTILINE)
OWN_PART = re.compile(r"assign (\w+)\[[^;]*= [^;]*\b\1\[")


def options(text: str) -> str:
    """Verilator's configuration for a Verilog text, whose last module is the top.

    Empty if no module is worth it; then `FLAGS` only hinder.
    """
    modules = {found[1]: found[0] for found in MODULE.finditer(text)}
    rows: list[str] = []
    for name, count in _instances(modules).items():
        module = modules[name]
        if (count - 1) * len(module) >= LEAST_COPIED:
            ports = set(PORT.findall(module)) - {"clk", "rst"}
            rows.append(f'no_inline -module "{name}"')
            rows += [f'public_flat_rd -module "{name}" -var "{p}"' for p in sorted(ports)]
    if not rows:
        return ""
    for name, module in modules.items():
        # Else a signal with parts that follow other parts counts as a loop.
        rows += [f'split_var -module "{name}" -var "{v}"' for v in OWN_PART.findall(module)]
    return "".join(f"{row}\n" for row in ("`verilator_config", *rows))


def _instances(modules: dict[str, str]) -> Counter[str]:
    """How often each module is there."""
    inside = {
        name: [kind for kind in INSTANCE.findall(text) if kind in modules]
        for name, text in modules.items()
    }
    counts: Counter[str] = Counter()
    *_, top = modules
    counts[top] = 1
    for name in reversed(modules):  # leaves come first in the text
        for kind in inside[name]:
            counts[kind] += counts[name]
    return counts
