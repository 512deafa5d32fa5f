"""What is proved of address generators: nothing is left out, nothing comes twice, all ends."""

from amaranth.hdl import Assert, Assume, Const, Mux, Signal

from tapeout.rtl import vector_walk
from tapeout.rtl.stream_rules import StreamChecker


class WalkRules(StreamChecker):
    """Nested loops beside their definition: the turns of each loop, counted.

    A loop has as many turns as units begin in its total, which is at least 1, as is the unit.
    """

    def build(self, m):
        super().build(m)
        walk, levels = self.proved, range(vector_walk.LEVELS)
        plan, active = Signal(walk.plan.shape()), Signal()
        bits = vector_walk.COUNT_BITS
        turn = [Signal(bits, name=f"turn{i}") for i in levels]
        last = [Signal(name=f"last{i}") for i in levels]
        for i in levels:
            level, new = plan.levels[i], walk.plan.levels[i]
            done = turn[i] * level.unit
            m.d.comb += [
                Assume(~walk.load | ((new.unit != 0) & (new.total != 0))),
                last[i].eq(done + level.unit >= level.total),
                Assert(~active | (walk.last[i] == last[i]), f"{i} knows its last turn"),
                Assert(~active | (walk.left[i] == level.total - done), f"{i} knows what is left"),
                Assert(~active | (turn[i] * level.unit < level.total), f"{i} has something left"),
                Assert(
                    ~active | (walk.length[i] == Mux(last[i], level.total - done, level.unit)),
                    f"{i} knows what its turn counts",
                ),
            ]
        inner = Const(1, 1)
        with m.If(walk.load):
            m.d.sync += [plan.eq(walk.plan), active.eq(1), *(each.eq(0) for each in turn)]
        with m.Elif(walk.step):
            for i in levels:
                with m.If(inner):
                    m.d.sync += turn[i].eq(Mux(last[i], 0, turn[i] + 1))
                inner = inner & last[i]
            m.d.sync += active.eq(~inner)
        place = plan.start + sum(turn[i] * plan.levels[i].stride for i in levels)
        here = Signal(walk.bits)
        m.d.comb += [
            here.eq(place),
            Assume(~walk.step | walk.active),
            Assert(walk.active == active, "it is over after all turns"),
            Assert(~active | (walk.address == here), "the address is that of its turns"),
        ]


class BurstRules(StreamChecker):
    """Bursts beside the runs that they are cut from, of which up to two are under way."""

    def build(self, m):
        super().build(m)
        runs, out = self.proved.runs, self.proved.bursts
        bus = self.proved.bus_bytes
        run, cut = runs.payload, out.payload
        bits = len(run.address) + 1
        at, end = Signal(bits), Signal(bits)
        next_at, next_end = Signal(bits), Signal(bits)
        none, last, next_none, next_last = (Signal() for _ in range(4))
        count = Signal(2)
        push, pop = runs.valid & runs.ready, out.valid & out.ready
        after, ends = Signal(bits + 1), Signal()
        longest = self.proved.burst_bytes
        m.d.comb += [
            Assume(run.address + run.bytes <= 1 << len(run.address)),
            after.eq(at + (cut.burst.beats + 1) * bus),
            ends.eq(none | (after == end)),
            Assert(count < 3, "at most two runs are under way"),
            Assert(~out.valid | (count != 0), "a burst is of a run that came"),
        ]
        real = out.valid & ~cut.none
        offset = cut.burst.address[: (longest - 1).bit_length()]
        m.d.comb += [
            Assert(~out.valid | (cut.none == none), "only a run of no bytes has no burst"),
            Assert(~real | (cut.burst.address == at), "a burst begins where the last one ended"),
            Assert(~real | (after <= end), "a burst does not pass the end of its run"),
            Assert(~out.valid | (cut.last == (last & ends)), "the last burst is known"),
            Assert(~real | (offset + (cut.burst.beats + 1) * bus <= longest), "no boundary"),
        ]
        done = pop & ends
        begins = push & (count == done)  # nothing is ahead of it
        first = Signal(bits)
        m.d.comb += first.eq(run.address & -bus)
        beyond = Signal(bits)
        m.d.comb += beyond.eq((run.address + run.bytes + bus - 1) & -bus)
        m.d.sync += count.eq(count + push - done)
        with m.If(pop):
            m.d.sync += at.eq(after)
        with m.If(done):
            m.d.sync += [at.eq(next_at), end.eq(next_end), none.eq(next_none), last.eq(next_last)]
        with m.If(begins):
            m.d.sync += [at.eq(first), end.eq(beyond), none.eq(run.bytes == 0), last.eq(run.last)]
        with m.Elif(push):
            m.d.sync += [next_at.eq(first), next_end.eq(beyond)]
            m.d.sync += [next_none.eq(run.bytes == 0), next_last.eq(run.last)]


class BoundaryRules(StreamChecker):
    """Bursts of at least one beat that lie within a range of the longest, whatever the runs."""

    def build(self, m):
        super().build(m)
        out, bus, longest = self.proved.bursts, self.proved.bus_bytes, self.proved.burst_bytes
        burst = out.payload.burst
        real = out.valid & ~out.payload.none
        offset = burst.address[: (longest - 1).bit_length()]
        m.d.comb += [
            Assert(~real | (offset + (burst.beats + 1) * bus <= longest), "no boundary is crossed"),
            Assert(~real | (burst.address & (bus - 1) == 0), "a burst begins with a whole beat"),
        ]


class WindowRules(StreamChecker):
    """A window's blocks: each of its granules is in one of them, and in its place."""

    def build(self, m):
        super().build(m)
        walk = self.proved
        address, waits = Signal(walk.address_bits), Signal()
        covered, blocks = Signal(walk.granules), Signal(4)
        taken = walk.request.valid & walk.request.ready
        m.d.sync += waits.eq(taken | (waits & ~walk.ends))
        with m.If(walk.go):
            m.d.sync += [covered.eq(covered | walk.chosen), blocks.eq(blocks + 1)]
        with m.If(taken):
            m.d.sync += [address.eq(walk.request.payload), covered.eq(0), blocks.eq(0)]
        whole = (1 << walk.granules) - 1
        each = walk.shape.group_granules
        m.d.comb += [
            Assume(walk.request.payload + walk.granules <= 1 << walk.address_bits),
            Assert(walk.go == (waits & ~walk.blocked), "a block is read when it may be"),
            Assert(~walk.ends | walk.go, "a window ends with a block"),
            Assert(~walk.go | walk.chosen.any(), "every block has a part of the window"),
            Assert(~walk.go | (walk.chosen & covered == 0), "no granule comes twice"),
            Assert(
                ~walk.go | (walk.ends == ((walk.chosen | covered) == whole)),
                "the window ends with its last granule",
            ),
            Assert(
                ~walk.go | (walk.first == address & ((1 << walk.block_bits) - 1)),
                "the first granule's place is known",
            ),
        ]
        for i in range(walk.granules):
            place = Signal(walk.address_bits, name=f"place{i}")
            group = place[walk.block_bits : -1] << walk.shape.bank_bits
            within = Signal(walk.shape.rows, name=f"within{i}")
            inside = place[: walk.block_bits]
            m.d.comb += [
                place.eq(address + i),
                within.eq(1 << (inside // each)),
                Assert(
                    ~(walk.go & walk.chosen[i])
                    | (
                        (walk.group == group)
                        & (walk.half == place[-1])
                        & (walk.touched & within).any()
                    ),
                    f"granule {i} lies in its block",
                ),
            ]
