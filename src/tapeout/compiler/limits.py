"""What every instruction must keep to, wherever it stands: shapes, formats, sizes, header."""

from dataclasses import fields

from tapeout.chip import Chip
from tapeout.compiler.accesses import FP32_BYTES, Tile
from tapeout.errors import CompileError
from tapeout.isa.encoding import encode
from tapeout.isa.fields import GRANULE_BYTES, MapFn, Queue, Space
from tapeout.isa.instructions import (
    Dequantise,
    Instruction,
    LoadPages,
    LoadTile,
    Map,
    Matmul,
    Operation,
    Quantise,
    Rope,
    Softmax,
    StorePages,
    VectorMatmul,
)
from tapeout.isa.program import Region
from tapeout.numerics.formats import BLOCK, check_pair, format_of_code

WORKERS = (Queue.LD, Queue.ST, Queue.MU, Queue.VU)
"""Queues that a program may use."""

ROWS_MAX = 2047
"""Rows of a tile: a field of 11 bits and a register are added in 11 bits."""

READ_ONLY = ("weights", "constants", "input")


def check_instruction(instruction: Instruction) -> None:
    """Check what can be seen from an instruction alone.

    Raises:
        CompileError, EncodingError, ConfigError: if a field, the header, or a format is wrong.
    """
    encode(instruction)
    _check_header(instruction)
    _check_sizes(instruction.op)
    _check_shape(instruction.op)


def _check_header(instruction: Instruction) -> None:
    if instruction.context:
        raise CompileError(f"the context must be 0, not {instruction.context}")
    if instruction.op.queue is Queue.CP:
        if instruction.waits or instruction.signal >= 0:
            raise CompileError("a command of the command processor must not wait or signal")
    elif instruction.queue not in WORKERS:
        raise CompileError(f"the queue must be LD, ST, MU or VU, not {instruction.queue.name}")
    if len({take.counter for take in instruction.waits}) < len(instruction.waits):
        raise CompileError("an instruction must not wait twice for one counter")


def memory_sizes(chip: Chip) -> dict[Space, int]:
    """Bytes of each memory of a core; the accumulators' two banks follow each other."""
    return {
        Space.L1: chip.core.l1_bytes,
        Space.SCALE: chip.core.scale_bytes,
        Space.ACC: 2 * FP32_BYTES * chip.matrix.accumulators,
    }


def check_local(tile: Tile, size_bytes: int) -> None:
    """Check that a tile lies in its memory; raises `CompileError`."""
    assert tile.space is not None
    if tile.end > size_bytes:
        raise CompileError(
            f"a tile must end within the {size_bytes} bytes of {tile.space.name}, not at {tile.end}"
        )


def check_bank(op: Operation, tile: Tile, chip: Chip) -> None:
    """Check that a matrix instruction's result lies in one bank; raises `CompileError`."""
    bank = FP32_BYTES * chip.matrix.accumulators
    if isinstance(op, Matmul) and tile.start // bank != (tile.end - 1) // bank:
        raise CompileError(
            f"m x n must fit one bank of {chip.matrix.accumulators} accumulators,"
            f" not lie at bytes {tile.start}..{tile.end - 1}"
        )


def region_of(tile: Tile, regions: tuple[Region, ...], *, write: bool) -> Region:
    """The one region that holds a tile in memory.

    Raises:
        CompileError: if none does, or it must not be written and `write` is true.
    """
    for region in regions:
        if region.address <= tile.start and tile.end <= region.end:
            if write and region.kind in READ_ONLY:
                raise CompileError(f"`{region.name}` holds {region.kind} and must not be written")
            return region
    raise CompileError(f"memory {tile.start:#x}..{tile.end - 1:#x} must lie in one region")


def check_pitch(op: Operation, tile: Tile, *, write: bool) -> None:
    """Check that the rows of a tile do not overlap; raises `CompileError`.

    `LoadTile` may read one row many times, with pitch 0.
    """
    again = isinstance(op, LoadTile) and tile.space is None and tile.pitch == 0 and not write
    if tile.rows > 1 and tile.pitch < tile.row_bytes and not again:
        where = "memory" if tile.space is None else tile.space.name
        raise CompileError(
            f"the pitch in {where} must be at least the {tile.row_bytes} bytes of a row,"
            f" not {tile.pitch}"
        )


def _check_sizes(op: Operation) -> None:
    names = {f.name for f in fields(op)}
    for name in ("columns", "n", "k_blocks", "head_dim", "group", "row_bytes"):
        if name in names and getattr(op, name) == 0:
            raise CompileError(f"{name} must be at least 1, not 0")


def _check_shape(op: Operation) -> None:
    match op:
        case Matmul() | VectorMatmul():
            _check_product(op)
        case Map():
            if op.a_space == Space.SCALE and op.fn != MapFn.FILL:
                raise CompileError("a must lie in L1 or ACC, not in SCALE")
        case Softmax():
            _check_softmax(op)
        case Rope():
            if op.head_dim % 2 or op.columns % op.head_dim:
                raise CompileError(
                    f"head_dim must be even and divide {op.columns} columns, not {op.head_dim}"
                )
        case Quantise() | Dequantise():
            format_of_code(op.format)
        case LoadPages() | StorePages():
            _check_page(op)
        case _:
            pass


def _check_product(op: Matmul | VectorMatmul) -> None:
    b = format_of_code(op.b_format)
    if isinstance(op, Matmul):
        check_pair(format_of_code(op.a_format), b)
    elif b.family != "wide":
        raise CompileError(f"b must be bf16 or fp32 in the vector unit, not {b.name}")
    if op.transpose and op.n * b.element_bits % 8:
        raise CompileError(f"n must fill whole bytes of {b.name}, not be {op.n}")


def _check_softmax(op: Softmax) -> None:
    out, value = format_of_code(op.format), format_of_code(op.value_format)
    if op.space == Space.SCALE:
        raise CompileError("the scores must lie in L1 or ACC, not in SCALE")
    if op.columns % BLOCK:
        raise CompileError(f"columns must be a multiple of {BLOCK}, not {op.columns}")
    if out.scale_row_bytes(op.columns) > GRANULE_BYTES:
        raise CompileError(f"the scales of a row must fit {GRANULE_BYTES} bytes")
    if (out.family == "wide") != (value.family == "wide"):
        raise CompileError(f"probabilities in {out.name} do not multiply values in {value.name}")


def _check_page(op: LoadPages | StorePages) -> None:
    end = op.offset + (op.row_bytes << op.page_log2)
    if end > op.page_bytes:
        raise CompileError(f"the rows must end within a page of {op.page_bytes} bytes, not {end}")
