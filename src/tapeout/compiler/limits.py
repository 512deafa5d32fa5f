"""What every instruction must keep to, wherever it stands: shapes, formats, sizes, header."""

from tapeout.chip import Chip
from tapeout.compiler.accesses import FP32_BYTES, Tile
from tapeout.errors import CompileError
from tapeout.isa.encoding import encode
from tapeout.isa.fields import Queue, Space
from tapeout.isa.instructions import (
    Dequantise,
    Instruction,
    LoadTile,
    Matmul,
    Operation,
    Quantise,
)
from tapeout.isa.program import Region
from tapeout.isa.shapes import shape_problem
from tapeout.numerics.formats import check_pair, format_of_code

WORKERS = (Queue.LD, Queue.ST, Queue.MU, Queue.VU)
"""Queues that a program may use."""

READ_ONLY = ("weights", "constants", "input")


def check_instruction(instruction: Instruction) -> None:
    """Check what can be seen from an instruction alone.

    Raises:
        CompileError, EncodingError, ConfigError: if a field, the header, or a format is wrong.
    """
    encode(instruction)
    _check_header(instruction)
    _check_formats(instruction.op)
    if problem := shape_problem(instruction.op):
        raise CompileError(problem)


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
    if isinstance(op, Matmul) and tile.start % op.acc_alignment(tile.rows):
        raise CompileError(
            f"a result of {tile.rows} rows must start on a multiple of"
            f" {op.acc_alignment(tile.rows)} bytes, not at {tile.start}"
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


def _check_formats(op: Operation) -> None:
    match op:
        case Matmul():
            check_pair(format_of_code(op.a_format), format_of_code(op.b_format))
        case Quantise() | Dequantise():
            format_of_code(op.format)
        case _:
            pass
