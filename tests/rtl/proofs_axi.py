"""What is proved of the AXI4 master: bursts, their data and their answers stay together.

Everything that belongs to a burst carries its tag: who asked for it, and the parity of how many
that one had asked for before. Bursts have one or two beats.
"""

from amaranth.hdl import Assert, Assume, Cat, Const, Mux, Signal

from tapeout.rtl.stream_rules import StreamChecker

from .proofs_lite import keeps

DEPTH = 4  # of what is remembered of bursts under way
MOST = 2  # bursts that one has under way


def passes(axi, channel):
    """Whether a beat passes on a channel."""
    return getattr(axi, f"{channel}valid") & getattr(axi, f"{channel}ready")


class Ledger:
    """A queue of what is expected, beside what is proved."""

    def __init__(self, m, name, bits, *, push, value, pop):
        self.level = Signal(range(DEPTH + 2), name=f"{name}_level")
        items = [Signal(bits, name=f"{name}{i}") for i in range(DEPTH + 1)]
        self.front = items[0]
        m.d.comb += Assert(self.level <= DEPTH, f"{name} is not more than may be")
        after = self.level - pop
        for i, item in enumerate(items):
            following = items[i + 1] if i < DEPTH else Const(0, bits)
            m.d.sync += item.eq(Mux(push & (after == i), value, Mux(pop, following, item)))
        m.d.sync += self.level.eq(after + push)


class Handshakes(StreamChecker):
    """What is on offer on AR, AW and W stays; memory's answers stay too."""

    def build(self, m):
        super().build(m)
        handshakes(m, self.proved.axi)


def handshakes(m, axi):
    """Assert the rules of what goes to memory, assume those of what comes."""
    for name, payload, rule in (
        ("ar", Cat(axi.araddr, axi.arlen, axi.arid), Assert),
        ("aw", Cat(axi.awaddr, axi.awlen, axi.awid), Assert),
        ("w", Cat(axi.wdata, axi.wstrb, axi.wlast), Assert),
        ("r", Cat(axi.rdata, axi.rresp, axi.rlast, axi.rid), Assume),
        ("b", Cat(axi.bresp, axi.bid), Assume),
    ):
        valid, ready = getattr(axi, f"{name}valid"), getattr(axi, f"{name}ready")
        keeps(m, name, valid, ready, payload, rule)


class Reads(StreamChecker):
    """Readers, and a memory that answers the bursts of one ID in order, those of others anyhow."""

    def build(self, m):
        super().build(m)
        axi = self.proved.axi
        handshakes(m, axi)
        for number, name in enumerate(self.proved.readers):
            self._reader(m, number, getattr(self.proved, f"read_{name}"), axi)

    def _reader(self, m, number, port, axi):
        asked = port.request.valid & port.request.ready
        got = port.data.valid & port.data.ready
        burst, beat = port.request.payload, port.data.payload
        tag, parity = Signal(2, name=f"tag{number}"), Signal(name=f"parity{number}")
        m.d.comb += tag.eq(Cat(Const(number, 1), parity))
        m.d.sync += parity.eq(parity ^ asked)
        long = burst.beats[0]
        expected = Ledger(
            m, f"reader{number}", 2, push=asked, value=Cat(long, parity), pop=got & beat.last
        )
        second = Signal(name=f"second{number}")
        m.d.sync += second.eq(Mux(got, ~beat.last, second))
        m.d.comb += [
            Assume(~port.request.valid | (burst.beats < 2)),
            Assume(~port.request.valid | (burst.address[:2] == tag)),
            Assume(~port.request.valid | (expected.level < MOST)),
            Assert(~port.data.valid | (expected.level != 0), f"{number} gets what it asked for"),
            Assert(
                ~port.data.valid | (beat.last == (second | ~expected.front[0])),
                f"{number} gets as many beats",
            ),
            Assert(
                ~port.data.valid | (beat.data[:2] == Cat(Const(number, 1), expected.front[1])),
                f"{number} gets its data in order",
            ),
        ]
        self._memory(m, number, axi)

    def _memory(self, m, number, axi):
        """What memory owes to an ID; it answers only that."""
        mine, answer = passes(axi, "ar") & (axi.arid == number), axi.rid == number
        given = passes(axi, "r") & answer
        owed = Ledger(
            m, f"memory{number}", 3, push=mine,
            value=Cat(axi.arlen[0], axi.araddr[:2]), pop=given & axi.rlast,
        )  # fmt: skip
        second = Signal(name=f"later{number}")
        m.d.sync += second.eq(Mux(given, ~axi.rlast, second))
        offered = axi.rvalid & answer
        m.d.comb += [
            Assume(~offered | (owed.level != 0)),
            Assume(~offered | (axi.rlast == (second | ~owed.front[0]))),
            Assume(~offered | (axi.rdata[:2] == owed.front[1:])),
            Assert(~mine | (axi.arlen < 2), f"the length of {number} reaches memory"),
            Assert(~mine | (axi.araddr[0] == number), f"the address of {number} has its ID"),
        ]
        if number == 0:
            m.d.comb += Assume(axi.rid < len(self.proved.readers))


