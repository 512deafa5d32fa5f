"""Integers that are only known when a program runs: sums of unknowns, with provable bounds.

Two equal expressions have equal `Value`s, so a value is also the name of what it computes.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import gcd
from typing import TypeAlias

from tapeout.errors import CompileError
from tapeout.isa.fields import AluFn

LIMIT = (1 << 47) - 1
"""Registers hold -LIMIT - 1 .. LIMIT."""

SEARCH_DEPTH = 6
"""Unknowns that a bound replaces by what they are made of, one after the other."""


@dataclass(frozen=True, slots=True)
class Value:
    """constant + the sum of factor * unknown over `terms`: (unknown's number, factor) ascending."""

    constant: int
    terms: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: "Value | int") -> "Value":
        if isinstance(other, int):
            return Value(self.constant + other, self.terms)
        factors = dict(self.terms)
        for unknown, factor in other.terms:
            factors[unknown] = factors.get(unknown, 0) + factor
        terms = tuple(sorted((u, f) for u, f in factors.items() if f))
        return Value(self.constant + other.constant, terms)

    def __sub__(self, other: "Value | int") -> "Value":
        if isinstance(other, int):
            return Value(self.constant - other, self.terms)
        return self + other * -1

    def __mul__(self, factor: int) -> "Value":
        if factor == 0:
            return ZERO
        return Value(self.constant * factor, tuple((u, f * factor) for u, f in self.terms))

    def quotient(self, divisor: int) -> "Value | None":
        """This divided by `divisor`; None unless it is a multiple whatever the unknowns are."""
        if self.constant % divisor or any(f % divisor for _, f in self.terms):
            return None
        terms = tuple((u, f // divisor) for u, f in self.terms)
        return Value(self.constant // divisor, terms)

    @property
    def step(self) -> int:
        """All values differ by multiples of this; 0 for a constant."""
        return gcd(*(f for _, f in self.terms))


ZERO = Value(0)


class Kind(Enum):
    """What an unknown is made of."""

    FREE = "free"
    TURN = "turn"  # which turn of a loop of args[0] turns: 0 .. args[0] - 1
    MIN = "min"
    MAX = "max"
    SHIFT = "shift"  # args[0] >> args[1].constant
    CELL = "cell"  # what a table holds at address args[0]
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Unknown:
    """One unknown: its range, and the values that it is made of."""

    kind: Kind
    args: tuple[Value, ...]
    low: int
    high: int


Name: TypeAlias = tuple[object, ...]


@dataclass
class Numbers:
    """The unknowns of one verification, by number."""

    unknowns: list[Unknown] = field(default_factory=list[Unknown])
    freshes: list[int] = field(default_factory=list[int])
    """Which of them `fresh` made."""
    _by_name: dict[Name, int] = field(default_factory=dict[Name, int])
    _highs: dict[tuple[Value, int], int] = field(default_factory=dict[tuple[Value, int], int])

    def named(self, name: Name, low: int, high: int) -> Value:
        """The unknown called `name`, in low..high."""
        return self._unknown(("free", *name), Kind.FREE, (), low, high)

    def fresh(self, low: int, high: int) -> Value:
        """An unknown like no other."""
        self.freshes.append(len(self.unknowns))
        return self.named(("fresh", len(self.unknowns)), low, high)

    def cell(self, address: Value, low: int, high: int) -> Value:
        """The number in low..high that a table holds at `address`."""
        return self._unknown(("cell", address), Kind.CELL, (address,), low, high)

    def from_table(self, value: Value) -> bool:
        """Whether `value` depends on what a table holds."""
        return any(
            self.unknowns[u].kind is Kind.CELL or any(map(self.from_table, self.unknowns[u].args))
            for u, _ in value.terms
        )

    def turn(self, depth: int, count: Value) -> Value:
        """The number of the turn that a loop is in; loops of one depth and count share it."""
        high = max(0, self.high(count) - 1)
        return self._unknown(("turn", depth, count), Kind.TURN, (count,), 0, high)

    def low(self, value: Value) -> int:
        """The greatest proven lower bound."""
        return -self.high(value * -1) if value.terms else value.constant

    def high(self, value: Value, depth: int = SEARCH_DEPTH) -> int:
        """The least proven upper bound."""
        if not value.terms:
            return value.constant
        key = (value, depth)
        if key not in self._highs:
            best = value.constant + sum(self._term_high(u, f) for u, f in value.terms)
            if depth:
                for unknown, factor in value.terms:
                    best = min(best, self._replaced_high(value, unknown, factor, depth - 1, best))
            self._highs[key] = best
        return self._highs[key]

    def positive(self, value: Value) -> Value:
        """A value, often simpler, that equals `value` wherever that is at least 1."""
        if len(value.terms) != 1 or value.terms[0][1] < 0 or value.constant > 0:
            return value
        number, factor = value.terms[0]
        u = self.unknowns[number]
        inner = Value(0, ((number, 1),))
        if u.kind is Kind.MIN:
            a, b = (self.positive(arg) for arg in u.args)
            inner = self._extreme(Kind.MIN, a, b)
        elif u.kind is Kind.MAX:
            above = [arg for arg in u.args if self.high(arg) > 0]
            inner = self.positive(above[0]) if len(above) == 1 else inner
        return inner * factor + value.constant

    def least_of(self, value: Value) -> list[tuple[Value, Value]]:
        """Both orders of the pair of which `value` is the lesser; none if it is no such pair."""
        if len(value.terms) != 1 or value.terms[0][1] != 1 or value.constant:
            return []
        u = self.unknowns[value.terms[0][0]]
        return [(u.args[0], u.args[1]), (u.args[1], u.args[0])] if u.kind is Kind.MIN else []

    def depends_on(self, value: Value, names: frozenset[int]) -> bool:
        """Whether one of these unknowns is in `value`, or in what its unknowns are made of."""
        return any(
            u in names or any(self.depends_on(a, names) for a in self.unknowns[u].args)
            for u, _ in value.terms
        )

    def alu(self, fn: AluFn, a: Value, b: Value) -> Value:
        """What `Alu` computes from a and b.

        Raises:
            CompileError: if a shift may be negative.
        """
        match fn:
            case AluFn.ADD:
                return a + b
            case AluFn.SUB:
                return a - b
            case AluFn.MUL:
                return self._product(a, b)
            case AluFn.MIN:
                return self._extreme(Kind.MIN, a, b)
            case AluFn.MAX:
                return self._extreme(Kind.MAX, a, b)
            case AluFn.SHR:
                return self._shift(a, b)

    def _unknown(
        self, name: Name, kind: Kind, args: tuple[Value, ...], low: int, high: int
    ) -> Value:
        if name not in self._by_name:
            self._by_name[name] = len(self.unknowns)
            self.unknowns.append(Unknown(kind, args, low, high))
        return Value(0, ((self._by_name[name], 1),))

    def _term_high(self, unknown: int, factor: int) -> int:
        u = self.unknowns[unknown]
        return factor * (u.high if factor > 0 else u.low)

    def _replaced_high(self, value: Value, unknown: int, factor: int, depth: int, best: int) -> int:
        """A bound on `value` with one unknown replaced by what bounds it."""
        u = self.unknowns[unknown]
        rest = value - Value(0, ((unknown, factor),))
        match u.kind:
            case Kind.TURN if factor > 0:
                return self.high(rest + (u.args[0] - 1) * factor, depth)
            case Kind.MIN | Kind.MAX:
                highs = [self.high(rest + arg * factor, depth) for arg in u.args]
                # min(a, b) is at most each of them; -min(a, b) is at most the larger of -a, -b.
                return min(highs) if (u.kind is Kind.MIN) == (factor > 0) else max(highs)
            case Kind.SHIFT:
                return self._shift_high(u, rest, factor, depth, best)
            case _:
                return best

    def _shift_high(self, u: Unknown, rest: Value, factor: int, depth: int, best: int) -> int:
        """Uses a - 2^s + 1 <= 2^s (a >> s) <= a."""
        of, size = u.args[0], 1 << u.args[1].constant
        if factor % size:
            return best
        bound = of if factor > 0 else of - (size - 1)
        return self.high(rest + bound * (factor // size), depth)

    def _product(self, a: Value, b: Value) -> Value:
        if not a.terms:
            return b * a.constant
        if not b.terms:
            return a * b.constant
        corners = [x * y for x in self._ends(a) for y in self._ends(b)]
        pair = tuple(sorted((a, b), key=lambda v: (v.constant, v.terms)))
        return self._unknown(("mul", *pair), Kind.OTHER, pair, min(corners), max(corners))

    def _extreme(self, kind: Kind, a: Value, b: Value) -> Value:
        for one, other in ((a, b), (b, a)):
            if kind is Kind.MIN and self.high(one - other) <= 0:
                return one
            if kind is Kind.MAX and self.low(one - other) >= 0:
                return one
        pick = min if kind is Kind.MIN else max
        pair = tuple(sorted((a, b), key=lambda v: (v.constant, v.terms)))
        low, high = pick(self.low(a), self.low(b)), pick(self.high(a), self.high(b))
        return self._unknown((kind.value, *pair), kind, pair, low, high)

    def _shift(self, a: Value, b: Value) -> Value:
        if self.low(b) < 0:
            raise CompileError("a shift must be by at least 0 bits")
        corners = [x >> min(y, 63) for x in self._ends(a) for y in self._ends(b)]
        if b.terms:
            return self._unknown(("shr", a, b), Kind.OTHER, (a, b), min(corners), max(corners))
        size = 1 << b.constant
        whole = Value(0, a.terms).quotient(size)
        if whole is not None:  # (size * x + c) >> s = x + (c >> s)
            return whole + (a.constant >> b.constant)
        return self._unknown(("shr", a, b), Kind.SHIFT, (a, b), min(corners), max(corners))

    def _ends(self, value: Value) -> tuple[int, int]:
        return self.low(value), self.high(value)
