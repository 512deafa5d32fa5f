"""Registers that hold a wanted value, computed in random ways."""

from collections.abc import Callable

import numpy as np

from tapeout.compiler.emitter import ZERO, Emitter, Reg
from tapeout.isa import AluFn
from tapeout.runtime.random_memory import Image

LIMIT = (1 << 47) - 1
EDGES = (0, 1, 2, 31, 63, 64, 255, (1 << 32) - 1, 1 << 32, 1 << 40, LIMIT - 1, LIMIT)


class RandomRegisters:
    """Hands out registers; `release` gives all back that it has handed out since the last one."""

    def __init__(self, emitter: Emitter, image: Image, rng: np.random.Generator):
        self.emitter, self.image, self.rng = emitter, image, rng
        self.held: list[Reg] = []

    def release(self) -> None:
        """Give back what `hold` has handed out."""
        self.emitter.free(*self.held)
        self.held.clear()

    def hold(self, value: int) -> int:
        """The number of a register with this value, until `release`."""
        if value == 0 and self.rng.random() < 0.5:
            return 0
        reg = self.reg(value)
        self.held.append(reg)
        return reg.number

    def reg(self, value: int) -> Reg:
        """A register with this value, which may be negative; the caller frees it."""
        ways: list[Callable[[int], Reg]] = [self._added, self._least, self._shifted]
        if value >= 0:
            ways += [self.emitter.set] * 3
        if 0 <= value < 1 << 32:
            ways += [self._loaded] * 2
        if value % 3 == 0 and abs(value) < 1 << 40:
            ways.append(self._multiplied)
        return ways[int(self.rng.integers(len(ways)))](value)

    def noise(self) -> None:
        """Compute something that nobody uses, and sometimes into r0."""
        value = int(self.rng.choice(EDGES)) * int(self.rng.choice([1, 1, -1]))
        if self.rng.random() < 0.5:
            value = int(self.rng.integers(-LIMIT - 1, LIMIT, endpoint=True))
        reg = self.reg(value)
        fn, imm = self.rng.choice([AluFn.MIN, AluFn.MAX, AluFn.SHR]), int(self.rng.integers(70))
        to = ZERO if self.rng.random() < 0.3 else None
        other = self.emitter.alu(AluFn(fn), reg, imm=imm, low=0, high=0, to=to)
        self.emitter.free(*{reg, other} - {ZERO})

    def _positive(self, most: int) -> int:
        """A number in 0..most, small ones as likely as big ones."""
        return int(self.rng.integers(most, endpoint=True)) >> int(self.rng.integers(44))

    def _alu(self, fn: AluFn, a: int, b: int, value: int, imm: int = 0) -> Reg:
        """A register with `value`, which is fn(a, b + imm)."""
        first = self.emitter.set(a) if a else ZERO
        second = self.emitter.set(b) if b else ZERO
        out = self.emitter.alu(fn, first, second, imm, low=value, high=value)
        self.emitter.free(*(reg for reg in (first, second) if reg is not ZERO))
        return out

    def _negative(self, value: int) -> Reg:
        """A register with a value below 0."""
        a = self._positive(LIMIT + value) if value > -LIMIT else 0
        rest = a - value  # at most 2^47
        return self._alu(AluFn.SUB, a, rest - rest // 2, value, imm=rest // 2)

    def _from_negative(self, fn: AluFn, start: int, value: int, imm: int = 0) -> Reg:
        """A register with `value`, which is fn(start, imm) or, without imm, fn(start, start)."""
        first = self._negative(start)
        second = ZERO if imm else first
        out = self.emitter.alu(fn, first, second, imm, low=value, high=value)
        self.emitter.free(first)
        return out

    def _added(self, value: int) -> Reg:
        if value < 0:
            b = 1 + self._positive(LIMIT + value - 1) if value > -LIMIT + 1 else 0
            return (
                self._from_negative(AluFn.ADD, value - b, value, b) if b else self._negative(value)
            )
        a = self._positive(value)
        b = self._positive(value - a)
        return self._alu(AluFn.ADD, a, b, value, imm=value - a - b)

    def _least(self, value: int) -> Reg:
        fn = AluFn(self.rng.choice([AluFn.MIN, AluFn.MAX]))
        if value < 0:
            imm = 1 + self._positive(LIMIT - 1) if fn is AluFn.MIN else 0
            return self._from_negative(fn, value, value, imm)
        if fn is AluFn.MAX:
            return self._alu(fn, self._positive(value), 0, value, imm=value)
        return self._alu(fn, value + self._positive(LIMIT - value), 0, value, imm=value)

    def _shifted(self, value: int) -> Reg:
        room = max(0, 47 - abs(value).bit_length())
        shift = int(self.rng.integers(room + 1))
        if value < 0:
            shift = max(1, shift) if value > -LIMIT // 2 else 0
            if not shift:
                return self._negative(value)
            return self._from_negative(AluFn.SHR, value << shift, value, shift)
        low = int(self.rng.integers(1 << shift))
        return self._alu(AluFn.SHR, value << shift | low, 0, value, imm=shift)

    def _multiplied(self, value: int) -> Reg:
        if value < 0:
            return self._from_negative(AluFn.MUL, value // 3, value, 3)
        return self._alu(AluFn.MUL, value // 3, 0, value, imm=3)

    def _loaded(self, value: int) -> Reg:
        address = self.image.cell(value)
        offset = self._positive(address)
        index = self.emitter.set(offset) if offset else ZERO
        out = self.emitter.load_scalar(address - offset, index, low=value, high=value)
        if index is not ZERO:
            self.emitter.free(index)
        return out
