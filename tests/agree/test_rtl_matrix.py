"""The matrix unit's accumulators hold `numerics.matmul`, whatever stalls and follows what."""

import pytest

from rtl.matrix_bench import Bench, check, execute, load, work
from tapeout.compiler.plan import SUPER
from tapeout.numerics import FORMATS, format_named
from tapeout.rtl.lanes import GROUPS

NARROW = [fmt for fmt in FORMATS if fmt.family != "wide"]
PAIRS = [(a, b) for a in NARROW for b in NARROW if a.family == b.family]
SMALL = Bench(rows=2, columns=4, accumulators=256)
NANO = Bench(rows=4, columns=4, accumulators=1024)
LARGER = Bench(rows=8, columns=8, accumulators=4096)


def fits(bench, m, n):
    pitch = max(32, 1 << (n - 1).bit_length())
    return pitch << max(0, m - 1).bit_length() <= bench.groups * bench.columns // 2


def random_products(bench, job, count, *, tame, pairs=PAIRS):
    """Products of any shape that fit, in a row."""
    rng = job.rng
    made = 0
    while made < count:
        a, b = pairs[rng.integers(len(pairs))]
        m = int(rng.choice([0, 1, 2, rng.integers(1, 3 * bench.rows + 1)]))
        n = int(rng.choice([1, bench.columns, rng.integers(1, 40)]))
        k_blocks = int(rng.integers(1, 8))
        transpose = bool(rng.integers(4) == 0)
        if transpose:
            n = -(-n // 4) * 4  # whole bytes of every format
        if job.room("l1") < 6 * (m + n) + 40 * k_blocks * 3 or job.room("scale") < 7 * (m + n):
            return
        if fits(bench, m, n):
            accumulate = bool(rng.integers(2))
            job.product(a, b, m, n, k_blocks, accumulate=accumulate, transpose=transpose, tame=tame)
            made += 1


def test_the_planner_knows_how_often_operands_are_read():
    assert SUPER == GROUPS


@pytest.mark.parametrize("part", range(10))
def test_every_pair_of_formats(part):
    job = work(SMALL, part)
    for a, b in PAIRS[part::10]:
        for transpose in (False, True):
            job.product(a, b, 3, 8, 2, transpose=transpose, tame=bool(job.rng.integers(2)))
    model = load(SMALL, job)
    execute(model, job)
    check(SMALL, model, job)


@pytest.mark.parametrize("stall", [0, 60, 200])
@pytest.mark.parametrize("seed", range(2))
def test_random_products_one_after_the_other(seed, stall):
    job = work(NANO, seed)
    random_products(NANO, job, 30, tame=seed % 2 == 0)
    model = load(NANO, job)
    execute(model, job, stalls=(stall, stall // 2, stall // 3, stall))
    check(NANO, model, job)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_larger_array(seed):
    job = work(LARGER, seed)
    random_products(LARGER, job, 20, tame=bool(seed))
    model = load(LARGER, job)
    execute(model, job, stalls=(30, 30, 30, 30))
    check(LARGER, model, job)


def test_sums_that_go_on_follow_one_another_at_once():
    """The same tiles again and again, few and many: each must see what the last one left."""
    fmt = format_named("mxfp8_e4m3")
    for m, n in ((1, 4), (2, 8), (8, 16)):
        job = work(NANO, m)
        for i in range(6):
            job.product(fmt, fmt, m, n, 2, acc=0, accumulate=i > 0)
        model = load(NANO, job)
        execute(model, job)
        check(NANO, model, job)


def test_a_prefill_product_keeps_the_array_busy():
    fmt = format_named("mxfp8_e4m3")
    job = work(NANO, 1)
    for i in range(3):
        job.product(fmt, fmt, 32, 32, 9, acc=4096 * (i % 2), gap=0)
    model = load(NANO, job)
    counts = execute(model, job)
    check(NANO, model, job)
    tiles = 3 * 9 * (32 // 4) ** 2
    assert counts["array"] == tiles
    print(f"array busy {tiles / counts['cycles']:.1%} of {counts['cycles']} cycles")
    assert tiles >= 0.93 * counts["cycles"], counts


def test_a_decode_product_takes_a_line_in_every_cycle():
    fmt = format_named("mxfp8_e4m3")
    job = work(NANO, 2)
    for i in range(2):
        job.product(fmt, fmt, 1, 128, 6, acc=4096 * (i % 2), gap=0)
    model = load(NANO, job)
    counts = execute(model, job)
    check(NANO, model, job)
    lines = 2 * 128 * 6 // 2
    assert counts["lines_b"] == lines
    print(f"a line of b in {lines / counts['cycles']:.1%} of {counts['cycles']} cycles")
    assert lines >= 0.85 * counts["cycles"], counts
