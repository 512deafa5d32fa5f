"""The sampler: chooses a token from logits in memory, in passes over them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import Out, connect, flipped

from tapeout.isa import Sample

from .command import COMMAND, ROWS_BITS, payload
from .component import Component
from .histogram import COUNT_BITS, DIGIT_BITS, SUM_BITS, Histogram
from .philox import Philox
from .ports import MEMORY_BITS, memory_read, memory_write, unit_ports
from .trap import Trap
from .weights import Weights
from .words import WordReader

RECORD_WORDS = 8
RECORD_BYTES = 4 * RECORD_WORDS
LEVELS = 32 // DIGIT_BITS
INFINITY = 0x7F800000
ALL = (1 << SUM_BITS) - 1


class Sampler(Component):
    """Executes Sample. Value: `tapeout.numerics.sample` of each row.

    A pass reads all logits of a row, one per cycle: one for the largest, one for the kept total,
    one to find the token, four and one more for each of top-k and top-p that is on; 258 cycles
    after each of those four. Commands run one after the other.

    Parameters
    ----------
    bus_bits : int
        Width of the bus.

    Members
    -------
    commands, done, trap, busy : `unit_ports`
    read : Out(memory_read)
    write : Out(memory_write)
    """

    def __init__(self, *, bus_bits: int):
        self.bus_bits = bus_bits
        ports = {
            **unit_ports(COMMAND),
            "read": Out(memory_read(bus_bits=bus_bits)),
            "write": Out(memory_write(bus_bits=bus_bits)),
        }
        super().__init__(ports, name=f"sampler_{bus_bits}")

    def build(self, m: Module) -> None:
        """Registers, the parts, what becomes of a logit, and the order of passes."""
        m.submodules.reader = self.reader = reader = WordReader(bus_bits=self.bus_bits)
        m.submodules.weights = self.weights = Weights()
        m.submodules.histogram = self.histogram = Histogram()
        m.submodules.random = self.random = Philox()
        connect(m, reader.memory, flipped(self.read))
        self._registers()
        self._multiplier(m)
        self._logits(m)
        self._control(m)

    def _registers(self) -> None:
        self.columns, self.rows = Signal(COUNT_BITS), Signal(ROWS_BITS)
        self.pitch = Signal(24)
        self.logits, self.record, self.out = (
            Signal(MEMORY_BITS, name=name) for name in ("logits", "record", "out")
        )
        self.words = [Signal(32, name=f"parameter{i}") for i in range(RECORD_WORDS)]
        self.place = Signal(range(RECORD_WORDS))
        self.best, self.best_key, self.best_index = Signal(32), Signal(32), Signal(COUNT_BITS)
        # What is kept: keys above `cut`, and of those equal to it the first `equals`, until their
        # weights reach `needed`.
        self.cut, self.equals, self.needed = Signal(32), Signal(COUNT_BITS), Signal(SUM_BITS)
        self.prefix, self.level, self.by_sum = Signal(32), Signal(range(LEVELS)), Signal()
        self.above, self.wanted = Signal(SUM_BITS), Signal(SUM_BITS)
        self.total, self.threshold = Signal(SUM_BITS), Signal(SUM_BITS)
        self.token, self.found = Signal(COUNT_BITS), Signal()
        # Of the pass that runs.
        self.loading, self.greedy_pass, self.histogram_pass = Signal(), Signal(), Signal()
        self.index, self.same, self.same_weight = (
            Signal(COUNT_BITS, name="index"),
            Signal(COUNT_BITS, name="same"),
            Signal(SUM_BITS, name="same_weight"),
        )
        self.sum, self.pass_done, self.failed = Signal(SUM_BITS), Signal(), Signal()

    def _multiplier(self, m: Module) -> None:
        """product = total * factor >> steps, a bit per cycle; `inexact`: bits fell off."""
        self.factor, self.steps = Signal(64), Signal(range(65))
        self.product, self.inexact = Signal(SUM_BITS + 1), Signal()
        with m.If(self.steps.any()):
            added = Signal(SUM_BITS + 1)
            m.d.comb += added.eq(self.product + Mux(self.factor[0], self.total, 0))
            m.d.sync += [
                self.product.eq(added >> 1),
                self.inexact.eq(self.inexact | added[0]),
                self.factor.eq(self.factor >> 1),
                self.steps.eq(self.steps - 1),
            ]

    def _logits(self, m: Module) -> None:
        """The way of a logit: memory, weights, then what the pass does with it."""
        words, weights, entries = self.reader.words, self.weights, self.histogram.entries
        logit = words.payload
        m.d.comb += [
            weights.logits.valid.eq(words.valid & ~self.loading),
            weights.logits.payload.value.eq(logit.value),
            weights.logits.payload.last.eq(logit.last),
            weights.best.eq(self.best),
            weights.inverse.eq(self.words[0]),
            words.ready.eq(self.loading | weights.logits.ready),
        ]
        with m.If(words.valid & words.ready & logit.error):
            m.d.sync += self.failed.eq(1)
        with m.If(words.valid & self.loading):
            for i, word in enumerate(self.words):
                with m.If(self.place == i):
                    m.d.sync += word.eq(logit.value)
            m.d.sync += [self.place.eq(self.place + 1), self.pass_done.eq(logit.last)]
        value = Signal(32)  # of the logit that leaves `weights`; only the pass for the largest asks
        out, taken, kept, is_cut = weights.weighed.payload, Signal(), Signal(), Signal()
        matches = self._matches(m, out.key)
        m.d.comb += [
            value.eq(_value(out.key)),
            taken.eq(weights.weighed.valid & weights.weighed.ready),
            weights.weighed.ready.eq(~self.histogram_pass | entries.ready),
            is_cut.eq(out.key == self.cut),
            kept.eq(
                (out.key > self.cut)
                | (is_cut & (self.same < self.equals) & (self.same_weight < self.needed))
            ),
            entries.valid.eq(weights.weighed.valid & self.histogram_pass & kept & matches),
            entries.payload.digit.eq(self.digit),
            entries.payload.weight.eq(out.weight),
        ]
        with m.If(taken):
            m.d.sync += [self.index.eq(self.index + 1), self.pass_done.eq(out.last)]
            with m.If(self.greedy_pass & ((out.key > self.best_key) | (self.index == 0))):
                m.d.sync += [self.best_key.eq(out.key), self.best.eq(value)]
                m.d.sync += self.best_index.eq(self.index)
            with m.If(kept):
                after = Signal(SUM_BITS)
                m.d.comb += after.eq(self.sum + out.weight)
                m.d.sync += self.sum.eq(after)
                with m.If((after > self.threshold) & ~self.found):
                    m.d.sync += [self.found.eq(1), self.token.eq(self.index)]
            with m.If(kept & is_cut):
                m.d.sync += self.same.eq(self.same + 1)
                m.d.sync += self.same_weight.eq(self.same_weight + out.weight)

    def _matches(self, m: Module, key: Any) -> Any:
        """Whether the digits of a key above the present level are found already; sets `digit`."""
        matches, self.digit = Signal(), Signal(DIGIT_BITS)
        with m.Switch(self.level):
            for level in range(LEVELS):
                with m.Case(level):
                    low = 32 - DIGIT_BITS * level
                    m.d.comb += matches.eq(key[low:] == self.prefix[low:] if level else 1)
                    m.d.comb += self.digit.eq(key[low - DIGIT_BITS : low])
        return matches

    def _read(self, m: Module, address: Any, words: Any, after: str) -> None:
        """Ask for a range, and go on when the reader has taken it."""
        ranges = self.reader.ranges
        m.d.comb += [
            ranges.valid.eq(1),
            ranges.payload.address.eq(address),
            ranges.payload.words.eq(words),
        ]
        with m.If(ranges.ready):
            m.d.sync += [
                self.index.eq(0), self.same.eq(0), self.same_weight.eq(0), self.sum.eq(0),
                self.pass_done.eq(0),
            ]  # fmt: skip
            m.next = after

    def _control(self, m: Module) -> None:
        m.d.sync += self.done.eq(0)
        m.d.sync += self.trap.eq(0)
        with m.FSM():
            self._begin(m)
            self._passes(m)
            self._filters(m)
            self._finish(m)
            with m.State("TRAPPED"):
                m.d.comb += self.write.response.ready.eq(0)

    def _begin(self, m: Module) -> None:
        op, rows = payload(self.commands.payload, Sample), self.commands.payload.rows
        with m.State("CLEAR"):  # the histogram's memory after reset
            m.d.comb += self.histogram.scan.eq(1)
            m.next = "CLEARING"
        with m.State("CLEARING"), m.If(self.histogram.found):
            m.next = "IDLE"
        m.d.comb += self.busy.eq(~self.commands.ready | self.done)
        with m.State("IDLE"):
            m.d.comb += self.commands.ready.eq(1)
            with m.If(self.commands.valid):
                m.d.sync += [
                    self.columns.eq(op.columns), self.rows.eq(rows), self.pitch.eq(op.pitch),
                    self.logits.eq(op.logits), self.record.eq(op.parameters), self.out.eq(op.out),
                ]  # fmt: skip
                m.next = "ROW"
        with m.State("ROW"):
            with m.If(self.rows == 0):
                m.d.sync += self.done.eq(1)
                m.next = "IDLE"
            with m.Else():
                m.d.sync += [self.loading.eq(1), self.place.eq(0)]
                self._read(m, self.record, RECORD_WORDS, "RECORD")
        with m.State("RECORD"), m.If(self.pass_done):
            m.d.sync += self.loading.eq(0)
            m.next = "LARGEST"

    def _passes(self, m: Module) -> None:
        inverse, top_k, top_p = self.words[:3]
        with m.State("LARGEST"):
            m.d.sync += [
                self.greedy_pass.eq(1), self.best_key.eq(0), self.best_index.eq(0),
                self.cut.eq(0), self.equals.eq(self.columns), self.needed.eq(ALL),
            ]  # fmt: skip
            self._read(m, self.logits, self.columns, "LARGEST PASS")
        with m.State("LARGEST PASS"), m.If(self.pass_done):
            m.d.sync += [self.greedy_pass.eq(0), self.token.eq(self.best_index)]
            m.d.sync += [self.by_sum.eq(0), self.above.eq(0), self.wanted.eq(top_k)]
            with m.If(inverse[:31] == INFINITY):
                m.next = "WRITE"
            with m.Elif((top_k == 0) | (top_k >= self.columns)):
                m.next = "TOTAL"
            with m.Else():
                m.next = "FILTER"
        with m.State("TOTAL"):
            self._read(m, self.logits, self.columns, "TOTAL PASS")
        with m.State("TOTAL PASS"), m.If(self.pass_done):
            m.d.sync += [self.total.eq(self.sum), self.product.eq(0), self.inexact.eq(0)]
            with m.If(self.sum == 0):
                m.d.sync += self.token.eq(0)
                m.next = "WRITE"
            with m.Elif((top_p != 0) & ~self.by_sum):
                m.d.sync += [self.factor.eq(top_p), self.steps.eq(32)]
                m.next = "TARGET"
            with m.Else():
                m.d.comb += self.random.start.eq(1)
                m.next = "RANDOM"
        m.d.comb += [
            self.random.seed.eq(Cat(*self.words[4:6])),
            self.random.counter.eq(Cat(*self.words[6:8])),
        ]
        with m.State("RANDOM"), m.If(self.random.done):
            m.d.sync += [self.factor.eq(self.random.bits), self.steps.eq(64)]
            m.next = "THRESHOLD"
        with m.State("THRESHOLD"), m.If(self.steps == 0):
            m.d.sync += [self.threshold.eq(self.product), self.found.eq(0)]
            m.next = "FIND"
        with m.State("FIND"):
            self._read(m, self.logits, self.columns, "FIND PASS")
        with m.State("FIND PASS"), m.If(self.pass_done):
            m.next = "WRITE"

    def _filters(self, m: Module) -> None:
        """Find where the first `wanted` logits, or the first weights of `wanted`, end."""
        with m.State("TARGET"), m.If(self.steps == 0):
            m.d.sync += [self.wanted.eq(self.product + self.inexact), self.by_sum.eq(1)]
            m.d.sync += self.above.eq(0)
            m.next = "FILTER"
        with m.State("FILTER"):
            m.d.sync += [self.level.eq(0), self.prefix.eq(0)]
            m.next = "LEVEL"
        with m.State("LEVEL"):
            m.d.sync += self.histogram_pass.eq(1)
            self._read(m, self.logits, self.columns, "LEVEL PASS")
        with m.State("LEVEL PASS"), m.If(self.pass_done):
            m.d.sync += self.histogram_pass.eq(0)
            m.next = "SETTLE"  # the last entry is written
        with m.State("SETTLE"):
            m.d.comb += self.histogram.scan.eq(1)
            m.next = "SCAN"
        m.d.comb += [
            self.histogram.by_sum.eq(self.by_sum),
            self.histogram.start.eq(self.above),
            self.histogram.wanted.eq(self.wanted),
        ]
        with m.State("SCAN"), m.If(self.histogram.found):
            with m.Switch(self.level):
                for level in range(LEVELS):
                    with m.Case(level):
                        digit = self.prefix.word_select(LEVELS - 1 - level, DIGIT_BITS)
                        m.d.sync += digit.eq(self.histogram.digit)
            m.d.sync += [self.above.eq(self.histogram.before), self.level.eq(self.level + 1)]
            m.next = "LEVEL"
            with m.If(self.level == LEVELS - 1):
                m.next = "CUT"
        with m.State("CUT"):
            left = (self.wanted - self.above)[:SUM_BITS]
            m.d.sync += self.cut.eq(self.prefix)
            with m.If(self.by_sum):
                m.d.sync += self.needed.eq(left)
                with m.If(self.prefix != self.cut):
                    m.d.sync += self.equals.eq(self.columns)
            with m.Else():
                m.d.sync += self.equals.eq(left)
            m.next = "TOTAL"

    def _finish(self, m: Module) -> None:
        shift = (self.bus_bits // 8 - 1).bit_length()
        request, beat = self.write.request, self.write.data
        place = self.out[2:shift]
        sent = Signal(2)
        m.d.comb += [
            request.payload.address.eq(Cat(Const(0, shift), self.out[shift:])),
            request.payload.beats.eq(0),
            beat.payload.data.eq(Cat(*[self.token_word] * (self.bus_bits // 32))),
            beat.payload.strobe.eq(Const(0xF, 4) << Cat(Const(0, 2), place)),
            beat.payload.last.eq(1),
        ]
        with m.State("WRITE"):
            with m.If(self.failed):
                m.d.sync += self.trap.eq(Trap.READ)
                m.next = "TRAPPED"
            with m.Else():
                m.d.sync += sent.eq(0)
                m.next = "SEND"
        with m.State("SEND"):
            m.d.comb += [request.valid.eq(~sent[0]), beat.valid.eq(~sent[1] & sent[0])]
            with m.If(request.valid & request.ready):
                m.d.sync += sent[0].eq(1)
            with m.If(beat.valid & beat.ready):
                m.d.sync += sent[1].eq(1)
                m.next = "RESPONSE"
        with m.State("RESPONSE"):
            m.d.comb += self.write.response.ready.eq(1)
            with m.If(self.write.response.valid):
                m.d.sync += [
                    self.rows.eq(self.rows - 1), self.logits.eq(self.logits + self.pitch),
                    self.record.eq(self.record + RECORD_BYTES), self.out.eq(self.out + 4),
                ]  # fmt: skip
                m.next = "ROW"
                with m.If(self.write.response.payload.error):
                    m.d.sync += self.trap.eq(Trap.WRITE)
                    m.next = "TRAPPED"

    @property
    def token_word(self) -> Any:
        """The token as 32 bits."""
        return Cat(self.token, Const(0, 32 - COUNT_BITS))


def _value(key: Any) -> Any:
    """The logit of an order key; a NaN of key 0."""
    magnitude = Mux(key[31], key[:31], ~key[:31])
    return Cat(magnitude, ~key[31])
