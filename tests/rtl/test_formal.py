"""Proofs without bound of buffers and of the arbiter of banks, and refutations of broken ones."""

import pytest
from amaranth.hdl import Assert, Assume, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from rtl.proofs import Arbiter, Queue
from tapeout.errors import ToolMissingError
from tapeout.rtl import formal
from tapeout.rtl.bank_arbiter import BankArbiter
from tapeout.rtl.component import Component
from tapeout.rtl.formal import RefutedError, UndecidedError, prove
from tapeout.rtl.fp32 import Adder
from tapeout.rtl.stream import Fifo, SkidBuffer
from tapeout.rtl.stream_rules import StreamChecker

BITS = 4  # of a payload: what they are does not matter to a buffer


@pytest.mark.parametrize(
    ("buffer", "holds"), [(SkidBuffer(BITS), 2), *((Fifo(BITS, depth=n), n) for n in (1, 2, 3))]
)
def test_a_buffer_is_a_queue(buffer, holds):
    proof = prove(Queue(buffer, holds=holds))
    assert "output keeps its payload" in proof.assertions
    assert "in order" in proof.assertions


def test_banks():
    proof = prove(Arbiter(banks=4, reads=3, writes=2))
    assert "4 waits less than the number" in proof.assertions


def test_a_pipe_keeps_the_rules_of_streams():
    proof = prove(StreamChecker(Adder(stages=1)))
    assert proof.assertions == ("result stays valid", "result keeps its payload")


class Broken(Component):
    """A register on a stream that may hold a beat; `fault` says what is wrong with it."""

    def __init__(self, fault):
        ports = {"input": In(stream.Signature(BITS)), "output": Out(stream.Signature(BITS))}
        super().__init__(ports, name=f"broken_{fault}")
        self.fault = fault

    def build(self, m):
        free, taken, held = Signal(), Signal(), Signal(BITS)
        m.d.comb += [
            free.eq(~self.output.valid | self.output.ready),
            self.input.ready.eq(free),
            self.output.valid.eq(taken),
            self.output.payload.eq(held),
        ]
        with m.If(free):
            m.d.sync += [taken.eq(self.input.valid), held.eq(self.input.payload)]
        if self.fault == "drops":
            with m.If(~free & (held == 5)):
                m.d.sync += taken.eq(0)
        if self.fault == "changes":
            with m.If(~free & (held == 5)):
                m.d.sync += held.eq(6)
        if self.fault == "repeats":
            with m.If(free & ~self.input.valid & (held == 7)):
                m.d.sync += [taken.eq(1), held.eq(8)]
        if self.fault == "overtakes":
            with m.If(~free):
                m.d.comb += self.input.ready.eq(self.input.payload == 9)


FAULTS = {
    "drops": "output stays valid",
    "changes": "output keeps its payload|in order",
    "repeats": "nothing is offered that did not come|what there is room for is taken",
    "overtakes": "no more is held|what there is room for is taken|in order",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_buffer_is_refuted(fault):
    with pytest.raises(RefutedError, match=FAULTS[fault]) as caught:
        prove(Queue(Broken(fault), holds=1))
    assert 2 < len(caught.value.trace) < 12
    assert {"input_valid", "input_payload", "output_ready"} <= caught.value.trace[-1].keys()


def test_the_same_buffer_without_fault_is_proved():
    prove(Queue(Broken("none"), holds=1))


class FixedOrder(BankArbiter):
    """Lower numbers first, whoever is older."""

    def _order(self, *of, **named):
        super()._order(*of, **named)
        return Signal()


class Generous(BankArbiter):
    """Lets two reads use one bank."""

    def build(self, m):
        super().build(m)
        with m.If(self.reads[0].waits):
            m.d.comb += self.reads[1].granted.eq(self.reads[1].waits)


@pytest.mark.parametrize(("arbiter", "broken"), [
    (FixedOrder, "waits less than the number|does not pass before"),
    (Generous, "1 does not pass before 0"),
])  # fmt: skip
def test_a_broken_arbiter_is_refuted(arbiter, broken):
    shape = {"banks": 2, "reads": 2, "writes": 1}
    with pytest.raises(RefutedError, match=broken):
        prove(Arbiter(**shape, arbiter=arbiter(**shape)))


class Counts(Component):
    """A counter that stays below a limit only if `step` is assumed to be small."""

    def __init__(self, *, assumed):
        super().__init__({"step": In(2), "count": Out(4)}, name=f"counts_{assumed}")
        self.assumed = assumed

    def build(self, m):
        with m.If(self.count < 8):
            m.d.sync += self.count.eq(self.count + self.step)
        m.d.comb += Assert(self.count < 9, "it stays below nine")
        m.d.comb += Assume(self.step < 2 if self.assumed else 1)


def test_what_is_assumed_matters():
    assert prove(Counts(assumed=True)).assertions == ("it stays below nine",)
    with pytest.raises(RefutedError) as caught:
        prove(Counts(assumed=False))
    total = sum(row["step"] for row in caught.value.trace[1:-1])
    assert total >= 9, "the trace leads to the failure"
    assert str(caught.value).startswith("it stays below nine fails in the last of these cycles:\n")


def test_what_is_not_reset_may_be_anything():
    class Unreset(Component):
        def __init__(self):
            super().__init__({"value": Out(2)}, name="unreset")

        def build(self, m):
            held = Signal(2, reset_less=True)
            m.d.sync += held.eq(held)
            m.d.comb += [self.value.eq(held), Assert(held != 3, "it is not three")]

    with pytest.raises(RefutedError, match="it is not three"):
        prove(Unreset())


class Factors(Component):
    """No two factors give a large prime: easy to say, slow to prove."""

    def __init__(self):
        super().__init__({"a": In(24), "b": In(24)}, name="factors")

    def build(self, m):
        a, b = Signal(24), Signal(24)
        m.d.sync += [a.eq(self.a), b.eq(self.b)]
        is_prime = a * b != 0xFF_FFFF_FFA9
        m.d.comb += Assert(is_prime | (a == 1) | (b == 1), "it has no factors")


def test_time_runs_out():
    with pytest.raises(UndecidedError, match="not decided in 1 s"):
        prove(Factors(), limit_s=1)


def test_no_abc(monkeypatch):
    monkeypatch.setattr(formal, "find_spec", lambda _: None)
    with pytest.raises(ToolMissingError, match="proofs need Yosys with ABC"):
        prove(Counts(assumed=True))
