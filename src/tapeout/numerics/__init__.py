"""The chip's arithmetic, bit for bit: the simulator runs it, the RTL must match it.

In: numpy arrays. Out: numpy arrays with exactly the bits that the chip computes.
"""

from .accuracy import ErrorMeasurement, measured_errors
from .fp32 import add, canonical, maximum, mul, reduce_max, reduce_sum, sub
from .functions import (
    cos_turns,
    exp2,
    gelu,
    gelu_tanh,
    normal_cdf,
    recip,
    rsqrt,
    sigmoid,
    silu,
    sin_turns,
)
from .norm import layer_norm, rms_norm
from .philox import philox4x32, random_bits64
from .rope import frequencies_q64, rope
from .sampling import TOP_P_OFF, argmax, inverse_temperature, sample, weights
from .softmax import ATTENTION_CHUNK, softmax_inverse, softmax_rows, softmax_step
from .tables import TABLE_NAMES, sfu_table

__all__ = [
    "ATTENTION_CHUNK",
    "TABLE_NAMES",
    "TOP_P_OFF",
    "ErrorMeasurement",
    "add",
    "argmax",
    "canonical",
    "cos_turns",
    "exp2",
    "frequencies_q64",
    "gelu",
    "gelu_tanh",
    "inverse_temperature",
    "layer_norm",
    "maximum",
    "measured_errors",
    "mul",
    "normal_cdf",
    "philox4x32",
    "random_bits64",
    "recip",
    "reduce_max",
    "reduce_sum",
    "rms_norm",
    "rope",
    "rsqrt",
    "sample",
    "sfu_table",
    "sigmoid",
    "silu",
    "sin_turns",
    "softmax_inverse",
    "softmax_rows",
    "softmax_step",
    "sub",
    "weights",
]
