"""What is proved of what orders instructions: the counters, and the queues before the units."""

from amaranth.hdl import Assert, Assume, Cat, Mux, Signal
from amaranth.lib.wiring import In

from tapeout.rtl import counters
from tapeout.rtl.stream_rules import StreamChecker
from tapeout.rtl.trap import Trap

SLOWEST = 2  # cycles in which a take that may pass, or a beat that is held, does not
LOW = 3  # bits of a number or of a command that are followed: the others are like them


class CounterRules(StreamChecker):
    """Any one of the counters beside a plain count, from the first start on.

    Nothing waits for a counter when the counters are cleared.
    """

    def build(self, m):
        super().build(m)
        unit, bits = self.proved, counters.COUNT_BITS
        which, last, count = unit.peek.number, Signal(counters.COUNTER_BITS), Signal(bits + 1)
        begun, left = Signal(), Signal(range(counters.COUNTERS + 1))
        idle, takes, gives = Signal(), Signal(), Signal()
        amount, rest = Signal(bits + 1), Signal(bits + 1)
        known = Signal()
        m.d.sync += [known.eq(1), last.eq(which)]  # it is any, and always the same
        with m.If(unit.start):
            m.d.sync += [begun.eq(1), left.eq(counters.COUNTERS)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        taken = [each.valid & each.ready for each in unit.takes]
        given = [each.valid & each.ready for each in unit.signals]
        m.d.comb += [
            Assume(~known | (which == last)),
            Assume(~unit.start | ~Cat(each.valid for each in unit.takes).any()),
            idle.eq(begun & (left == 0)),
            takes.eq(Cat(taken).any()),
            gives.eq(Cat(given).any()),
            Assert(~begun | idle | ~(takes | gives), "nothing passes while counters are cleared"),
            Assert(~idle | (unit.peek.value == count), "the counter holds what it should"),
            Assert(~idle | ~takes | (amount <= count), "only what is there is taken"),
            Assert(~idle | ~Cat(each.valid for each in unit.signals).any() | gives, "one signals"),
        ]
        for passing, kind in ((taken, "take"), (given, "signal")):
            for i, one in enumerate(passing):
                others = Cat(passing[:i]).any()
                m.d.comb += Assert(~begun | ~(one & others), f"one {kind} at a time, {i}")
        for i, (one, source) in enumerate(zip(taken, unit.takes, strict=True)):
            mine = self._amount(source.payload, which)
            with m.If(one):
                m.d.comb += amount.eq(mine)
            self._soon(m, i, source, which, idle & (mine <= count) & ~takes)
        m.d.comb += rest.eq(count - Mux(takes, amount, 0))
        self._signals(m, given, which, idle, rest)
        hits = [one & (source.payload.counter == which)
                for one, source in zip(given, unit.signals, strict=True)]  # fmt: skip
        more = Cat(hits).any() & (rest != counters.COUNTER_MAX)
        m.d.sync += count.eq(Mux(unit.start | ~idle, 0, rest + more))

    def _amount(self, take, which):
        """What a take takes from the one that is followed."""
        first = Mux(take.wait0_counter == which, take.wait0_count, 0)
        return first + Mux(take.wait1_counter == which, take.wait1_count, 0)

    def _soon(self, m, i, source, which, may):
        """A take that needs nothing else passes soon, or another one."""
        take, stuck = source.payload, Signal(range(SLOWEST + 2), name=f"stuck{i}")
        alone = (take.wait0_counter == which) & (
            (take.wait1_counter == which) | (take.wait1_count == 0)
        )
        m.d.sync += stuck.eq(Mux(may & source.valid & alone, stuck + 1, 0))
        m.d.comb += Assert(stuck <= SLOWEST, f"a take of {i} passes soon")

    def _signals(self, m, given, which, idle, rest):
        """One that would pass the maximum traps in the next cycle, with its source and number."""
        trap, full = self.proved.trap, Signal()
        last, queue, number = Signal(), Signal(3), Signal(2)
        for i, (one, source) in enumerate(zip(given, self.proved.signals, strict=True)):
            with m.If(one):
                m.d.sync += [queue.eq(i), number.eq(source.payload.number)]
                hit = source.payload.counter == which
                m.d.sync += [last.eq(hit & idle), full.eq(hit & idle)]
                with m.If(rest != counters.COUNTER_MAX):
                    m.d.sync += full.eq(0)
        with m.If(~Cat(given).any()):
            m.d.sync += [last.eq(0), full.eq(0)]
        m.d.comb += [
            Assert(~full | (trap.code == Trap.COUNTER), "a signal too many traps"),
            Assert(~full | (trap.queue == queue), "a trap has its source"),
            Assert(~full | (trap.number[:2] == number), "a trap has its number"),
            Assert(~last | full | (trap.code == Trap.NONE), "only a signal too many traps"),
        ]


class InstructionQueueRules(StreamChecker):
    """A queue whose unit is done as often as it was given a command; nothing halts it.

    Any one instruction may be marked, and is followed from where it enters until it is retired.
    """

    def __init__(self, component):
        super().__init__(component, more={"mark": In(1)})

    def build(self, m):
        super().build(m)
        queue = self.proved
        self.push = queue.input.valid & queue.input.ready
        self.commands = queue.unit.commands.valid & queue.unit.commands.ready
        self.start, self.retire = queue.started.valid, queue.retired.valid
        depth = range(2 * queue.depth + 2)
        self.waiting, self.flying = Signal(depth), Signal(depth)
        self.kept, self.ahead = Signal(queue.input.payload.shape()), Signal(depth)
        self.waits, self.flies = Signal(), Signal()  # the marked one
        m.d.sync += [
            self.waiting.eq(self.waiting + self.push - self.start),
            self.flying.eq(self.flying + self.start - self.retire),
        ]
        m.d.comb += [
            Assume(~queue.halt),
            Assert(~self.start | (self.waiting != 0), "what starts was waiting"),
            Assert(~self.retire | (self.flying != 0), "what is retired had started"),
            Assert(queue.input.ready == (self.waiting < queue.depth), "what fits is taken"),
            Assert(self.flying <= queue.depth, "no more has started than is remembered"),
            Assert(queue.empty == ((self.waiting == 0) & (self.flying == 0)), "empty is known"),
            Assert(~self.commands | self.start, "a command is a start"),
        ]
        self._follow(m)
        self._starts(m)
        self._ends(m)
        self._soon(m)

    def _follow(self, m):
        with m.If(self.waits):
            with m.If(self.start & (self.ahead == 0)):
                m.d.sync += [self.waits.eq(0), self.flies.eq(1)]
                m.d.sync += self.ahead.eq(self.flying - self.retire)
            with m.Elif(self.start):
                m.d.sync += self.ahead.eq(self.ahead - 1)
        with m.Elif(self.flies & self.retire):
            m.d.sync += [self.flies.eq(self.ahead != 0), self.ahead.eq(self.ahead - 1)]
        with m.Elif(~self.flies & self.mark & self.push):
            m.d.sync += [self.waits.eq(1), self.ahead.eq(self.waiting - self.start)]
            m.d.sync += self.kept.eq(self.proved.input.payload)

    def _starts(self, m):
        queue, kept, took = self.proved, self.kept, Signal()
        mine = self.waits & (self.ahead == 0)
        takes = queue.takes.valid & queue.takes.ready
        m.d.sync += took.eq((took | takes) & ~self.start)
        starts = mine & self.start
        command = queue.unit.commands.payload.as_value()[:LOW]
        m.d.comb += [
            Assert(~takes | ~took, "waits are taken once"),
            Assert(~queue.takes.valid | (self.waiting != 0), "what takes is waiting"),
            Assert(~starts | (took == (kept.wait0_count != 0)), "it starts when it has taken"),
            Assert(~starts | (queue.started.number[:LOW] == kept.number[:LOW]), "starts in order"),
            Assert(~starts | (self.commands == ~kept.nop), "all but a Nop is a command"),
            Assert(
                ~(mine & self.commands) | (command == kept.command.as_value()[:LOW]),
                "a command is that of its instruction",
            ),
        ]
        for name in queue.takes.payload.shape().members:
            same = queue.takes.payload[name] == kept[name]
            m.d.comb += Assert(~(mine & queue.takes.valid) | same, f"it takes its {name}")

    def _ends(self, m):
        queue, kept = self.proved, self.kept
        mine = self.flies & (self.ahead == 0)
        depth = range(2 * queue.depth + 2)
        running, done = Signal(depth), Signal(depth)
        finished = Signal()  # what is done and is a Nop is not counted
        m.d.sync += running.eq(running + self.commands - queue.unit.done)
        signals = queue.signals.valid & queue.signals.ready
        ends = mine & self.retire
        kinds = Signal(8)  # of what has started: whether it is a Nop, the oldest first
        nop, after = Signal(), Signal(depth)
        m.d.comb += [nop.eq(self.start & ~self.commands), after.eq(self.flying - self.retire)]
        m.d.sync += kinds.eq(((kinds >> self.retire) & ~(1 << after)[:8]) | (nop << after)[:8])
        m.d.sync += done.eq(done + queue.unit.done - (self.retire & ~kinds[0]))
        m.d.comb += [
            finished.eq((self.flying != 0) & (kinds[0] | (done != 0))),
            Assume(~queue.unit.done | (running != 0)),
            Assert(~self.retire | finished, "what is retired is done"),
            Assert(
                ~finished | self.retire | (queue.signals.valid & ~queue.signals.ready),
                "what is done is retired, or signals",
            ),
            Assert(~signals | self.retire, "a signal retires"),
            Assert(~ends | (signals == kept.signal_count), "it signals when it should, once"),
            Assert(~ends | (queue.retired.number[:LOW] == kept.number[:LOW]), "ends in order"),
            Assert(
                ~(ends & signals) | (queue.signals.payload.counter == kept.signal_counter),
                "it signals its counter",
            ),
            Assert(~mine | (queue.trap.number[:LOW] == kept.number[:LOW]), "a trap has its number"),
        ]

    def _soon(self, m):
        """What may start does so soon, or takes; or another one is asked to be ready."""
        queue, stuck = self.proved, Signal(range(SLOWEST + 2))
        asks = queue.takes.valid | queue.unit.commands.valid
        full = self.flying == queue.depth
        m.d.sync += stuck.eq(Mux((self.waiting != 0) & ~full & ~asks & ~self.start, stuck + 1, 0))
        m.d.comb += Assert(stuck <= SLOWEST, "what may start does so soon")
