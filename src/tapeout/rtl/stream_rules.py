"""The rules of streams as assertions and assumptions, for proofs."""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In

from .component import Component


def stays(m: Module, port: Any, name: str, rule: Any) -> None:
    """State rule 1 of `stream` by `rule`, which is Assert or Assume."""
    payload = Value.cast(port.payload)
    stuck = Signal(name=f"{name}_stuck")
    last = Signal(payload.shape(), name=f"{name}_last", reset_less=True)
    m.d.sync += [stuck.eq(port.valid & ~port.ready), last.eq(payload)]
    m.d.comb += [
        rule(~stuck | port.valid, f"{name} stays valid"),
        rule(~stuck | (payload == last), f"{name} keeps its payload"),
    ]


class StreamChecker(Component):
    """A component whose senders keep the rules, and that must keep them too.

    Parameters
    ----------
    component : Component
        What is to be proved.
    more : dict
        Members besides those of the component: free inputs of what a subclass adds.

    Members
    -------
    Those of the component.
    """

    def __init__(self, component: Component, *, more: dict[str, Any] | None = None):
        super().__init__(
            {**component.signature.members, **(more or {})},
            name=f"checked_{component.module_name}",
        )
        self.proved = component

    def build(self, m: Module) -> None:
        """Connect all ports; assume the rules of what comes in, assert those of what goes out."""
        m.submodules.proved = self.proved
        leaves = self.proved.signature.flatten
        outside = {path: value for path, _, value in leaves(self)}
        for path, member, value in leaves(self.proved):
            inner, outer = Value.cast(value), Value.cast(outside[path])
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        for name, port, incoming in streams(self.proved.signature, self.proved):
            stays(m, port, name, Assume if incoming else Assert)


def streams(signature: Any, interface: Any, name: str = "") -> Iterator[tuple[str, Any, bool]]:
    """The streams of an interface: name, port, and whether the beats come in."""
    for key, member in signature.members.items():
        if not member.is_signature:
            continue
        for suffix, port in _elements(member.dimensions, getattr(interface, key)):
            label = f"{name}{key}{suffix}"
            if isinstance(member.signature.flip() if member.flow == In else member.signature,
                          stream.Signature):  # fmt: skip
                yield label, port, member.flow == In
            else:
                yield from streams(member.signature, port, f"{label}_")


def _elements(dimensions: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The ports of an array, with their numbers."""
    if not dimensions:
        yield "", value
        return
    for i in range(dimensions[0]):
        for suffix, port in _elements(dimensions[1:], value[i]):
            yield f"_{i}{suffix}", port
