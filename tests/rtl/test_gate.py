"""A gated clock stands still when it should, and only then."""

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from rtl.components import started
from tapeout.rtl.component import Component
from tapeout.rtl.gate import gated


class Count(Component):
    """Counts cycles; a long chain of adders makes a cycle cost something."""

    def __init__(self) -> None:
        super().__init__({"count": Out(16)}, name="gate_test_count")

    def build(self, m: Module) -> None:
        m.d.sync += self.count.eq(self.count + 1)


class Bench(Component):
    """A counter behind a gate."""

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "count": Out(16)}, name="gate_test_bench")

    def build(self, m: Module) -> None:
        counter = Count()
        gated(m, "counter", counter, self.enable)
        m.d.comb += self.count.eq(counter.count)


def test_it_counts_exactly_the_enabled_cycles():
    model, wanted = started(Bench()), 0
    pattern = [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0]
    for cycle in range(600):
        enable = pattern[cycle * 7 % len(pattern)] ^ (cycle % 5 == 0)
        model.set("enable", int(enable))
        model.tick()
        wanted += enable
        assert model.get("count") == wanted


def test_it_runs_in_reset():
    model = started(Bench())
    model.set("enable", 1)
    model.tick(9)
    model.set("enable", 0)
    model.reset()
    assert model.get("count") == 0
