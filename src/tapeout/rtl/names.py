"""Names in Verilog for the nets of a module."""

import re
from collections import Counter

from .netlist import Signal, Wire

KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
always and assign automatic before begin bit break buf byte case cell chandle checker class
clocking config const constraint context continue cover cross default design disable dist do
edge else end endcase endmodule enum event expect export extends extern final first_match for
force foreach forever fork function generate genvar global if iff ifnone import initial inout
input inside instance int integer interface intersect join large let library local logic longint
macromodule matches medium modport module nand negedge new nexttime nor not null or output
package packed parameter posedge primitive priority process program property protected pull0
pull1 pure rand randc real realtime ref reg release repeat restrict return scalared sequence
shortint signed small solve specify static string strong strong0 strong1 struct super supply0
supply1 table tagged task then this throughout time timeprecision timeunit tri type typedef
union unique unsigned until untyped use var vectored virtual void wait wand weak while wildcard
wire with within wor xnor xor
""",
    )
)


class Names:
    """The name of each wire: its own, or for a wire without one what it was called here.

    `used`: the wires whose names were asked for, in that order. A wire that nobody reads is
    called unused.
    """

    def __init__(self, wires: dict[str, Wire], reads: Counter[str]) -> None:
        self.used: dict[str, str] = {}
        self._reads, self._wires = reads, wires
        self._taken = {name[1:] for name in wires if name[0] == "\\"} | KEYWORDS
        self._called: dict[str, str] = {}

    def __getitem__(self, wire: str) -> str:
        if wire not in self.used:
            self.used[wire] = self._new(wire)
        return self.used[wire]

    def call(self, wire: str, hint: str) -> None:
        """What a wire without a name may be called; the first hint counts."""
        self._called.setdefault(wire, hint)

    def hint(self, signal: Signal, like: Signal, suffix: str) -> None:
        """Call a wire without a name after another one."""
        if len(signal) == len(like) == 1 and signal[0].wire[:1] == "$" and like[0].wire[0] == "\\":
            self.call(signal[0].wire, like[0].wire[1:] + suffix)

    def fresh(self, hint: str) -> str:
        """A name that is not taken."""
        name, number = hint, 1
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._taken.add(name)
        return name

    def instance(self, name: str) -> str:
        """The name of an instance or memory."""
        return self.fresh(name[1:] if name[0] == "\\" else "part")

    def _new(self, wire: str) -> str:
        private = wire[0] == "$"
        name = self._called.get(wire, "value") if private else wire[1:]
        if not self._wires[wire].direction:
            if not self._reads[wire]:
                return self.fresh(f"unused_{name}")
            if private or name in KEYWORDS or name[0].isdigit():
                return self.fresh(f"n{name}" if name[0].isdigit() else name)
        return escaped(name)


def escaped(name: str) -> str:
    """The name of a port, which cannot be another one."""
    return f"\\{name} " if name in KEYWORDS else name
