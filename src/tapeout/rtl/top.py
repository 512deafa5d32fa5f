"""The chip: its cores, and the registers through which a host runs them."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out, connect, flipped

from tapeout.chip import Chip

from .axi_lite import axi4_lite
from .component import Component
from .control import Control
from .core import TRACE, Core
from .sizes import core_sizes

RESET_CYCLES = 4
"""So long reset must be held, at least."""


class Top(Component):
    """A whole chip: one module, with an AXI4 master for each core and one AXI4-Lite slave.

    Parameters
    ----------
    chip : Chip
        What it is generated from.

    Members
    -------
    memory0, memory1, ... : Out(axi4), for each core
    trace0, trace1, ... : Out(TRACE), for each core
    control : In(axi4_lite)
    interrupt_request : Out(1)
    """

    def __init__(self, chip: Chip):
        self.cores = [Core(core_sizes(chip)) for _ in range(chip.cores)]
        self.control_block = Control(cores=chip.cores, fingerprint=chip.fingerprint)
        self.chip = chip
        first = self.cores[0]
        numbers = range(chip.cores)
        ports = {
            **{f"memory{i}": Out(first.memory.signature) for i in numbers},
            **{f"trace{i}": Out(TRACE) for i in numbers},
            "control": In(axi4_lite(address_bits=self.control_block.address_bits)),
            "interrupt_request": Out(1),
        }
        super().__init__(ports, name=f"tapeout_{chip.name}")

    def build(self, m: Module) -> None:
        """Cores side by side; a barrier ends when all of them have come to it."""
        m.submodules.control_block = control = self.control_block
        connect(m, flipped(self.control), control.host)
        m.d.comb += self.interrupt_request.eq(control.interrupt_request)
        resume = Signal()
        m.d.sync += resume.eq(Cat(core.at_barrier for core in self.cores).all() & ~resume)
        for number, core in enumerate(self.cores):
            m.submodules[f"core{number}"] = core
            connect(m, flipped(getattr(self, f"memory{number}")), core.memory)
            connect(m, flipped(getattr(self, f"trace{number}")), core.trace)
            connect(m, control.cores[number], core.control)
            m.d.comb += core.resume.eq(resume)
