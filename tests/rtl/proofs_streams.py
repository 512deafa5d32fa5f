"""What the surroundings of components are assumed to do besides the rules of streams."""

from amaranth.hdl import Assume, Signal

from tapeout.rtl.stream_rules import StreamChecker

MOST = 14  # reads that wait for their data


class Surrounded(StreamChecker):
    """A component whose surroundings are those that its docstring asks for.

    `surroundings(m, component)` adds what is assumed.
    """

    def __init__(self, component, surroundings):
        super().__init__(component)
        self.surroundings = surroundings

    def build(self, m):
        super().build(m)
        self.surroundings(m, self.proved)


def answers(m, name, request, given):
    """Data come only after their requests: assumed."""
    owed = Signal(range(MOST + 2), name=f"{name}_owed")
    m.d.sync += owed.eq(owed + (request.valid & request.ready) - given)
    m.d.comb += [Assume(~given | (owed != 0)), Assume(owed <= MOST)]
    return owed


def scalar_load(m, load):
    """It starts when nothing is under way; one beat for each request."""
    busy = Signal()
    answers(m, "memory", load.memory.request, load.memory.data.valid)
    m.d.sync += busy.eq(load.start | (busy & ~load.done))
    m.d.comb += Assume(~load.start | ~busy)


SURROUNDINGS = {"ScalarLoad": scalar_load}
"""By the names of classes; others need nothing."""
