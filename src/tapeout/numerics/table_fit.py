"""Fit the tables of the special-function unit: the provenance of sfu.toml, in exact arithmetic.

`python -m tapeout.numerics.table_fit` prints sfu.toml. Function values are computed with 60
decimal digits and fitted with fractions, so every machine prints the same file.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction

Function = Callable[[Decimal], Decimal]
Row = tuple[int, int, int]

COEFFICIENT_BITS = 28  # fraction bits of every coefficient
# Chebyshev's nodes for a quadratic on [0, 1], (1 - cos((2 i + 1) pi / 6)) / 2.
_NODES = (Fraction(669873, 10**7), Fraction(1, 2), Fraction(9330127, 10**7))
_PINNED = (Fraction(0), Fraction(1, 2), Fraction(9330127, 10**7))


def fit(function: Function, start: Decimal, width: Decimal, *, pin: bool) -> Row:
    """Fit c0 + c1 t + c2 t^2 to function(start + width t) on t in [0, 1); units of 2^-28.

    The rounding error of c2 is passed on to c1 and c0, and that of c1 to c0, where a line or a
    constant can make up for it. `pin` makes t = 0 exact instead.
    """
    nodes = _PINNED if pin else _NODES
    y = [_scaled(function(start + width * _decimal(t))) for t in nodes]
    first = (y[1] - y[0]) / (nodes[1] - nodes[0])
    second = ((y[2] - y[1]) / (nodes[2] - nodes[1]) - first) / (nodes[2] - nodes[0])
    c1 = first - second * (nodes[0] + nodes[1])
    c0 = y[0] - nodes[0] * (c1 + second * nodes[0])
    c2_rounded = round(second)
    lost = second - c2_rounded
    c1 += lost  # t^2 is at most 1/8 away from t - 1/8 on [0, 1]
    c0 -= lost / 8
    c1_rounded = round(c1)
    c0 += (c1 - c1_rounded) / 2
    return (round(y[0]) if pin else round(c0)), c1_rounded, c2_rounded


def fit_tables() -> dict[str, list[Row]]:
    """All tables by function name; a row per segment, in ascending order of the argument."""
    with localcontext() as context:
        context.prec = 60
        pi = _pi()
        tables = {
            "exp2": list(_segments(lambda x: Decimal(2) ** x, 0, 1, 64)),
            "recip": list(_segments(lambda x: 1 / x, 1, 1, 128)),
            "rsqrt": [
                *_segments(lambda x: 1 / x.sqrt(), 1, 1, 128),
                *_segments(lambda x: 1 / x.sqrt(), 2, 2, 128),
            ],
            "sin": list(_segments(lambda x: _sin(x * pi / 2), 0, 1, 128)),
            "normal_tail": list(_segments(lambda x: _normal_tail(x, pi), 0, 6, 192)),
        }
        tables["sin"].append((1 << COEFFICIENT_BITS, 0, 0))  # a whole quarter turn
        return tables


def _segments(function: Function, start: int, length: int, count: int) -> Iterator[Row]:
    width = Decimal(length) / count
    for index in range(count):
        yield fit(function, start + width * index, width, pin=index == 0)


def _scaled(value: Decimal) -> Fraction:
    return Fraction(value) * (1 << COEFFICIENT_BITS)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


def _pi() -> Decimal:
    """Machin's formula: pi = 16 atan(1/5) - 4 atan(1/239)."""

    def atan_inverse(n: int) -> Decimal:
        total, power, k = Decimal(0), Decimal(1) / n, 0
        while abs(power) > Decimal("1e-58"):
            total += power / (2 * k + 1)
            power, k = -power / (n * n), k + 1
        return total

    return 16 * atan_inverse(5) - 4 * atan_inverse(239)


def _sin(x: Decimal) -> Decimal:
    total, term, k = Decimal(0), x, 1
    while abs(term) > Decimal("1e-50"):
        total += term
        term, k = -term * x * x / ((k + 1) * (k + 2)), k + 2
    return total


def _normal_tail(x: Decimal, pi: Decimal) -> Decimal:
    """Probability that a standard normal variable exceeds x: Taylor's series of the integral."""
    total, term, k = Decimal(0), x, 0
    while abs(term) > Decimal("1e-45"):
        total += term / (2 * k + 1)
        k += 1
        term = -term * x * x / (2 * k)
    return Decimal("0.5") - total / (2 * pi).sqrt()


def _print_toml() -> None:
    print("# Tables of the special-function unit: rows of c0, c1, c2 in units of 2^-28.")
    print("# Written by `python -m tapeout.numerics.table_fit`; tapeout.numerics.tables reads it.")
    for name, rows in fit_tables().items():
        print(f"\n{name} = [")
        for row in rows:
            print(f"  [{row[0]}, {row[1]}, {row[2]}],")
        print("]")


if __name__ == "__main__":
    _print_toml()
