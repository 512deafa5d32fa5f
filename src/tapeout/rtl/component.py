"""The base of all components: one component, one Verilog module."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring


def port_name(path: tuple[str | int, ...]) -> str:
    """Name of a port in Verilog: its path in the signature, joined by underscores."""
    return "_".join(map(str, path))


class Emitter:
    """The platform while Verilog is written: every component but the top becomes an instance."""

    def __init__(self, top: "Component") -> None:
        self.top = top
        self.instantiated: dict[str, Component] = {}

    def instance(self, component: "Component") -> Instance:
        """Instantiate a component by its module name, and remember that it must be emitted.

        Raises:
            ValueError: if two components with different ports share a module name.
        """
        name = component.module_name
        first = self.instantiated.setdefault(name, component)
        if first.signature != component.signature:
            raise ValueError(f"two different components are both called {name}")
        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, value in component.signature.flatten(component):
            direction = "i" if member.flow == wiring.In else "o"
            ports[f"{direction}_{port_name(path)}"] = value
        return Instance(name, **ports)


class Component(wiring.Component):
    """A synchronous component that is emitted as one module, however often it is instantiated.

    Subclasses name every parameter in `name` and describe themselves in `build`.

    Parameters
    ----------
    members : dict
        The members of the signature.
    name : str
        Name of the Verilog module; components with the same name are the same hardware.
    """

    def __init__(self, members: dict[str, Any], *, name: str):
        super().__init__(members)
        self.module_name = name

    def __del__(self) -> None:
        """Amaranth warns of components that are never elaborated; these may serve as facts."""

    def build(self, m: Module) -> None:
        """Add the logic of the component to `m`."""
        raise AssertionError(f"{self} must add its logic to {m}")

    def elaborate(self, platform: Any) -> Any:
        """Return an instance while a parent is emitted, else the logic itself."""
        if isinstance(platform, Emitter) and platform.top is not self:
            return platform.instance(self)
        m = Module()
        self.build(m)
        return m
