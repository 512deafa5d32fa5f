"""Hypothesis strategies for the project's types."""

from typing import Any, get_args

from hypothesis import strategies as st

from tapeout.isa import (
    COUNTER_MAX,
    COUNTERS,
    OPERATIONS,
    REGISTERS,
    Field,
    Instruction,
    Operation,
    Placement,
    Program,
    Queue,
    Region,
    Scalar,
    Table,
    Take,
)
from tapeout.isa.encoding import fields
from tapeout.isa.program import Kind

KINDS: st.SearchStrategy[Kind] = st.sampled_from(get_args(Kind))
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
TAKES = st.builds(Take, counter=st.integers(0, COUNTERS - 1), count=st.integers(1, COUNTER_MAX))


def field_values(field: Field) -> st.SearchStrategy[int]:
    """Every value that a field of an instruction can hold."""
    if field.kind is not None:
        return st.sampled_from([member for member in field.kind if member < 1 << field.bits])
    return st.integers(0, (1 << field.bits) - 1).map(lambda value: value * field.unit)


def operations(cls: type[Operation]) -> st.SearchStrategy[Operation]:
    """Every valid operation of a class."""
    values: dict[str, Any] = {name: field_values(field) for name, field in fields(cls).items()}
    return st.builds(cls, **values)


def instructions_of(cls: type[Operation]) -> st.SearchStrategy[Instruction]:
    """Every valid instruction with an operation of a class."""
    return st.builds(
        Instruction,
        op=operations(cls),
        queue=st.sampled_from(Queue) if cls.queue is None else st.just(cls.queue),
        waits=st.lists(TAKES, max_size=2).map(tuple),
        signal=st.integers(-1, COUNTERS - 1),
        context=st.integers(0, 3),
    )


def instructions() -> st.SearchStrategy[Instruction]:
    """Every valid instruction."""
    return st.sampled_from(OPERATIONS).flatmap(instructions_of)


@st.composite
def memory_maps(draw: st.DrawFn) -> tuple[Region, ...]:
    """Regions that do not overlap, in any order."""
    regions: list[Region] = []
    at = 0
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        at += draw(st.integers(0, 1 << 32))
        size_bytes = draw(st.integers(4, 1 << 32))
        kind = draw(KINDS)
        regions.append(Region(name=name, address=at, size_bytes=size_bytes, kind=kind))
        at += size_bytes
    return tuple(draw(st.permutations(regions)))


@st.composite
def scalars(draw: st.DrawFn) -> tuple[Scalar, ...]:
    """Run-time arguments in different registers."""
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    registers = draw(st.permutations(range(1, REGISTERS)))
    limits = st.tuples(st.integers(0, (1 << 47) - 1), st.integers(0, (1 << 47) - 1)).map(sorted)
    out: list[Scalar] = []
    for name, register in zip(names, registers, strict=False):
        low, high = draw(limits)
        out.append(Scalar(name=name, register=register, low=low, high=high))
    return tuple(out)


@st.composite
def placements(draw: st.DrawFn, regions: tuple[Region, ...]) -> tuple[Placement, ...]:
    """At most one tensor in each region that holds tensors."""
    out: list[Placement] = []
    for region in regions:
        if region.kind in ("weights", "constants") and draw(st.booleans()):
            rows = draw(st.integers(1, 64))
            pitch_bytes = draw(st.integers(0, (region.size_bytes - 1) // rows))
            placement = Placement(
                name=draw(NAMES),
                address=region.address,
                rows=rows,
                columns=draw(st.integers(1, 4096)),
                format=draw(NAMES),
                pitch_bytes=pitch_bytes,
                scale_address=region.address,
                scale_pitch_bytes=draw(st.sampled_from([0, pitch_bytes])),
                factor=draw(st.one_of(st.just(""), NAMES)),
            )
            out.append(placement)
    return tuple(out)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program of any instructions, with a memory map that holds together."""
    regions = draw(memory_maps())
    cores = st.lists(instructions(), max_size=5).map(tuple)
    words = st.integers(0, (1 << 32) - 1)
    low, high = sorted((draw(words), draw(words)))
    return Program(
        name=draw(NAMES),
        chip=draw(NAMES),
        cores=draw(st.lists(cores, min_size=1, max_size=3).map(tuple)),
        scalars=draw(scalars()),
        regions=regions,
        tables=tuple(
            Table(name=r.name, address=r.address, count=r.size_bytes // 4, low=low, high=high)
            for r in regions
            if r.kind == "input"
        ),
        placements=draw(placements(regions)),
        notes=draw(
            st.dictionaries(
                NAMES, st.one_of(NAMES, st.integers(-(1 << 63), (1 << 63) - 1)), max_size=3
            )
        ),
    )
