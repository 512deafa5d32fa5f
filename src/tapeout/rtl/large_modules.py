"""Modules with more than 65,536 bits of inputs, which Amaranth 0.5 refuses, and its loop search.

It numbers the bits of a cell, and those of all inputs of a module together, with 16 bits of a
plain Python integer. The array of a big chip has more. Nothing but three methods knows the number.
Its search for combinational loops goes bit by bit and takes long; Yosys' `check` refuses them too.
"""

from typing import Any

from amaranth.hdl import _nir

BITS = 24


def allow_large_modules() -> None:
    """Give Amaranth's nets 24 bits for the place in their cell, and leave loops to Yosys."""
    net: Any = _nir.Net
    net.from_cell = classmethod(_from_cell)
    net.cell = property(lambda self: int(self) >> BITS)
    net.bit = property(lambda self: int(self) & ((1 << BITS) - 1))
    netlist: Any = _nir.Netlist
    netlist.check_comb_cycles = lambda _: None


def _from_cell(cls: Any, cell: int, bit: int) -> Any:
    assert bit in range(1 << BITS)
    assert cell > 0 or bit >= 2
    return cls((cell << BITS) | bit)
