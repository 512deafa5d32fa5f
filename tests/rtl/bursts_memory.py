"""A memory behind `memory_read` and `memory_write` ports of a model, one clock cycle at a time."""

import random
from collections import deque

import numpy as np
from numpy.typing import NDArray

from tapeout.rtl.harness import Model

Beat = tuple[int, bool, bool]


class BurstMemory:
    """Answers the bursts of some ports from `data`, with random delays and stalls."""

    def __init__(
        self,
        model: Model,
        data: NDArray[np.uint8],
        *,
        bus_bytes: int,
        reads: tuple[str, ...] = (),
        writes: tuple[str, ...] = (),
        seed: int = 0,
        open_share: float = 1.0,
    ) -> None:
        self.model, self.data, self.bus_bytes = model, data, bus_bytes
        self.random, self.open_share = random.Random(seed), open_share
        self.reads: dict[str, deque[Beat]] = {name: deque() for name in reads}
        self.offered: set[str] = set()
        self.bursts: dict[str, deque[int]] = {name: deque() for name in writes}
        self.answers: dict[str, deque[bool]] = {name: deque() for name in writes}
        self.fail_at: range | None = None
        self.beats = 0

    def cycle(self) -> None:
        """Let one cycle pass."""
        model, taken = self.model, []
        for name in (*self.reads, *self.bursts):
            model.set(f"{name}_request_ready", self._open())
        for name, beats in self.reads.items():
            self._offer(f"{name}_data", bool(beats), self._beat(beats[0]) if beats else 0)
        for name, answers in self.answers.items():
            model.set(f"{name}_data_ready", self._open() and bool(self.bursts[name]))
            self._offer(f"{name}_response", bool(answers), int(answers[0]) if answers else 0)
        for name in self.reads:
            taken += [(self._read, name)] if self._passes(f"{name}_request") else []
            taken += [(self._sent, name)] if self._passes(f"{name}_data") else []
        for name in self.bursts:
            taken += [(self._write, name)] if self._passes(f"{name}_request") else []
            taken += [(self._store, name)] if self._passes(f"{name}_data") else []
            taken += [(self._answered, name)] if self._passes(f"{name}_response") else []
        for action, name in taken:
            action(name)
        model.tick()

    def _open(self) -> int:
        return int(self.random.random() < self.open_share)

    def _offer(self, stream: str, there: bool, payload: int) -> None:
        """A beat, once offered, stays until it is taken."""
        if there and stream not in self.offered and self._open():
            self.offered.add(stream)
        self.model.set(f"{stream}_valid", int(stream in self.offered))
        if stream in self.offered:
            self.model.set(f"{stream}_payload", payload)

    def _passes(self, stream: str) -> bool:
        return bool(self.model.get(f"{stream}_valid") and self.model.get(f"{stream}_ready"))

    def _beat(self, beat: Beat) -> int:
        data, last, error = beat
        bits = 8 * self.bus_bytes
        return data | int(last) << bits | int(error) << (bits + 1)

    def _burst(self, name: str) -> tuple[int, int]:
        payload = self.model.get(f"{name}_request_payload")
        address, beats = payload & ((1 << 40) - 1), (payload >> 40) + 1
        assert address % self.bus_bytes == 0
        assert address // 4096 == (address + beats * self.bus_bytes - 1) // 4096
        return address, beats

    def _refuses(self, address: int) -> bool:
        outside = address + self.bus_bytes > len(self.data)
        return outside or (self.fail_at is not None and address in self.fail_at)

    def _read(self, name: str) -> None:
        address, beats = self._burst(name)
        for i in range(beats):
            at = address + i * self.bus_bytes
            word = int.from_bytes(self.data[at : at + self.bus_bytes].tobytes(), "little")
            self.reads[name].append((word, i == beats - 1, self._refuses(at)))
            self.beats += 1

    def _sent(self, name: str) -> None:
        self.reads[name].popleft()
        self.offered.discard(f"{name}_data")

    def _write(self, name: str) -> None:
        address, beats = self._burst(name)
        self.bursts[name].extend(address + i * self.bus_bytes for i in range(beats))

    def _store(self, name: str) -> None:
        payload = self.model.get(f"{name}_data_payload")
        at, size = self.bursts[name].popleft(), self.bus_bytes
        data = (payload & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        strobe = payload >> (8 * size)
        for i in range(size):
            if strobe >> i & 1 and not self._refuses(at):
                self.data[at + i] = data[i]
        if strobe >> size & 1:
            self.answers[name].append(self._refuses(at))

    def _answered(self, name: str) -> None:
        self.answers[name].popleft()
        self.offered.discard(f"{name}_response")
