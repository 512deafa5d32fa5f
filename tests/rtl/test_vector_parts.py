"""Rings and walks of the element engine beside plain lists and loops."""

import random
from collections import deque

import pytest

from rtl.components import started
from tapeout.rtl.vector_ring import Ring
from tapeout.rtl.vector_walk import LEVELS, Walk, plan_layout

DEPTH = 4
ADDRESS_BITS = 12


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_is_a_queue_with_room_that_is_promised(seed):
    rng, model = random.Random(seed), started(Ring(width=16, depth=DEPTH))
    held, promised, read = deque(), 0, None
    for _ in range(2000):
        assert model.get("room") == (len(held) + promised < DEPTH)
        assert read is None or model.get("value") == read
        reserve = int(rng.random() < 0.5 and len(held) + promised < DEPTH)
        push = int(promised > 0 and rng.random() < 0.5)
        word = rng.getrandbits(16)
        if push:
            held.append(word)
        ahead = int(len(held) >= 2 and rng.random() < 0.3)
        reads = int(len(held) > ahead and rng.random() < 0.6)
        pop = rng.randint(0, min(2, len(held)))
        for name, value in (("reserve", reserve), ("push", push), ("data", word), ("pop", pop),
                            ("read", reads), ("ahead", ahead)):  # fmt: skip
            model.set(name, value)
        assert model.get("ready") == (len(held) >= 1)
        assert model.get("pair") == (len(held) >= 2)
        model.tick()
        if reads:
            read = held[ahead]
        for _ in range(pop):
            held.popleft()
        promised += reserve - push


def packed(start, levels):
    layout = plan_layout(ADDRESS_BITS)
    value = start << layout["start"].offset
    for i, level in enumerate(levels):
        array = layout["levels"]
        base = array.offset + i * array.shape.elem_shape.size
        for name, number in zip(("total", "unit", "stride"), level, strict=True):
            value |= number << (base + array.shape.elem_shape[name].offset)
    return value


def walked(start, levels):
    """(address, what each loop has left, last) of each step, by nested loops."""
    out = []

    def loop(i, address, left):
        total, unit, stride = levels[i]
        while True:
            now = {**left, i: total}
            if i:
                loop(i - 1, address, now)
            else:
                out.append((address % (1 << ADDRESS_BITS), [now[k] for k in range(LEVELS)]))
            if total <= unit:
                return
            total, address = total - unit, address + stride

    loop(LEVELS - 1, start, {})
    return out


def test_a_walk_is_nested_loops():
    rng, model = random.Random(1), started(Walk(address_bits=ADDRESS_BITS))
    for _ in range(60):
        units = [rng.randint(1, 4) for _ in range(LEVELS)]
        levels = [(rng.randint(1, 9), unit, rng.randint(0, 99)) for unit in units]
        start = rng.getrandbits(ADDRESS_BITS)
        model.set("plan", packed(start, levels))
        model.set("step", 0)
        model.set("load", 1)
        model.tick()
        model.set("load", 0)
        for address, left in walked(start, levels):
            assert model.get("active")
            assert model.get("address") == address
            word, short = model.get("left"), model.get("length")
            assert [word >> (18 * i) & 0x3FFFF for i in range(LEVELS)] == left
            lengths = [min(n, unit) for n, unit in zip(left, units, strict=True)]
            assert [short >> (18 * i) & 0x3FFFF for i in range(LEVELS)] == lengths
            if rng.random() < 0.2:
                model.set("step", 0)
                model.tick()
            model.set("step", 1)
            model.tick()
        assert not model.get("active")
