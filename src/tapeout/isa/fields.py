"""What instruction fields hold: queues, spaces, functions, widths and units.

Numbers in a field are in the field's own unit: an address field with `unit=16` holds a byte
address that must be a multiple of 16.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

GRANULE_BYTES = 16
"""L1, scale and accumulator addresses and pitches are multiples of this: one 4-bit block."""

REGISTERS = 32
COUNTERS = 64
ROWS_MAX = 2047
"""Rows of an operation at most, its register included."""

SCALE_WORD_BYTES = 2
"""Scales of a product begin at a multiple of this: perhaps in the middle of a row."""

COUNTER_MAX = 255
"""A counter that would pass this traps."""


class Queue(IntEnum):
    """The in-order queues of a core. CP is the command processor itself."""

    CP = 0
    LD = 1
    ST = 2
    MU = 3
    VU = 4
    BSEL = 5
    NET = 6


class Space(IntEnum):
    """The on-core memories that an operand can live in."""

    L1 = 0
    SCALE = 1
    ACC = 2


class AluFn(IntEnum):
    """What `Alu` computes from a = R[ra] and b = R[rb] + imm; results outside 48 bits trap."""

    ADD = 0
    SUB = 1
    MUL = 2
    MIN = 3
    MAX = 4
    SHR = 5


class MapFn(IntEnum):
    """What `Map` computes per element from a, b and, for MULADD, the old value of dst."""

    COPY = 0  # a
    ADD = 1  # a + b
    SUB = 2  # a - b
    MUL = 3  # a * b
    MAX = 4  # max(a, b)
    SILU_MUL = 5  # silu(a) * b
    GELU_MUL = 6  # gelu(a) * b
    NORMALISE = 7  # a * softmax_inverse(b)
    MULADD = 8  # dst * b + a
    FILL = 9  # b
    GELU_TANH_MUL = 10  # gelu_tanh(a) * b


class Broadcast(IntEnum):
    """How `Map` reads b: an element for each of a's, one per column, one per row, or one."""

    FULL = 0
    ROW = 1
    COLUMN = 2
    SCALAR = 3


@dataclass(frozen=True)
class Field:
    """Width of an instruction field in bits, and the unit that its value counts in."""

    bits: int
    unit: int = 1
    kind: type[IntEnum] | None = None


Register = Annotated[int, Field(bits=5)]
L1Address = Annotated[int, Field(bits=20, unit=GRANULE_BYTES)]
L1Pitch = Annotated[int, Field(bits=15, unit=GRANULE_BYTES)]
ScaleAddress = Annotated[int, Field(bits=16, unit=GRANULE_BYTES), Space.SCALE]
ScaleWordAddress = Annotated[int, Field(bits=18, unit=SCALE_WORD_BYTES), Space.SCALE]
ScalePitch = Annotated[int, Field(bits=10, unit=GRANULE_BYTES)]
AccAddress = Annotated[int, Field(bits=16, unit=GRANULE_BYTES), Space.ACC]
HbmAddress = Annotated[int, Field(bits=40)]
HbmPitch = Annotated[int, Field(bits=24)]
Rows = Annotated[int, Field(bits=11)]
RowBytes = Annotated[int, Field(bits=19)]
Columns = Annotated[int, Field(bits=17)]
FormatCode = Annotated[int, Field(bits=4)]
ScaleModeCode = Annotated[int, Field(bits=2)]
Float32Bits = Annotated[int, Field(bits=32)]
Flag = Annotated[int, Field(bits=1)]
TileSpace = Annotated[int, Field(bits=1, kind=Space)]
OperandSpace = Annotated[int, Field(bits=2, kind=Space)]


ACC_ROW_BYTES = 128
"""Rows of FP32 numbers in the accumulators are at least this far apart."""


def acc_pitch(columns: int) -> int:
    """Bytes from row to row of a matrix in the accumulators: a power of two.

    So the rows of a tile, however many the matrix unit has, lie in different banks.
    """
    return max(ACC_ROW_BYTES, 1 << (4 * columns - 1).bit_length())
