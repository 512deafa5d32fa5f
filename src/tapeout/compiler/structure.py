"""The loops of a core's program, as a tree."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tapeout.errors import CompileError, TapeoutError
from tapeout.isa.instructions import Barrier, End, Instruction, Loop, Operation

LOOPS_MAX = 4
"""Loops that may lie inside one another."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A loop: where its `Loop` stands, and what it repeats."""

    at: int
    body: tuple["Node", ...]


Node: TypeAlias = int | Repeat
"""The number of an instruction, or a loop."""


@contextmanager
def located(core: int, index: int, op: Operation) -> Generator[None]:
    """Name the instruction in a user error that names none."""
    try:
        yield
    except TapeoutError as error:
        if isinstance(error, CompileError) and error.where:
            raise
        where = f"core {core}, instruction {index}: {op!r}"
        raise CompileError(error.problem, where=where, hint=error.hint) from error


def parse(core: int, instructions: tuple[Instruction, ...]) -> tuple[Node, ...]:
    """Return the program of a core without its `End`.

    Raises:
        CompileError: if loops cross or nest too deep, a barrier lies in a loop, or `End` is not
            the last instruction and no other.
    """
    if not instructions or not isinstance(instructions[-1].op, End):
        raise CompileError("a program must end with End", where=f"core {core}")
    return _parse(core, instructions, 0, len(instructions) - 1, depth=0)


def _parse(
    core: int, instructions: tuple[Instruction, ...], start: int, end: int, *, depth: int
) -> tuple[Node, ...]:
    nodes: list[Node] = []
    at = start
    while at < end:
        op = instructions[at].op
        with located(core, at, op):
            if isinstance(op, Loop):
                last = _loop_end(op, at, end, depth)
                body = _parse(core, instructions, at + 1, last, depth=depth + 1)
                nodes.append(Repeat(at, body))
                at = last
                continue
            _check_place(op, depth)
        nodes.append(at)
        at += 1
    return tuple(nodes)


def _loop_end(op: Loop, at: int, end: int, depth: int) -> int:
    last = at + 1 + op.length
    if op.length == 0:
        raise CompileError("a loop must repeat at least one instruction")
    if last > end:
        raise CompileError(f"a loop must end within what holds it, by {end}, not at {last}")
    if depth == LOOPS_MAX:
        raise CompileError(f"loops must nest at most {LOOPS_MAX} deep")
    return last


def _check_place(op: Operation, depth: int) -> None:
    if isinstance(op, End):
        raise CompileError("End must be the last instruction, and stand outside loops")
    if isinstance(op, Barrier) and depth:
        raise CompileError("a barrier must stand outside loops")
