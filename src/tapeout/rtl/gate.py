"""Clock gates: the clock of a part stands still while the part has nothing to do."""

from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib.wiring import In, Out

from .cell import Cell
from .component import Component

TEXT = """\
module clock_gate(clk, rst, enable, gated);
  input clk;
  input rst;
  input enable;
  output gated;
  reg open;
  always_latch
    if (!clk) open = enable | rst;
  assign gated = clk & open;
endmodule
"""


class ClockGate(Cell):
    """A clock that rises only after cycles in which it is enabled, and in reset.

    A latch takes `enable` while the clock is low; so it may change at any time before the clock
    rises, and whatever it does while the clock is high makes no glitch.

    Members
    -------
    enable : In(1)
    gated : Out(1), the clock
    """

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "gated": Out(1)}, name="clock_gate", text=TEXT)


def gated(m: Module, name: str, component: Component, enable: Any) -> None:
    """Add a component whose registers keep their values in cycles in which `enable` is 0.

    It becomes the submodule `name`, in a clock domain of that name. Its outputs that follow its
    inputs do so always.
    """
    m.submodules[name] = gated_domain(m, name, enable)(component)


def gated_domain(m: Module, name: str, enable: Any) -> DomainRenamer:
    """Add a clock domain that stands still while `enable` is 0; what puts components into it."""
    gate = ClockGate()
    m.domains += ClockDomain(name, local=True)
    m.submodules[f"{name}_gate"] = gate
    m.d.comb += [
        gate.enable.eq(enable),
        ClockSignal(name).eq(gate.gated),
        ResetSignal(name).eq(ResetSignal()),
    ]
    return DomainRenamer(name)
