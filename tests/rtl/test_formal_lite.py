"""Proofs without bound of the AXI4-Lite slave, and refutations of broken ones."""

import pytest
from amaranth.hdl import Signal

from rtl.proofs_faults import Tampered, faults
from rtl.proofs_lite import LiteRules
from tapeout.rtl.axi_lite import LiteSlave
from tapeout.rtl.formal import RefutedError, prove

ADDRESS_BITS = 5
SLOWEST = 4


def test_a_slave():
    proof = prove(LiteRules(LiteSlave(address_bits=ADDRESS_BITS), slowest=SLOWEST))
    assert "b an answer comes soon" in proof.assertions
    assert "r an access is asked for once" in proof.assertions


@pytest.mark.slow
def test_an_answer_does_not_come_sooner():
    with pytest.raises(RefutedError, match="an answer comes soon"):
        prove(LiteRules(LiteSlave(address_bits=ADDRESS_BITS), slowest=SLOWEST - 1))


def takes_twice(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(outer.host.awvalid & inner.host.awready & (outer.host.awaddr == 4))
    m.d.comb += outer.host.awready.eq(inner.host.awready | again)


def answers_late(m, outer, inner):
    stopped = Signal()
    m.d.sync += stopped.eq(stopped | (inner.request.valid & ~inner.request.write))
    with m.If(stopped):
        m.d.comb += [inner.host.rready.eq(0), outer.host.rvalid.eq(0), outer.host.arready.eq(0)]


def takes_back(m, outer, inner):
    m.d.comb += outer.host.bvalid.eq(inner.host.bvalid & ~outer.host.arvalid)


def changes(m, outer, inner):
    m.d.comb += outer.host.rdata.eq(inner.host.rdata + outer.host.awvalid)


def hides_errors(m, outer, _):
    m.d.comb += outer.host.bresp.eq(0)


def asks_again(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(outer.response.done & inner.request.write)
    m.d.comb += outer.request.valid.eq(inner.request.valid | again)


def wrong_word(m, outer, inner):
    m.d.comb += outer.request.word.eq(inner.request.word | inner.request.write)


FAULTS = {
    takes_twice: "aw of one access at a time",
    answers_late: "r an answer comes soon",
    takes_back: "b stays valid|b an answer|w of one access",
    changes: "r keeps its payload|a read s answer",
    hides_errors: "a write s answer is the core s",
    asks_again: "asked for once|one request|whole and legal",
    wrong_word: "a write has its address",
}


@pytest.mark.parametrize(("fault", "broken"), faults(FAULTS, quick=[takes_back, wrong_word]))
def test_a_broken_slave_is_refuted(fault, broken):
    slave = Tampered(LiteSlave(address_bits=ADDRESS_BITS), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(LiteRules(slave, slowest=SLOWEST))
