"""Choosing a token from logits with integer weights: the result is free of order and tiling.

One order rules everything: larger logit first, lowest index first among equals, NaN never.
Hardware streams it: a radix histogram over the logits' bits, with a count and a sum of weights
per bin, finds the last logit kept by top-k and by top-p; a further pass counts the equals of
that logit in index order; a last pass adds up kept weights until they exceed the threshold.
All sums are of integers, so passes may be split over lanes, cores and chips in any way.
"""

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import TapeoutError

from .fp32 import F32, mul, sub
from .functions import LOG2E, exp2
from .philox import random_bits64

WEIGHT_ONE = 1 << 30  # weight of the largest logit
TOP_P_OFF = 1 << 32  # top_p = 1 in Q0.32


def argmax(x: F32) -> int:
    """Index of the largest element, the lowest among equals. x: [n], n >= 1.

    +0 equals -0. NaN never wins; if all are NaN the index is 0.
    """
    x = np.asarray(x, np.float32)
    best = int(np.argmax(np.where(np.isnan(x), np.float32(-np.inf), x)))
    if np.isnan(x[best]):  # nothing but NaN and -inf: the first that is a number
        best = int(np.argmax(~np.isnan(x)))
    return best


def inverse_temperature(temperature: float) -> np.float32:
    """fp32(fp32(1 / temperature) * log2(e)), the `inv_t` of `sample`; +inf for temperature 0.

    Raises:
        TapeoutError: if temperature is negative or no number.
    """
    if not temperature >= 0:
        raise TapeoutError(f"temperature must be at least 0, not {temperature}")
    with np.errstate(all="ignore"):
        return np.float32(np.divide(1, temperature)) * LOG2E


def top_p_to_q32(top_p: float) -> int:
    """round(top_p * 2^32), the `top_p_q32` of `sample`.

    Raises:
        TapeoutError: if top_p is not in (0, 1].
    """
    if not 0 < top_p <= 1:
        raise TapeoutError(f"top_p must be above 0 and at most 1, not {top_p}")
    return round(top_p * TOP_P_OFF)


def weights(x: F32, inv_t: float | np.float32) -> NDArray[np.uint64]:
    """floor(exp2((x - max) * inv_t) * 2^30) of each logit, at most 2^30. x: [n].

    The largest logits have 2^30 exactly, also when infinite; a NaN, or one on the way, gives 0.
    """
    x = np.asarray(x, np.float32)
    best = x[argmax(x)]
    p = exp2(mul(sub(x, best), np.float32(inv_t)))
    p = np.where(x == best, np.float32(1), np.where(np.isnan(p), np.float32(0), p))
    return (np.minimum(p, 1).astype(np.float64) * WEIGHT_ONE).astype(np.uint64)


def sample(
    x: F32,
    *,
    inv_t: float | np.float32,
    seed: int,
    counter: int,
    top_k: int = 0,
    top_p_q32: int = TOP_P_OFF,
) -> int:
    """Index drawn from the logits x with probability proportional to their `weights`. x: [n].

    Keeps the first top_k logits in the room's order (0 keeps all), then the shortest prefix of
    those whose weight is at least top_p_q32 / 2^32 of theirs. With r = random_bits64(seed,
    counter) and the kept total, returns the lowest kept index at which the running sum of kept
    weights exceeds (r * total) >> 64. inv_t = inf (temperature 0) is `argmax`.
    """
    if np.isinf(inv_t):
        return argmax(x)
    kept = weights(x, inv_t)
    if top_k or top_p_q32 < TOP_P_OFF:
        order = np.argsort(-np.asarray(x, np.float32), kind="stable")[: top_k or None]  # NaN last
        sums = np.cumsum(kept[order])
        target = -(-int(sums[-1]) * top_p_q32 >> 32)  # rounded up
        prefix = order[: int(np.searchsorted(sums, np.uint64(target))) + 1]
        w, kept = kept, np.zeros_like(kept)
        kept[prefix] = w[prefix]
    running = np.cumsum(kept)
    total = int(running[-1])
    if total == 0:  # every logit is NaN
        return 0
    threshold = random_bits64(seed, counter) * total >> 64
    return int(np.searchsorted(running, np.uint64(threshold), side="right"))
