"""The chip's arithmetic, bit for bit: the simulator runs it, the RTL must match it.

In: numpy arrays. Out: numpy arrays with exactly the bits that the chip computes.
"""

from .accuracy import ErrorMeasurement, measured_errors
from .blocks import (
    Blocks,
    ScaleMode,
    dequantise,
    from_bytes,
    quantise,
    tensor_scale,
    to_bytes,
    unscaled,
)
from .codes import decode, decode_scale, encode, pack, unpack
from .formats import BLOCK, FORMATS, Format, check_pair, format_named, format_of_code, padded
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
from .matmul import (
    Operand,
    combine,
    matmul,
    matmul_segmented,
    matmul_wide,
    prepare,
    segments,
)
from .norm import layer_norm, rms_norm
from .philox import philox4x32, random_bits64
from .reference import numerics_page
from .rope import frequencies_q64, rope
from .sampling import TOP_P_OFF, argmax, inverse_temperature, sample, top_p_to_q32, weights
from .softmax import ATTENTION_CHUNK, softmax_inverse, softmax_rows, softmax_step
from .tables import TABLE_NAMES, sfu_table

__all__ = [
    "ATTENTION_CHUNK",
    "BLOCK",
    "FORMATS",
    "TABLE_NAMES",
    "TOP_P_OFF",
    "Blocks",
    "ErrorMeasurement",
    "Format",
    "Operand",
    "ScaleMode",
    "add",
    "argmax",
    "canonical",
    "check_pair",
    "combine",
    "cos_turns",
    "decode",
    "decode_scale",
    "dequantise",
    "encode",
    "exp2",
    "format_named",
    "format_of_code",
    "frequencies_q64",
    "from_bytes",
    "gelu",
    "gelu_tanh",
    "inverse_temperature",
    "layer_norm",
    "matmul",
    "matmul_segmented",
    "matmul_wide",
    "maximum",
    "measured_errors",
    "mul",
    "normal_cdf",
    "numerics_page",
    "pack",
    "padded",
    "philox4x32",
    "prepare",
    "quantise",
    "random_bits64",
    "recip",
    "reduce_max",
    "reduce_sum",
    "rms_norm",
    "rope",
    "rsqrt",
    "sample",
    "segments",
    "sfu_table",
    "sigmoid",
    "silu",
    "sin_turns",
    "softmax_inverse",
    "softmax_rows",
    "softmax_step",
    "sub",
    "tensor_scale",
    "to_bytes",
    "top_p_to_q32",
    "unpack",
    "unscaled",
    "weights",
]
