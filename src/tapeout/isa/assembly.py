"""Text form of instructions.

    LD   loadtile space=L1 dst=0x400 ... rows=16+r4 row_bytes=64 wait=c7*2,c9 -> c3

runs `LoadTile` in queue LD when counter 7 holds two and counter 9 one, and then signals counter 3;
`rows=16+r4` sets `rows` and `rows_reg`. What follows a `;` is a comment.
"""

from tapeout import config
from tapeout.errors import EncodingError
from tapeout.isa import operands
from tapeout.isa.encoding import encode, fields
from tapeout.isa.fields import Queue
from tapeout.isa.instructions import OPERATIONS, Instruction, Operation, Take

BY_MNEMONIC = {cls.__name__.lower(): cls for cls in OPERATIONS}
COMMENT = ";"
SYNCHRONISATION = ("wait", "context")


def to_text(instruction: Instruction) -> str:
    """One line of assembly."""
    op = instruction.op
    parts = [f"{instruction.queue.name:<4}", type(op).__name__.lower()]
    for name, notation in operands.notations(type(op)).items():
        if operands.is_added_register(type(op), name):
            continue
        text = notation.write(getattr(op, name))
        if (register := operands.register_of(type(op), name)) and getattr(op, register):
            text += f"+r{getattr(op, register)}"
        parts.append(f"{name}={text}")
    if instruction.waits:
        takes = (f"c{t.counter}" + f"*{t.count}" * (t.count != 1) for t in instruction.waits)
        parts.append(f"wait={','.join(takes)}")
    if instruction.context:
        parts.append(f"context={instruction.context}")
    if instruction.signal >= 0:
        parts.append(f"-> c{instruction.signal}")
    return " ".join(parts)


def from_text(line: str) -> Instruction:
    """Parse one line of assembly; the inverse of `to_text`.

    Raises:
        EncodingError: saying what is wrong, and how the instruction is written.
    """
    queue, cls, words = _head(line.partition(COMMENT)[0].split())
    try:
        words, signal = _signal(words)
        given = _pairs(words)
        instruction = Instruction(
            op=_operation(cls, given),
            queue=queue,
            waits=tuple(_take(text) for text in given["wait"].split(","))
            if "wait" in given
            else (),
            signal=signal,
            context=operands.read_number(given.get("context", "0")),
        )
        encode(instruction)
    except ValueError as error:
        raise EncodingError(str(error), hint=operands.form(cls)) from error
    except EncodingError as error:
        raise EncodingError(error.problem, hint=operands.form(cls)) from error
    return instruction


def instructions_from_text(text: str) -> tuple[Instruction, ...]:
    """The instructions of a listing, one a line; empty lines and comments are skipped.

    Raises:
        EncodingError: as `from_text`, with the number of the line.
    """
    instructions: list[Instruction] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition(COMMENT)[0].strip():
            try:
                instructions.append(from_text(line))
            except EncodingError as error:
                where = f"line {number}: {line.strip()}"
                raise EncodingError(error.problem, where=where, hint=error.hint) from error
    return tuple(instructions)


def _head(words: list[str]) -> tuple[Queue, type[Operation], list[str]]:
    """The queue, the operation and what follows them."""
    if len(words) < 2:
        raise EncodingError(
            f"an instruction must begin with a queue and an operation, not `{' '.join(words)}`",
            hint="such as: CP end",
        )
    queue, mnemonic, *rest = words
    if mnemonic not in BY_MNEMONIC:
        raise EncodingError(
            f"`{mnemonic}` is no operation{config.did_you_mean(mnemonic, BY_MNEMONIC)}",
            hint=f"one of: {', '.join(BY_MNEMONIC)}",
        )
    cls = BY_MNEMONIC[mnemonic]
    if queue not in Queue.__members__:
        near = config.did_you_mean(queue, Queue.__members__)
        raise EncodingError(
            f"queue must be one of {', '.join(Queue.__members__)}, not `{queue}`{near}",
            hint=operands.form(cls),
        )
    return Queue[queue], cls, rest


def _signal(words: list[str]) -> tuple[list[str], int]:
    """What stands before `->`, and the counter after it (-1: none)."""
    if "->" not in words:
        return words, -1
    at = words.index("->")
    if len(words) != at + 2:
        raise ValueError("one counter must follow `->`, and nothing else")
    try:
        return words[:at], operands.read_counter(words[at + 1])
    except ValueError as error:
        raise ValueError(f"signal {error}") from error


def _pairs(words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"an operand must be written as name=value, not `{word}`")
        if name in given:
            raise ValueError(f"`{name}` is given twice")
        given[name] = value
    return given


def _operation(cls: type[Operation], given: dict[str, str]) -> Operation:
    known = [name for name in fields(cls) if not operands.is_added_register(cls, name)]
    for name in given:
        if name not in known and name not in SYNCHRONISATION:
            near = config.did_you_mean(name, known)
            raise ValueError(f"{cls.__name__.lower()} has no operand `{name}`{near}")
    if missing := [name for name in known if name not in given]:
        raise ValueError(f"{cls.__name__.lower()} must have the operand `{missing[0]}`")
    values: dict[str, int] = {}
    for name in known:
        text = given[name]
        try:
            if register := operands.register_of(cls, name):
                text, plus, added = text.partition("+")
                values[register] = operands.read_register(added) if plus else 0
            values[name] = operands.notations(cls)[name].read(text)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
    return cls(**values)


def _take(text: str) -> Take:
    counter, times, count = text.partition("*")
    try:
        return Take(
            counter=operands.read_counter(counter),
            count=operands.read_number(count) if times else 1,
        )
    except ValueError as error:
        raise ValueError(f"wait {error}") from error
