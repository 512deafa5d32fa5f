"""Buffers keep the stream protocol, and the check of the protocol finds what breaks it."""

import numpy as np
import pytest
from amaranth.hdl import Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from rtl.components import counting, every_window, started
from tapeout.rtl.check import ProtocolError, check_protocol, checked_run
from tapeout.rtl.component import Component
from tapeout.rtl.stream import Fifo, SkidBuffer

WINDOW = 7  # cycles: more than a queue of 4 needs to fill up, or to run empty
BUFFERS = [SkidBuffer(9), *(Fifo(9, depth=depth) for depth in (1, 2, 3, 4))]


@pytest.mark.parametrize("buffer", BUFFERS, ids=lambda b: b.module_name)
def test_every_sequence_of_offers_and_stalls(buffer):
    symbols = np.array(every_window(4, WINDOW), np.uint8)
    gates = {"input": symbols & 1, "output": symbols >> 1}
    beats = counting(3000, 9)
    run = checked_run(
        started(buffer), {"input": beats}, {"output": len(beats)}, gates=gates, probe=True
    )
    assert run.cycles > len(symbols) // 2
    assert np.array_equal(run.beats["output"], beats)


@pytest.mark.parametrize("buffer", BUFFERS, ids=lambda b: b.module_name)
def test_buffers_keep_the_protocol(buffer):
    beats = counting(2000, 9)
    assert np.array_equal(
        check_protocol(started(buffer), {"input": beats}, {"output": len(beats)})["output"], beats
    )


@pytest.mark.parametrize(("buffer", "held"), [(SkidBuffer(9), 2), (Fifo(9, depth=3), 3)])
def test_a_buffer_holds_what_it_promises_then_stalls(buffer, held):
    model = started(buffer)
    model.set("input_valid", 1)
    for beat in range(held):
        assert model.get("input_ready") == 1, f"full after {beat}"
        model.tick()
    assert model.get("input_ready") == 0
    model.set("output_ready", 1)
    assert model.get("input_ready") == 0, "ready comes through from the other side"


@pytest.mark.parametrize("buffer", [b for b in BUFFERS if "x1" not in b.module_name])
def test_one_beat_per_cycle_after_one_cycle(buffer):
    run = started(buffer).run({"input": counting(50, 9)}, {"output": 50})
    assert run.cycle_of["output"].tolist() == list(range(1, 51))


class Broken(Component):
    """A register on a stream, with the fault that `fault` names by number."""

    def __init__(self):
        ports = {"input": In(stream.Signature(9)), "output": Out(stream.Signature(9))}
        super().__init__({**ports, "fault": In(4)}, name="broken")

    def build(self, m):
        self.taken, self.held, self.free = Signal(), Signal(9), Signal()
        m.d.comb += self.free.eq(~self.output.valid | self.output.ready)
        m.d.comb += [self.output.valid.eq(self.taken), self.output.payload.eq(self.held)]
        m.d.comb += self.input.ready.eq(self.free)
        with m.If(self.free):
            m.d.sync += [self.taken.eq(self.input.valid), self.held.eq(self.input.payload)]
        with m.Switch(self.fault):
            for number, fault in enumerate(FAULTS):
                with m.Case(number + 1):
                    fault(self, m)


def drops_valid(it, m):
    with m.If(~it.free):
        m.d.sync += it.taken.eq(0)


def changes_payload(it, m):
    with m.If(~it.free):
        m.d.sync += it.held.eq(it.input.payload)


def ready_follows_valid(it, m):
    m.d.comb += it.input.ready.eq(it.free & it.input.valid)


def ready_follows_payload(it, m):
    m.d.comb += it.input.ready.eq(it.free | (~it.input.valid & it.input.payload[0]))


def valid_follows_ready(it, m):
    m.d.comb += it.output.valid.eq(it.taken & it.output.ready)


def ignores_stall(it, m):
    m.d.comb += it.input.ready.eq(1)


def repeats(it, m):
    with m.If(it.free & ~it.input.valid):
        m.d.sync += [it.taken.eq(it.taken & it.held[0]), it.held.eq(it.held & 0x1FE)]


def uses_invalid_payload(it, m):
    with m.If(it.free & (it.input.payload == 0x1A5)):
        m.d.sync += it.taken.eq(1)


FAULTS = {
    drops_valid: "dropped a beat",
    changes_payload: "changed a payload",
    ready_follows_valid: "ready that follows its own valid",
    ready_follows_payload: "ready that follows its own valid or payload",
    valid_follows_ready: "valid or payload that follows its own ready",
    ignores_stall: "passed [0-9]+ of 500 beats",
    repeats: "more beats than it should",
    uses_invalid_payload: "more beats than it should",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_the_check_finds_a_fault(fault):
    model = started(Broken())
    model.set("fault", 1 + list(FAULTS).index(fault))
    with pytest.raises(ProtocolError, match=FAULTS[fault]):
        check_protocol(model, {"input": counting(500, 9)}, {"output": 500})


def test_the_check_passes_the_same_register_without_fault():
    check_protocol(started(Broken()), {"input": counting(500, 9)}, {"output": 500})


def test_a_fifo_needs_room():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        Fifo(8, depth=0)
