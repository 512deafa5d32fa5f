"""A gated part stands still while it is not enabled, and costs nothing then."""

import numpy as np
import pytest
from amaranth.hdl import Signal
from amaranth.lib.wiring import In, Out

from rtl.components import started
from tapeout.rtl.component import Component
from tapeout.rtl.gate import ClockGate, gated
from tapeout.rtl.verilog import to_verilog


class Chain(Component):
    """A register on the way: adds one."""

    def __init__(self):
        super().__init__({"before": In(16), "after": Out(16)}, name="chain_of_one")

    def build(self, m):
        m.d.sync += self.after.eq(self.before + 1)


class Mixed(Component):
    """Registers with and without a gate, one after the other; and a gate within a gate."""

    def __init__(self):
        ports = {"enable": In(1), "inner_enable": In(1), "before": In(16)}
        outs = ("first", "second", "third", "inner")
        super().__init__({**ports, **{name: Out(16) for name in outs}}, name="mixed")

    def build(self, m):
        second, outer = Chain(), Nested()
        gated(m, "second_part", second, self.enable)
        gated(m, "outer", outer, self.enable)
        m.d.sync += [self.first.eq(self.before), self.third.eq(self.second)]
        m.d.comb += [
            second.before.eq(self.first),
            self.second.eq(second.after),
            outer.enable.eq(self.inner_enable),
            outer.before.eq(self.second),
            self.inner.eq(outer.after),
        ]


class Nested(Component):
    """A part with a gate of its own."""

    def __init__(self):
        super().__init__({"enable": In(1), "before": In(16), "after": Out(16)}, name="nested")

    def build(self, m):
        inner = Chain()
        gated(m, "inner", inner, self.enable)
        m.d.comb += [inner.before.eq(self.before), self.after.eq(inner.after)]


class Counter(Component):
    """Counts cycles."""

    def __init__(self):
        super().__init__({"count": Out(16)}, name="counter")

    def build(self, m):
        m.d.sync += self.count.eq(self.count + 1)


class GatedCounter(Component):
    """Counts enabled cycles; `by_register` also enables it, right after the clock's edge."""

    def __init__(self):
        super().__init__(
            {"enable": In(1), "by_register": In(1), "count": Out(16)}, name="gated_counter"
        )

    def build(self, m):
        late, counter = Signal(), Counter()
        m.d.sync += late.eq(self.by_register)
        gated(m, "part", counter, self.enable | late)
        m.d.comb += self.count.eq(counter.count)


def test_a_gated_counter_counts_enabled_cycles():
    model = started(GatedCounter())
    rng = np.random.default_rng(1)
    count, late = 0, 0
    assert model.get("count") == 0
    for enable, by_register in rng.integers(0, 2, (500, 2)).tolist():
        model.set("enable", 1 - enable)  # changes while the clock is low do no harm
        model.set("enable", enable)
        model.set("by_register", by_register)
        model.tick()
        count += enable | late
        late = by_register
        assert model.get("count") == count


def test_a_gated_part_is_reset_whatever_enable_is():
    model = started(GatedCounter())
    model.set("enable", 1)
    model.tick(5)
    model.set("enable", 0)
    model.reset()
    assert model.get("count") == 0


def test_registers_of_different_clocks_see_what_was_before_the_edge():
    model = started(Mixed())
    rng = np.random.default_rng(2)
    now = dict.fromkeys(("first", "second", "third", "inner"), 0)
    for i, (enable, inner) in enumerate(rng.integers(0, 2, (500, 2)).tolist()):
        model.set("before", i)
        model.set("enable", enable)
        model.set("inner_enable", inner)
        model.tick()
        was, now = now, dict(now)
        now |= {"first": i, "third": was["second"]}
        if enable:
            now["second"] = was["first"] + 1
        if enable and inner:
            now["inner"] = was["second"] + 1
        assert {name: model.get(name) for name in now} == now


def test_the_cell_is_written_once():
    text = to_verilog(Mixed())
    assert text.count("module clock_gate(") == 1
    assert text.count("always_latch") == 1
    assert "module chain_of_one (" in text


def test_a_cell_has_no_logic():
    with pytest.raises(TypeError, match="clock_gate has no logic"):
        ClockGate().elaborate(None)


def test_a_cell_alone_is_its_text():
    assert to_verilog(ClockGate()).strip() == ClockGate().text.strip()
