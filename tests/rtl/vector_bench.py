"""A unit of the vector queue between on-core memories that stall at random."""

from collections import deque

import numpy as np

from rtl.components import started
from tapeout.isa.encoding import HEADER_BITS, PAYLOAD_BITS, encode
from tapeout.isa.fields import GRANULE_BYTES, Queue
from tapeout.isa.instructions import Instruction
from tapeout.rtl.command import COMMAND
from tapeout.rtl.ports import GRANULE_BITS, READ_LATENCY

OPCODE_BITS = 8
MORE_LATENCY = 5


def command_word(op, rows):
    """An operation as a unit gets it."""
    word = int.from_bytes(encode(Instruction(op=op, queue=Queue.VU)), "little")
    payload = word >> HEADER_BITS
    assert payload >> PAYLOAD_BITS == 0
    return op.opcode | payload << OPCODE_BITS | rows << COMMAND["rows"].offset


class VectorBench:
    """Runs commands: L1 and scale memory are bytes in numpy arrays.

    memories: by name of a port, the array that it reads or writes. With `stalls`, the share of
    cycles in which a port does not take a request; then reads also take longer, at random. `slow`
    has shares of its own for some ports.
    """

    def __init__(self, component, memories, *, stalls=0.0, slow=None, seed=1, probe=False):
        self.model = started(component)
        self.rng = np.random.default_rng(seed)
        self.memories, self.stalls, self.probe = memories, stalls, probe
        self.slow = slow or {}
        self.wires = {name: self.model._bytes(name) for name in self.model.ports}
        self.answers = {name: deque() for name in memories if f"{name}_data" in self.wires}
        self.held, self.junk = {}, {}
        self.cycle = 0
        self.writes = dict.fromkeys(memories, 0)
        self.reads = dict.fromkeys(memories, 0)

    def run(self, commands, probabilities=(), *, limit=200_000):
        """Send commands, and chunks of probabilities; returns the cycles in which each is done."""
        commands, chunks, done = deque(commands), deque(probabilities), []
        total, last = len(commands), self.cycle + limit
        while len(done) < total or self._get("busy"):
            self._offer("commands", commands)
            if "probabilities_valid" in self.wires:
                self._offer("probabilities", chunks)
            self._answer()
            for name in self.memories:
                self._set(f"{name}_request_ready", not self._stalls(name))
            self._eval()
            if self.probe:
                self._check_independence()
            self._pass(commands, chunks)
            if self._get("done"):
                done.append(self.cycle)
                assert not any(self._get(f"{name}_request_valid") for name in self.memories)
            assert self._get("trap") == 0
            assert len(done) <= total, "more commands are done than were sent"
            assert self.cycle < last, f"stuck: {len(done)} of {total} commands are done"
            self.model.tick()
            self.cycle += 1
        assert not chunks, f"{len(chunks)} chunks are left"
        for _ in range(3):
            self.model.tick()
            assert not any(self._get(f"{name}_request_valid") for name in self.memories)
        return done

    def _stalls(self, name=None):
        share = self.slow.get(name, self.stalls)
        return share and self.rng.random() < share

    def _get(self, port):
        return int.from_bytes(self.wires[port].tobytes(), "little")

    def _set(self, port, value):
        wire = self.wires[port]
        wire[:] = np.frombuffer(int(value).to_bytes(len(wire), "little"), np.uint8)

    def _junk(self, port):
        """Anything: what looks at it must be caught."""
        if port not in self.junk:
            bits = self.model.ports[port]
            self.junk[port] = int.from_bytes(self.rng.bytes(bits // 8 + 1), "little") % (1 << bits)
        self._set(port, self.junk[port])

    def _eval(self):
        self.model.set("rst", 0)

    def _offer(self, name, beats):
        """A beat that was offered stays; without one the payload is anything."""
        offered = bool(beats) and (self.held.get(name, False) or not self._stalls())
        self.held[name] = offered
        self._set(f"{name}_valid", offered)
        if offered:
            self._set(f"{name}_payload", beats[0])
        else:
            self._junk(f"{name}_payload")

    def _answer(self):
        for name, waiting in self.answers.items():
            ready = bool(waiting) and waiting[0][0] <= self.cycle
            self._set(f"{name}_data_valid", ready)
            if ready:
                self.wires[f"{name}_data"][:] = waiting.popleft()[1]
            else:
                self._junk(f"{name}_data")

    def _pass(self, commands, chunks):
        for name, beats in (("commands", commands), ("probabilities", chunks)):
            if self.held.get(name) and self._get(f"{name}_ready"):
                beats.popleft()
                self.held[name] = False
        for name in self.answers:  # a window that is read and written is read as it was
            if self._takes(name):
                self._read(name, self._get(f"{name}_request_payload"))
        for name in self.memories.keys() - self.answers.keys():
            if self._takes(name):
                self._write(name, self._get(f"{name}_request_payload"))

    def _takes(self, name):
        """Whether a request passes; one that does not must stay as it is."""
        valid, ready = self._get(f"{name}_request_valid"), self._get(f"{name}_request_ready")
        payload = self._get(f"{name}_request_payload")
        before = self.held.pop(name, None)
        assert before is None or (valid and payload == before), f"{name} changed its request"
        if valid and not ready:
            self.held[name] = payload
        return valid and ready

    def _read(self, name, address):
        memory, size = self.memories[name], len(self.wires[f"{name}_data"])
        start = address * GRANULE_BYTES
        assert start < len(memory), f"{name} of {start:#x}"
        window = np.full(size, 0xA5, np.uint8)
        inside = memory[start : start + size]
        window[: len(inside)] = inside
        due = self.cycle + READ_LATENCY
        if self.stalls:
            due += int(self.rng.integers(0, MORE_LATENCY))
        self.answers[name].append((due, window))
        self.reads[name] += 1

    def _write(self, name, payload):
        memory = self.memories[name]
        granules = (self.model.ports[f"{name}_request_payload"]) // (GRANULE_BITS + GRANULE_BYTES)
        size = granules * GRANULE_BYTES
        bits = self.model.ports[f"{name}_request_payload"] - 9 * size
        start = (payload & ((1 << bits) - 1)) * GRANULE_BYTES
        codes = np.frombuffer((payload >> bits).to_bytes(9 * size, "little"), np.uint8)
        mask = np.unpackbits(codes[8 * size // 8 :][: size // 8], bitorder="little").astype(bool)
        places = start + np.flatnonzero(mask)
        assert places.size == 0 or places[-1] < len(memory), f"{name} at {places[-1]:#x}"
        memory[places] = codes[:size][mask]
        self.writes[name] += 1

    def _check_independence(self):
        """ready must not follow its own valid and payload, nor valid and payload their ready."""
        for name in self.memories:
            self._flip(f"{name}_request", "ready", ("valid", "payload"))
        for name in ("commands", "probabilities"):
            if f"{name}_valid" in self.wires:
                self._flip(name, "valid", ("ready",))

    def _flip(self, name, end, others):
        before = [self._get(f"{name}_{other}") for other in others]
        kept = self._get(f"{name}_{end}")
        self._set(f"{name}_{end}", 1 - kept)
        self._eval()
        after = [self._get(f"{name}_{other}") for other in others]
        self._set(f"{name}_{end}", kept)
        self._eval()
        # A payload without valid means nothing.
        assert before == after or (others[0] == "valid" and before[0] == after[0] == 0), name
