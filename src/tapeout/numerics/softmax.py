"""Online softmax in base 2, over canonical chunks of keys."""

import numpy as np
from numpy.typing import NDArray

from .fp32 import F32, add, maximum, mul, reduce_max, reduce_sum, sub
from .functions import LOG2E, exp2, recip

ATTENTION_CHUNK = 128  # keys per chunk; chunks start at key 0, whatever the queries are


def softmax_step(s: F32, m: F32, l: F32, valid: NDArray[np.bool_]) -> tuple[F32, F32, F32, F32]:  # noqa: E741
    """Take in one chunk of scores; return p, m_new, l_new, alpha. s, valid: [R, C]; m, l: [R].

    s is already multiplied by the softmax scale and by log2(e). Start with m = -inf and l = 0.
    A score that is not valid, or is -inf, has p = +0. m_new = the maximum of m and the others;
    alpha = exp2(m - m_new), exactly 1 where m_new == m; p = exp2(s - m_new);
    l_new = l * alpha + reduce_sum(p). A NaN score makes its row NaN.
    """
    low = np.float32(-np.inf)
    kept = valid & (s != low)
    m_new = maximum(m, reduce_max(np.where(kept, s, low)))
    p = np.where(kept, exp2(sub(s, m_new[:, None])), np.float32(0))
    same = m_new.view(np.uint32) == m.view(np.uint32)
    alpha = np.where(same, np.float32(1), exp2(sub(m, m_new)))
    return p, m_new, add(mul(l, alpha), reduce_sum(p)), alpha


def softmax_inverse(l: F32) -> F32:  # noqa: E741
    """Reciprocal of the final sum; +0 where no key was valid, so that such a row gives zeros."""
    return np.where(l == 0, np.float32(0), recip(l))


def softmax_rows(x: F32, scale: float | np.float32 = 1.0) -> F32:
    """Softmax of scale * x along rows, as attention does it. x: [R, n].

    Scores are x * fp32(scale * log2(e)); earlier chunks' p are multiplied by each later alpha.
    """
    rows = len(x)
    s = mul(x, np.float32(np.float32(scale) * LOG2E))
    m, total = np.full(rows, -np.inf, np.float32), np.zeros(rows, np.float32)
    out = np.zeros(x.shape, np.float32)
    for start in range(0, x.shape[1], ATTENTION_CHUNK):
        chunk = s[:, start : start + ATTENTION_CHUNK]
        p, m, total, alpha = softmax_step(chunk, m, total, np.ones(chunk.shape, np.bool_))
        out[:, :start] = mul(out[:, :start], alpha[:, None])
        out[:, start : start + ATTENTION_CHUNK] = p
    return mul(out, softmax_inverse(total)[:, None])
