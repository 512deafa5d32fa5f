"""The first trap of a core, and the watchdog."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import Queue

from .component import Component
from .sent import NUMBER_BITS, TRAPPED
from .trap import Trap

CYCLES_BITS = 32  # of the watchdog


class Halt(Component):
    """Keeps the first trap until reset.

    Latency 1 cycle; of several traps in one cycle the one of the lowest source is kept. The
    watchdog traps when nothing has moved for `watchdog_cycles` while `running`.

    Parameters
    ----------
    sources : int
        Parts that may trap.

    Members
    -------
    traps : In(TRAPPED), for each source, for one cycle
    running : In(1)
    moved : In(1)
    watchdog_cycles : In(CYCLES_BITS), 0: no watchdog
    number : In(NUMBER_BITS), the instruction that the command processor is at
    trap : Out(TRAPPED)
    halted : Out(1), there is a trap
    """

    def __init__(self, *, sources: int):
        ports = {
            "traps": In(TRAPPED).array(sources),
            "running": In(1),
            "moved": In(1),
            "watchdog_cycles": In(CYCLES_BITS),
            "number": In(NUMBER_BITS),
            "trap": Out(TRAPPED),
            "halted": Out(1),
        }
        super().__init__(ports, name=f"halt_{sources}")

    def build(self, m: Module) -> None:
        """A register that is written once."""
        still = Signal(CYCLES_BITS)  # cycles in which nothing moved
        expired = Signal()
        m.d.comb += expired.eq((self.watchdog_cycles != 0) & (still == self.watchdog_cycles))
        with m.If(self.moved | ~self.running):
            m.d.sync += still.eq(0)
        with m.Elif(~expired):
            m.d.sync += still.eq(still + 1)
        with m.If(~self.halted):
            with m.If(expired):
                m.d.sync += [
                    self.trap.code.eq(Trap.WATCHDOG),
                    self.trap.queue.eq(Queue.CP),
                    self.trap.number.eq(self.number),
                    self.halted.eq(1),
                ]
            for source in reversed(list(self.traps)):
                with m.If(source.code != 0):
                    m.d.sync += [self.trap.eq(source), self.halted.eq(1)]
