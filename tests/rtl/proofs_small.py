"""Every component of the RTL, as small as proofs need it."""

import importlib
import inspect
import pkgutil
from functools import cache

import tapeout.rtl
from machines import chip_named
from tapeout.numerics.formats import format_named
from tapeout.rtl.accumulator_half import TileShape
from tapeout.rtl.cell import Cell
from tapeout.rtl.component import Component
from tapeout.rtl.sizes import core_sizes
from tapeout.rtl.stream_rules import StreamChecker
from tapeout.rtl.windows import BankShape

FORMATS = (format_named("mxfp4"),)
TILE = TileShape(rows=2, columns=4, accumulators=32)
BANKS = BankShape(banks=2, bank_granules=2, granules=8)
SPACES = {"l1_granules": 64, "scale_granules": 16}
ADDRESSES = {"address_bits": 6, "scale_address_bits": 4}
TILES = {"rows": 2, "columns": 4}
GENERAL = {Cell, Component, StreamChecker}  # what others are made of

OPTIONS = {
    "AccumulatorHalf": {"shape": TILE},
    "Accumulators": {**TILES, "accumulators": 32, "lane_granules": 1},
    "Adder": {"stages": 1},
    "Aligner": {"bus_bytes": 16},
    "Arbiter": {"bus_bits": 32, "readers": ("a", "b"), "writers": ("c",)},
    "ArrayCell": {"formats": FORMATS},
    "BankArbiter": {"banks": 2, "reads": 1, "writes": 1},
    "BlockDot": {"formats": FORMATS},
    "BlockReader": {"granules": 1, **ADDRESSES},
    "BlockSums": {"lanes": 4},
    "Bounds": {**SPACES, "accumulators": 32},
    "Bursts": {"bus_bytes": 16, "burst_bytes": 256},
    "ChunkCodes": {"lanes": 4, "address_bits": 6},
    "ChunkPacker": {"lanes": 4},
    "Control": {"cores": 1, "fingerprint": "0" * 16},
    "Core": {"sizes": core_sizes(chip_named("nano"))},
    "CoreControl": {"fingerprint": "0" * 16},
    "Decoder": {"formats": FORMATS},
    "Dequantiser": {"lanes": 4, **ADDRESSES},
    "DotRow": {"formats": FORMATS, "columns": 4},
    "DotUnit": {"formats": FORMATS},
    "ElementEngine": {"lanes": 4, **SPACES, "accumulators": 32},
    "Fetch": {"bus_bits": 128, "lines": 8},
    "Fifo": {"shape": 4, "depth": 2},
    "FromBanks": {"rows": 2, "width": 4},
    "FromBlock": {"rows": 2, "group_granules": 1, "granules": 2, "width": 4},
    "GroupMaxima": {"lanes": 4},
    "GroupWalk": {"lanes": 4, "turns": False, "address_bits": 6, "scale_bits": 4},
    "Halt": {"sources": 2},
    "InstructionQueue": {"depth": 2, "number": 1},
    "Lane": {"formats": FORMATS},
    "LaneCount": {"lanes": 4},
    "LargestKey": {"count": 2},
    "LineRequests": {"address_bits": 6, "scale_bits": 4},
    "LiteSlave": {"address_bits": 5},
    "Load": {"bus_bytes": 16, **SPACES},
    "MatrixJobs": {**TILES, "address_bits": 6, "scale_bits": 4, "group_bits": 3},
    "MatrixUnit": {**TILES, "accumulators": 32, **SPACES, "tile_latency": 3},
    "Maxima": {"lanes": 4},
    "MemoryFifo": {"shape": 4, "depth": 2},
    "Multiplier": {"stages": 1},
    "OperandFetcher": {"lanes": 4, "turns": False, "address_bits": 6, "scale_bits": 4},
    "Packer": {"bus_bytes": 16},
    "PageTable": {"bus_bytes": 16},
    "PassWalk": {**TILES, "group_bits": 3},
    "Phases": {"lanes": 4},
    "Processor": {"bus_bits": 128, "depth": 2, "lines": 8},
    "Quantiser": {"lanes": 4, **ADDRESSES},
    "ReadEnd": {"shape": BANKS, "granules": 1},
    "Reciprocal": {"bits": 4},
    "Ring": {"width": 4, "depth": 2},
    "RoundRobin": {"inputs": 2},
    "RowChunks": {"lanes": 4, "address_bits": 6},
    "Runs": {"bus_bytes": 16},
    "Sampler": {"bus_bits": 128},
    "ScalarLoad": {"bus_bits": 128},
    "ScaleWriter": {"lanes": 4, "address_bits": 4},
    "Scratchpad": {"banks": 2, "bank_granules": 2, "granules": 8,
                   "reads": (("a", 1),), "writes": (("b", 1),)},
    "Sequencer": {"bus_bits": 128, "depth": 2, "lines": 8},
    "SerialSums": {"parts": 2, "depth": 2},
    "SkidBuffer": {"shape": 4},
    "Spread": {"lanes": 4},
    "SpecialFunctions": {},
    "Sram": {"width": 4, "depth": 2, "part": 4},
    "Steps": {"bus_bytes": 32, "shorts": True},
    "Store": {"bus_bytes": 16, **SPACES},
    "SumTree": {"leaves": 2},
    "Sums": {"lanes": 4},
    "TileCheck": {**SPACES, "accumulators": 32},
    "TileIssue": {**TILES, "group_bits": 3, "revisit": 4},
    "ToBanks": {"rows": 2, "width": 4},
    "Top": {"chip": chip_named("nano")},
    "Transposer": {"columns": 4},
    "Turns": {"bits": 4},
    "ValueScales": {"lanes": 4, "address_bits": 4},
    "VectorFile": {"lanes": 4},
    "VectorIssue": {"slots": 2, "twist": False, "hold": False},
    "VectorLoad": {"lanes": 4, "address_bits": 6, "near_bits": 6, "far_bits": 6, "spans": False},
    "VectorPlan": {"lanes": 4, "address_bits": 6, "scale_bits": 4},
    "VectorStore": {"lanes": 4, "address_bits": 6, "near_bits": 6},
    "VectorUnit": {"lanes": 4, **SPACES, "accumulators": 32, "bus_bits": 128},
    "Walk": {"address_bits": 6},
    "WindowWalk": {"shape": TILE, "granules": 1},
    "WordReader": {"bus_bits": 128},
    "WriteEnd": {"shape": BANKS, "granules": 1},
}  # fmt: skip
"""Parameters by the name of the class; those that are not here have none."""


@cache
def classes():
    """All components of the RTL by their names."""
    found = {}
    for module in pkgutil.iter_modules(tapeout.rtl.__path__, "tapeout.rtl."):
        for name, cls in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(cls) and issubclass(cls, Component) and cls not in GENERAL:
                found[name] = cls
    return found


def small(name):
    """A component by the name of its class."""
    return classes()[name](**OPTIONS.get(name, {}))
