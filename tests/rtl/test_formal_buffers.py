"""Proofs without bound of queues in memories, and refutations of broken ones."""

import pytest
from amaranth.hdl import Signal

from rtl.proofs_buffers import RingRules, SlowQueue
from rtl.proofs_faults import Tampered, faults
from tapeout.rtl.formal import RefutedError, prove
from tapeout.rtl.memory_fifo import MemoryFifo
from tapeout.rtl.vector_ring import Ring

BITS = 3  # of a beat: what they are does not matter to a buffer


@pytest.mark.parametrize("depth", [2, 4])
def test_a_ring(depth):
    proof = prove(RingRules(Ring(width=BITS, depth=depth)))
    assert "promises do not overflow" in proof.assertions


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow), 4])
def test_a_queue_in_a_memory(depth):
    fifo = MemoryFifo(BITS, depth=depth)
    proof = prove(SlowQueue(fifo, holds=depth + 1, room=depth, latency=2))
    assert "in order" in proof.assertions


def always_room(m, outer, _):
    m.d.comb += outer.room.eq(1)


def loses(m, outer, inner):
    m.d.comb += inner.push.eq(outer.push & (outer.data != 5))


def pops_one(m, outer, inner):
    m.d.comb += inner.pop.eq(outer.pop.any())


def reads_ahead(m, outer, inner):
    m.d.comb += inner.ahead.eq(outer.ahead | (outer.pop == 1))


def reads_early(m, outer, inner):
    m.d.comb += inner.read.eq(outer.read | (outer.data == 5))


RING_FAULTS = {
    always_room: "what is free may be reserved|promises do not overflow",
    loses: "a beat is there when it comes|two beats are there",
    pops_one: "there when|may be reserved",
    reads_ahead: "what is read is what came",
    reads_early: "what is read is what came",
}


@pytest.mark.parametrize(("fault", "broken"), faults(RING_FAULTS, quick=[loses, reads_ahead]))
def test_a_broken_ring_is_refuted(fault, broken):
    ring = Tampered(Ring(width=BITS, depth=2), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(RingRules(ring))


def drops(m, outer, inner):
    m.d.comb += inner.input.valid.eq(outer.input.valid & (outer.input.payload != 5))


def repeats(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(outer.output.valid & outer.output.ready & (outer.output.payload == 5))
    m.d.comb += outer.output.valid.eq(inner.output.valid | again)


def stops(m, outer, inner):
    stopped = Signal()
    m.d.sync += stopped.eq(stopped | (outer.output.ready & (outer.output.payload == 5)))
    m.d.comb += [
        inner.output.ready.eq(outer.output.ready & ~stopped),
        outer.output.valid.eq(inner.output.valid & ~stopped),
    ]


FIFO_FAULTS = {
    drops: "soon offered|a marked beat|room for is taken|in order",
    repeats: "nothing is offered that did not come|in order|stays valid|keeps its payload",
    stops: "soon offered",
}


@pytest.mark.parametrize(("fault", "broken"), faults(FIFO_FAULTS, quick=[drops, stops]))
def test_a_broken_queue_in_a_memory_is_refuted(fault, broken):
    fifo = Tampered(MemoryFifo(BITS, depth=2), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(SlowQueue(fifo, holds=3, room=2, latency=2))
