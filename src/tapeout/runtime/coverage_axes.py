"""What is worth telling apart about instructions: axes, which to cross, and what cannot be."""

from collections.abc import Mapping

from tapeout.chip import Chip
from tapeout.isa import (
    Alu,
    AluFn,
    Barrier,
    Broadcast,
    Dequantise,
    End,
    LoadPages,
    LoadScalar,
    LoadTile,
    Loop,
    Map,
    MapFn,
    Matmul,
    Nop,
    Norm,
    Operation,
    Quantise,
    Rope,
    Sample,
    Set,
    Softmax,
    Space,
    StorePages,
    StoreTile,
    VectorMatmul,
    acc_pitch,
)
from tapeout.numerics import BLOCK, FORMATS, ScaleMode, format_named
from tapeout.runtime.random_memory import MOST_ACC_BYTES

Values = tuple[str, ...]


LARGE, FEW = 256, 16
SIZED = {"columns", "n", "head"}
NO_ENDS = {("part", "none"), ("part", "one"), ("all", "none"), ("none", "none")}
FORMAT = tuple(fmt.name for fmt in FORMATS)
NARROW = tuple(fmt.name for fmt in FORMATS if fmt.family != "wide")
WIDE = tuple(fmt.name for fmt in FORMATS if fmt.family == "wide")
ROW_KINDS: Values = ("none", "one", "few", "many")
ROWS_OR_MOST: Values = (*ROW_KINDS, "most")
SIZES: Values = ("one", "ragged", "whole", "large ragged", "large whole")
SPACES: Values = ("L1", "SCALE")
BOOLS: Values = ("0", "1")
ROWS_FROM: Values = ("field", "register", "both")
DEPTHS: Values = ("0", "1", "2", "3", "4")
WORKER: dict[str, Values] = {"depth": DEPTHS[:3], "rows from": ROWS_FROM}
PLACES: Mapping[type[Operation], Values] = {
    LoadTile: ("L1", "SCALE", "memory"),
    LoadPages: SPACES,
    StoreTile: ("L1", "SCALE", "memory"),
    StorePages: SPACES,
    Matmul: ("L1", "SCALE", "ACC", "half of ACC"),
    VectorMatmul: ("L1",),
    Map: ("L1", "ACC"),
    Norm: ("L1",),
    Rope: ("L1",),
    Softmax: ("L1", "SCALE", "ACC"),
    Quantise: ("L1", "SCALE"),
    Dequantise: ("L1", "SCALE"),
    Sample: ("memory",),
}
"""The memories whose ends the tiles of an operation may touch."""

AXES: Mapping[type[Operation], dict[str, Values]] = {
    Set: {"value": ("zero", "small", "large"), "into": ("r0", "register"), "depth": DEPTHS},
    Alu: {
        "fn": tuple(fn.name for fn in AluFn),
        "sign": ("negative", "zero", "positive"),
        "into": ("r0", "register"),
        "depth": DEPTHS,
    },
    LoadScalar: {"address": ("field", "register"), "depth": DEPTHS[:3]},
    Loop: {"turns": ("negative", "none", "one", "many"), "depth": DEPTHS[:4]},
    Barrier: {},
    End: {},
    Nop: {"queue": ("CP", "LD", "ST", "MU", "VU"), "depth": DEPTHS[:3]},
    LoadTile: {
        **WORKER,
        "space": SPACES,
        "rows": ROWS_OR_MOST,
        "bytes": SIZES,
        "address": ("granule", "byte"),
        "register": ("none", "positive", "negative"),
        "outside": ("dense", "gaps", "again"),
    },
    LoadPages: {
        "depth": DEPTHS[:3],
        "space": SPACES,
        "rows": ROW_KINDS,
        "bytes": SIZES,
        "page": tuple(str(i) for i in range(8)),
        "end": ("all", "part", "none"),
        "first": ("start of a page", "within a page"),
    },
    StoreTile: {
        **WORKER,
        "space": SPACES,
        "rows": ROWS_OR_MOST,
        "bytes": SIZES,
        "address": ("granule", "byte"),
        "register": ("none", "positive", "negative"),
        "outside": ("dense", "gaps"),
    },
    StorePages: {
        "depth": DEPTHS[:3],
        "space": SPACES,
        "rows": ROW_KINDS,
        "bytes": SIZES,
        "page": tuple(str(i) for i in range(8)),
        "first": ("start of a page", "within a page"),
    },
    Matmul: {
        **WORKER,
        "a": NARROW,
        "b": NARROW,
        "a scales": ("granule", "within"),
        "b scales": ("granule", "within"),
        "transpose": BOOLS,
        "accumulate": BOOLS,
        "rows": ROW_KINDS,
        "n": SIZES,
        "k": ("one", "few", "many"),
    },
    VectorMatmul: {
        **WORKER,
        "b": WIDE,
        "transpose": BOOLS,
        "accumulate": BOOLS,
        "rows": ROW_KINDS,
        "n": SIZES,
        "k": ("one", "few", "many"),
    },
    Map: {
        **WORKER,
        "fn": tuple(fn.name for fn in MapFn),
        "mode": tuple(mode.name for mode in Broadcast),
        "space": tuple(space.name for space in Space),
        "rows": ROWS_OR_MOST,
        "columns": SIZES,
        "in place": ("no", "a", "b"),
    },
    Norm: {**WORKER, "rows": ROWS_OR_MOST, "columns": SIZES, "in place": BOOLS},
    Rope: {
        **WORKER,
        "rows": ROW_KINDS,
        "head": ("least", *SIZES[1:]),
        "heads": ("one", "many"),
        "in place": BOOLS,
    },
    Softmax: {
        **WORKER,
        "space": ("L1", "ACC"),
        "rows": ROW_KINDS,
        "columns": tuple(str(n) for n in range(32, 256, 32)),
        "group": ("one", "many"),
        "window": ("none", "one", "some", "longest"),
        "seen": ("all", "none", "part"),
        "value": FORMAT,
        "format": FORMAT,
        "mode": tuple(mode.name for mode in ScaleMode),
    },
    Quantise: {
        **WORKER,
        "format": FORMAT,
        "mode": tuple(mode.name for mode in ScaleMode),
        "per row": BOOLS,
        "rows": ROW_KINDS,
        "columns": SIZES,
        "in place": BOOLS,
    },
    Dequantise: {**WORKER, "format": FORMAT, "rows": ROW_KINDS, "columns": SIZES},
    Sample: {
        **WORKER,
        "rows": ROW_KINDS,
        "columns": SIZES,
        "temperature": ("greedy", "usual", "odd"),
        "top k": ("all", "one", "some", "more"),
        "top p": ("all", "some"),
    },
}
"""The values that each axis can have."""

