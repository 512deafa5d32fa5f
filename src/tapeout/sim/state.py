"""The memories that instructions see, as typed tiles over raw bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import TrapError
from tapeout.isa.fields import Space

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]


def tile(memory: Bytes, start: int, rows: int, pitch: int, row_bytes: int) -> Bytes:
    """A view of `rows` rows of `row_bytes`, `pitch` bytes apart; traps outside the memory."""
    _check(memory, start, rows, pitch, row_bytes)
    return np.ndarray((rows, row_bytes), np.uint8, memory.data, start, (pitch, 1))


def numbers(
    memory: Bytes, start: int, rows: int, pitch: int, columns: int, dtype: Any = np.float32
) -> NDArray[Any]:
    """A view of `rows` x `columns` numbers, rows `pitch` bytes apart; traps outside the memory."""
    size = np.dtype(dtype).itemsize
    _check(memory, start, rows, pitch, columns * size)
    return np.ndarray((rows, columns), dtype, memory.data, start, (pitch, size))


def _check(memory: Bytes, start: int, rows: int, pitch: int, row_bytes: int) -> None:
    if rows and (start < 0 or start + (rows - 1) * pitch + row_bytes > memory.size):
        end = start + (rows - 1) * pitch + row_bytes
        raise TrapError(f"address range {start:#x}..{end:#x} must lie in 0..{memory.size:#x}")


class Memories:
    """What one core owns: L1, the scale memory and the accumulators; and the shared memory."""

    def __init__(self, *, l1_bytes: int, scale_bytes: int, acc_bytes: int, hbm: Bytes, fill: int):
        self.l1 = np.full(l1_bytes, fill, np.uint8)
        self.scale = np.full(scale_bytes, fill, np.uint8)
        self.acc = np.full(acc_bytes, fill, np.uint8)
        self.hbm = hbm

    def space(self, space: int) -> Bytes:
        """The memory that an operand's `space` field names."""
        return (self.l1, self.scale, self.acc)[Space(space)]
