"""The rows of a step as the program meets them: sequence by sequence, some tokens at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.emitter import ZERO, Reg
from tapeout.isa.fields import AluFn

ENTRY_BYTES = 4


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


def each_sequence(b: CoreBuilder, body: Callable[[Span], None]) -> None:
    """Run body for the step's only sequence, or for each of its rows, a sequence each."""
    if b.tokens_per_sequence > 1:
        _sequence(b, ZERO, b.rows, body)
        return
    e = b.emitter
    one = e.set(1)
    row = e.register(low=0, high=b.sizes.rows - 1)
    e.alu(AluFn.ADD, ZERO, low=0, high=0, to=row)
    with e.loop(b.rows):
        _sequence(b, row, one, body)
        e.alu(AluFn.ADD, row, imm=1, low=0, high=0, to=row)
    e.free(one, row)


def _sequence(b: CoreBuilder, row: Reg, count: Reg, body: Callable[[Span], None]) -> None:
    """Run body for the sequence whose rows are row, row + 1, .. of this step."""
    e, sizes = b.emitter, b.sizes
    entry = b.times(row, ENTRY_BYTES)
    top = sizes.context_tokens - 1
    position = e.load_scalar(b.layout.positions, entry, low=0, high=top)
    number = e.load_scalar(b.layout.table_numbers, entry, low=0, high=sizes.sequences - 1)
    size = ENTRY_BYTES * b.layout.table_entries
    low, high = b.layout.tables, b.layout.tables + size * (sizes.sequences - 1)
    offset = b.times(number, size)
    table = e.alu(AluFn.ADD, offset, imm=low, low=low, high=high)
    end = e.alu(AluFn.ADD, position, count, low=1, high=sizes.context_tokens)
    e.free(entry, number, offset)
    body(Span(row=row, count=count, position=position, table=table, end=end))
    e.free(position, table, end)


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