class Writes(StreamChecker):
    """Writers that send the data of what they announced, and a memory that may take them first.

    `most`: bursts that a writer announces before it has sent their data.
    """

    def __init__(self, component, *, most):
        super().__init__(component)
        self.most = most

    def build(self, m):
        super().build(m)
        axi = self.proved.axi
        handshakes(m, axi)
        for number, name in enumerate(self.proved.writers):
            self._writer(m, number, getattr(self.proved, f"write_{name}"))
        self._order(m, axi)

    def _writer(self, m, number, port):
        asked = port.request.valid & port.request.ready
        sent = port.data.valid & port.data.ready
        burst, beat = port.request.payload, port.data.payload
        parity, second = Signal(name=f"parity{number}"), Signal(name=f"second{number}")
        m.d.sync += [parity.eq(parity ^ asked), second.eq(Mux(sent, ~beat.last, second))]
        owed = Ledger(
            m, f"writer{number}", 2, push=asked, value=Cat(burst.beats[0], parity),
            pop=sent & beat.last,
        )  # fmt: skip
        tag = Cat(Const(number, 1), parity)
        m.d.comb += [
            Assume(~port.request.valid | (burst.beats < 2)),
            Assume(~port.request.valid | (burst.address[:2] == tag)),
            Assume(~port.request.valid | (owed.level < self.most)),
            Assume(~port.data.valid | (owed.level != 0)),
            Assume(~port.data.valid | (beat.last == (second | ~owed.front[0]))),
            Assume(~port.data.valid | (beat.data[:2] == Cat(Const(number, 1), owed.front[1]))),
        ]

    def _order(self, m, axi):
        """The data of bursts are in the order of the addresses, whichever is ahead."""
        address, beat = passes(axi, "aw"), passes(axi, "w")
        ends = beat & axi.wlast
        tag, said, second, first = Signal(3), Signal(3), Signal(), Signal(2)
        m.d.comb += tag.eq(Cat(axi.awlen[0], axi.awaddr[:2]))
        m.d.comb += said.eq(Cat(second, axi.wdata[:2]))
        with m.If(beat):
            m.d.sync += [second.eq(~axi.wlast), first.eq(axi.wdata[:2])]
        ahead, behind = Signal(), Signal()  # data, addresses are there and the other is not
        at_once = address & ends & ~ahead & ~behind
        asked = Ledger(
            m, "addresses", 3, push=address & ~ahead & ~at_once, value=tag, pop=ends & behind
        )
        sent = Ledger(m, "data", 3, push=ends & ~behind & ~at_once, value=said, pop=address & ahead)
        m.d.comb += [
            ahead.eq(sent.level != 0),
            behind.eq(asked.level != 0),
            Assert(~(ahead & behind), "addresses or data are ahead"),
            Assert(~(address & ahead) | (sent.front == tag), "an address is that of its data"),
            Assert(~(ends & behind) | (asked.front == said), "data are those of their address"),
            Assert(~at_once | (said == tag), "data and address are of one burst"),
            Assert(~beat | ~second | (axi.wlast & (first == axi.wdata[:2])), "no beat too many"),
            Assert(~address | (axi.awid == axi.awaddr[0]), "an address has its ID"),
            Assert(~address | (axi.awlen < 2), "the length reaches memory"),
        ]


class Answers(StreamChecker):
    """Writers, and a memory that answers each address once, as soon as it has it."""

    def build(self, m):
        super().build(m)
        axi = self.proved.axi
        handshakes(m, axi)
        m.d.comb += Assume(axi.bid < len(self.proved.writers))
        ports = [getattr(self.proved, f"write_{name}") for name in self.proved.writers]
        some = Cat(port.response.valid for port in ports).any()
        for number, port in enumerate(ports):
            self._writer(m, number, port, axi, some)

    def _writer(self, m, number, port, axi, some):
        asked = port.request.valid & port.request.ready
        answered = port.response.valid & port.response.ready
        address = passes(axi, "aw") & (axi.awid == number)
        offers = axi.bvalid & (axi.bid == number)
        answer = offers & axi.bready
        waits, owes, moving = (
            Signal(range(MOST + 2), name=f"{name}{number}") for name in ("waits", "owes", "moving")
        )
        error = Signal(name=f"error{number}")
        m.d.sync += [
            error.eq(error | (answer & axi.bresp[1])),
            waits.eq(waits + asked - answered),
            owes.eq(owes + address - answer),
            moving.eq(moving + answer - answered),
        ]
        m.d.comb += [
            Assume(~port.request.valid | (waits < MOST)),
            Assume(~offers | (owes != 0)),
            Assert(~port.response.valid | (waits != 0), f"{number} has no answer too many"),
            Assert(~port.response.valid | (moving != 0), f"{number} is answered when memory has"),
            Assert(waits >= owes + moving, f"memory is asked what {number} asks, once"),
            Assert(some | (moving == 0), f"an answer to {number} is offered, or one before it"),
            Assert(
                ~(port.response.valid & port.response.payload.error) | error,
                f"{number} is not told of errors of others",
            ),
        ]


class Turns(StreamChecker):
    """Bursts of several, one of which is passed at a time: each has its turn."""

    def build(self, m):
        super().build(m)
        output, inputs = self.proved.output, self.proved.inputs
        pops = output.valid & output.ready
        idle = Signal(3)
        some = []
        for i, port in enumerate(inputs):
            push, mine = port.valid & port.ready, pops & (output.payload.source == i)
            held, others = Signal(3, name=f"held{i}"), Signal(4, name=f"others{i}")
            some.append(held != 0)
            m.d.sync += held.eq(held + push - mine)
            m.d.comb += [
                Assume(~port.valid | (port.payload.address[:2] == i)),
                Assert(held <= 3, f"no more of {i} is held than there is room for"),
                Assert(~mine | (held != 0), f"nothing of {i} comes that was not given"),
                Assert(~mine | (output.payload.burst.address[:2] == i), f"{i} is named"),
                Assert(others <= len(inputs), f"{i} waits for one turn of each of the others"),
            ]
            with m.If(mine | (held == 0)):
                m.d.sync += others.eq(0)
            with m.Elif(pops):
                m.d.sync += others.eq(others + 1)
        m.d.sync += idle.eq(Mux(output.valid | ~Cat(some).any(), 0, idle + 1))
        m.d.comb += Assert(idle < 2, "what is held is soon offered")
