"""Random small chips: whatever shape a core has, its RTL must be the simulator's machine."""

from dataclasses import replace

import numpy as np

from tapeout.chip import Chip

L1_LEAST_BYTES, L1_MOST_BYTES = 1 << 16, 1 << 17


def random_chip(base: Chip, number: int) -> Chip:
    """A chip of random shape, but quick to compile; of `base` the rest.

    Equal arguments give equal chips; the name ends with the number.
    """
    rng = np.random.default_rng([number, 0xC41B])
    rows, columns = 1 << int(rng.integers(4)), 1 << int(rng.integers(2, 4))
    lanes = 1 << int(rng.integers(2, 5))
    banks = 1 << int(rng.integers(2, 5))
    line_bytes = 64 * banks
    lines = rng.integers(L1_LEAST_BYTES // line_bytes, L1_MOST_BYTES // line_bytes, endpoint=True)
    return replace(
        base,
        name=f"{base.name}_{number}",
        cores=int(rng.choice([1, 1, 2])),
        matrix=replace(
            base.matrix,
            rows=rows,
            columns=columns,
            accumulators=1 << int(rng.integers(10, 13)),
        ),
        vector=replace(base.vector, lanes=lanes),
        core=replace(
            base.core,
            l1_banks=banks,
            l1_bytes=line_bytes * int(lines),
            scale_bytes=256 * int(rng.integers(16, 65)),
            queue_depth=int(rng.integers(2, 21)),
        ),
        hbm=replace(base.hbm, bytes_per_s=base.hbm.bytes_per_s * float(rng.choice([1, 2, 4, 8]))),
    )
