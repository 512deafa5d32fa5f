"""The memory that stands behind a simulated chip, as it is asked for."""

import ctypes
from dataclasses import fields

import pytest

from tapeout.rtl.memory_options import MemoryOptions, options_struct


def test_any_random_behaviour_is_legal():
    seen = {options_struct(MemoryOptions.random(seed), seed).reorder for seed in range(50)}
    assert seen == {0, 1}


def test_equal_seeds_are_equal():
    assert MemoryOptions.random(3) == MemoryOptions.random(3)
    assert MemoryOptions.random(3) != MemoryOptions.random(4)


def test_every_option_reaches_the_simulation():
    values = {
        field.name: (field.type == "bool") or 2 + number
        for number, field in enumerate(fields(MemoryOptions))
        if field.name != "faults"
    }
    struct = options_struct(MemoryOptions(**values), 1)
    got = [getattr(struct, name) for name, _ in struct._fields_]
    assert got == [1, *values.values()]
    assert ctypes.sizeof(struct) == 8 * len(got)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("read_rate", -1),
        ("max_reads", 0),
        ("max_writes", 0),
        ("read_latency_cycles", 0),
        ("write_latency_cycles", 0),
        ("stall_chance", 1 << 16),
    ],
)
def test_what_would_never_pass_is_refused(option, value):
    with pytest.raises(ValueError, match=option):
        options_struct(MemoryOptions(**{option: value}), 1)
