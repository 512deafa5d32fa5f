"""AXI4-Lite: its signals, and what turns its five channels into requests one by one."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .component import Component

DATA_BITS = 32
SLVERR = 0b10


def axi4_lite(*, address_bits: int) -> wiring.Signature:
    """The ports of a master with 32 bits of data."""
    return wiring.Signature(
        {
            "awaddr": Out(address_bits),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(DATA_BITS),
            "wstrb": Out(DATA_BITS // 8),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_bits),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(DATA_BITS),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def request_layout(*, word_bits: int) -> data.StructLayout:
    """An access: valid for one cycle; the rest stays until the response."""
    return data.StructLayout({"valid": 1, "write": 1, "word": word_bits, "data": DATA_BITS})


RESPONSE = data.StructLayout({"done": 1, "error": 1, "data": DATA_BITS})
"""How an access ends: done for one cycle, at least one after the request; else all 0."""


class LiteSlave(Component):
    """Turns AXI4-Lite into requests, one at a time.

    An address that is no multiple of 4 and a write of less than a word answer SLVERR and make no
    request. A read that fails gives 0. Every ready and valid comes from a register.

    A write goes first, but a read that waits goes before the next write, which is taken only when
    the one before it is done.

    Latency 2 cycles to the request, 1 from the response. `awprot` and `arprot` are not looked at.

    Parameters
    ----------
    address_bits : int
        Width of the byte addresses.

    Members
    -------
    host : In(axi4_lite)
    request : Out(request_layout)
    response : In(RESPONSE)
    """

    def __init__(self, *, address_bits: int):
        self.word_bits = address_bits - 2
        ports = {
            "host": In(axi4_lite(address_bits=address_bits)),
            "request": Out(request_layout(word_bits=self.word_bits)),
            "response": In(RESPONSE),
        }
        super().__init__(ports, name=f"lite_slave_{address_bits}")

    def build(self, m: Module) -> None:
        """Hold what has come; when it is whole and its answer has room, ask."""
        host, request = self.host, self.request
        has_address, has_data, has_read = Signal(), Signal(), Signal()
        busy, refused = Signal(), Signal()
        write_address = Signal(len(host.awaddr), reset_less=True)
        read_address = Signal(len(host.araddr), reset_less=True)
        written, strobe = Signal(DATA_BITS, reset_less=True), Signal(4, reset_less=True)
        for held, valid, ready in (
            (has_address, host.awvalid, host.awready),
            (has_data, host.wvalid, host.wready),
            (has_read, host.arvalid, host.arready),
        ):
            m.d.comb += ready.eq(~held)
            with m.If(valid & ready):
                m.d.sync += held.eq(1)
        with m.If(~has_address):
            m.d.sync += write_address.eq(host.awaddr)
        with m.If(~has_data):
            m.d.sync += [written.eq(host.wdata), strobe.eq(host.wstrb)]
        with m.If(~has_read):
            m.d.sync += read_address.eq(host.araddr)

        writes, reads = Signal(), Signal()
        m.d.comb += [
            writes.eq(has_address & has_data & ~host.bvalid),
            reads.eq(has_read & ~host.rvalid),
        ]
        address = Mux(writes, write_address, read_address)
        legal = (address[:2] == 0) & (~writes | strobe.all())
        m.d.sync += [request.valid.eq(0), refused.eq(0)]
        with m.If(~busy & (writes | reads)):
            m.d.sync += [
                busy.eq(1),
                request.valid.eq(legal),
                refused.eq(~legal),
                request.write.eq(writes),
                request.word.eq(address[2:]),
                request.data.eq(written),
            ]
        self._answer(m, refused)
        with m.If(self.response.done | refused):
            m.d.sync += busy.eq(0)
            with m.If(request.write):
                m.d.sync += [has_address.eq(0), has_data.eq(0)]
            with m.Else():
                m.d.sync += has_read.eq(0)

    def _answer(self, m: Module, refused: Signal) -> None:
        """The response channels."""
        host, response = self.host, self.response
        error = refused | response.error
        with m.If(host.bready):
            m.d.sync += host.bvalid.eq(0)
        with m.If(host.rready):
            m.d.sync += host.rvalid.eq(0)
        with m.If(response.done | refused):
            with m.If(self.request.write):
                m.d.sync += [host.bvalid.eq(1), host.bresp.eq(Mux(error, SLVERR, 0))]
            with m.Else():
                m.d.sync += [host.rvalid.eq(1), host.rresp.eq(Mux(error, SLVERR, 0))]
                m.d.sync += host.rdata.eq(Mux(error, 0, response.data))
