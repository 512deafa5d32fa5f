"""Which sizes and shapes an operation may have, whatever chip runs it."""

from dataclasses import fields
from functools import cache

from tapeout.isa.fields import SCALE_WORD_BYTES, MapFn, Space
from tapeout.isa.instructions import LoadPages, Matmul, Operation, StorePages
from tapeout.isa.vector import Map, Rope, Sample, Softmax, VectorMatmul
from tapeout.numerics.formats import BLOCK, Format, format_of_code

SIZES = ("columns", "n", "k_blocks", "head_dim", "group", "row_bytes")
"""Fields that must not be zero. Rows may be: then an operation does nothing."""

HEAD_UNIT = 8
"""Both halves of a head must be whole granules of FP32."""

LINE_BYTES = 64  # of a row, that the matrix unit reads at once
NUMBER_BYTES = 4  # of a logit, a token, a word of the parameters


def shape_problem(op: Operation) -> str:
    """What is wrong with the sizes or the shape of an operation, or "".

    Formats that do not go together are `numerics.formats.check_pair`'s to refuse.
    """
    for name in _sizes(type(op)):
        if getattr(op, name) == 0:
            return f"{name} must be at least 1, not 0"
    match op:
        case Matmul() | VectorMatmul():
            return _product(op)
        case Map() if op.a_space == Space.SCALE and op.fn != MapFn.FILL:
            return "a must lie in L1 or ACC, not in SCALE"
        case Softmax():
            return _softmax(op)
        case Rope() if op.head_dim % HEAD_UNIT or op.columns % op.head_dim:
            return (
                f"head_dim must be a multiple of {HEAD_UNIT} and divide {op.columns} columns,"
                f" not be {op.head_dim}"
            )
        case Sample():
            return _sample(op)
        case LoadPages() | StorePages():
            end = op.offset + (op.row_bytes << op.page_log2)
            if end > op.page_bytes:
                return f"the rows must end within a page of {op.page_bytes} bytes, not {end}"
        case _:
            pass
    return ""


@cache
def _sizes(cls: type[Operation]) -> tuple[str, ...]:
    """The sizes that operations of a class have."""
    names = {f.name for f in fields(cls)}
    return tuple(name for name in SIZES if name in names)


def scales_unit(fmt: Format) -> int:
    """What the address of a product's scales must be a multiple of: those of 64 bytes of a row.

    At least a word of the field; so the matrix unit finds them in one granule.
    """
    blocks = LINE_BYTES * 8 // (BLOCK * fmt.element_bits)
    return max(SCALE_WORD_BYTES, fmt.scale_row_bytes(BLOCK * blocks))


def _product(op: Matmul | VectorMatmul) -> str:
    b = format_of_code(op.b_format)
    if isinstance(op, Matmul):
        for name, scale, code in (("a", op.a_scale, op.a_format), ("b", op.b_scale, op.b_format)):
            unit = scales_unit(format_of_code(code))
            if scale % unit:
                return f"{name}_scale must be a multiple of {unit}, not {scale}"
    if isinstance(op, VectorMatmul) and b.family != "wide":
        return f"b must be bf16 or fp32 in the vector unit, not {b.name}"
    if op.transpose and op.n * b.element_bits % 8:
        return f"n must fill whole bytes of {b.name}, not be {op.n}"
    return ""


def _softmax(op: Softmax) -> str:
    out, value = format_of_code(op.format), format_of_code(op.value_format)
    if op.space == Space.SCALE:
        return "the scores must lie in L1 or ACC, not in SCALE"
    if op.columns % BLOCK:
        return f"columns must be a multiple of {BLOCK}, not {op.columns}"
    if (out.family == "wide") != (value.family == "wide"):
        return f"probabilities in {out.name} do not multiply values in {value.name}"
    return ""


def _sample(op: Sample) -> str:
    for name in ("logits", "pitch", "parameters", "out"):
        if getattr(op, name) % NUMBER_BYTES:
            return f"{name} must be a multiple of {NUMBER_BYTES}, not {getattr(op, name)}"
    return ""
