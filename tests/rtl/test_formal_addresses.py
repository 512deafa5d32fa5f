"""Proofs without bound of address generators, and refutations of broken ones."""

import pytest
from amaranth.hdl import Signal
from amaranth.lib import data

from rtl.proofs_addresses import BoundaryRules, BurstRules, WalkRules, WindowRules
from rtl.proofs_faults import Tampered, faults
from tapeout.rtl import bursts, vector_walk
from tapeout.rtl.accumulator_half import TileShape
from tapeout.rtl.bursts import Bursts
from tapeout.rtl.formal import RefutedError, prove
from tapeout.rtl.vector_walk import Walk
from tapeout.rtl.window_walk import WindowWalk

SHAPES = [(2, 4, 32, 4), (4, 4, 64, 8)]


def small_walk(patch, *, levels=3):
    """A walk that counts to 3."""
    patch.setattr(vector_walk, "COUNT_BITS", 2)
    patch.setattr(vector_walk, "LEVELS", levels)
    return Walk(address_bits=2)


def small_bursts(patch, *, address_bits=5, byte_bits=4):
    """Cuts few bytes into bursts of up to 4 beats of 2 bytes."""
    run = {"address": address_bits, "bytes": byte_bits, "last": 1, "trap": 1}
    burst = data.StructLayout({"address": address_bits, "beats": 2})
    cut = {"burst": burst, "none": 1, "last": 1, "trap": 1}
    for name, value in (
        ("RUN_BITS", byte_bits), ("MEMORY_BITS", address_bits), ("TRAP_BITS", 1),
        ("RUN", data.StructLayout(run)), ("CUT", data.StructLayout(cut)),
    ):  # fmt: skip
        patch.setattr(bursts, name, value)
    return Bursts(bus_bytes=2, burst_bytes=8)


def test_a_walk(monkeypatch):
    proof = prove(WalkRules(small_walk(monkeypatch, levels=2)))
    assert "it is over after all turns" in proof.assertions


@pytest.mark.slow
def test_a_walk_of_three_loops(monkeypatch):
    prove(WalkRules(small_walk(monkeypatch)))


@pytest.mark.parametrize(("bus", "longest"), [(16, 1024), (64, 4096)])
def test_no_burst_crosses_a_boundary(bus, longest):
    prove(BoundaryRules(Bursts(bus_bytes=bus, burst_bytes=longest)))


def test_bursts_are_the_bytes_of_their_runs(monkeypatch):
    proof = prove(BurstRules(small_bursts(monkeypatch)))
    assert "a burst begins where the last one ended" in proof.assertions


@pytest.mark.slow
def test_bursts_are_the_bytes_of_longer_runs(monkeypatch):
    prove(BurstRules(small_bursts(monkeypatch, address_bits=6, byte_bits=5)), limit_s=300)


@pytest.mark.parametrize(("rows", "columns", "accumulators", "granules"), SHAPES)
def test_a_window(rows, columns, accumulators, granules):
    shape = TileShape(rows=rows, columns=columns, accumulators=accumulators)
    prove(WindowRules(WindowWalk(shape, granules=granules)))


def skips(m, outer, inner):
    m.d.comb += inner.step.eq(outer.step & ~(inner.last[0] & (inner.address == 3)))


def goes_on(m, outer, inner):
    m.d.comb += outer.active.eq(inner.active | (inner.last.all() & ~outer.step))


def forgets_stride(m, _, inner):
    m.d.comb += inner.plan.levels[1].stride.eq(0)


@pytest.mark.parametrize(("fault", "broken"), faults({
    skips: "its last turn|its turn counts|what is left|over after|address",
    goes_on: "it is over after all turns",
    forgets_stride: "the address is that of its turns",
}, quick=[skips]))  # fmt: skip
def test_a_broken_walk_is_refuted(monkeypatch, fault, broken):
    walk = Tampered(small_walk(monkeypatch, levels=2), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(WalkRules(walk))


def one_too_many(m, outer, inner):
    out = inner.bursts.payload
    m.d.comb += outer.bursts.payload.burst.beats.eq(out.burst.beats + (out.burst.address == 8))


def one_byte_less(m, outer, inner):
    m.d.comb += inner.runs.payload.bytes.eq(outer.runs.payload.bytes - outer.runs.payload.last)


def comes_twice(m, outer, inner):
    again = Signal()
    passes = outer.bursts.valid & outer.bursts.ready
    m.d.sync += again.eq(passes & (inner.bursts.payload.burst.address == 4) & ~again)
    with m.If(again):
        m.d.comb += [inner.bursts.ready.eq(0), outer.bursts.valid.eq(1)]


@pytest.mark.parametrize(("fault", "broken"), faults({
    one_too_many: "no boundary|does not pass the end|begins where|is known",
    one_byte_less: "is known|does not pass the end|no bytes has no burst|of a run that came",
    comes_twice: "begins where|of a run that came|keeps its payload|pass the end",
}, quick=[one_too_many]))  # fmt: skip
def test_broken_bursts_are_refuted(monkeypatch, fault, broken):
    cutter = Tampered(small_bursts(monkeypatch), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(BurstRules(cutter))


def longer(m, outer, inner):
    out = inner.bursts.payload
    m.d.comb += outer.bursts.payload.burst.beats.eq(out.burst.beats + out.last)


def test_a_burst_across_a_boundary_is_refuted():
    cutter = Tampered(Bursts(bus_bytes=16, burst_bytes=1024), "long", longer)
    with pytest.raises(RefutedError, match="no boundary is crossed"):
        prove(BoundaryRules(cutter))


def leaves_out(m, outer, inner):
    with m.If(inner.first == 1):
        m.d.comb += outer.chosen[0].eq(0)


def wrong_group(m, outer, inner):
    m.d.comb += outer.group.eq(inner.group ^ (inner.ends << 1))


def ends_early(m, outer, inner):
    m.d.comb += outer.ends.eq(inner.go)


@pytest.mark.parametrize(("fault", "broken"), faults({
    leaves_out: "ends with its last granule|has a part of the window",
    wrong_group: "lies in its block",
    ends_early: "ends with its last granule|a block is read",
}, quick=[leaves_out]))  # fmt: skip
def test_a_broken_window_is_refuted(fault, broken):
    shape = TileShape(rows=2, columns=4, accumulators=32)
    walk = Tampered(WindowWalk(shape, granules=4), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(WindowRules(walk))
