"""Proofs without bound of the AXI4 master, and refutations of broken ones."""

import pytest
from amaranth.hdl import Signal

from rtl.proofs_axi import Answers, Handshakes, Reads, Turns, Writes
from rtl.proofs_faults import Tampered, faults
from tapeout.rtl import arbiter
from tapeout.rtl.arbiter import Arbiter, RoundRobin
from tapeout.rtl.formal import RefutedError, prove

WRITES = 2  # bursts whose data may follow later, in these proofs


def master(readers, writers, *, bus_bits=8):
    return Arbiter(bus_bits=bus_bits, readers=tuple(readers), writers=tuple(writers))


@pytest.mark.parametrize("inputs", [1, 3])
def test_turns(inputs):
    prove(Turns(RoundRobin(inputs=inputs)))


def test_what_is_offered_to_memory_stays():
    proof = prove(Handshakes(master("abc", "de", bus_bits=128)))
    assert {"ar keeps its payload", "aw stays valid", "w stays valid"} <= set(proof.assertions)


@pytest.mark.slow
def test_readers_get_what_they_asked_for():
    prove(Reads(master("ab", "c")))


def test_answers_go_to_their_writers():
    prove(Answers(master("a", "cd")))


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.slow
def test_data_follow_their_addresses(monkeypatch, most):
    monkeypatch.setattr(arbiter, "WRITES", WRITES)
    proof = prove(Writes(master("a", "cd"), most=most), limit_s=300)
    assert "an address is that of its data" in proof.assertions


def starves(m, outer, inner):
    done = Signal()
    m.d.sync += done.eq(done | (inner.output.valid & (inner.output.payload.source == 1)))
    with m.If(done):
        m.d.comb += [inner.output.ready.eq(0), outer.output.valid.eq(0)]


def misnames(m, outer, inner):
    with m.If(inner.output.payload.burst.beats == 7):
        m.d.comb += outer.output.payload.source.eq(0)


@pytest.mark.parametrize(("fault", "broken"), faults({
    starves: "soon offered|stays valid",
    misnames: "is named|nothing of 0|room for",
}, quick=[starves]))  # fmt: skip
def test_broken_turns_are_refuted(fault, broken):
    turns = Tampered(RoundRobin(inputs=2), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(Turns(turns))


def waits_for_ready(m, outer, inner):
    m.d.comb += outer.axi.awvalid.eq(inner.axi.awvalid & (outer.axi.awready | outer.axi.wready))


def changes_late(m, outer, inner):
    m.d.comb += outer.axi.wlast.eq(inner.axi.wlast ^ (inner.axi.wstrb == 0) & outer.axi.wready)


@pytest.mark.parametrize(("fault", "broken"), faults({
    waits_for_ready: "aw stays valid",
    changes_late: "w keeps its payload",
}, quick=[waits_for_ready]))  # fmt: skip
def test_a_broken_handshake_is_refuted(fault, broken):
    with pytest.raises(RefutedError, match=broken):
        prove(Handshakes(Tampered(master("a", "b"), fault.__name__, fault)))


def wrong_reader(m, outer, inner):
    m.d.comb += inner.axi.rid.eq(outer.axi.rid & outer.axi.rlast)


def one_beat(m, _, inner):
    m.d.comb += inner.read_a.data.ready.eq(1)


@pytest.mark.parametrize(("fault", "broken"), faults({
    wrong_reader: "gets what it asked for|in order|as many beats",
    one_beat: "as many beats|in order|gets what it asked for|stays valid",
}, quick=[wrong_reader]))  # fmt: skip
def test_broken_reads_are_refuted(fault, broken):
    with pytest.raises(RefutedError, match=broken):
        prove(Reads(Tampered(master("ab", "c"), fault.__name__, fault)))


def wrong_writer(m, outer, inner):
    m.d.comb += inner.axi.bid.eq(outer.axi.bid & ~outer.axi.bresp[1])


def two_answers(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(inner.write_c.response.valid & outer.write_c.response.ready)
    m.d.comb += outer.write_c.response.valid.eq(inner.write_c.response.valid | again)


@pytest.mark.parametrize("fault", [wrong_writer, pytest.param(two_answers, marks=pytest.mark.slow)])
def test_broken_answers_are_refuted(fault):
    broken = "answer too many|when memory has|errors of others|stays valid|asks, once|is offered"
    with pytest.raises(RefutedError, match=broken):
        prove(Answers(Tampered(master("a", "cd"), fault.__name__, fault)))


def swaps(m, outer, inner):
    m.d.comb += outer.axi.awaddr.eq(inner.axi.awaddr ^ (inner.axi.awlen[0] & inner.axi.wvalid))


def no_last(m, outer, inner):
    m.d.comb += outer.axi.wlast.eq(inner.axi.wlast & ~inner.axi.wdata[1])


@pytest.mark.parametrize(
    "fault",
    [swaps, pytest.param(no_last, marks=pytest.mark.slow)],
    ids=lambda fault: fault.__name__,
)
def test_broken_writes_are_refuted(monkeypatch, fault):
    monkeypatch.setattr(arbiter, "WRITES", WRITES)
    broken = "its data|their address|of one burst|no beat too many|has its ID|keeps its payload"
    with pytest.raises(RefutedError, match=broken):
        prove(Writes(Tampered(master("a", "cd"), fault.__name__, fault), most=1))
