"""The queue before a unit: order, waits, Nops, signals, and what a halt leaves."""

import random
from collections import deque

import numpy as np
import pytest

from rtl.components import started
from rtl.sequencer_bench import Wires, fields_of, word_of
from tapeout.rtl.check import checked_run, random_gates
from tapeout.rtl.command import COMMAND
from tapeout.rtl.counters import SIGNAL, TAKES
from tapeout.rtl.queue import MAX_STARTED, InstructionQueue
from tapeout.rtl.sent import EVENT, SENT, TRAPPED

COMMAND_BITS = COMMAND.size


def instruction(number, rng, *, nop=None, waits=None, signals=None):
    """Anything that can be sent."""
    waits = rng.random() < 0.4 if waits is None else waits
    signals = rng.random() < 0.6 if signals is None else signals
    return {
        "queue": 2,
        "wait0_counter": rng.randrange(64) * waits,
        "wait0_count": rng.randrange(1, 256) * waits,
        "wait1_counter": rng.randrange(64) * waits,
        "wait1_count": rng.randrange(256) * waits,
        "signal_counter": rng.randrange(64) * signals,
        "signal_count": int(signals),
        "number": number,
        "nop": int(rng.random() < 0.3 if nop is None else nop),
        "command": rng.getrandbits(COMMAND_BITS),
    }


class Bench:
    """A queue whose surroundings are slow at random; checks order as it goes."""

    def __init__(self, depth, rng, *, open_share=0.5):
        self.w = w = Wires(started(InstructionQueue(depth=depth, number=2)))
        self.rng, self.open_share = rng, open_share
        for port in ("input_valid", "takes_ready", "signals_ready", "unit_commands_ready"):
            w[port] = 0
        w["halt"] = w["unit_done"] = w["unit_trap"] = 0
        w.reset()
        self.coming = deque()
        self.waiting = deque()  # inside, with what they must still do
        self.taken = False
        self.flying = deque()
        self.working = 0  # commands that the unit has and has not finished
        self.finished = 0  # and those that it has
        self.now = 0
        self.log = []

    def gate(self):
        return self.rng.random() < self.open_share

    def finishes(self):
        return self.gate()

    def drive(self):
        w = self.w
        w["input_valid"] = bool(self.coming)
        w["input_payload"] = word_of(SENT, **self.coming[0]) if self.coming else 0
        for port in ("takes_ready", "signals_ready", "unit_commands_ready"):
            w[port] = self.gate()
        w["unit_done"] = bool(self.working) and self.finishes()
        w.settle()

    def cycle(self):
        self.drive()
        w = self.w
        stuck = w["takes_valid"] and not w["takes_ready"]
        assert w["waiting"] == bool(stuck and not self.flying)
        if w["unit_done"]:
            self.working -= 1
            self.finished += 1
        self.retire()
        self.start()
        if w["input_valid"] and w["input_ready"]:
            self.waiting.append(self.coming.popleft())
        assert w["empty"] == (not self.inside)
        self.inside = bool(self.waiting or self.flying)
        w.tick()
        self.now += 1

    inside = False

    def retire(self):
        w, event = self.w, fields_of(EVENT, self.w["retired"])
        if w["signals_valid"]:
            signal = fields_of(SIGNAL, w["signals_payload"])
            oldest = self.flying[0]
            assert oldest["signal_count"]
            assert signal == {"counter": oldest["signal_counter"], "number": oldest["number"]}
        assert event["valid"] or not (w["signals_valid"] and w["signals_ready"])
        if event["valid"]:
            oldest = self.flying.popleft()
            assert event["number"] == oldest["number"]
            assert not oldest["signal_count"] or (w["signals_valid"] and w["signals_ready"])
            if not oldest["nop"]:
                self.finished -= 1
                assert self.finished >= 0, "retired before it was done"
            self.log.append(("retire", event["number"]))

    def start(self):
        w, event = self.w, fields_of(EVENT, self.w["started"])
        if w["takes_valid"]:
            head = self.waiting[0]
            assert head["wait0_count"]
            assert not self.taken
            assert fields_of(TAKES, w["takes_payload"]) == {n: head[n] for n in TAKES.members}
        if w["unit_commands_valid"]:
            head = self.waiting[0]
            assert not head["nop"]
            assert w["unit_commands_payload"] == head["command"]
            assert event["valid"] == w["unit_commands_ready"]
        if event["valid"]:
            head = self.waiting.popleft()
            assert head["number"] == event["number"]
            assert self.taken or not head["wait0_count"]
            self.taken = False
            self.working += not head["nop"]
            self.flying.append(head)
            assert len(self.flying) <= MAX_STARTED
            self.log.append(("start", event["number"]))
        elif w["takes_valid"] and w["takes_ready"]:
            self.taken = True

    def run(self, instructions, limit=20000):
        self.coming.extend(instructions)
        while self.coming or self.inside:
            self.cycle()
            assert self.now < limit


