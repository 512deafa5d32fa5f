"""The open loops of a program, innermost last."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from .command import REGISTER_BITS
from .component import Component
from .fetch import TARGET_BITS

DEPTH = 8  # loops that may be open at a time

OPEN = data.StructLayout({"first": TARGET_BITS, "last": TARGET_BITS, "rounds": REGISTER_BITS - 1})
"""A loop: the numbers of its first and last instruction, and how many rounds are left."""


class Loops(Component):
    """A stack of DEPTH loops.

    Latency 1 cycle from `push`, `pop` or `round` to `top`, `any` and `full`; one of them per cycle.

    Members
    -------
    clear : In(1)
    push : In(1), with `pushed`; not while `full`
    pushed : In(OPEN)
    pop, round : In(1), closes the innermost loop, or takes one from its rounds; only if `any`
    top : Out(OPEN), the innermost loop
    any, full : Out(1)
    """

    def __init__(self) -> None:
        ports = {
            "clear": In(1),
            "push": In(1),
            "pushed": In(OPEN),
            "pop": In(1),
            "round": In(1),
            "top": Out(OPEN),
            "any": Out(1),
            "full": Out(1),
        }
        super().__init__(ports, name="loops")

    def build(self, m: Module) -> None:
        """The innermost loop in registers, those around it in a memory."""
        m.submodules.store = store = memory.Memory(shape=OPEN, depth=DEPTH, init=[])
        outer, saving = store.read_port(domain="comb"), store.write_port()
        level = Signal(range(DEPTH + 1))
        m.d.comb += [
            self.any.eq(level != 0),
            self.full.eq(level == DEPTH),
            outer.addr.eq(level - 2),
            saving.addr.eq(level - 1),
            saving.data.eq(self.top),
            saving.en.eq(self.push & self.any),
        ]
        with m.If(self.clear):
            m.d.sync += level.eq(0)
        with m.Elif(self.push):
            m.d.sync += [level.eq(level + 1), self.top.eq(self.pushed)]
        with m.Elif(self.pop):
            m.d.sync += [level.eq(level - 1), self.top.eq(outer.data)]
        with m.Elif(self.round):
            m.d.sync += self.top.rounds.eq(self.top.rounds - 1)
