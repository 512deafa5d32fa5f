"""Random operations whose tiles end at, or just beyond, the ends of their memories."""

from typing import Any

import numpy as np

from tapeout.errors import ConfigError
from tapeout.isa import OPERATIONS, REGISTERS, Matmul, Operation, Sample, Space, shape_problem
from tapeout.isa.encoding import fields
from tapeout.isa.shapes import scales_unit
from tapeout.isa.tiles import ROWS, TILES, placed
from tapeout.numerics import FORMATS, check_pair, format_of_code

Sizes = dict[Space | None, int]
CHECKED = tuple(cls for cls in OPERATIONS if cls in TILES)
REGISTER_FIELDS = {"table", "first", "end", "count", "query", "key"}
COUNTS = (1, 2, 3, 4, 5, 8, 31, 32, 33, 63, 64, 96, 128, 129)
SMALL = {"k_blocks": (1, 2, 3), "head_dim": (2, 4, 6, 32, 64), "group": (1, 3, 127)}
SOME_ROWS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 12, 17)
FAR = 1 << 40


def is_register(name: str) -> bool:
    return name.endswith("_reg") or name in REGISTER_FIELDS


def format_problem(op: Operation) -> str:
    """What is wrong with the formats of an operation, or ""."""
    try:
        for name in fields(type(op)):
            if name.endswith("format"):
                format_of_code(getattr(op, name))
        if isinstance(op, Matmul):
            check_pair(format_of_code(op.a_format), format_of_code(op.b_format))
    except ConfigError as error:
        return str(error)
    return ""


def random_operation(
    cls: type[Operation], rng: np.random.Generator, sizes: Sizes
) -> tuple[Operation, list[int]]:
    """An operation that keeps the rules of shapes and formats, and the registers it reads."""
    while True:
        op = cls(**{name: _value(name, field, rng) for name, field in fields(cls).items()})
        _align(op)
        if not (format_problem(op) or shape_problem(op)):
            break
    registers = [0] * REGISTERS
    names = [name for name in fields(cls) if is_register(name)]
    for name, number in zip(names, rng.permutation(range(1, REGISTERS)), strict=False):
        object.__setattr__(op, name, int(number))
        registers[int(number)] = int(rng.integers(-3, 40))
    _set_rows(op, registers, rng)
    for tile in TILES[cls]:
        _place(op, tile, registers, rng, sizes)
    _align(op)
    return op, registers


def _align(op: Operation) -> None:
    if isinstance(op, Sample):
        for name in ("logits", "pitch", "parameters", "out"):
            object.__setattr__(op, name, getattr(op, name) // 4 * 4)
    if isinstance(op, Matmul):
        for each in "ab":
            unit = scales_unit(format_of_code(getattr(op, f"{each}_format")))
            scale = getattr(op, f"{each}_scale") // unit * unit
            object.__setattr__(op, f"{each}_scale", scale)


def rows_of(op: Operation, registers: list[int]) -> int:
    """Rows of an operation, its register added."""
    rule = ROWS[type(op)]
    fixed = getattr(op, rule.name) if rule.name else 0
    return fixed + (registers[getattr(op, rule.register)] if rule.register else 0)


def _value(name: str, field: Any, rng: np.random.Generator) -> int:
    if field.kind is not None:
        return int(rng.choice([v for v in field.kind if v < 1 << field.bits]))
    if name.endswith("format"):
        return int(rng.integers(len(FORMATS)))
    if name in SMALL:
        return int(rng.choice(SMALL[name]))
    if name in ("columns", "n", "row_bytes"):
        return int(rng.choice(COUNTS))
    top = (1 << field.bits) - 1
    if name.endswith("pitch"):
        return field.unit * int(rng.choice([0, 1, 2, 4, 8, 32, min(top, 40), top]))
    if name == "page_bytes":
        return int(rng.choice([256, 4096, top]))
    if name == "offset":
        return int(rng.choice([0, 0, 16, 100]))
    return field.unit * int(rng.integers(top, endpoint=True))


def _set_rows(op: Operation, registers: list[int], rng: np.random.Generator) -> None:
    rule = ROWS[type(op)]
    rows = int(rng.choice(SOME_ROWS))
    if not rule.register:
        object.__setattr__(op, rule.name, rows)
        return
    fixed = int(rng.integers(rows + 4)) if rule.name else 0
    if rule.name:
        object.__setattr__(op, rule.name, fixed)
    registers[getattr(op, rule.register)] = rows - fixed


def _place(
    op: Operation, tile: Any, registers: list[int], rng: np.random.Generator, sizes: Sizes
) -> None:
    """Move a tile to where it may just fit, or just not; seldom leave it anywhere."""
    field = fields(type(op))[tile.start]
    if any(getattr(op, w.field) not in w.among for w in tile.where) or rng.random() < 0.03:
        return
    object.__setattr__(op, tile.start, 0)
    mine = [each for t, each in _pairs(op, registers) if t is tile]
    if not mine:
        return
    most = (sizes[mine[0].space] - (mine[0].end - mine[0].start)) // field.unit
    if isinstance(op, Matmul) and tile.start == "acc":
        start = _result(op, rows_of(op, registers), rng, sizes[Space.ACC]) // field.unit
    else:
        start = most + int(rng.choice([0, 0, 0, 0, -1, 1 if rng.random() < 0.4 else 0]))
        if rng.random() < 0.3:
            start = int(rng.integers(max(most, 0), endpoint=True))
    if tile.register:
        fixed = int(rng.choice([0, int(rng.integers(FAR)), max(start, 0) // 3]))
        registers[getattr(op, tile.register)] = start - fixed
        start = fixed
    object.__setattr__(op, tile.start, min(max(start, 0), (1 << field.bits) - 1) * field.unit)


def _pairs(op: Operation, registers: list[int]) -> list[tuple[Any, Any]]:
    active = [t for t in TILES[type(op)] if all(getattr(op, w.field) in w.among for w in t.where)]
    return list(zip(active, placed(op, registers), strict=bool(placed(op, registers))))


def _result(op: Matmul, m: int, rng: np.random.Generator, size_bytes: int) -> int:
    """An address in the accumulators, most often a legal one."""
    step = op.acc_alignment(m)
    if rng.random() < 0.2:
        step //= 2
    return step * int(rng.integers(size_bytes // step, endpoint=True))