CROSSED: Mapping[type[Operation], tuple[Values, ...]] = {
    Alu: (("fn", "sign"),),
    Loop: (("turns", "depth"),),
    LoadTile: (("space", "rows"), ("space", "bytes"), ("address", "bytes")),
    LoadPages: (("space", "page"), ("end", "rows"), ("space", "bytes")),
    StoreTile: (("space", "rows"), ("space", "bytes"), ("address", "bytes")),
    StorePages: (("space", "page"), ("space", "rows"), ("space", "bytes")),
    Matmul: (("a", "b", "transpose"), ("rows", "n"), ("accumulate", "rows"), ("n", "transpose")),
    VectorMatmul: (("b", "transpose", "accumulate"), ("rows", "transpose"), ("n", "transpose")),
    Map: (
        *(("fn", "mode", "space"), ("fn", "columns"), ("mode", "rows"), ("mode", "columns")),
        *(("space", "rows"), ("space", "columns")),
    ),
    Norm: (("rows", "columns"),),
    Rope: (("rows", "head"),),
    Softmax: (
        *(("value", "format"), ("format", "mode"), ("space", "rows"), ("space", "columns")),
        *(("window", "seen"), ("group", "rows")),
    ),
    Quantise: (("format", "mode", "per row"), ("format", "columns"), ("format", "rows")),
    Dequantise: (("format", "columns"), ("format", "rows")),
    Sample: (("top k", "top p"), ("temperature", "top k"), ("rows", "columns")),
}
"""Axes whose combinations are bins too."""


def possible(cls: type[Operation], values: Mapping[str, str], chip: Chip) -> bool:
    """Whether a random program for a chip can have these values together."""
    if values.keys() & SIZED and "whole" in values.values() and chunk(chip) >= LARGE:
        return False
    if cls is Map:
        return _map(values)
    if cls is Matmul:
        return _matmul(values, chip)
    if cls is Softmax:
        return _softmax(values)
    if cls in (LoadTile, StoreTile):
        return (values.get("space"), values.get("rows")) != ("SCALE", "most")
    if cls is LoadPages:
        return (values.get("end"), values.get("rows")) not in NO_ENDS
    large = any(value.startswith("large") for value in values.values())
    if cls in (Norm, Sample) and values.get("rows") in ("many", "most"):
        return not large and (values["rows"], values.get("columns")) != ("most", "whole")
    return True


def chunk(chip: Chip) -> int:
    """Numbers that are whole for all units: blocks, and chunks of the vector unit's lanes."""
    return max(BLOCK, chip.vector.lanes)


def _map(values: Mapping[str, str]) -> bool:
    fn, space = values.get("fn"), values.get("space")
    if fn == "COPY" and "mode" in values:
        return False
    return space != "SCALE" or fn in (None, "FILL")


def _matmul(values: Mapping[str, str], chip: Chip) -> bool:
    a, b = values.get("a"), values.get("b")
    if a and b:
        return format_named(a).family == format_named(b).family
    m = {"few": 2, "many": 32}.get(values.get("rows", ""), 1)
    n = {"whole": chunk(chip)}.get(
        values.get("n", ""), LARGE if "large" in values.get("n", "") else 1
    )
    return m * acc_pitch(n) <= min(4 * chip.matrix.accumulators, MOST_ACC_BYTES)


def _softmax(values: Mapping[str, str]) -> bool:
    value, out = values.get("value"), values.get("format")
    if value and out:
        return (value in WIDE) == (out in WIDE)
    return (values.get("window"), values.get("seen")) != ("one", "all")
