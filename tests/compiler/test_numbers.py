"""Bounds of values against all values that their unknowns may have."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.compiler.numbers import Numbers, Value
from tapeout.errors import CompileError
from tapeout.isa.fields import AluFn

X, Y = (-3, 5), (0, 4)
Function = list[tuple[AluFn, int, int, int]]

functions = st.lists(
    st.tuples(st.sampled_from(AluFn), st.integers(0, 9), st.integers(0, 9), st.integers(-3, 6)),
    max_size=6,
)
"""Steps (fn, a, b, imm) on a growing list of numbers that begins with x and y."""


def of_values(numbers: Numbers, steps: Function) -> list[Value]:
    held = [numbers.named(("x",), *X), numbers.named(("y",), *Y)]
    for fn, a, b, imm in steps:
        right = held[b % len(held)] + imm
        if fn is AluFn.SHR:
            right = Value(abs(imm))
        held.append(numbers.alu(fn, held[a % len(held)], right))
    return held


def of_integers(steps: Function, x: int, y: int) -> list[int]:
    held = [x, y]
    for fn, a, b, imm in steps:
        left, right = held[a % len(held)], held[b % len(held)] + imm
        match fn:
            case AluFn.ADD:
                held.append(left + right)
            case AluFn.SUB:
                held.append(left - right)
            case AluFn.MUL:
                held.append(left * right)
            case AluFn.MIN:
                held.append(min(left, right))
            case AluFn.MAX:
                held.append(max(left, right))
            case AluFn.SHR:
                held.append(left >> abs(imm))
    return held


@given(functions)
def test_bounds_hold_and_equal_values_are_equal(steps: Function):
    numbers = Numbers()
    values = of_values(numbers, steps)
    runs = [
        of_integers(steps, x, y) for x, y in product(range(X[0], X[1] + 1), range(Y[0], Y[1] + 1))
    ]
    for i, value in enumerate(values):
        results = [run[i] for run in runs]
        assert numbers.low(value) <= min(results)
        assert max(results) <= numbers.high(value)
        if not value.terms:
            assert set(results) == {value.constant}
        first = results[0]
        if value.step:
            assert all((one - first) % value.step == 0 for one in results)
        for j in range(i):
            if values[j] == value:
                assert results == [run[j] for run in runs]
        positive = numbers.positive(value)
        for x, y in product(range(X[0], X[1] + 1), range(Y[0], Y[1] + 1)):
            got = of_integers(steps, x, y)[i]
            if got >= 1 and positive in values:
                assert of_integers(steps, x, y)[values.index(positive)] == got


def test_bounds_relate_what_is_made_of_the_same_numbers():
    n = Numbers()
    rows = n.named(("rows",), 1, 1000)
    tiles = n.alu(AluFn.SHR, rows + 127, Value(7))
    turn = n.turn(0, tiles)
    left = rows - turn * 128
    assert n.low(left) == 1
    count = n.alu(AluFn.MIN, left, Value(128))
    assert (n.low(count), n.high(count)) == (1, 128)
    assert n.high(turn * 128 + count - rows) == 0
    first = n.alu(AluFn.MIN, n.cell(Value(0), 0, 5000), rows)
    some = n.alu(AluFn.MIN, n.cell(Value(4), 0, 5000), rows - first)
    assert n.high(first + some - rows) == 0


def test_a_positive_maximum_is_its_positive_part():
    n = Numbers()
    rows = n.named(("rows",), 1, 100)
    clamped = n.alu(AluFn.MIN, n.alu(AluFn.MAX, rows - 64, Value(0)), Value(64))
    assert n.positive(clamped) == rows - 64


def test_a_negative_shift_is_refused():
    n = Numbers()
    with pytest.raises(CompileError, match="a shift must be by at least 0 bits"):
        n.alu(AluFn.SHR, Value(8), n.named(("x",), -1, 3))


def test_tables_and_turns_are_found_within_values():
    n = Numbers()
    cell = n.cell(n.named(("x",), 0, 4) * 4, 0, 9)
    inside = n.alu(AluFn.MIN, cell, n.named(("y",), 0, 5)) * 3 + 1
    assert n.from_table(inside)
    assert not n.from_table(n.named(("y",), 0, 5))
    turn = n.turn(1, n.named(("y",), 0, 5))
    there = n.cell(turn * 4, 0, 9)
    assert n.depends_on(there, frozenset({turn.terms[0][0]}))
