"""RMSNorm and LayerNorm of rows, in FP32."""

import numpy as np

from .fp32 import F32, add, mul, reduce_sum, sub
from .functions import rsqrt


def rms_norm(x: F32, gamma: F32, eps: float | np.float32) -> F32:
    """(x * rsqrt(mean(x^2) + eps)) * gamma. x: [rows, n], gamma: [n].

    mean = reduce_sum(x * x) * fp32(1 / n); every step is rounded to FP32, in the order written.
    """
    scale = rsqrt(add(_mean(mul(x, x)), np.float32(eps)))
    return mul(mul(x, scale[..., None]), gamma)


def layer_norm(x: F32, gamma: F32, beta: F32, eps: float | np.float32) -> F32:
    """((d * rsqrt(mean(d^2) + eps)) * gamma) + beta, d = x - mean(x). x: [rows, n].

    The means and the order of rounding are those of `rms_norm`.
    """
    d = sub(x, _mean(x)[..., None])
    scale = rsqrt(add(_mean(mul(d, d)), np.float32(eps)))
    return add(mul(mul(d, scale[..., None]), gamma), beta)


def _mean(x: F32) -> F32:
    """reduce_sum(x) * fp32(1 / n), 1 / n rounded to nearest even."""
    return mul(reduce_sum(x), np.float32(1) / np.float32(max(x.shape[-1], 1)))
