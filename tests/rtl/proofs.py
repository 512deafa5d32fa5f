"""What is proved of components, as components around them."""

from amaranth.hdl import Assert, Cat, Signal
from amaranth.lib.wiring import In

from tapeout.rtl.bank_arbiter import BankArbiter
from tapeout.rtl.component import Component
from tapeout.rtl.stream_rules import StreamChecker


class Queue(StreamChecker):
    """Beats leave in the order in which they came, none is lost, none comes twice.

    Any one beat may be marked; how many are ahead of it is counted until it leaves.
    """

    def __init__(self, component, *, holds):
        super().__init__(component, more={"mark": In(1)})
        self.holds = holds

    def build(self, m):
        super().build(m)
        source, sink = self.proved.input, self.proved.output
        push, pop = source.valid & source.ready, sink.valid & sink.ready
        held, ahead = Signal(range(self.holds + 2)), Signal(range(self.holds + 2))
        marked, kept = Signal(), Signal(len(source.payload))
        m.d.sync += held.eq(held + push - pop)
        with m.If(self.mark & push & ~marked):
            m.d.sync += [marked.eq(1), ahead.eq(held - pop), kept.eq(source.payload)]
        with m.Elif(marked & pop):
            m.d.sync += [marked.eq(ahead != 0), ahead.eq(ahead - 1)]
        m.d.comb += [
            Assert(~sink.valid | (held != 0), "nothing is offered that did not come"),
            Assert(sink.valid | (held == 0), "what is held is offered"),
            Assert(held <= self.holds, "no more is held than there is room for"),
            Assert(source.ready | (held == self.holds), "what there is room for is taken"),
            Assert(~(marked & (ahead == 0) & sink.valid) | (sink.payload == kept), "in order"),
            Assert(~marked | (ahead < held), "a marked beat is held"),
        ]


class Arbiter(Component):
    """The arbiter of banks among requesters that may ask for anything at any time."""

    def __init__(self, *, banks, reads, writes, arbiter=None):
        self.arbiter = arbiter or BankArbiter(banks=banks, reads=reads, writes=writes)
        self.counts = (reads, writes)
        self.banks = banks
        total = reads + writes
        super().__init__(
            {"ask": In(total), "wanted": In(banks).array(total)},
            name=f"checked_{self.arbiter.module_name}",
        )

    def build(self, m):
        m.submodules.arbiter = arbiter = self.arbiter
        requests = [*arbiter.reads, *arbiter.writes]
        ages = [self._requester(m, request, i) for i, request in enumerate(requests)]
        reads = len(arbiter.reads)
        for i, (one, age) in enumerate(zip(requests, ages, strict=True)):
            rivals = []
            m.d.comb += [
                Assert(~one.granted | one.waits, f"{i} is granted only if it waits"),
                Assert(~one.waits | (age < len(requests)), f"{i} waits less than the number"),
            ]
            for j, other in enumerate(requests):
                if j != i:
                    shared = other.waits & (one.banks & other.banks).any()
                    rivals.append(shared)
                    self._pair(m, i, j, shared & one.waits, (requests, ages), reads)
            m.d.comb += Assert(one.granted | ~one.waits | Cat(rivals).any(), f"{i} alone passes")

    def _requester(self, m, request, i):
        """It waits with the same banks until it is granted; its age, in cycles."""
        waits, age = Signal(name=f"waits{i}"), Signal(8, name=f"age{i}")
        banks = Signal(self.banks, name=f"banks{i}")
        enters = self.ask[i] & (~waits | request.granted)
        m.d.comb += [
            request.waits.eq(waits),
            request.banks.eq(banks),
            request.enters.eq(enters),
        ]
        m.d.sync += [waits.eq(enters | (waits & ~request.granted)), age.eq(age + 1)]
        with m.If(enters):
            m.d.sync += [banks.eq(self.wanted[i]), age.eq(0)]
        return age

    def _pair(self, m, i, j, shared, all_of, reads):
        """What i and j may do when both wait for a common bank; i is older, or of that age."""
        requests, ages = all_of
        one, other = requests[i], requests[j]
        older = (ages[i] > ages[j]) | ((ages[i] == ages[j]) & (i < j))
        bad = other.granted & ~one.granted
        if not i < reads <= j:
            bad |= other.granted & one.granted
        m.d.comb += Assert(~(shared & older & bad), f"{j} does not pass before {i}")
