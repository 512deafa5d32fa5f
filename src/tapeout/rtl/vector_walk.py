"""Nested loops over tiles: which chunk comes next, and how much of it counts."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component

LEVELS = 4
UPPER = 2  # the level of the upper loop
COUNT_BITS = 18  # of what a loop counts: elements of a row, and one block more


def plan_layout(address_bits: int) -> data.StructLayout:
    """What a walk does: level 0 is the innermost loop.

    A loop counts `total` down by `unit` until no more than that is left, and adds `stride` to the
    address.
    """
    level = data.StructLayout({"total": COUNT_BITS, "unit": COUNT_BITS, "stride": address_bits})
    return data.StructLayout({"start": address_bits, "levels": data.ArrayLayout(level, LEVELS)})


class Walk(Component):
    """Four nested loops with an address.

    `load` begins a walk in the next cycle, `step` goes on; `active` is 0 after the last step.

    Latency 1 cycle; throughput 1 step per cycle; never stalls.

    Parameters
    ----------
    address_bits : int
        Bits of the address; it wraps.

    Members
    -------
    load : In(1); plan : In(plan_layout(address_bits)); step : In(1)
    active : Out(1); address : Out(address_bits)
    left : Out(array of LEVELS counts), of each loop with the current turn
    length : Out(array of LEVELS counts), of each loop what this turn counts: its unit or less
    last : Out(LEVELS), loops that are in their last turn
    """

    def __init__(self, *, address_bits: int):
        self.bits = address_bits
        ports = {
            "load": In(1),
            "plan": In(plan_layout(address_bits)),
            "step": In(1),
            "active": Out(1),
            "address": Out(address_bits),
            "left": Out(data.ArrayLayout(COUNT_BITS, LEVELS)),
            "length": Out(data.ArrayLayout(COUNT_BITS, LEVELS)),
            "last": Out(LEVELS),
        }
        super().__init__(ports, name=f"vector_walk_{address_bits}")

    def build(self, m: Module) -> None:
        """One adder for the address: of the innermost loop that is not in its last turn."""
        plan = Signal(self.plan.shape(), reset_less=True)
        left = [Signal(COUNT_BITS, name=f"left{i}", reset_less=True) for i in range(LEVELS)]
        base = [Signal(self.bits, name=f"base{i}", reset_less=True) for i in range(LEVELS)]
        under = [
            Signal(COUNT_BITS + 1, name=f"under{i}") for i in range(LEVELS)
        ]  # left after a turn
        for i in range(LEVELS):
            m.d.comb += under[i].eq(left[i] - plan.levels[i].unit)
            m.d.comb += self.last[i].eq(under[i][-1] | (under[i] == 0))
            m.d.comb += self.left[i].eq(left[i])
            m.d.comb += self.length[i].eq(Mux(self.last[i], left[i], plan.levels[i].unit))
        m.d.comb += self.address.eq(base[0])
        turned = Signal(range(LEVELS))  # the loop that goes on; those inside it start again
        for i in reversed(range(LEVELS)):
            with m.If(~self.last[i]):
                m.d.comb += turned.eq(i)
        following = Signal(self.bits)
        m.d.comb += following.eq(
            Array(base)[turned] + Array(plan.levels[i].stride for i in range(LEVELS))[turned]
        )
        with m.If(self.load):
            m.d.sync += [plan.eq(self.plan), self.active.eq(1)]
            m.d.sync += [left[i].eq(self.plan.levels[i].total) for i in range(LEVELS)]
            m.d.sync += [base[i].eq(self.plan.start) for i in range(LEVELS)]
        with m.Elif(self.step):
            m.d.sync += self.active.eq(~self.last.all())
            for i in range(LEVELS):
                with m.If(turned == i):
                    m.d.sync += left[i].eq(under[i])
                if i < LEVELS - 1:
                    with m.Elif(turned > i):
                        m.d.sync += left[i].eq(plan.levels[i].total)
                with m.If(turned >= i if i else 1):
                    m.d.sync += base[i].eq(following)
