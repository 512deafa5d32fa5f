"""What is proved of the AXI4-Lite slave: every access has one answer, which stays."""

from amaranth.hdl import Assert, Assume, Cat, Const, Mux, Signal

from tapeout.rtl.axi_lite import DATA_BITS, SLVERR
from tapeout.rtl.stream_rules import StreamChecker


def keeps(m, name, valid, ready, payload, rule):
    """A handshake's valid stays with its payload until it is ready, by `rule`."""
    stuck = Signal(name=f"{name}_stuck")
    last = Signal(len(payload), name=f"{name}_last", reset_less=True)
    m.d.sync += [stuck.eq(valid & ~ready), last.eq(payload)]
    m.d.comb += [
        rule(~stuck | valid, f"{name} stays valid"),
        rule(~stuck | (payload == last), f"{name} keeps its payload"),
    ]


class LiteRules(StreamChecker):
    """A host that keeps the rules of AXI, and a core that answers each request once.

    `slowest`: in how many cycles, without those in which the core has a request and those in
    which the host has not taken the last answer, an access is answered.
    """

    def __init__(self, component, *, slowest):
        super().__init__(component)
        self.slowest = slowest

    def build(self, m):
        super().build(m)
        host, request, response = self.proved.host, self.proved.request, self.proved.response
        for name, payload in (("aw", host.awaddr), ("w", Cat(host.wdata, host.wstrb)),
                              ("ar", host.araddr)):  # fmt: skip
            valid, ready = getattr(host, f"{name}valid"), getattr(host, f"{name}ready")
            keeps(m, name, valid, ready, payload, Assume)
        keeps(m, "b", host.bvalid, host.bready, host.bresp, Assert)
        keeps(m, "r", host.rvalid, host.rready, Cat(host.rdata, host.rresp), Assert)
        self.asked = Signal()  # and the core has not answered
        m.d.sync += self.asked.eq(request.valid | (self.asked & ~response.done))
        m.d.comb += [
            Assume(~response.done | self.asked),
            Assume(response.done | ~response.as_value().any()),
            Assert(~(request.valid & self.asked), "one request at a time"),
        ]
        self._writes(m)
        self._reads(m)

    def _writes(self, m):
        host, request = self.proved.host, self.proved.request
        ends = Signal()
        has_address, address = self._part(m, "aw", host.awaddr, ends)
        has_word, word = self._part(m, "w", Cat(host.wdata, host.wstrb), ends)
        legal = (address[:2] == 0) & word[DATA_BITS:].all()
        asks = request.valid & request.write
        m.d.comb += Assert(~asks | (request.data == word[:DATA_BITS]), "a write has its data")
        m.d.comb += Assert(~asks | (request.word == address[2:]), "a write has its address")
        error, _ = self._access(m, "b", has_address & has_word, legal, asks, ends)
        answer = Mux(error, SLVERR, 0)
        m.d.comb += Assert(~ends | (host.bresp == answer), "a write's answer is the core's")

    def _reads(self, m):
        host, request = self.proved.host, self.proved.request
        ends = Signal()
        has_address, address = self._part(m, "ar", host.araddr, ends)
        asks = request.valid & ~request.write
        m.d.comb += Assert(~asks | (request.word == address[2:]), "a read has its address")
        error, data = self._access(m, "r", has_address, address[:2] == 0, asks, ends)
        answer = Cat(Mux(error, 0, data), Mux(error, Const(SLVERR, 2), 0))
        given = Cat(host.rdata, host.rresp)
        m.d.comb += Assert(~ends | (given == answer), "a read's answer is the core's")

    def _part(self, m, name, payload, ends):
        """Whether an address or a word of an access that has no answer is there, and it."""
        host = self.proved.host
        passes = getattr(host, f"{name}valid") & getattr(host, f"{name}ready")
        there, kept = Signal(name=f"has_{name}"), Signal(len(payload), name=f"kept_{name}")
        m.d.sync += there.eq(passes | (there & ~ends))
        m.d.comb += Assert(~passes | ~there | ends, f"{name} of one access at a time")
        with m.If(passes):
            m.d.sync += kept.eq(payload)
        return there, kept

    def _access(self, m, name, whole, legal, asks, ends):
        """Its one request and its one answer; returns the expected error and data."""
        response = self.proved.response
        valid = getattr(self.proved.host, f"{name}valid")
        before, requested, done = (Signal(name=f"{name}_{i}") for i in ("old", "asked", "done"))
        error, data = Signal(name=f"{name}_error"), Signal(DATA_BITS, name=f"{name}_data")
        m.d.sync += [before.eq(valid), requested.eq(asks | (requested & ~ends))]
        m.d.comb += [
            ends.eq(valid & ~before),
            Assert(~asks | (whole & legal), f"{name}: only a whole and legal access is asked for"),
            Assert(~asks | ~requested, f"{name}: an access is asked for once"),
            Assert(~ends | whole, f"{name}: an answer is to an access"),
            Assert(~ends | (requested == legal), f"{name}: a legal access was asked for"),
            Assert(~ends | (done == legal), f"{name}: the core has answered"),
        ]
        by_core = response.done & requested & ~done
        m.d.sync += done.eq(by_core | (done & ~ends))
        with m.If(by_core):
            m.d.sync += [error.eq(response.error), data.eq(response.data)]
        waits = Signal(range(self.slowest + 2), name=f"{name}_waits")
        m.d.comb += Assert(waits <= self.slowest, f"{name}: an answer comes soon")
        with m.If(ends | ~whole):
            m.d.sync += waits.eq(0)
        with m.Elif(~valid & ~self.asked):
            m.d.sync += waits.eq(waits + 1)
        return error | ~legal, data