@pytest.mark.parametrize("depth", [2, 3, 16])
def test_at_random(depth):
    rng = random.Random(depth)
    for open_share in (0.2, 0.5, 0.9, 1.0):
        bench = Bench(depth, rng, open_share=open_share)
        program = [instruction(number, rng) for number in range(150)]
        bench.run(program)
        assert [n for kind, n in bench.log if kind == "retire"] == list(range(150))


def test_one_instruction_per_cycle_two_cycles_after_it_came():
    rng = random.Random(1)
    bench = Bench(16, rng, open_share=1)
    for number in range(40):
        bench.coming.append(instruction(number, rng, nop=False, waits=False, signals=False))
    starts = {}
    while bench.coming or bench.inside:
        before = len(bench.log)
        bench.cycle()
        for kind, number in bench.log[before:]:
            if kind == "start":
                starts[number] = bench.now - 1
    assert [starts[n] for n in range(40)] == [2 + n for n in range(40)]


def test_it_holds_what_it_promises_then_stalls():
    rng = random.Random(1)
    bench = Bench(5, rng, open_share=0)
    bench.coming.extend(instruction(i, rng, nop=False) for i in range(9))
    for _ in range(20):
        bench.cycle()
    assert len(bench.waiting) == 5
    assert bench.w["input_ready"] == 0


def test_no_more_than_some_are_started():
    """The unit takes everything, and finishes nothing for a while."""
    rng = random.Random(1)
    bench = Bench(16, rng, open_share=1)
    bench.coming.extend(instruction(i, rng, nop=False, waits=False) for i in range(20))
    bench.finishes = lambda: False
    for _ in range(30):
        bench.cycle()
    assert len(bench.flying) == MAX_STARTED
    bench.finishes = bench.gate
    bench.run([])
    assert [n for kind, n in bench.log if kind == "retire"] == list(range(20))


def test_a_nop_is_done_after_what_is_ahead():
    rng = random.Random(1)
    bench = Bench(4, rng, open_share=1)
    bench.gate = lambda: False
    bench.coming.append(instruction(0, rng, nop=False, waits=False, signals=True))
    bench.coming.append(instruction(1, rng, nop=True, waits=False, signals=True))
    w = bench.w
    for _ in range(3):
        bench.cycle()
    bench.gate = lambda: bench.now == 3
    bench.cycle()
    bench.gate = lambda: False
    for _ in range(6):
        bench.cycle()
    assert bench.log == [("start", 0), ("start", 1)]
    assert w["signals_valid"] == 0
    bench.gate = lambda: True
    bench.run([])
    assert bench.log[2:] == [("retire", 0), ("retire", 1)]


def test_a_halt_stops_takes_and_starts():
    rng = random.Random(1)
    for waits in (False, True):
        bench = Bench(4, rng, open_share=0)
        bench.coming.extend(instruction(i, rng, nop=False, waits=waits) for i in range(3))
        for _ in range(4):
            bench.cycle()
        w = bench.w
        assert w["takes_valid"] == waits
        assert w["unit_commands_valid"] == (not waits)
        w["halt"] = 1
        bench.gate = lambda: True
        for _ in range(10):
            bench.cycle()
        assert not bench.log
        assert not bench.taken


def test_the_trap_of_a_unit_names_the_oldest():
    rng = random.Random(1)
    bench = Bench(4, rng, open_share=1)
    bench.gate = lambda: bench.now < 4  # two are started
    bench.coming.extend(
        instruction(i + 100, rng, nop=False, waits=False, signals=True) for i in range(3)
    )
    for _ in range(8):
        bench.cycle()
    oldest = bench.flying[0]["number"]
    bench.w["unit_trap"] = 11
    bench.w.settle()
    got = fields_of(TRAPPED, bench.w["trap"])
    assert got == {"code": 11, "queue": 2, "number": oldest}


def test_streams_keep_the_protocol():
    rng = random.Random(4)
    program = [instruction(i, rng, nop=False, waits=True) for i in range(MAX_STARTED)]
    words = [word_of(SENT, **each) for each in program]
    size = -(-SENT.size // 8)
    beats = np.frombuffer(b"".join(w.to_bytes(size, "little") for w in words), np.uint8)
    queue = InstructionQueue(depth=16, number=2)
    names = ["input", "takes", "unit_commands", "signals"]
    for seed, share in enumerate((0.2, 0.6, 1.0)):
        model = started(queue)
        for port in ("halt", "unit_done", "unit_trap"):
            model.set(port, 0)
        checked_run(
            model,
            {"input": beats.reshape(len(program), size)},
            {"takes": len(program), "unit_commands": len(program), "signals": 0},
            gates=random_gates(names, open_share=share, seed=seed),
            probe=True,
        )


def test_depths_that_cannot_be():
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        InstructionQueue(depth=1, number=1)
