"""A scratchpad behind streams, and what it must answer: requests are done when they pass."""

import numpy as np
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.components import started
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.rtl.check import checked_run
from tapeout.rtl.component import Component
from tapeout.rtl.ports import GRANULE_BITS, write_layout


class Bench(Component):
    """Every port of a scratchpad as a stream, and the answers of those that read."""

    def __init__(self, memory):
        self.memory = memory
        bits = memory.shape.address_bits
        ports = {}
        for name, granules in memory.reads:
            ports[name] = In(stream.Signature(bits))
            ports[f"{name}_data"] = Out(stream.Signature(granules * GRANULE_BITS))
        for name, granules in memory.writes:
            ports[name] = In(stream.Signature(write_layout(granules=granules, address_bits=bits)))
        super().__init__(ports, name=f"bench_{memory.module_name}")

    def build(self, m):
        m.submodules.memory = memory = self.memory
        for name, _ in memory.reads:
            port, answer = getattr(memory, f"read_{name}"), getattr(self, f"{name}_data")
            connect(m, flipped(getattr(self, name)), port.request)
            m.d.comb += [answer.valid.eq(port.data_valid), answer.payload.eq(port.data)]
        for name, _ in memory.writes:
            connect(m, flipped(getattr(self, name)), getattr(memory, f"write_{name}").request)


class Bytes:
    """A scratchpad as bytes, and the beats that its ports take. Bytes beyond the end are -1."""

    def __init__(self, memory, *, seed=1):
        self.memory = memory
        self.rng = np.random.default_rng(seed)
        self.windows = dict([*memory.reads, *memory.writes])
        self.reads = [name for name, _ in memory.reads]
        self.writes = [name for name, _ in memory.writes]
        self.model = started(Bench(memory))
        self.size = memory.shape.granules * GRANULE_BYTES
        room = (1 << memory.shape.address_bits) + max(self.windows.values())
        self.state = np.full(room * GRANULE_BYTES, -1, np.int16)
        self._fill()

    def _fill(self):
        name = self.writes[0]
        addresses = np.arange(0, self.memory.shape.granules, self.windows[name])
        beats = self.beats(name, addresses, full=True)
        done = checked_run(self.model, {name: beats}, {})
        self.apply({name: beats}, done.cycle_of)

    def beats(self, name, addresses, *, full=False):
        """Requests at addresses: reads, or writes of random bytes under random masks."""
        addresses, bits = np.asarray(addresses), self.memory.shape.address_bits
        if name in self.reads:
            raw = addresses.astype("<u4").view(np.uint8).reshape(-1, 4)
            return np.ascontiguousarray(raw[:, : -(-bits // 8)])
        n, size = len(addresses), self.windows[name] * GRANULE_BYTES
        mask = self.rng.integers(0, 2, (n, size), np.uint8)
        mask[self.rng.random(n) < (1 if full else 0.5)] = 1
        words = self.rng.integers(0, 256, (n, size), np.uint8)
        out = [addresses[:, None] >> np.arange(bits) & 1,
               np.unpackbits(words, axis=1, bitorder="little"), mask]  # fmt: skip
        return np.packbits(np.concatenate(out, axis=1).astype(np.uint8), axis=1, bitorder="little")

    def apply(self, beats, cycle_of):
        """Do the requests in the order in which they passed, reads first; returns the answers."""
        order = [*self.reads, *self.writes]
        events = sorted(
            (cycle, order.index(name), i)
            for name in beats
            for i, cycle in enumerate(cycle_of[name].tolist())
        )
        bits = {
            name: np.unpackbits(rows, axis=1, bitorder="little") for name, rows in beats.items()
        }
        answers = {
            name: np.zeros((len(beats[name]), self.windows[name] * GRANULE_BYTES), np.int16)
            for name in self.reads
            if name in beats
        }
        width = self.memory.shape.address_bits
        places = GRANULE_BYTES * (1 << np.arange(width))
        for _, number, i in events:
            name = order[number]
            row, size = bits[name][i], self.windows[name] * GRANULE_BYTES
            at = int(row[:width] @ places)
            if name in answers:
                answers[name][i] = self.state[at : at + size]
                continue
            words = np.packbits(row[width : width + 8 * size], bitorder="little")
            mask = row[width + 8 * size : width + 9 * size] != 0
            self.state[at : at + size][mask] = words[mask]
            self.state[self.size :] = -1
        return answers

    def run(self, addresses, *, gates=None, probe=False):
        """Send requests to ports and check every answer; returns the run."""
        beats = {name: self.beats(name, values) for name, values in addresses.items()}
        sinks = {f"{name}_data": len(beats[name]) for name in self.reads if name in beats}
        done = checked_run(self.model, beats, sinks, gates=gates, probe=probe)
        for name, want in self.apply(beats, done.cycle_of).items():
            got = done.beats[f"{name}_data"]
            wrong = (got != want) & (want >= 0)
            assert not wrong.any(), f"{name}: answers {np.flatnonzero(wrong.any(axis=1))[:5]}"
        return done
