"""Where an executed instruction lies on each axis of `coverage_axes`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.isa import (
    GRANULE_BYTES,
    ROWS_MAX,
    Alu,
    AluFn,
    Broadcast,
    Dequantise,
    Instruction,
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
)
from tapeout.isa.tiles import ROWS, placed
from tapeout.numerics import ScaleMode, format_of_code
from tapeout.runtime.coverage_axes import FEW, LARGE, chunk
from tapeout.runtime.random_memory import Windows

U8 = NDArray[np.uint8]
Values = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Executed:
    """An instruction when the command processor runs or sends it, and what it finds."""

    instruction: Instruction
    registers: Sequence[int]
    depth: int
    """Loops around it."""
    chip: Chip
    memory: U8

    @property
    def op(self) -> Operation:
        """Its operation."""
        return self.instruction.op


def values_of(one: Executed) -> Values:
    """Axis -> value; axes that mean nothing for this instruction are missing."""
    op = one.op
    values = {"depth": str(one.depth)}
    if (rule := ROWS.get(type(op))) is not None:
        values["depth"] = str(min(one.depth, 2))
        fixed = getattr(op, rule.name) if rule.name else 0
        register = one.registers[getattr(op, rule.register)] if rule.register else 0
        values["rows"] = _rows(fixed + register)
        if rule.name and rule.register:
            values["rows from"] = "field" if not register else "both" if fixed else "register"
    match op:
        case Set() | Alu() | LoadScalar() | Loop() | Nop():
            values |= _command(op, one)
        case LoadTile() | StoreTile() | LoadPages() | StorePages():
            values |= _move(op, one)
        case Matmul() | VectorMatmul():
            values |= _product(op, one)
        case Map() | Norm() | Rope():
            values |= _wide(op, one)
        case Softmax() | Quantise() | Dequantise():
            values |= _blocks(op, one)
        case Sample():
            values["columns"] = _size(op.columns, chunk(one.chip))
        case _:
            pass
    return values


def choices_of(one: Executed) -> Iterator[Values]:
    """For each row of a `Sample`, how its token is chosen."""
    op = one.op
    if not isinstance(op, Sample):
        return
    rows = op.rows + one.registers[op.rows_reg]
    records = one.memory[op.parameters :][: 32 * rows].copy().view(np.uint32).reshape(rows, 8)
    for inverse, k, p in records[:, :3].tolist():
        number = float(np.uint32(inverse).view(np.float32))
        yield {
            "temperature": "greedy" if number == np.inf else "usual" if number > 1e-3 else "odd",
            "top k": {0: "all", 1: "one"}.get(k, "some" if k < op.columns else "more"),
            "top p": "some" if p else "all",
        }


def ends_of(one: Executed) -> set[str]:
    """The memories whose last granule, or last byte outside, the instruction's tiles touch."""
    found: set[str] = set()
    windows = Windows(one.chip)
    for tile in placed(one.op, one.registers):
        if not tile.rows or not tile.row_bytes:
            continue
        if tile.space is None:
            size, name = len(one.memory) + GRANULE_BYTES - 1, "memory"
        else:
            size, name = windows.size_bytes(tile.space), tile.space.name
        if tile.end > size - GRANULE_BYTES:
            found.add(name)
        if tile.half and tile.end % (size // 2) == 0:
            found.add("half of ACC")
    return found


def _rows(rows: int) -> str:
    if rows in (0, 1):
        return ("none", "one")[rows]
    return "few" if rows <= FEW else "most" if rows == ROWS_MAX else "many"


def _size(size: int, whole: int) -> str:
    if size == 1:
        return "one"
    kind = "ragged" if size % whole else "whole"
    return f"large {kind}" if size >= LARGE else kind


def _command(op: Set | Alu | LoadScalar | Loop | Nop, one: Executed) -> Values:
    r = one.registers
    match op:
        case Set():
            value = "zero" if op.imm == 0 else "small" if op.imm < 1 << 32 else "large"
            return {"value": value, "into": "register" if op.rd else "r0"}
        case Alu():
            sign = _sign(_alu(AluFn(op.fn), r[op.ra], r[op.rb] + op.imm))
            return {
                "fn": AluFn(op.fn).name,
                "sign": sign,
                "into": "register" if op.rd else "r0",
            }
        case LoadScalar():
            return {
                "address": "register" if r[op.address_reg] else "field",
                "depth": str(min(one.depth, 2)),
            }
        case Loop():
            turns = r[op.count]
            kind = "none" if not turns else "one" if turns == 1 else "many"
            return {"turns": "negative" if turns < 0 else kind}
        case Nop():
            return {"queue": one.instruction.queue.name, "depth": str(min(one.depth, 2))}


def _sign(value: int) -> str:
    return "zero" if not value else "positive" if value > 0 else "negative"


def _alu(fn: AluFn, a: int, b: int) -> int:
    results = {AluFn.ADD: a + b, AluFn.SUB: a - b, AluFn.MUL: a * b}
    results |= {AluFn.MIN: min(a, b), AluFn.MAX: max(a, b)}
    return results[fn] if fn in results else a >> min(max(b, 0), 63)


def _move(op: LoadTile | StoreTile | LoadPages | StorePages, one: Executed) -> Values:
    values = {"space": Space(op.space).name, "bytes": _size(op.row_bytes, GRANULE_BYTES)}
    if isinstance(op, LoadTile | StoreTile):
        loads = isinstance(op, LoadTile)
        at, register, pitch = (
            (op.src, op.src_reg, op.src_pitch) if loads else (op.dst, op.dst_reg, op.dst_pitch)
        )
        offset = one.registers[register]
        values["address"] = "byte" if (at + offset) % GRANULE_BYTES else "granule"
        values["register"] = "none" if not offset else _sign(offset)
        if op.rows + one.registers[op.rows_reg] > 1:
            gaps = "again" if pitch < op.row_bytes else "gaps"
            values["outside"] = "dense" if pitch == op.row_bytes else gaps
        return values
    first = one.registers[op.first]
    values["page"] = str(op.page_log2)
    values["first"] = "within a page" if first % (1 << op.page_log2) else "start of a page"
    if isinstance(op, LoadPages) and op.rows:
        there = one.registers[op.end] - first
        values["end"] = "all" if there >= op.rows else "part" if there > 0 else "none"
    return values


def _product(op: Matmul | VectorMatmul, one: Executed) -> Values:
    values: Values = {}
    if isinstance(op, Matmul):
        starts = {"a scales": op.a_scale, "b scales": op.b_scale}
        values = {
            name: "within" if at % GRANULE_BYTES else "granule" for name, at in starts.items()
        }
        values["a"] = format_of_code(op.a_format).name
    return values | {
        "b": format_of_code(op.b_format).name,
        "transpose": str(op.transpose),
        "accumulate": str(op.accumulate),
        "n": _size(op.n, chunk(one.chip)),
        "k": "one" if op.k_blocks == 1 else "few" if op.k_blocks < 5 else "many",
    }


def _wide(op: Map | Norm | Rope, one: Executed) -> Values:
    values = {"columns": _size(op.columns, chunk(one.chip))}
    match op:
        case Map():
            fn, mode = MapFn(op.fn), Broadcast(op.b_mode)
            values |= {"fn": fn.name, "space": Space(op.a_space).name, "in place": "no"}
            if fn is not MapFn.COPY:
                values["mode"] = mode.name
                if mode is Broadcast.FULL and (op.b, op.b_pitch) == (op.dst, op.dst_pitch):
                    values["in place"] = "b"
            reads_a = fn is not MapFn.FILL and op.a_space == Space.L1
            if reads_a and (op.a, op.a_pitch) == (op.dst, op.dst_pitch):
                values["in place"] = "a"
        case Norm():
            values["in place"] = str(int(op.src == op.dst))
        case Rope():
            head = "least" if op.head_dim == 8 else _size(op.head_dim, 2 * chunk(one.chip))
            values |= {
                "in place": str(int(op.src == op.dst)),
                "head": head,
                "heads": "one" if op.head_dim == op.columns else "many",
            }
    return values


def _blocks(op: Softmax | Quantise | Dequantise, one: Executed) -> Values:
    values = {"format": format_of_code(op.format).name}
    match op:
        case Softmax():
            windows = {0: "none", 1: "one", (1 << 18) - 1: "longest"}
            return values | {
                "value": format_of_code(op.value_format).name,
                "mode": ScaleMode(op.mode).name,
                "space": Space(op.space).name,
                "columns": str(op.columns),
                "group": "one" if op.group == 1 else "many",
                "window": windows.get(op.window, "some"),
                **_seen(op, one.registers),
            }
        case Quantise():
            values |= {
                "mode": ScaleMode(op.mode).name,
                "per row": str(op.per_row),
                "in place": str(int(op.src == op.dst)),
            }
        case Dequantise():
            pass
    return values | {"columns": _size(op.columns, chunk(one.chip))}


def _seen(op: Softmax, registers: Sequence[int]) -> Values:
    """Which of the keys count, over all rows; nothing without rows."""
    rows = op.rows + registers[op.rows_reg]
    if not rows:
        return {}
    query = registers[op.query] + np.arange(rows)[:, None] // op.group
    key = registers[op.key] + np.arange(op.columns)
    valid = (key <= query) & ((key > query - op.window) | (op.window == 0))
    return {"seen": "all" if valid.all() else "part" if valid.any() else "none"}
