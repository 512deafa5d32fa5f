"""AXI4 as a core's master sees it: all five channels, under their own names."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ports import BURST_BITS, MEMORY_BITS

INCREMENTING = 0b01  # AxBURST
BUFFERABLE = 0b0011  # AxCACHE: normal memory, which may merge and split, and is not cached
UNPRIVILEGED = 0b010  # AxPROT: data, not secure, not privileged
RESPONSE_BITS = 2
ERROR_BIT = 1  # of xRESP: SLVERR and DECERR


def axi4(*, bus_bits: int, id_bits: int) -> wiring.Signature:
    """The ports of a master with a data bus of 8..1024 bits and addresses of MEMORY_BITS.

    Signals that the standard makes optional, and that never change here, are left out: AxLOCK,
    AxQOS, AxREGION and the user signals.
    """
    size_bits = 3
    return wiring.Signature(
        {
            "araddr": Out(MEMORY_BITS),
            "arlen": Out(BURST_BITS),
            "arsize": Out(size_bits),
            "arburst": Out(2),
            "arcache": Out(4),
            "arprot": Out(3),
            "arid": Out(id_bits),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(bus_bits),
            "rresp": In(RESPONSE_BITS),
            "rlast": In(1),
            "rid": In(id_bits),
            "rvalid": In(1),
            "rready": Out(1),
            "awaddr": Out(MEMORY_BITS),
            "awlen": Out(BURST_BITS),
            "awsize": Out(size_bits),
            "awburst": Out(2),
            "awcache": Out(4),
            "awprot": Out(3),
            "awid": Out(id_bits),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(bus_bits),
            "wstrb": Out(bus_bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(RESPONSE_BITS),
            "bid": In(id_bits),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )
