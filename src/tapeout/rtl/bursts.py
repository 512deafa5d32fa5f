"""Runs of memory cut into bursts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .component import Component
from .ports import BURST, BURST_BITS, BURST_BYTES, MEMORY_BITS

RUN_BITS = 30  # of the bytes of a run: 2047 rows of 2**19 - 1 bytes at most
TRAP_BITS = 8

RUN = data.StructLayout({"address": MEMORY_BITS, "bytes": RUN_BITS, "last": 1, "trap": TRAP_BITS})
"""Bytes that follow one another in memory.

last: no further run of its job follows. A job that touches no memory has one run of no bytes;
with `trap`, a code of `Trap`, that is all that there is of the job.
"""

CUT = data.StructLayout({"burst": BURST, "none": 1, "last": 1, "trap": TRAP_BITS})
"""A burst of a run. none: the run has no bytes, and the burst means nothing. last: of its job."""


class Bursts(Component):
    """Cuts runs into bursts that lie within a range of `burst_bytes`, aligned to it.

    Latency 2 cycles; throughput 1 burst per cycle, also across runs. Stalls when `bursts` is not
    ready.

    Parameters
    ----------
    bus_bytes : int
        Width of the bus: a power of two.
    burst_bytes : int
        Bytes of the longest burst: a power of two, bus_bytes..4096, at most 256 beats.

    Members
    -------
    runs : In(stream of RUN)
    bursts : Out(stream of CUT)
    """

    def __init__(self, *, bus_bytes: int, burst_bytes: int):
        check_burst(bus_bytes, burst_bytes)
        self.bus_bytes = bus_bytes
        self.burst_bytes = burst_bytes
        ports = {"runs": In(stream.Signature(RUN)), "bursts": Out(stream.Signature(CUT))}
        super().__init__(ports, name=f"bursts_{bus_bytes}_{burst_bytes}")

    def build(self, m: Module) -> None:
        """Hold one run; take off it what lies before the next boundary."""
        bus, limit = exact_log2(self.bus_bytes), exact_log2(self.burst_bytes // self.bus_bytes)
        run, out = self.runs.payload, self.bursts.payload
        busy, none, last, fits, free = (Signal() for _ in range(5))
        trap = Signal(TRAP_BITS, reset_less=True)
        beat = Signal(MEMORY_BITS - bus, reset_less=True)
        left = Signal(RUN_BITS + 1 - bus, reset_less=True)  # beats
        room = Signal(limit + 1)
        m.d.comb += [
            room.eq((1 << limit) - beat[:limit]),
            fits.eq(none | (left <= room)),
            free.eq(~self.bursts.valid | self.bursts.ready),
            self.runs.ready.eq(~busy | (free & fits)),
        ]
        with m.If(free):
            m.d.sync += [
                self.bursts.valid.eq(busy),
                out.burst.address.eq(Cat(Const(0, bus), beat)),
                out.burst.beats.eq(Mux(fits, left, room) - 1),
                out.none.eq(none),
                out.last.eq(last & fits),
                out.trap.eq(trap),
            ]
            with m.If(busy):
                m.d.sync += [
                    beat.eq(Cat(Const(0, limit), beat[limit:] + 1)),
                    left.eq(left - room),
                    busy.eq(~fits),
                ]
        with m.If(self.runs.valid & self.runs.ready):
            m.d.sync += [
                busy.eq(1),
                beat.eq(run.address[bus:]),
                left.eq((run.address[:bus] + run.bytes + (self.bus_bytes - 1)) >> bus),
                none.eq(run.bytes == 0),
                last.eq(run.last),
                trap.eq(run.trap),
            ]


def check_burst(bus_bytes: int, burst_bytes: int) -> None:
    """Raise ValueError unless bursts of `burst_bytes` are possible on the bus."""
    longest = min(BURST_BYTES, bus_bytes << BURST_BITS)
    if burst_bytes & (burst_bytes - 1) or not bus_bytes <= burst_bytes <= longest:
        raise ValueError(
            f"burst_bytes must be a power of two in {bus_bytes}..{longest}, not {burst_bytes}"
        )
