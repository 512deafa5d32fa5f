"""Proofs without bound of counters and instruction queues, and refutations of broken ones."""

import pytest
from amaranth.hdl import Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.proofs_faults import Tampered, faults
from rtl.proofs_order import CounterRules, InstructionQueueRules
from tapeout.rtl import counters, queue
from tapeout.rtl.counters import Counters
from tapeout.rtl.formal import RefutedError, prove
from tapeout.rtl.queue import InstructionQueue


def small_counters(patch, cls=Counters, *, bits=1, count_bits=2, sources=2):
    """Few counters that hold little."""
    waits = {"wait0_counter": bits, "wait0_count": count_bits,
             "wait1_counter": bits, "wait1_count": count_bits}  # fmt: skip
    for name, value in (
        ("COUNTER_BITS", bits), ("COUNTERS", 1 << bits), ("SOURCES", sources),
        ("COUNT_BITS", count_bits), ("COUNTER_MAX", (1 << count_bits) - 1),
        ("TAKES", data.StructLayout(waits)),
        ("SIGNAL", data.StructLayout({"counter": bits, "number": 2})),
        ("PEEK", wiring.Signature({"number": Out(bits), "value": In(count_bits)})),
    ):  # fmt: skip
        patch.setattr(counters, name, value)
    return cls()


def test_counters(monkeypatch):
    prove(CounterRules(small_counters(monkeypatch)))


def small_queue(patch):
    """A queue of instructions of few bits."""
    waits = {"wait0_counter": 1, "wait0_count": 1, "wait1_counter": 1, "wait1_count": 1}
    signal, number = {"signal_counter": 1, "signal_count": 1}, 2
    command = data.StructLayout({"payload": 2})
    sent = {"queue": 1, **waits, **signal, "number": number, "nop": 1, "command": command}
    for name, value in (
        ("SENT", data.StructLayout(sent)),
        ("TAKES", data.StructLayout(waits)),
        ("SIGNAL", data.StructLayout({"counter": 1, "number": number})),
        ("STARTED", data.StructLayout({**signal, "number": number, "nop": 1})),
        ("EVENT", data.StructLayout({"valid": 1, "number": number})),
        ("TRAPPED", data.StructLayout({"code": 8, "queue": 3, "number": number})),
        ("UNIT", wiring.Signature({
            "commands": Out(stream.Signature(command)), "done": In(1), "trap": In(8),
        })),
    ):  # fmt: skip
        patch.setattr(queue, name, value)
    return InstructionQueue(depth=2, number=3)


def test_a_queue(monkeypatch):
    prove(InstructionQueueRules(small_queue(monkeypatch)))


class Forgets(Counters):
    """A signal to a counter that is taken from in the same cycle forgets the take."""

    def _add(self, m, taken, signal, signalling):
        del taken
        super()._add(m, self._read(m, signal.counter), signal, signalling)


class Wraps(Counters):
    """A signal too many wraps the counter to 0."""

    def _add(self, m, taken, signal, signalling):
        super()._add(m, taken, signal, signalling)
        self._write(m, signalling, signal.counter, taken + 1)
        m.d.sync += self.trap.code.eq(0)


def takes_too_early(m, _, inner):
    m.d.comb += inner.takes[0].payload.wait1_count.eq(0)


def loses_a_signal(m, outer, inner):
    both = outer.signals[0].valid & outer.signals[1].valid
    m.d.comb += outer.signals[1].ready.eq(inner.signals[1].ready | both)


def blames_another(m, outer, _):
    m.d.comb += outer.trap.queue.eq(0)


def starves(m, outer, inner):
    m.d.comb += [
        inner.takes[1].valid.eq(outer.takes[1].valid & ~outer.signals[0].valid),
        outer.takes[1].ready.eq(inner.takes[1].ready & ~outer.signals[0].valid),
    ]


COUNTER_FAULTS = {
    Forgets: "holds what it should|is taken|only a signal too many traps",
    Wraps: "holds what it should|a signal too many traps",
    takes_too_early: "only what is there is taken|holds what it should",
    loses_a_signal: "holds what it should|signal at a time|nothing passes",
    blames_another: "a trap has its source",
    starves: "a take of 1 passes soon",
}


@pytest.mark.parametrize(
    ("fault", "broken"), faults(COUNTER_FAULTS, quick=[Forgets, loses_a_signal])
)
def test_broken_counters_are_refuted(monkeypatch, fault, broken):
    if isinstance(fault, type):
        unit = small_counters(monkeypatch, fault)
    else:
        unit = Tampered(small_counters(monkeypatch), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(CounterRules(unit))


def overtakes(m, outer, inner):
    m.d.comb += outer.started.number.eq(inner.started.number ^ outer.unit.trap[0])


def forgets_a_wait(m, outer, inner):
    with m.If(outer.input.payload.number == 3):
        m.d.comb += inner.input.payload.wait0_count.eq(0)


def signals_a_nop(m, outer, inner):
    with m.If(outer.input.payload.nop):
        m.d.comb += inner.input.payload.signal_count.eq(1)


def done_too_often(m, outer, inner):
    m.d.comb += inner.unit.done.eq(outer.unit.done | outer.unit.trap[0])


def starts_twice(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(outer.unit.commands.valid & outer.unit.commands.ready)
    m.d.comb += outer.unit.commands.valid.eq(inner.unit.commands.valid | again)


QUEUE_FAULTS = {
    overtakes: "starts in order",
    forgets_a_wait: "starts when it has taken|it takes its",
    signals_a_nop: "it signals when it should",
    done_too_often: "what is retired is done",
    starts_twice: "a command is a start|stays valid|keeps its payload|a Nop is a command",
}


@pytest.mark.parametrize(
    ("fault", "broken"), faults(QUEUE_FAULTS, quick=[overtakes, forgets_a_wait])
)
def test_a_broken_queue_is_refuted(monkeypatch, fault, broken):
    unit = Tampered(small_queue(monkeypatch), fault.__name__, fault)
    with pytest.raises(RefutedError, match=broken):
        prove(InstructionQueueRules(unit))
