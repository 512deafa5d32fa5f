"""What the command processor sends to a unit: an instruction's payload and its run-time values."""

from functools import cache
from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data

from tapeout.isa.encoding import PAYLOAD_BITS, fields
from tapeout.isa.instructions import Operation

REGISTER_BITS = 48
ROWS_BITS = 11

COMMAND = data.StructLayout(
    {
        "opcode": 8,
        "payload": PAYLOAD_BITS,
        "rows": ROWS_BITS,
        "x": signed(REGISTER_BITS),
        "y": signed(REGISTER_BITS),
        "z": signed(REGISTER_BITS),
    }
)
"""An instruction on its way to a unit.

rows: `rows`, `m` or the count of `StorePages`, with its register added; 0: nothing is to be done.
x, y, z: LoadTile R[src_reg]; StoreTile R[dst_reg]; LoadPages R[table], R[first], R[end];
StorePages R[table], R[first]; Softmax R[query], R[key]. Others: anything.
"""


@cache
def payload_layout(cls: type[Operation]) -> data.StructLayout:
    """The payload of an operation as a view: each field in its own unit, as `isa` encodes it."""
    layout = data.StructLayout({name: field.bits for name, field in fields(cls).items()})
    return layout


def payload(command: Any, cls: type[Operation]) -> Any:
    """The payload of a command, seen as that of an operation."""
    layout = payload_layout(cls)
    return data.View(layout, command.payload[: layout.size])
