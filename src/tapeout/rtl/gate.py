"""Clocks that stand still while a part has nothing to do."""

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
    """`gated` is `clk` in cycles whose `enable`, or reset, is 1 before the clock rises; else 0.

    Members
    -------
    enable : In(1), settled before the clock rises
    gated : Out(1)
    """

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "gated": Out(1)}, name="clock_gate", text=TEXT)


def gated(m: Module, name: str, component: Component, enable: Any) -> None:
    """Add `component` as a submodule whose clock runs in cycles in which `enable` is 1.

    The component's outputs stay as they are in the others; `enable` must be 1 when anything that it
    should notice happens.
    """
    domain = f"{name}_clock"
    gate = ClockGate()
    m.submodules[f"{name}_gate"] = gate
    m.domains += ClockDomain(domain, local=True)
    m.d.comb += [
        gate.enable.eq(enable),
        ClockSignal(domain).eq(gate.gated),
        ResetSignal(domain).eq(ResetSignal()),
    ]
    m.submodules[name] = DomainRenamer(domain)(component)
