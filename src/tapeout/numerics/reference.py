"""The reference page of the arithmetic, made from the code."""

import inspect
from collections.abc import Callable, Iterable

import numpy as np

from .accuracy import measured_errors
from .blocks import ScaleMode, quantise, tensor_scale
from .codes import VALUES, decode
from .formats import FORMATS, Format
from .fp32 import add, maximum, reduce_max, reduce_sum
from .functions import (
    cos_turns,
    exp2,
    gelu,
    gelu_tanh,
    normal_cdf,
    recip,
    rsqrt,
    sigmoid,
    silu,
    sin_turns,
)
from .matmul import combine, matmul, matmul_wide, segments
from .norm import layer_norm, rms_norm
from .philox import philox4x32, random_bits64
from .rope import frequencies_q64, rope
from .sampling import argmax, sample, weights
from .softmax import softmax_inverse, softmax_rows, softmax_step
from .tables import COEFFICIENT_BITS, TABLE_NAMES, sfu_table

Definition = Callable[..., object]

SPECIAL = (
    *(exp2, recip, rsqrt, sin_turns, cos_turns),
    *(normal_cdf, sigmoid, silu, gelu_tanh, gelu),
)
OTHERS: dict[str, tuple[Definition, ...]] = {
    "FP32 arithmetic": (add, maximum, reduce_sum, reduce_max),
    "Norms": (rms_norm, layer_norm),
    "Rotary position embedding": (frequencies_q64, rope),
    "Softmax": (softmax_step, softmax_inverse, softmax_rows),
    "Sampling": (argmax, weights, sample),
    "Random numbers": (philox4x32, random_bits64),
}


def numerics_page() -> str:
    """The whole page, as Markdown. Measures the errors of all functions: some seconds."""
    parts = [
        "# Numerics",
        "This page is made from `src/tapeout/numerics`; change it there. What is rounded, flushed"
        " or saturated on the chip is written here, and the code that this page is made from is"
        " the code that the simulator runs.",
        "## Formats",
        _formats(),
        f"Products: {_pairs()}.",
        "## Elements",
        _room(decode),
        "## Blocks and their scales",
        _room(quantise),
        "### Rounding of an E8M0 scale",
        _text(ScaleMode.__doc__),
        _section(tensor_scale),
        "## Matrix products",
        _room(matmul),
        *(_section(f) for f in (segments, combine, matmul_wide)),
        "## Special functions",
        _room(exp2),
        _tables(),
        *(_section(f) for f in SPECIAL),
        "### Errors",
        "The bound is what the function's definition states; the measured error is the largest"
        " found on the inputs named, against float64.",
        _errors(),
    ]
    for title, definitions in OTHERS.items():
        parts += [f"## {title}", _room(definitions[0]), *(_section(f) for f in definitions)]
    return "\n\n".join(parts) + "\n"


def _formats() -> str:
    columns = ("name", "code", "element", "scale", "group", "bits per element", "largest")
    rows = (
        (
            f"`{f.name}`",
            str(f.code),
            f.element,
            f.scale,
            str(f.group) if f.group else "",
            f"{f.bits_per_element:g}",
            _largest(f),
        )
        for f in FORMATS
    )
    return _table(columns, rows)


def _largest(f: Format) -> str:
    """The largest finite element, without its scale; nothing for the wide formats."""
    if f.element not in VALUES:
        return ""
    values = VALUES[f.element]
    return f"{values[np.isfinite(values)].max() * 2.0**f.unit_exponent:g}"


def _pairs() -> str:
    names: dict[str, list[str]] = {}
    for f in FORMATS:
        names.setdefault(f.family, []).append(f"`{f.name}`")
    wide = names.pop("wide")
    inside = "; ".join(f"any two of {', '.join(group)}" for group in names.values())
    return f"{inside}. {' and '.join(wide)} are multiplied by the vector unit"


def _tables() -> str:
    rows = ((f"`{name}`", str(len(sfu_table(name)))) for name in TABLE_NAMES)
    head = f"Three coefficients of {COEFFICIENT_BITS} fraction bits for each segment:"
    return f"{head}\n\n{_table(('table', 'segments'), rows)}"


def _errors() -> str:
    rows = (
        (f"`{e.name}`", f"{e.bound:g}", f"{e.measured:.2f}", e.unit.replace("|", "\\|"), e.inputs)
        for e in measured_errors()
    )
    return _table(("function", "bound", "measured", "unit", "inputs"), rows)


def _section(definition: Definition) -> str:
    return f"### `{definition.__name__}`\n\n{_text(definition.__doc__)}"


def _room(definition: Definition) -> str:
    """What the file of a definition says of all that is in it."""
    return _text(getattr(inspect.getmodule(definition), "__doc__", None))


def _text(docstring: str | None) -> str:
    """A docstring whose `Raises:` part, which is for callers, is left out."""
    return inspect.cleandoc(docstring or "").partition("\n\nRaises:")[0]


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
