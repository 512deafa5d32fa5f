"""A sequencer with memory, a check and units made of Python around it, all of them slow at random.

What happens is kept as events, in order: ("step" | "sent" | "start" | "retire", queue, number).
"""

import ctypes
import random
from collections import deque
from dataclasses import dataclass, field

from amaranth.lib import data

from rtl.components import started
from tapeout.rtl.harness import Model
from tapeout.rtl.ports import BURST
from tapeout.rtl.sent import EVENT, SENT, TRAPPED
from tapeout.rtl.sequencer import Sequencer

QUEUES = 4
BURST_BYTES = 4096
INPUTS = (
    *("start", "base", "count", "memory_bytes", "resume", "watchdog_cycles", "refused"),
    *("scalar_enable", "scalar_number", "scalar_value", "registers_number", "counters_number"),
    *(f"units_{i}_{name}" for i in range(QUEUES) for name in ("done", "trap")),
)


def fields_of(layout: data.StructLayout, word: int) -> dict[str, int]:
    """The fields of a packed structure, unsigned."""
    return {name: word >> part.offset & ((1 << part.width) - 1) for name, part in layout}


def word_of(layout: data.StructLayout, **values: int) -> int:
    """A packed structure; fields that are not given are 0."""
    return sum(
        (value & ((1 << layout[name].width) - 1)) << layout[name].offset
        for name, value in values.items()
    )


