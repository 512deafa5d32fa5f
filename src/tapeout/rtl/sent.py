"""What leaves the command processor for a queue, and how a part of the core says why it traps."""

from amaranth.lib import data

from tapeout.isa.encoding import HEADER

from .command import COMMAND

QUEUE_BITS = HEADER["queue"]
NUMBER_BITS = 32

SENT = data.StructLayout(
    {
        "queue": QUEUE_BITS,
        "wait0_counter": HEADER["wait0_counter"],
        "wait0_count": HEADER["wait0_count"],
        "wait1_counter": HEADER["wait1_counter"],
        "wait1_count": HEADER["wait1_count"],
        "signal_counter": HEADER["signal_counter"],
        "signal_count": HEADER["signal_count"],
        "number": NUMBER_BITS,
        "nop": 1,
        "command": COMMAND,
    }
)
"""An instruction on its way to its queue.

queue: LD, ST, MU or VU. number: its place in the core's program. nop: there is nothing for the
unit to do; the command is anything. Waits and signal: as in the header of the instruction.
"""

TRAPPED = data.StructLayout({"code": 8, "queue": QUEUE_BITS, "number": NUMBER_BITS})
"""A trap: its code (0: none), and the queue and the number of the instruction that met it."""

EVENT = data.StructLayout({"valid": 1, "number": NUMBER_BITS})
"""For traces: something happened to the instruction of that number in this cycle."""
