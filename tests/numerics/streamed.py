"""Sampling as hardware streams it: radix histograms filled in any order, then scans by index."""

from random import Random

import numpy as np

from numerics.exact import to_bits
from tapeout.numerics.fp32 import F32

Kept = dict[int, int]  # weight by index


def streamed_sample(x: F32, w: list[int], *, top_k: int, top_p_q32: int, r: int, seed: int) -> int:
    """Draw from logits x with weights w; elements arrive in an order that seed shuffles."""
    arrival = [i for i in range(len(x)) if not np.isnan(x[i])]
    Random(seed).shuffle(arrival)
    keys = {i: order_key(x, i) for i in arrival}
    kept = {i: w[i] for i in arrival}
    if 0 < top_k < len(kept):
        key, count, _ = descend(keys, kept, count=top_k)
        kept = keep(keys, kept, key, top_k - count)
    if kept:
        target = -(-sum(kept.values()) * top_p_q32 >> 32)
        key, _, mass = descend(keys, kept, mass=target)
        each = next((kept[i] for i in kept if keys[i] == key), 0)
        kept = keep(keys, kept, key, -(-(target - mass) // each) if each else 1)
    threshold = r * sum(kept.values()) >> 64
    running = 0
    for i in sorted(kept):
        running += kept[i]
        if running > threshold:
            return i
    return 0


def order_key(x: F32, i: int) -> int:
    """32 bits that order like the number, with one zero."""
    bits = to_bits(x[i])[0] if x[i] != 0 else 0
    return bits ^ 0xFFFFFFFF if bits >> 31 else bits | 1 << 31


def descend(
    keys: Kept, kept: Kept, *, count: int = 1 << 62, mass: int = 1 << 92
) -> tuple[int, int, int]:
    """Key of the element that fills count or mass; elements and weight of the keys above it."""
    prefix, elements, weight = 0, 0, 0
    for shift in (24, 16, 8, 0):
        counts, sums = [0] * 256, [0] * 256
        for i in kept:
            if keys[i] >> (shift + 8) == prefix:
                counts[keys[i] >> shift & 255] += 1
                sums[keys[i] >> shift & 255] += kept[i]
        digit = 255
        while counts[digit] == 0 or (
            elements + counts[digit] < count and weight + sums[digit] < mass
        ):
            elements, weight, digit = elements + counts[digit], weight + sums[digit], digit - 1
        prefix = prefix << 8 | digit
    return prefix, elements, weight


def keep(keys: Kept, kept: Kept, cut: int, equals: int) -> Kept:
    """The elements above a key, and the first so many that equal it."""
    above = {i: weight for i, weight in kept.items() if keys[i] > cut}
    first = sorted(i for i in kept if keys[i] == cut)[:equals]
    return above | {i: kept[i] for i in first}
