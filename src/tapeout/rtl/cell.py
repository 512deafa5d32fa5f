"""Cells: the few modules whose Verilog is written by hand, because a chip has macros for them."""

from typing import Any

from .component import Component, Emitter


class Cell(Component):
    """A component that has a text instead of logic.

    Parameters
    ----------
    members : dict
        The members of the signature; scalars only.
    name : str
        Name of the Verilog module, which the text defines.
    text : str
        The module in SystemVerilog; its ports are clk, rst and the members.
    """

    def __init__(self, members: dict[str, Any], *, name: str, text: str):
        super().__init__(members, name=name)
        self.text = text

    def elaborate(self, platform: Any) -> Any:
        """Return an instance; there is nothing else to return."""
        if not isinstance(platform, Emitter):
            raise TypeError(f"{self.module_name} has no logic, only a text")
        return platform.instance(self)
