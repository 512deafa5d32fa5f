"""The RTL's sums over blocks are `numerics.matmul` over K, whatever is interleaved with what."""

import numpy as np
import pytest

from rtl.blocks import every_pair, random_blocks
from rtl.components import started
from tapeout.numerics import BLOCK, FORMATS, Blocks, add, format_named, matmul
from tapeout.rtl.accumulate import Accumulator
from tapeout.rtl.bits import pack, unpack
from tapeout.rtl.check import check_protocol, checked_run
from tapeout.rtl.dot import BlockDot

ENTRIES = 8
UNIT = BlockDot(formats=tuple(fmt for fmt in FORMATS if fmt.family != "wide"))
UNIT_OF_SUMS = Accumulator(entries=ENTRIES)


def shuffled(counts, entries, rng):
    """Order of the terms of sums: (sum, term), and the entry that each sum gets.

    Sums that share an entry follow one another; otherwise any interleaving.
    """
    waiting = [[] for _ in range(entries)]
    for number in range(len(counts)):
        waiting[rng.integers(entries)].append(number)
    entry_of = {number: e for e, numbers in enumerate(waiting) for number in numbers}
    streams = [[(n, k) for n in numbers for k in range(counts[n])] for numbers in waiting]
    picks = np.repeat(np.arange(entries), [len(s) for s in streams])
    rng.shuffle(picks)
    places = [iter(s) for s in streams]
    return [next(places[e]) for e in picks], entry_of


def terms_of(order, entry_of, values, counts):
    sums, steps = (np.array(each) for each in zip(*order, strict=True))
    return pack(
        UNIT_OF_SUMS.term,
        value=np.array([values[n][k] for n, k in order], np.float32).view(np.uint32),
        entry=np.array([entry_of[n] for n in sums]),
        first=steps == 0,
        last=steps == np.array([counts[n] for n in sums]) - 1,
    )


def in_order(values):
    total = values[0]
    for value in values[1:]:
        total = add(total, value)
    return np.float32(total)


def random_values(count, rng):
    """FP32 of all sizes, with cancellation, zeros of both signs, infinities and NaN."""
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    moderate = np.ldexp(rng.normal(size=count), rng.integers(-3, 20)).astype(np.float32)
    special = rng.choice(np.array([-0.0, 0.0, np.inf, -np.inf, np.nan], np.float32), count)
    kind = rng.choice(3, count, p=[0.85, 0.1, 0.05])
    return np.choose(kind, [moderate, bits.view(np.float32), special])


@pytest.mark.parametrize("seed", range(4))
def test_sums_in_any_interleaving(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, 3000).tolist()
    values = [random_values(count, rng) for count in counts]
    order, entry_of = shuffled(counts, ENTRIES, rng)
    beats = terms_of(order, entry_of, values, counts)
    run = checked_run(started(UNIT_OF_SUMS), {"terms": beats}, {"sums": len(counts)})
    finished = [n for n, k in order if k == counts[n] - 1]
    got = unpack(UNIT_OF_SUMS.sum, run.beats["sums"])
    assert got["entry"].tolist() == [entry_of[n] for n in finished]
    want = np.array([in_order(add(values[n], np.float32(-0.0))) for n in finished], np.float32)
    assert got["value"].astype(np.uint32).tolist() == want.view(np.uint32).tolist()


@pytest.mark.parametrize(
    "names", [("mxfp8_e4m3", "mxfp4"), ("int8", "int4_g128"), ("nvfp4", "fp8_e5m2")]
)
def test_both_units_are_a_matrix_product(names):
    """Block sums of the dot-product unit, interleaved, through the accumulator."""
    rng = np.random.default_rng(5)
    rows, blocks = 6, 9
    parts = [[random_blocks(format_named(n), rows, rng) for n in names] for _ in range(blocks)]
    if names[1] == "int4_g128":  # four blocks share a scale
        parts = [[a, with_scales(b, parts[i // 4 * 4][1])] for i, (a, b) in enumerate(parts)]
    beats = np.concatenate([every_pair(a, b) for a, b in parts])
    dots = checked_run(started(UNIT), {"blocks": beats}, {"result": len(beats)}).beats["result"]
    values = dots.view(np.float32).reshape(blocks, rows * rows).T
    counts = [blocks] * rows**2
    order, entry_of = shuffled(counts, ENTRIES, rng)
    beats = terms_of(order, entry_of, values, counts)
    run = checked_run(started(UNIT_OF_SUMS), {"terms": beats}, {"sums": rows**2})
    got = unpack(UNIT_OF_SUMS.sum, run.beats["sums"])["value"]
    want = matmul(*(joined([part[side] for part in parts]) for side in range(2)))
    finished = [n for n, k in order if k == blocks - 1]
    assert got.tolist() == want.reshape(-1)[finished].view(np.uint32).tolist()


def with_scales(blocks, other):
    return Blocks(format=blocks.format, codes=blocks.codes, scales=other.scales)


def joined(parts):
    """Blocks side by side along K."""
    fmt = parts[0].format
    step = max(1, fmt.group // BLOCK)
    return Blocks(
        format=fmt,
        codes=np.concatenate([part.codes for part in parts], axis=1),
        scales=np.concatenate([part.scales for part in parts[::step]], axis=1),
    )


def one_sum_each(count, entries):
    """`count` terms over `entries` sums in turn."""
    values = np.arange(count, dtype=np.float32)
    which = np.arange(count) % entries
    ends = np.arange(count) >= count - entries
    return pack(
        UNIT_OF_SUMS.term,
        value=values.view(np.uint32),
        entry=which,
        first=np.arange(count) < entries,
        last=ends,
    )


@pytest.mark.parametrize("interleaved", [1, 2, UNIT_OF_SUMS.stages + 1, ENTRIES])
def test_interleaving_hides_the_adder(interleaved):
    count = 10 * interleaved
    run = started(UNIT_OF_SUMS).run(
        {"terms": one_sum_each(count, interleaved)}, {"sums": interleaved}
    )
    cycles = run.cycle_of["sums"][0]
    latency, rounds = 1 + UNIT_OF_SUMS.stages, 9
    assert cycles == latency + rounds * max(interleaved, UNIT_OF_SUMS.stages + 1)


def test_protocol():
    rng = np.random.default_rng(2)
    counts = [3] * 400
    order, entry_of = shuffled(counts, ENTRIES, rng)
    values = [random_values(3, rng) for _ in counts]
    beats = terms_of(order, entry_of, values, counts)
    check_protocol(started(UNIT_OF_SUMS), {"terms": beats}, {"sums": 400})


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="entries must be at least 2, not 1"):
        Accumulator(entries=1)
