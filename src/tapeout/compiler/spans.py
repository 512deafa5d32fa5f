"""The rows of a step as the program meets them: sequence by sequence, some tokens at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.emitter import ZERO, Reg
from tapeout.isa.fields import AluFn

RECORD_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Span:
    """A run of tokens of one sequence, in registers."""

    row: Reg
    """Its first row of the step."""
    count: Reg
    position: Reg
    table: Reg
    end: Reg
    """The sequence's tokens, with all of this step's."""


def each_sequence(b: CoreBuilder, body: Callable[[Reg, Reg, Reg, Reg], None]) -> None:
    """Run body(first row, rows, first position, block table) for each sequence's record."""
    e, sizes = b.emitter, b.sizes
    record = e.register(low=0, high=RECORD_BYTES * sizes.sequences)
    e.alu(AluFn.ADD, ZERO, low=0, high=0, to=record)
    with e.loop(b.sequences):
        at = b.layout.sequences
        first = e.load_scalar(at, record, low=0, high=sizes.rows - 1)
        count = e.load_scalar(at + 4, record, low=1, high=b.tokens_per_sequence)
        position = e.load_scalar(at + 8, record, low=0, high=sizes.context_tokens - 1)
        number = e.load_scalar(at + 12, record, low=0, high=sizes.sequences - 1)
        size = 4 * sizes.pages_per_sequence
        low, high = b.layout.tables, b.layout.tables + size * (sizes.sequences - 1)
        offset = b.times(number, size)
        table = e.alu(AluFn.ADD, offset, imm=low, low=low, high=high)
        e.free(number, offset)
        body(first, count, position, table)
        e.free(first, count, position, table)
        e.alu(AluFn.ADD, record, imm=RECORD_BYTES, low=0, high=0, to=record)
    e.free(record)


def in_tiles(b: CoreBuilder, span: Span, size: int, body: Callable[[Span], None]) -> None:
    """Run body for each part of a span with at most `size` tokens, a power of two."""
    e, most = b.emitter, b.tokens_per_sequence
    if size >= most:
        body(span)
        return
    up = e.alu(AluFn.ADD, span.count, imm=size - 1, low=size, high=most + size - 1)
    tiles = e.alu(AluFn.SHR, up, imm=size.bit_length() - 1, low=1, high=-(-most // size))
    done = e.register(low=0, high=most)
    e.alu(AluFn.ADD, ZERO, low=0, high=0, to=done)
    with e.loop(tiles):
        left = e.alu(AluFn.SUB, span.count, done, low=1, high=most)
        count = e.alu(AluFn.MIN, left, imm=size, low=1, high=size)
        row = e.alu(AluFn.ADD, span.row, done, low=0, high=b.sizes.rows - 1)
        top = b.sizes.context_tokens - 1
        position = e.alu(AluFn.ADD, span.position, done, low=0, high=top)
        body(Span(row=row, count=count, position=position, table=span.table, end=span.end))
        e.free(left, count, row, position)
        e.alu(AluFn.ADD, done, imm=size, low=0, high=0, to=done)
    e.free(up, tiles, done)
