"""Ports between the units of a core, its memories and the bus: signatures seen from the unit.

On-core memories (L1, scales) are addressed in granules of 16 bytes. A port has a window of so many
granules, at any granule; what lies beyond the end of the memory reads as anything.
"""

from typing import Any

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import GRANULE_BYTES

GRANULE_BITS = 8 * GRANULE_BYTES
READ_LATENCY = 2  # cycles from an accepted read request to its data, at least
MEMORY_BITS = 40  # of a byte address in memory
BURST_BITS = 8  # of the beats of a burst, less one
PITCH_LOG2_BITS = 4  # of the groups between the rows of a tile
BURST_BYTES = 4096  # a burst lies within a range of this size and alignment


def read_port(*, granules: int, address_bits: int) -> wiring.Signature:
    """Reads of a window, answered in the order of the requests.

    `data` holds a window in the cycle in which `data_valid` is 1: READ_LATENCY cycles after its
    request passed, or any number of cycles later. The data cannot be stalled: the reader has room
    when it asks. A read sees all writes that passed in earlier cycles, and no others.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(address_bits)),
            "data": In(granules * GRANULE_BITS),
            "data_valid": In(1),
        }
    )


def write_layout(*, granules: int, address_bits: int) -> data.StructLayout:
    """A window to write: `mask` has a bit for each byte."""
    return data.StructLayout(
        {
            "address": address_bits,
            "data": granules * GRANULE_BITS,
            "mask": granules * GRANULE_BYTES,
        }
    )


def write_port(*, granules: int, address_bits: int) -> wiring.Signature:
    """Writes of a window; every read whose request passes in a later cycle sees them.

    A read that passes in the same cycle, or before, gets what was there.
    """
    layout = write_layout(granules=granules, address_bits=address_bits)
    return wiring.Signature({"request": Out(stream.Signature(layout))})


def tile_read(*, rows: int, columns: int, group_bits: int) -> wiring.Signature:
    """Reads of a tile in the accumulators: `data` holds it a fixed number of cycles later.

    Groups are of `columns` numbers, over both halves; the highest bit is that of the half. Row i
    lies at group + (i << pitch_log2). As far as rows matter, the bits of `group` that their
    i << pitch_log2 may set are 0.
    """
    return wiring.Signature(
        {
            "enable": Out(1),
            "group": Out(group_bits),
            "pitch_log2": Out(PITCH_LOG2_BITS),
            "data": In(data.ArrayLayout(32, rows * columns)),
        }
    )


def tile_write(*, rows: int, columns: int, group_bits: int) -> wiring.Signature:
    """Writes of a tile, seen by reads in later cycles; `mask` has a bit for each number."""
    return wiring.Signature(
        {
            "enable": Out(1),
            "group": Out(group_bits),
            "pitch_log2": Out(PITCH_LOG2_BITS),
            "data": Out(data.ArrayLayout(32, rows * columns)),
            "mask": Out(rows * columns),
        }
    )


BURST = data.StructLayout({"address": MEMORY_BITS, "beats": BURST_BITS})
"""A burst: its byte address, a multiple of the bus width, and its beats less one."""


def memory_read(*, bus_bits: int) -> wiring.Signature:
    """Bursts read from memory; data of all bursts come in the order of the requests.

    `error`: the memory refused this beat.
    """
    beat = data.StructLayout({"data": bus_bits, "last": 1, "error": 1})
    return wiring.Signature(
        {"request": Out(stream.Signature(BURST)), "data": In(stream.Signature(beat))}
    )


def memory_write(*, bus_bits: int) -> wiring.Signature:
    """Bursts written to memory; a response for each, in order, when it is done.

    The data of a burst may follow its request at any time, never precede it.
    """
    beat = data.StructLayout({"data": bus_bits, "strobe": bus_bits // 8, "last": 1})
    answer = data.StructLayout({"error": 1})
    return wiring.Signature(
        {
            "request": Out(stream.Signature(BURST)),
            "data": Out(stream.Signature(beat)),
            "response": In(stream.Signature(answer)),
        }
    )


def unit_ports(command: Any) -> dict[str, Any]:
    """What every unit has: commands in, and how they end.

    `done` is 1 for one cycle for each command, in their order, when all its effects are visible to
    requests that pass in later cycles. `trap` is a code of `Trap` for one cycle, 0 if nothing is
    wrong; after a trap the unit does nothing more until reset. While `busy` is 0 and no command is
    offered, the unit's clock may stand still.
    """
    return {
        "commands": In(stream.Signature(command)),
        "done": Out(1),
        "trap": Out(8),
        "busy": Out(1),
    }
