"""Number formats of tensors in memory: the element, the scale, and how many elements share one."""

import difflib
from dataclasses import dataclass
from typing import Literal

from tapeout.errors import ConfigError

Element = Literal["int8", "int4", "e4m3", "e5m2", "e2m3", "e3m2", "e2m1", "bf16", "fp32"]
Scale = Literal["none", "e8m0", "e4m3", "bf16"]
Family = Literal["int", "float", "wide"]

BLOCK = 32  # elements of one exact dot product, and the padding of K
SCALE_BITS: dict[Scale, int] = {"none": 0, "e8m0": 8, "e4m3": 8, "bf16": 16}


@dataclass(frozen=True, kw_only=True)
class Format:
    """One number format; `code` is its 4-bit number in instructions."""

    name: str
    code: int
    element: Element
    element_bits: int
    scale: Scale
    group: int
    """Elements along K that share a scale; 0 without scales."""

    @property
    def scale_bits(self) -> int:
        """Bits of one scale; 0 without scales."""
        return SCALE_BITS[self.scale]

    @property
    def block_bytes(self) -> int:
        """Bytes of 32 packed elements, without their scales."""
        return BLOCK * self.element_bits // 8

    @property
    def family(self) -> Family:
        """The products that the format may enter: both operands share a family."""
        if self.element in ("bf16", "fp32"):
            return "wide"
        return "int" if self.element.startswith("int") else "float"

    @property
    def bits_per_element(self) -> float:
        """Bits per element with its share of the scale."""
        return self.element_bits + (self.scale_bits / self.group if self.group else 0)

    @property
    def unit_exponent(self) -> int:
        """The exponent of the power of two that multiplies every element: -6 in MXINT8, else 0."""
        return -6 if self.name == "mxint8" else 0

    def scale_count(self, k: int, *, per_row: bool = False) -> int:
        """Scales of a row of `k` elements."""
        if self.scale == "none":
            return 0
        return 1 if per_row else -(-padded(k) // self.group)

    def row_bytes(self, k: int) -> int:
        """Bytes of the packed elements of a row of `k`, padded to a multiple of 32."""
        return padded(k) // BLOCK * self.block_bytes

    def scale_row_bytes(self, k: int, *, per_row: bool = False) -> int:
        """Bytes of the scales of a row of `k` elements."""
        return self.scale_count(k, per_row=per_row) * self.scale_bits // 8


def padded(k: int) -> int:
    """`k` rounded up to a multiple of 32."""
    return -(-k // BLOCK) * BLOCK


def _format(
    code: int, name: str, element: Element, element_bits: int, scale: Scale = "none", group: int = 0
) -> Format:
    return Format(
        name=name, code=code, element=element, element_bits=element_bits, scale=scale, group=group
    )


FORMATS: tuple[Format, ...] = (
    _format(0, "int8", "int8", 8, "bf16", 32),
    _format(1, "int4_g32", "int4", 4, "bf16", 32),
    _format(2, "int4_g128", "int4", 4, "bf16", 128),
    _format(3, "fp8_e4m3", "e4m3", 8),
    _format(4, "fp8_e5m2", "e5m2", 8),
    _format(5, "mxfp8_e4m3", "e4m3", 8, "e8m0", 32),
    _format(6, "mxfp8_e5m2", "e5m2", 8, "e8m0", 32),
    _format(7, "mxfp6_e2m3", "e2m3", 6, "e8m0", 32),
    _format(8, "mxfp6_e3m2", "e3m2", 6, "e8m0", 32),
    _format(9, "mxfp4", "e2m1", 4, "e8m0", 32),
    _format(10, "mxint8", "int8", 8, "e8m0", 32),
    _format(11, "nvfp4", "e2m1", 4, "e4m3", 16),
    _format(12, "bf16", "bf16", 16),
    _format(13, "fp32", "fp32", 32),
)
_BY_NAME = {fmt.name: fmt for fmt in FORMATS}
_BY_CODE = {fmt.code: fmt for fmt in FORMATS}


def format_named(name: str) -> Format:
    """Return the format called `name`.

    Raises:
        ConfigError: if there is none.
    """
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, list(_BY_NAME), n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ConfigError(f"format must be one of {', '.join(_BY_NAME)}, not {name}{hint}")
    return _BY_NAME[name]


def format_of_code(code: int) -> Format:
    """Return the format with this number in instructions.

    Raises:
        ConfigError: if there is none.
    """
    if code not in _BY_CODE:
        raise ConfigError(f"format code must be in 0..{len(FORMATS) - 1}, not {code}")
    return _BY_CODE[code]


def check_pair(a: Format, b: Format) -> None:
    """Check that the matrix unit multiplies `a` by `b`.

    Raises:
        ConfigError: unless both are integer formats or both are narrow floating-point formats.
    """
    if a.family != b.family or a.family == "wide":
        raise ConfigError(
            f"operands of a matrix product must be both int or both float, "
            f"not {a.name} ({a.family}) and {b.name} ({b.family})",
            hint="bf16 and fp32 are multiplied by the vector unit",
        )