class Wires:
    """Ports of a model as integers, without the cost of arrays."""

    def __init__(self, model: Model):
        self.model = model
        self._ports = {}
        for number, (name, width) in enumerate(model.ports.items()):
            count = -(-width // 8)
            address = model._library.model_port(model._model, number)
            self._ports[name] = (ctypes.c_uint8 * count).from_address(address), count

    def __getitem__(self, name: str) -> int:
        port, count = self._ports[name]
        return port[0] if count == 1 else int.from_bytes(port, "little")

    def __setitem__(self, name: str, value: int) -> None:
        port, count = self._ports[name]
        if count == 1:
            port[0] = value
        else:
            port[:] = value.to_bytes(count, "little")

    def reset(self) -> None:
        self["rst"] = 1
        self.model.tick(2)
        self["rst"] = 0

    def settle(self) -> None:
        self.model._library.model_eval(self.model._model)

    def tick(self) -> None:
        self.model._library.model_tick(self.model._model, 1)


@dataclass
class SlowMemory:
    """Answers a memory_read port; beats that touch `bad` bytes, or lie outside, are errors."""

    wires: Wires
    port: str
    content: bytes
    bus_bytes: int
    rng: random.Random
    open_share: float = 0.7
    latency: int = 3
    bad: range = range(0)
    reads: list[tuple[int, int]] = field(default_factory=list)
    coming: deque[tuple[int, int]] = field(default_factory=deque)  # (cycle, word)
    held: int | None = None
    cycle: int = 0
    offering: bool = False

    def drive(self) -> None:
        w, port = self.wires, self.port
        if not self.offering:
            ready = self.coming and self.coming[0][0] <= self.cycle
            self.offering = bool(ready) and self.rng.random() < self.open_share
        w[f"{port}_data_valid"] = self.offering
        w[f"{port}_data_payload"] = self.coming[0][1] if self.offering else self.junk()
        w[f"{port}_request_ready"] = self.rng.random() < self.open_share

    def junk(self) -> int:
        return self.rng.getrandbits(8 * self.bus_bytes + 2)

    def observe(self) -> None:
        w, port = self.wires, self.port
        self.cycle += 1
        if self.offering and w[f"{port}_data_ready"]:
            self.coming.popleft()
            self.offering = False
        payload = w[f"{port}_request_payload"]
        if not w[f"{port}_request_valid"]:
            assert self.held is None, "a request was withdrawn"
            return
        assert self.held in (None, payload), "a request was changed"
        self.held = payload
        if w[f"{port}_request_ready"]:
            self.held = None
            self._accept(**fields_of(BURST, payload))

    def _accept(self, address: int, beats: int) -> None:
        self.reads.append((address, beats + 1))
        size = self.bus_bytes * (beats + 1)
        assert address % self.bus_bytes == 0
        assert address // BURST_BYTES == (address + size - 1) // BURST_BYTES
        ready = self.cycle + self.latency + self.rng.randrange(4)
        for beat in range(beats + 1):
            start = address + beat * self.bus_bytes
            stop = start + self.bus_bytes
            error = stop > len(self.content) or bool(
                range(max(start, self.bad.start), min(stop, self.bad.stop))
            )
            word = int.from_bytes(self.content[start:stop], "little")
            bits = 8 * self.bus_bytes
            self.coming.append((ready, word | (beat == beats) << bits | error << (bits + 1)))


@dataclass
class SlowUnit:
    """Takes commands, and is done with each after some cycles, in order."""

    wires: Wires
    number: int
    rng: random.Random
    open_share: float = 0.5
    cycles: int = 6
    traps: dict[int, int] = field(default_factory=dict)  # the how many-th command -> code
    commands: list[int] = field(default_factory=list)
    working: deque[int] = field(default_factory=deque)
    finished: int = 0
    now: int = 0

    @property
    def port(self) -> str:
        return f"units_{self.number - 1}"

    def drive(self) -> None:
        w = self.wires
        w[f"{self.port}_commands_ready"] = self.rng.random() < self.open_share
        done = bool(self.working) and self.working[0] <= self.now
        code = self.traps.get(self.finished, 0) if done else 0
        w[f"{self.port}_done"] = done and not code
        w[f"{self.port}_trap"] = code
        if done:
            self.working.popleft()
            self.finished += 1

    def observe(self) -> None:
        w = self.wires
        self.now += 1
        if w[f"{self.port}_commands_valid"] and w[f"{self.port}_commands_ready"]:
            self.commands.append(w[f"{self.port}_commands_payload"])
            self.working.append(self.now + self.rng.randrange(self.cycles))


Event = tuple[str, int, int]


class Bench:
    """One program in one sequencer."""

    def __init__(
        self,
        content: bytes,
        *,
        seed: int = 1,
        bus_bits: int = 128,
        depth: int = 4,
        lines: int = 8,
        open_share: float = 0.7,
        latency: int = 3,
        unit_cycles: int = 6,
    ):
        self.rng = random.Random(seed)
        self.wires = w = Wires(started(Sequencer(bus_bits=bus_bits, depth=depth, lines=lines)))
        for name in INPUTS:
            w[name] = 0
        w.reset()
        memory = {"content": content, "bus_bytes": bus_bits // 8, "rng": self.rng}
        pace = {"open_share": open_share, "latency": latency}
        self.program = SlowMemory(w, "program", **memory, **pace)
        self.scalars = SlowMemory(w, "scalars", **memory, **pace)
        self.units = [
            SlowUnit(w, i + 1, self.rng, open_share=open_share, cycles=unit_cycles)
            for i in range(QUEUES)
        ]
        self.events: list[Event] = []
        self.event_cycles: list[int] = []
        self.sent: dict[int, list[dict[str, int]]] = {i: [] for i in range(1, 5)}
        self.between: deque[int] = deque()  # sent, and not yet checked
        self.refuse: dict[int, int] = {}  # number -> code of a trap of the check
        self.ended = 0
        self.cycle = 0
        self.open_share, self.depth = open_share, depth
        self.barrier_cycles = 3
        self._at_barrier = 0
        w["memory_bytes"] = len(content)

    def scalar(self, number: int, value: int) -> None:
        w = self.wires
        w["scalar_enable"], w["scalar_number"] = 1, number
        w["scalar_value"] = value & ((1 << 48) - 1)
        w.tick()
        w["scalar_enable"] = 0

    def start(self, base: int, count: int, *, watchdog_cycles: int = 300) -> None:
        w = self.wires
        w["start"], w["base"], w["count"] = 1, base, count
        w["watchdog_cycles"] = watchdog_cycles
        self.ended = 0
        self.step()
        w["start"] = 0

    def run(self, max_cycles: int = 20000) -> None:
        """Until the program has ended or trapped, and a little longer after a trap."""
        for _ in range(max_cycles):
            self.step()
            if self.ended or self.halted:
                break
        if self.halted:
            seen = len(self.events)
            commands = [len(unit.commands) for unit in self.units]
            for _ in range(60):
                self.step()
            assert not [e for e in self.events[seen:] if e[0] in ("sent", "start")]
            assert commands == [len(unit.commands) for unit in self.units]
            del self.events[seen:]

    @property
    def halted(self) -> bool:
        return bool(self.wires["halted"])

    @property
    def trap(self) -> tuple[int, int, int]:
        """Code, queue, number."""
        return tuple(fields_of(TRAPPED, self.wires["trap"]).values())

    def step(self) -> None:
        """One cycle."""
        w = self.wires
        self._drive()
        w.settle()
        self._observe()
        w.tick()
        self.cycle += 1

    def _drive(self) -> None:
        w, rng = self.wires, self.rng
        for part in (self.program, self.scalars, *self.units):
            part.drive()
        w["sent_ready"] = len(self.between) < 2 and rng.random() < self.open_share
        number = fields_of(SENT, self.between[0])["number"] if self.between else -1
        code = self.refuse.get(number, 0)
        w["refused"] = word_of(TRAPPED, code=code, queue=1, number=max(number, 0)) if code else 0
        w["checked_valid"] = bool(self.between) and not code
        w["checked_payload"] = self.between[0] if self.between else rng.getrandbits(400)
        w["resume"] = self._at_barrier >= self.barrier_cycles

    def _observe(self) -> None:
        w = self.wires
        for part in (self.program, self.scalars, *self.units):
            part.observe()
        self._event("step", 0, w["stepped"])
        for i in range(QUEUES):
            self._event("start", i + 1, w[f"started_{i}"])
        for i in range(QUEUES):
            self._event("retire", i + 1, w[f"retired_{i}"])
        if self.between and w["checked_valid"] and w["checked_ready"]:
            self.between.popleft()
        if w["sent_valid"] and w["sent_ready"]:
            sent = fields_of(SENT, w["sent_payload"])
            self.sent[sent["queue"]].append(sent)
            self.between.append(w["sent_payload"])
        self._at_barrier = (self._at_barrier + 1) * w["at_barrier"]
        self.ended |= w["ended"]

    def _event(self, kind: str, queue: int, word: int) -> None:
        event = fields_of(EVENT, word)
        if event["valid"]:
            self.events.append((kind, queue, event["number"]))
            self.event_cycles.append(self.cycle)

    def registers(self) -> list[int]:
        """All of them, signed."""
        values = []
        for number in range(32):
            self.wires["registers_number"] = number
            self.wires.tick()
            value = self.wires["registers_value"]
            values.append(value - (value >> 47 << 48))
        return values

    def counters(self) -> list[int]:
        values = []
        for _ in range(64):  # a program may end before all of them are cleared
            self.step()
        for number in range(64):
            self.wires["counters_number"] = number
            self.wires.settle()
            values.append(self.wires["counters_value"])
        return values
