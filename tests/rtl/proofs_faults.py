"""Components with a fault put in, which proofs must refute."""

import pytest
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from tapeout.rtl.component import Component


class Tampered(Component):
    """A component behind wires, some of which a fault drives otherwise.

    `fault(m, outer, inner)` adds statements after those that connect all ports.
    """

    def __init__(self, component, name, fault):
        super().__init__(dict(component.signature.members), name=f"{name}_{component.module_name}")
        self.component, self.fault = component, fault

    def build(self, m):
        m.submodules.inner = self.component
        leaves = self.component.signature.flatten
        outside = {path: value for path, _, value in leaves(self)}
        for path, member, value in leaves(self.component):
            inner, outer = Value.cast(value), Value.cast(outside[path])
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        self.fault(m, self, self.component)

    def __getattr__(self, name):
        """What is known of the component is known of this one."""
        if name == "component":
            raise AttributeError(name)
        return getattr(self.component, name)


def faults(of, *, quick):
    """Parameters of a test: faults by their names, of which all but the quick ones are slow."""
    return [
        pytest.param(
            fault, broken, id=fault.__name__, marks=() if fault in quick else pytest.mark.slow
        )
        for fault, broken in of.items()
    ]
