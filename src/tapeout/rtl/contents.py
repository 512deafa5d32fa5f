"""What the memories of a simulated core hold, as bytes in the order of their addresses."""

from typing import Any

import numpy as np

from tapeout.chip import Chip

from .simulation import U8, Simulation
from .sizes import BANK_GRANULES, SCALE_BANKS, core_sizes

HALVES = 2


class CoreContents:
    """L1, scale memory and accumulators of a core, as the simulator's `Memories` has them.

    Reading copies; writing may be done while nothing runs.
    """

    def __init__(self, simulation: Simulation, chip: Chip, *, core: int = 0):
        sizes = core_sizes(chip)
        at = f"TOP.tapeout_{chip.name}.core{core}"
        arrays = simulation.arrays
        l1_row, scale_row = sizes.l1_banks * BANK_GRANULES, SCALE_BANKS
        self._l1 = _banks(arrays, f"{at}.l1", sizes.l1_banks, sizes.l1_granules // l1_row)
        self._scale = _banks(arrays, f"{at}.scales", SCALE_BANKS, sizes.scale_granules // scale_row)
        depth = sizes.accumulators // (sizes.rows * sizes.columns)
        self._halves = [
            _banks(arrays, f"{at}.accumulators.half{half}", sizes.rows, depth)
            for half in range(HALVES)
        ]
        self._bank, self._line = _places(sizes.rows, sizes.accumulators // sizes.columns)

    @property
    def l1(self) -> U8:
        """L1."""
        return np.stack(self._l1, axis=1).reshape(-1)

    @property
    def scale(self) -> U8:
        """The scale memory."""
        return np.stack(self._scale, axis=1).reshape(-1)

    @property
    def acc(self) -> U8:
        """The accumulators, both halves."""
        return np.concatenate(
            [np.stack(half)[self._bank, self._line].reshape(-1) for half in self._halves]
        )

    def fill(self, *, l1: U8, scale: U8, acc: U8) -> None:
        """Write all of them."""
        for banks, content in ((self._l1, l1), (self._scale, scale)):
            lines = content.reshape(len(banks[0]), len(banks), -1)
            for number, bank in enumerate(banks):
                bank[:] = lines[:, number]
        for half, content in zip(self._halves, np.split(acc, HALVES), strict=True):
            groups = content.reshape(len(self._bank), -1)
            for number, bank in enumerate(half):
                mine = self._bank == number
                bank[self._line[mine]] = groups[mine]


def _banks(arrays: dict[str, U8], scope: str, count: int, lines: int) -> list[U8]:
    return [arrays[f"{scope}.bank{number}.store"][:lines] for number in range(count)]


def _places(rows: int, groups: int) -> tuple[Any, Any]:
    """Bank and line of each group, as `accumulator_half.TileShape` has them."""
    bits = rows.bit_length() - 1
    number = np.arange(groups)
    bank = np.zeros_like(number)
    for start in range(0, groups.bit_length() - 1 if bits else 0, bits or 1):
        bank ^= number >> start & (rows - 1)
    return bank, number >> bits
