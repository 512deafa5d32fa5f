"""What a chip is: its parameters, their limits, and the figures they imply.

In:  a chip file (chips/*.toml).   Out: a `Chip`, checked and immutable.
"""

from tapeout.chip.config import (
    L1_BANK_BYTES,
    SCALE_LINE_BYTES,
    Chip,
    Hbm,
    Local,
    MatrixUnit,
    Process,
    SharedSram,
    VectorUnit,
    load_chip,
)

__all__ = [
    "L1_BANK_BYTES",
    "SCALE_LINE_BYTES",
    "Chip",
    "Hbm",
    "Local",
    "MatrixUnit",
    "Process",
    "SharedSram",
    "VectorUnit",
    "load_chip",
]
