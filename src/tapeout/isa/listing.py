"""The listing of a program: its memory map and its instructions, with names for addresses."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

from tapeout.isa import operands
from tapeout.isa.assembly import to_text
from tapeout.isa.instructions import Instruction, Loop
from tapeout.isa.program import TABLE_ENTRY_BYTES, Program

INDENT = "  "
Spans = list[tuple[int, int, str]]
"""Ranges of memory as (first address, first address after, name), ascending."""


def program_text(program: Program) -> str:
    """A program as assembly, core after core; the rest, and names of addresses, are comments."""
    lines = [f"; {line}" for line in head_lines(program)]
    named, regions = _named(program), _regions(program)
    for core, instructions in enumerate(program.cores):
        lines += ["", f"; core {core}: {len(instructions)} instructions"]
        for depth, instruction in _nested(instructions):
            line = INDENT * depth + to_text(instruction)
            names = _address_names(instruction, named, regions)
            lines.append(f"{line}  ; {', '.join(names)}" if names else line)
    return "\n".join(lines) + "\n"


def instruction_counts(program: Program) -> tuple[dict[str, int], ...]:
    """For each core, the instructions of each queue that has any."""
    counts: list[dict[str, int]] = []
    for instructions in program.cores:
        queues = Counter(instruction.queue for instruction in instructions)
        counts.append({queue.name: queues[queue] for queue in sorted(queues)})
    return tuple(counts)


def head_lines(program: Program) -> list[str]:
    """What a program is, its notes, scalars and memory map, as lines."""
    lines = [f"program {_printable(program.name)} for chip {_printable(program.chip)}"]
    lines += [f"note {_printable(k)}: {_printable(str(v))}" for k, v in program.notes.items()]
    for scalar in program.scalars:
        name = _printable(scalar.name)
        lines.append(f"scalar r{scalar.register} {name}: {scalar.low}..{scalar.high}")
    for region in sorted(program.regions, key=lambda region: region.address):
        name = _printable(region.name)
        span = f"{region.address:#012x}..{region.end - 1:#012x}"
        lines.append(f"region {span} {region.kind} {name}: {region.size_bytes} bytes")
    for table in program.tables:
        name = _printable(table.name)
        span = f"{table.count} of {table.low}..{table.high}"
        lines.append(f"table {table.address:#012x} {name}: {span}")
    return lines


def _nested(instructions: tuple[Instruction, ...]) -> Iterator[tuple[int, Instruction]]:
    """Each instruction, and how many loops it is in."""
    ends: list[int] = []
    for index, instruction in enumerate(instructions):
        while ends and ends[-1] <= index:
            ends.pop()
        yield len(ends), instruction
        if isinstance(instruction.op, Loop):
            ends.append(index + 1 + instruction.op.length)


def _named(program: Program) -> Spans:
    """Where each tensor, its scales, and each table lies."""
    spans: Spans = []
    for one in program.placements:
        size_bytes = max(one.rows * one.pitch_bytes, 1)
        spans.append((one.address, one.address + size_bytes, one.name))
        if one.scale_pitch_bytes:
            end = one.scale_address + one.rows * one.scale_pitch_bytes
            spans.append((one.scale_address, end, f"scales of {one.name}"))
    for table in program.tables:
        spans.append((table.address, table.address + table.count * TABLE_ENTRY_BYTES, table.name))
    return sorted(spans)


def _regions(program: Program) -> Spans:
    return sorted((region.address, region.end, region.name) for region in program.regions)


def _address_names(instruction: Instruction, *maps: Spans) -> list[str]:
    """`src=model.norm.weight+0x40` for each address in memory that a map knows."""
    names: list[str] = []
    for field in operands.memory_fields(type(instruction.op)):
        address = int(getattr(instruction.op, field))
        found = next(filter(None, (_find(spans, address) for spans in maps)), None)
        if found:
            start, _, name = found
            offset = f"+{address - start:#x}" if address > start else ""
            names.append(f"{field}={_printable(name)}{offset}")
    return names


def _find(spans: Spans, address: int) -> tuple[int, int, str] | None:
    at = bisect_right(spans, address, key=lambda span: span[0]) - 1
    return spans[at] if at >= 0 and address < spans[at][1] else None


def _printable(text: str) -> str:
    """`text` with escapes for what would end a line."""
    return text.encode("unicode_escape").decode()
