"""Accumulators behind streams, and what they must answer."""

import numpy as np
from amaranth.hdl import Cat, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.components import started
from tapeout.rtl.accumulators import TILE_LATENCY
from tapeout.rtl.bits import pack
from tapeout.rtl.check import checked_run
from tapeout.rtl.component import Component
from tapeout.rtl.ports import GRANULE_BITS

GRANULE_NUMBERS = GRANULE_BITS // 32


class Bench(Component):
    """The ports of accumulators as streams, and the answers of those that read."""

    def __init__(self, accumulators):
        self.accumulators = accumulators
        count = accumulators.shape.rows * accumulators.shape.columns
        place = {"group": accumulators.shape.group_bits + 1, "pitch_log2": 4}
        tile = data.ArrayLayout(32, count)
        self.write_layout = data.StructLayout(
            {**place, "data": tile, "mask": data.ArrayLayout(1, count)}
        )
        self.read_layout = data.StructLayout(place)
        bits = accumulators.shape.window_address_bits
        super().__init__(
            {
                "tile_read": In(stream.Signature(self.read_layout)),
                "tile": Out(stream.Signature(tile)),
                "tile_write": In(stream.Signature(self.write_layout)),
                "read": In(stream.Signature(bits)),
                "window": Out(stream.Signature(accumulators.granules * GRANULE_BITS)),
            },
            name=f"bench_{accumulators.module_name}",
        )

    def build(self, m):
        m.submodules.accumulators = it = self.accumulators
        for name in ("tile_read", "tile_write"):
            port, ours = getattr(it, name), getattr(self, name)
            m.d.comb += [
                ours.ready.eq(1),
                port.enable.eq(ours.valid),
                port.group.eq(ours.payload.group),
                port.pitch_log2.eq(ours.payload.pitch_log2),
            ]
        valid = Signal(TILE_LATENCY)
        m.d.sync += valid.eq(Cat(self.tile_read.valid, valid))
        m.d.comb += [
            Cat(it.tile_write.data).eq(Cat(self.tile_write.payload.data)),
            it.tile_write.mask.eq(Cat(self.tile_write.payload.mask)),
            self.tile.payload.eq(it.tile_read.data),
            self.tile.valid.eq(valid[-1]),
        ]
        connect(m, flipped(self.read), it.read.request)
        m.d.comb += [
            self.window.payload.eq(it.read.data),
            self.window.valid.eq(it.read.data_valid),
        ]


class Numbers:
    """Accumulators as an array of numbers, all versions of each with the cycle of its writing."""

    def __init__(self, accumulators, *, seed=1):
        shape = accumulators.shape
        self.rows, self.columns = shape.rows, shape.columns
        self.groups = 2 << shape.group_bits
        self.granules = accumulators.granules
        self.bench = Bench(accumulators)
        self.model = started(self.bench)
        self.rng = np.random.default_rng(seed)
        self.now = 0
        self.versions = {}
        self._fill()

    def _fill(self):
        """Write all numbers, by tiles without a gap between their rows."""
        group = np.arange(0, self.groups, self.rows)
        self.run(writes=(group, np.zeros_like(group), np.full(len(group), self.rows)), full=True)

    def places(self, n):
        """n random tiles: group, pitch and rows that matter, at every alignment that is legal."""
        most = (self.groups // 2).bit_length() - 1
        m = self.rng.integers(1, self.rows + 1, n)
        m[self.rng.random(n) < 0.5] = self.rows
        fits = most - np.ceil(np.log2(m)).astype(int)
        pitch = (self.rng.random(n) * (np.minimum(fits, 15) + 1)).astype(int)
        step = (1 << np.ceil(np.log2(m)).astype(int)) << pitch
        group = (self.rng.random(n) * (self.groups // step)).astype(int) * step
        return group + (self.rng.random(n) * (1 << pitch)).astype(int), pitch, m

    def _written(self, writes, full):
        group, pitch, m = writes
        n, count = len(group), self.rows * self.columns
        numbers = self.rng.integers(0, 1 << 32, (n, count), np.uint32)
        mask = self.rng.integers(0, 2, (n, count), np.uint8)
        mask[self.rng.random(n) < (1 if full else 0.5)] = 1
        mask[np.arange(count) // self.columns >= m[:, None]] = 0
        beats = pack(
            self.bench.write_layout, group=group, pitch_log2=pitch, data=numbers, mask=mask
        )
        return beats, numbers, mask

    def _tile(self, group, pitch, m):
        """Indexes of the numbers of a tile's rows."""
        rows = group + (np.arange(m) << pitch)
        return (rows[:, None] * self.columns + np.arange(self.columns)).reshape(-1)

    def held(self, index, first, last):
        """What a number was in the cycles first..last, counted from the begin of the run."""
        versions = self.versions[index]
        begun = [at for at, (cycle, _) in enumerate(versions) if cycle < self.now + first]
        return {value for cycle, value in versions[begun[-1] :] if cycle < self.now + last} | {
            versions[begun[-1]][1]
        }

    def run(self, *, writes=None, reads=None, windows=None, gates=None, full=False):
        """Write and read tiles and windows, and check every answer; returns the run."""
        sources, sinks = {}, {}
        if writes is not None:
            sources["tile_write"], numbers, mask = self._written(writes, full)
        if reads is not None:
            group, pitch, _ = reads
            sources["tile_read"] = pack(self.bench.read_layout, group=group, pitch_log2=pitch)
            sinks["tile"] = len(group)
        if windows is not None:
            raw = np.asarray(windows).astype("<u4").view(np.uint8).reshape(-1, 4)
            size = -(-self.model.ports["read_payload"] // 8)
            sources["read"] = np.ascontiguousarray(raw[:, :size])
            sinks["window"] = len(windows)
        done = checked_run(self.model, sources, sinks, gates=gates)
        if writes is not None:
            self._keep(writes, numbers, mask, done.cycle_of["tile_write"])
        if reads is not None:
            self._check_tiles(reads, done)
        if windows is not None:
            self._check_windows(windows, done)
        self.now += 1 << 32
        return done

    def _keep(self, writes, numbers, mask, cycles):
        for group, pitch, m, words, chosen, cycle in zip(
            *writes, numbers, mask, cycles, strict=True
        ):
            for at, index in enumerate(self._tile(group, pitch, m)):
                if chosen[at]:
                    versions = self.versions.setdefault(int(index), [])
                    versions.append((self.now + cycle, int(words[at])))

    def _check_tiles(self, reads, done):
        answers = done.beats["tile"].view("<u4")
        assert (done.cycle_of["tile"] - done.cycle_of["tile_read"] == TILE_LATENCY).all()
        cycles = done.cycle_of["tile_read"].tolist()
        for group, pitch, m, got, cycle in zip(*reads, answers, cycles, strict=True):
            for at, index in enumerate(self._tile(group, pitch, m)):
                assert self.held(int(index), cycle, cycle) == {int(got[at])}

    def _check_windows(self, windows, done):
        answers = done.beats["window"].view("<u4")
        passed, came = done.cycle_of["read"].tolist(), done.cycle_of["window"].tolist()
        for address, got, first, last in zip(windows, answers, passed, came, strict=True):
            for at in range(self.granules * GRANULE_NUMBERS):
                index = int(address) * GRANULE_NUMBERS + at
                if index < self.groups * self.columns:
                    assert int(got[at]) in self.held(index, first + 1, last - 2)
