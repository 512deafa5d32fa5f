"""Sizes and shapes that an operation may not have."""

from dataclasses import replace

import pytest

from tapeout.isa import (
    GRANULE_BYTES,
    LoadPages,
    LoadTile,
    Map,
    MapFn,
    Matmul,
    Operation,
    Rope,
    Sample,
    Softmax,
    Space,
    VectorMatmul,
    acc_pitch,
    shape_problem,
)
from tapeout.isa.encoding import fields
from tapeout.numerics import FORMATS, format_named


def of(cls: type[Operation], **values: int) -> Operation:
    """An operation whose other fields are 0."""
    return cls(**(dict.fromkeys(fields(cls), 0) | values))


MATMUL = of(Matmul, n=8, k_blocks=1)
WIDE = of(VectorMatmul, n=3, k_blocks=1, b_format=format_named("bf16").code)
SOFTMAX = of(Softmax, columns=32, group=1, format=format_named("mxfp8_e4m3").code, value_format=5)
ROPE = of(Rope, head_dim=8, columns=24)
PAGES = of(LoadPages, rows=2, row_bytes=8, page_log2=2, page_bytes=40, offset=8)


@pytest.mark.parametrize("op", [MATMUL, WIDE, SOFTMAX, ROPE, PAGES])
def test_good_shapes_have_no_problem(op: Operation):
    assert shape_problem(op) == ""


@pytest.mark.parametrize(
    ("op", "change", "problem"),
    [
        (MATMUL, {"n": 0}, "n must be at least 1, not 0"),
        (MATMUL, {"k_blocks": 0}, "k_blocks must be at least 1, not 0"),
        (of(LoadTile), {}, "row_bytes must be at least 1, not 0"),
        (SOFTMAX, {"group": 0}, "group must be at least 1, not 0"),
        (SOFTMAX, {"columns": 40}, "columns must be a multiple of 32, not 40"),
        (SOFTMAX, {"space": Space.SCALE}, "the scores must lie in L1 or ACC, not in SCALE"),
        (SOFTMAX, {"value_format": 13}, "in mxfp8_e4m3 do not multiply values in fp32"),
        (ROPE, {"head_dim": 7}, "head_dim must be a multiple of 8 and divide 24 columns, not be 7"),
        (ROPE, {"head_dim": 12}, "must be a multiple of 8 and divide 24 columns, not be 12"),
        (ROPE, {"head_dim": 16}, "must be a multiple of 8 and divide 24 columns, not be 16"),
        (WIDE, {"b_format": 0}, "b must be bf16 or fp32 in the vector unit, not int8"),
        (MATMUL, {"n": 5, "transpose": 1, "b_format": 9}, "n must fill whole bytes of mxfp4"),
        (of(Map, columns=1), {"a_space": Space.SCALE}, "a must lie in L1 or ACC, not in SCALE"),
        (of(Sample, columns=1), {"out": 2}, "out must be a multiple of 4, not 2"),
        (of(Sample, columns=1), {"pitch": 211}, "pitch must be a multiple of 4, not 211"),
        (PAGES, {"page_bytes": 39}, "the rows must end within a page of 39 bytes, not 40"),
    ],
)
def test_what_is_wrong_is_said(op: Operation, change: dict[str, int], problem: str):
    assert problem in shape_problem(replace(op, **change))


def test_a_fill_reads_no_operand_a():
    assert shape_problem(of(Map, columns=1, a_space=Space.SCALE, fn=MapFn.FILL)) == ""


@pytest.mark.parametrize(
    ("columns", "pitch"), [(1, 128), (32, 128), (33, 256), (64, 256), (224, 1024), (4095, 16384)]
)
def test_rows_in_the_accumulators_lie_a_power_of_two_apart(columns: int, pitch: int):
    assert acc_pitch(columns) == pitch
    assert of(Matmul, n=columns).acc_pitch == pitch  # type: ignore[union-attr]
    assert of(Softmax, space=Space.ACC, columns=columns).score_pitch == pitch  # type: ignore[union-attr]


def test_the_scales_of_a_row_of_probabilities_fit_a_granule():
    most = (1 << fields(Softmax)["columns"].bits) - 1
    assert max(fmt.scale_row_bytes(most // 32 * 32) for fmt in FORMATS) <= GRANULE_BYTES
