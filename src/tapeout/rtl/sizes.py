"""The sizes of one core's hardware, all of them implied by a chip."""

from dataclasses import dataclass

from tapeout.chip import L1_BANK_BYTES, SCALE_LINE_BYTES, Chip
from tapeout.isa.fields import GRANULE_BYTES

BANK_GRANULES = L1_BANK_BYTES // GRANULE_BYTES
SCALE_BANKS = SCALE_LINE_BYTES // GRANULE_BYTES  # each one granule wide
MAX_BUS_BYTES = 128  # the widest data bus that AXI4 has


@dataclass(frozen=True, kw_only=True)
class CoreSizes:
    """What the components of a core are parametrised with."""

    rows: int
    """Rows of dot-product units: rows of A that are multiplied in one cycle."""
    columns: int
    """Columns of dot-product units: rows of B that are multiplied in one cycle."""
    accumulators: int
    """FP32 numbers in one of the two accumulator banks."""
    lanes: int
    l1_banks: int
    l1_granules: int
    scale_granules: int
    queue_depth: int
    bus_bytes: int
    """Width of the core's data bus to memory."""
    fingerprint: str
    """The chip's, which a program names."""

    @property
    def lane_granules(self) -> int:
        """Granules of one FP32 number per lane."""
        return 4 * self.lanes // GRANULE_BYTES

    @property
    def bus_granules(self) -> int:
        """Granules of a beat on the bus; 1 if a beat is narrower."""
        return max(1, self.bus_bytes // GRANULE_BYTES)

    @property
    def bus_bits(self) -> int:
        """Width of the data bus in bits."""
        return 8 * self.bus_bytes


def core_sizes(chip: Chip) -> CoreSizes:
    """The sizes of each of a chip's cores: they are all alike."""
    share = chip.hbm.bytes_per_s / chip.clock_hz / chip.cores  # bytes of a cycle
    bus_bytes = GRANULE_BYTES
    while bus_bytes < share and bus_bytes < MAX_BUS_BYTES:
        bus_bytes *= 2
    return CoreSizes(
        rows=chip.matrix.rows,
        columns=chip.matrix.columns,
        accumulators=chip.matrix.accumulators,
        lanes=chip.vector.lanes,
        l1_banks=chip.core.l1_banks,
        l1_granules=chip.core.l1_bytes // GRANULE_BYTES,
        scale_granules=chip.core.scale_bytes // GRANULE_BYTES,
        queue_depth=chip.core.queue_depth,
        bus_bytes=bus_bytes,
        fingerprint=chip.fingerprint,
    )
