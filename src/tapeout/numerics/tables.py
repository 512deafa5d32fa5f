"""Tables of the special-function unit, as the RTL stores them."""

import tomllib
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]

TABLE_NAMES = ("exp2", "recip", "rsqrt", "sin", "normal_tail")
COEFFICIENT_BITS = 28  # fraction bits of c0, c1 and c2
POSITION_BITS = 24  # fraction bits of t, the position inside a segment
SQUARE_BITS = 16  # fraction bits of t squared, made of the upper 16 bits of t
RESULT_BITS = COEFFICIENT_BITS + POSITION_BITS  # fraction bits of an interpolated value


@cache
def sfu_table(name: str) -> Table:
    """Coefficients c0, c1, c2 of each segment in units of 2^-28. [segments, 3], read-only.

    An interpolated value is (c0 << 24) + c1 * t + ((c2 * ((t >> 8)^2 >> 16)) << 8) in units of
    2^-52, exact, where t in [0, 2^24) is the position inside the segment.
    """
    text = files("tapeout.numerics").joinpath("sfu.toml").read_text()
    for key, rows in tomllib.loads(text).items():
        if key == name:
            result = np.array(rows, np.int64)
            result.setflags(write=False)
            return result
    raise KeyError(f"table must be one of {TABLE_NAMES}, not {name!r}")
