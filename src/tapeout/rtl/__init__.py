"""The hardware. In: numbers from a `Chip`. Out: Amaranth components, Verilog, simulations of it.

A component takes the few numbers that it needs, never the whole `Chip`. Components talk through
the streams of `stream`; each says what it computes by naming a function of `numerics`.
"""

from .bits import pack, unpack
from .check import ProtocolError, check_protocol, checked_run, random_gates
from .component import Component
from .decode import CODES, Decoder, OperandLayout
from .dot import BlockDot, DotUnit, DotWidths, dot_widths
from .fp32 import Adder, Multiplier
from .harness import Build, Model, Run, build
from .sfu import Function, SpecialFunctions
from .stream import Fifo, SkidBuffer
from .verilog import to_verilog

__all__ = [
    "CODES",
    "Adder",
    "BlockDot",
    "Build",
    "Component",
    "Decoder",
    "DotUnit",
    "DotWidths",
    "Fifo",
    "Function",
    "Model",
    "Multiplier",
    "OperandLayout",
    "ProtocolError",
    "Run",
    "SkidBuffer",
    "SpecialFunctions",
    "build",
    "check_protocol",
    "checked_run",
    "dot_widths",
    "pack",
    "random_gates",
    "to_verilog",
    "unpack",
]
