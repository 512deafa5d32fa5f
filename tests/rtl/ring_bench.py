"""A unit of the element engine between rings and memories that stall at random."""

from collections import deque

import numpy as np

from rtl.components import started
from tapeout.rtl.ports import GRANULE_BITS, READ_LATENCY

CHUNK = {"ready": "ready", "take": "take", "value": "values"}
SCALARS = {"ready": "scalar_ready", "take": "scalar_take", "value": "scalar"}
MORE_LATENCY = 9


class RingBench:
    """Feeds the rings of a unit and takes what it writes, one cycle at a time.

    `share`: of the cycles in which a port is ready, has room or takes a request. Beats are
    integers; what a unit must not look at is anything. `out`: the beats that were written, in
    `cycles`; `takes`: the cycles of those that were taken; `begun`: that of the last start, which
    empties all rings.
    """

    def __init__(self, component, *, share=1.0, seed=1, sources=(CHUNK,), depth=16):
        self.model = started(component)
        self.layout = component.config.shape()
        self.rng = np.random.default_rng(seed)
        self.wires = {name: self.model._bytes(name) for name in self.model.ports}
        self.share, self.sources, self.depth = share, sources, depth
        self.queues = [deque() for _ in sources]
        self.cycle = 0
        self._clear()

    def _clear(self):
        self.out, self.cycles, self.takes = [], [], []
        self.promised, self.held = 0, None
        self.answers = deque()

    def start(self, *queues, memory=None, **config):
        """Begin with these beats in the sources, and numpy granules in the memory."""
        shape = self.layout
        value = sum(number << shape[name].offset for name, number in config.items())
        self.set("start", 1)
        self.set("config", value)
        self.step()
        self.begun = self.cycle - 1
        self.set("start", 0)
        self.junk("config")
        self._clear()
        self.queues = [deque(queue) for queue in queues]
        self.memory = memory
        for names in self.sources[: len(queues)]:
            self.junk(names["value"])

    def run(self, count, *, limit=200_000):
        """Go on until so many beats were written."""
        last = self.cycle + limit
        while len(self.out) < count:
            self.step()
            assert self.cycle < last, f"stuck: {len(self.out)} of {count}"

    def step(self):
        """One cycle."""
        room = self.promised < self.depth and self._open()
        self.set("room", room)
        ready = [bool(queue) and self._open() for queue in self.queues]
        for names, there in zip(self.sources, ready, strict=False):
            self.set(names["ready"], there)
        if "read_data" in self.wires:
            self._answer()
        self.model.set("rst", 0)
        reserve, write = self.get("reserve"), self.get("write")
        assert room or not reserve, "reserves without room"
        if write:
            assert self.promised, "writes without a promise"
            self.out.append(self.get("data"))
            self.cycles.append(self.cycle)
        self.promised += reserve - write
        taken = [self.get(names["take"]) for names in self.sources]
        for there, take in zip(ready, taken, strict=False):
            assert there or not take, "takes what is not there"
        if "read_data" in self.wires:
            self._request()
        self.model.tick()
        self.cycle += 1
        for names, queue, take in zip(self.sources, self.queues, taken, strict=False):
            if take:
                self.set(names["value"], queue.popleft())
                self.takes.append(self.cycle - 1)

    def drained(self, cycles=20):
        """Whether nothing more comes, and all that was promised has come."""
        before = len(self.out)
        for _ in range(cycles):
            self.step()
        return len(self.out) == before and not self.promised

    def get(self, port):
        """Value of a port."""
        return int.from_bytes(self.wires[port].tobytes(), "little")

    def set(self, port, value):
        """Drive an input from the next evaluation on."""
        wire = self.wires[port]
        wire[:] = np.frombuffer(int(value).to_bytes(len(wire), "little"), np.uint8)

    def junk(self, port):
        """Anything: what looks at it must be caught."""
        bits = self.model.ports[port]
        word = int.from_bytes(self.rng.bytes(bits // 8 + 1), "little") % (1 << bits)
        self.set(port, word)

    def _open(self):
        return self.share == 1 or self.rng.random() < self.share

    def _answer(self):
        there = bool(self.answers) and self.answers[0][0] <= self.cycle
        self.set("read_data_valid", there)
        if there:
            self.wires["read_data"][:] = self.answers.popleft()[1]
        else:
            self.junk("read_data")
        self.set("read_request_ready", self._open())

    def _request(self):
        valid, ready = self.get("read_request_valid"), self.get("read_request_ready")
        payload = self.get("read_request_payload")
        assert self.held is None or (valid and payload == self.held), "changed its request"
        self.held = payload if valid and not ready else None
        if valid and ready:
            due = self.cycle + READ_LATENCY
            if self.share < 1:
                due += int(self.rng.integers(0, MORE_LATENCY))
            count = self.model.ports["read_data"] // GRANULE_BITS
            self.answers.append((due, self.memory[payload : payload + count].reshape(-1)))


def chunks_of(words, lanes, rng):
    """Chunks of 32-bit words [n], the last one filled with anything."""
    filled = rng.integers(0, 1 << 32, -(-len(words) // lanes) * lanes, dtype=np.uint32)
    filled[: len(words)] = words
    return [int.from_bytes(row.tobytes(), "little") for row in filled.reshape(-1, lanes)]


def words_of(chunk, lanes):
    """The 32-bit words of a chunk."""
    return np.frombuffer(chunk.to_bytes(4 * lanes, "little"), np.uint32)
