"""Cells: the few modules whose Verilog is written by hand, because a chip has macros for them."""

from typing import Any

from amaranth.hdl import Module

from .component import Component


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

    def build(self, m: Module) -> None:
        """A cell has no logic in Amaranth."""
        raise TypeError(f"{self.module_name} can only be instantiated, not added to {m}")
