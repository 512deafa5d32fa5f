"""Why a core stops: the codes that the host reads."""

from enum import IntEnum
from typing import Self


class Trap(IntEnum):
    """Code of a trap; the first one of a core is kept, and nothing more is sent to its queues."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Return the code, with what it means."""
        trap = int.__new__(cls, code)
        trap._value_, trap.meaning = code, meaning
        return trap

    NONE = 0, "no trap"
    CHIP = 1, "the program is for another chip"
    OPCODE = 2, "no such operation, or not one of the queue that the header names"
    FIELD = 3, "a field holds a value that the instruction set does not define"
    FORMAT = 4, "formats that do not go together, or that the unit does not have"
    ADDRESS = 5, "a tile does not lie in its memory"
    ALIGNMENT = 6, "a result in the accumulators does not start on a multiple of its rows"
    ROWS = 7, "rows and their register are negative or above 2047"
    REGISTER = 8, "a result does not fit a register of 48 bits"
    COUNTER = 9, "a counter would pass 255"
    END = 10, "the program has no End"
    READ = 11, "memory answered a read with an error"
    WRITE = 12, "memory answered a write with an error"
    WATCHDOG = 13, "nothing moved for too long"
    LOOP = 14, "loops are nested too deeply"
