"""Measured errors of the vector unit's functions, beside the bounds that their docstrings state."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from . import functions as f
from .fp32 import F32

F64 = NDArray[np.float64]
Units = float  # a multiple of the unit named beside it

_CHUNK = 1 << 18
_SMALLEST_EXPONENT = -126


@dataclass(frozen=True, kw_only=True)
class ErrorMeasurement:
    """The largest error of a function over stated inputs, against a float64 reference."""

    name: str
    unit: str
    bound: Units
    measured: Units
    inputs: str


def measured_errors() -> list[ErrorMeasurement]:
    """Measure every function again; takes some seconds. The inputs are the same each time."""
    return [*_correct_to_ulp(), *_correct_to_absolute(), *_correct_to_argument()]


def ulps(y: F32, reference: F64) -> F64:
    """Error of y in units in the last place of the exact result (2^-149 below 2^-126)."""
    exponent = np.frexp(reference)[1] - 1
    ulp = np.ldexp(1.0, np.maximum(exponent, _SMALLEST_EXPONENT) - 23)
    return np.abs(y - reference) / ulp


def _correct_to_ulp() -> Iterator[ErrorMeasurement]:
    mantissas = "all 2^23 mantissas of [1, 2)"
    patterns = "2^20 random bit patterns"
    yield ErrorMeasurement(
        name="exp2",
        unit="ulp",
        bound=0.65,
        measured=_largest(
            f.exp2, np.exp2, [*_binade(0), *_fractions_below_zero(), *_uniform(-150, 128, 20)]
        ),
        inputs=f"{mantissas}, all multiples of 2^-24 in (-1, 0], 2^20 random x in (-150, 128)",
    )
    yield ErrorMeasurement(
        name="recip",
        unit="ulp",
        bound=0.85,
        measured=_largest(f.recip, np.reciprocal, [*_binade(0), *_patterns()]),
        inputs=f"{mantissas}, {patterns}",
    )
    yield ErrorMeasurement(
        name="rsqrt",
        unit="ulp",
        bound=0.65,
        measured=_largest(
            f.rsqrt, lambda x: 1 / np.sqrt(x), [*_binade(0), *_binade(1), *_patterns()]
        ),
        inputs=f"{mantissas} and of [2, 4), {patterns}",
    )


def _correct_to_absolute() -> Iterator[ErrorMeasurement]:
    for name, function, reference in [
        ("sin_turns", f.sin_turns, np.sin),
        ("cos_turns", f.cos_turns, np.cos),
    ]:
        yield ErrorMeasurement(
            name=name,
            unit="2^-24",
            bound=0.7,
            measured=max(
                _error(function(p), reference(p * (2 * np.pi / 2**32)), 2.0**-24) for p in _phases()
            ),
            inputs="2^22 phases, one in each 2^-22 of a turn",
        )
    for name, function, reference, bound in [
        ("sigmoid", f.sigmoid, _logistic, 2.0),
        ("normal_cdf", f.normal_cdf, _normal_cdf, 2.0),
    ]:
        yield ErrorMeasurement(
            name=name,
            unit="2^-24",
            bound=bound,
            measured=max(
                _error(function(x), reference(x.astype(np.float64)), 2.0**-24)
                for x in _uniform(-20, 20, 18)
            ),
            inputs="2^18 random x in (-20, 20)",
        )


def _correct_to_argument() -> Iterator[ErrorMeasurement]:
    for name, function, gate, bound in [
        ("silu", f.silu, _logistic, 2.8),
        ("gelu_tanh", f.gelu_tanh, _gelu_gate, 2.5),
        ("gelu", f.gelu, _normal_cdf, 2.3),
    ]:
        errors: list[Units] = []
        for x in _uniform(-20, 20, 18):
            exact = x.astype(np.float64)
            errors.append(_error(function(x), exact * gate(exact), np.abs(exact) * 2.0**-24))
        yield ErrorMeasurement(
            name=name,
            unit="2^-24 |x|",
            bound=bound,
            measured=max(errors),
            inputs="2^18 random x in (-20, 20)",
        )


def _largest(
    function: Callable[[F32], F32], reference: Callable[[F64], F64], inputs: Iterable[F32]
) -> Units:
    worst = 0.0
    with np.errstate(all="ignore"):
        for x in inputs:
            exact = reference(x.astype(np.float64))
            finite = np.abs(exact) < 2.0**128 * (1 - 2.0**-25)  # the others round to infinity
            worst = max(worst, float(ulps(function(x), exact)[finite].max()))
    return worst


def _error(y: F32, reference: F64, unit: float | F64) -> Units:
    return float(np.max(np.abs(y - reference) / unit))


def _binade(exponent: int) -> Iterator[F32]:
    for start in range(0, 1 << 23, _CHUNK):
        bits = np.arange(start, start + _CHUNK, dtype=np.uint32)
        yield (bits + np.uint32((exponent + 127) << 23)).view(np.float32)


def _fractions_below_zero() -> Iterator[F32]:
    for start in range(0, 1 << 24, _CHUNK):
        yield np.arange(start, start + _CHUNK).astype(np.float32) * np.float32(-(2.0**-24))


def _uniform(low: int, high: int, log2_count: int) -> Iterator[F32]:
    x = np.random.default_rng(0).uniform(low, high, 1 << log2_count).astype(np.float32)
    yield from np.split(x, max(1, len(x) // _CHUNK))


def _patterns() -> Iterator[F32]:
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1 << 20, np.uint32)
    yield from np.split(bits.view(np.float32), 4)


def _phases() -> Iterator[NDArray[np.uint32]]:
    offsets = np.random.default_rng(2).integers(0, 1 << 10, 1 << 22, np.uint32)
    phases: NDArray[np.uint32] = offsets + np.arange(1 << 22, dtype=np.uint32) * np.uint32(1 << 10)
    yield from np.split(phases, 16)


def _logistic(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))


def _gelu_gate(x: F64) -> F64:
    return _logistic(2 * sqrt(2 / np.pi) * (x + 0.044715 * x**3))


def _normal_cdf(x: F64) -> F64:
    return np.array([erfc(-value / sqrt(2)) / 2 for value in x.tolist()])
