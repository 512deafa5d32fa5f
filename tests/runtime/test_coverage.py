"""Bins say what was executed, and a few hundred programs hit nearly all that can be."""

import pytest
from hypothesis import given, settings

from machines import chip_named, chips, send
from tapeout.chip import Chip
from tapeout.isa import (
    OPERATIONS,
    Instruction,
    LoadTile,
    Loop,
    Map,
    MapFn,
    Queue,
    Space,
    Take,
)
from tapeout.runtime.coverage import Bin, Coverage, bins_of, executed, reachable
from tapeout.runtime.coverage_axes import AXES, CROSSED
from tapeout.runtime.coverage_values import Executed
from tapeout.runtime.random_programs import random_program

NANO = chip_named("nano")


def bins(instruction: Instruction, *, depth: int = 0, **registers: int) -> set[Bin]:
    values = [0] * 32
    for name, value in registers.items():
        values[int(name[1:])] = value
    memory = random_program(NANO, 0, 0).memory[:4096]
    one = Executed(instruction=instruction, registers=values, depth=depth, chip=NANO, memory=memory)
    return set(bins_of(one))


def test_a_load_is_in_its_bins():
    op = LoadTile(
        space=Space.L1, dst=NANO.core.l1_bytes - 48, dst_pitch=32, src=100, src_reg=3,
        src_pitch=20, rows=1, rows_reg=2, row_bytes=16,
    )  # fmt: skip
    assert bins(send(op, Take(counter=3, count=2)), depth=3, r2=1, r3=-4) == {
        ("LoadTile",),
        ("LoadTile", "end of L1"),
        ("LoadTile", "depth=2"),
        ("LoadTile", "rows=few"),
        ("LoadTile", "rows from=both"),
        ("LoadTile", "space=L1"),
        ("LoadTile", "bytes=whole"),
        ("LoadTile", "address=granule"),
        ("LoadTile", "register=negative"),
        ("LoadTile", "outside=gaps"),
        ("LoadTile", "rows=few", "space=L1"),
        ("LoadTile", "bytes=whole", "space=L1"),
        ("LoadTile", "address=granule", "bytes=whole"),
        ("LD", "waits=1"),
        ("LD", "takes=more"),
        ("LD", "signals=none"),
    }


def test_what_an_instruction_does_not_read_is_in_no_bin():
    op = Map(
        fn=MapFn.COPY, a_space=Space.ACC, a=0, a_pitch=0, b=0, b_pitch=0, b_mode=2, dst=0,
        dst_pitch=0, rows=1, rows_reg=0, columns=33,
    )  # fmt: skip
    found = bins(send(op, signal=4))
    assert ("Map", "columns=ragged", "fn=COPY") in found
    assert ("Map", "in place=no") in found
    assert not any("mode" in part for one in found for part in one)
    assert ("VU", "signals=one") in found


@pytest.mark.parametrize(
    ("turns", "kind"), [(-3, "negative"), (0, "none"), (1, "one"), (2, "many")]
)
def test_turns_of_loops(turns: int, kind: str):
    found = bins(send(Loop(count=4, length=1)), depth=1, r4=turns)
    assert ("Loop", "depth=1", f"turns={kind}") in found


def test_every_operation_has_axes_and_crosses_only_those():
    assert AXES.keys() == set(OPERATIONS)
    for cls, crosses in CROSSED.items():
        for cross in crosses:
            assert set(cross) <= AXES[cls].keys()


def test_loops_are_unrolled():
    case = random_program(NANO, 3, 20)
    assert any(isinstance(i.op, Loop) for i in case.instructions)
    ran = list(executed(case))
    assert max(one.depth for one in ran) > 0
    assert ran[-1].instruction is case.instructions[-1]
    assert all(one.instruction.queue in Queue for one in ran)


@settings(max_examples=3, deadline=None)
@given(chip=chips())
def test_nothing_is_hit_that_cannot_be(chip: Chip):
    coverage = Coverage(chip)
    coverage.add(random_program(chip, 1, 30))
    assert coverage.hits.keys() <= coverage.reachable


def test_the_report_names_what_is_missing():
    coverage = Coverage(NANO)
    empty = coverage.report()
    assert f"all               0 of {len(reachable(NANO))}: 0.0%" in empty
    assert "fn=ADD, mode=ROW, space=ACC" in empty
    for one in reachable(NANO):
        coverage.hits[one] += 1
    full = coverage.report()
    assert "100.0%" in full
    assert "=" not in full


def test_few_programs_hit_most():
    coverage = Coverage(NANO)
    for seed in range(12):
        coverage.add(random_program(NANO, seed, 40))
    hit, total = coverage.share_hit
    assert hit > 0.55 * total
    assert coverage.hits.keys() <= coverage.reachable


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("nano", 0.985), ("small", 0.985)])
def test_many_programs_hit_nearly_all(name: str, share: float):
    coverage = Coverage(chip_named(name))
    for seed in range(300):
        coverage.add(random_program(coverage.chip, seed, 40))
    hit, total = coverage.share_hit
    assert hit > share * total, coverage.report()
    assert coverage.hits.keys() <= coverage.reachable
