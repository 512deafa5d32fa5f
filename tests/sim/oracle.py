"""A second definition of formats, products and tiles: plain loops over bytes and `ml_dtypes`."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from numerics.exact import nearest
from tapeout.isa import Operation, Space
from tapeout.numerics import Format, ScaleMode
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
DTYPES: dict[str, Any] = {
    "int8": np.int8,
    "int4": ml_dtypes.int4,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "bf16": ml_dtypes.bfloat16,
    "fp32": np.float32,
}
LARGEST = {"int8": 127, "int4": 7, "e4m3": 448, "e5m2": 57344, "e2m3": 7.5, "e3m2": 28, "e2m1": 6}
MANTISSA_BITS = {"int8": 6, "e4m3": 3, "e5m2": 2, "e2m3": 3, "e3m2": 2, "e2m1": 1}


# ---- codes -----------------------------------------------------------------------------------


def unpacked(row: bytes, bits: int, count: int) -> list[int]:
    """`count` codes of a row, the first in the lowest bits."""
    word = int.from_bytes(row, "little")
    return [(word >> bits * i) & ((1 << bits) - 1) for i in range(count)]


def packed(codes: list[int], bits: int) -> bytes:
    word = sum(code << bits * i for i, code in enumerate(codes))
    return word.to_bytes(-(-len(codes) * bits // 8), "little")


def value(code: int, element: str) -> float:
    if element == "int4":
        return float(code - 16 if code >= 8 else code)
    size: Any = {"bf16": np.uint16, "fp32": np.uint32}.get(element, np.uint8)
    return float(np.array(code, size).view(DTYPES[element]))


def scale_value(code: int, fmt: Format) -> float:
    if fmt.scale == "e8m0":
        return 2.0 ** (code - 127) * (2.0**-6 if fmt.name == "mxint8" else 1)
    return 1.0 if fmt.scale == "none" else value(code, fmt.scale)


def random_rows(rng: np.random.Generator, fmt: Format, rows: int, k: int) -> tuple[U8, U8]:
    """Random bytes of finite elements and of positive finite scales: [rows, ..] each."""
    codes = [c for c in range(1 << min(fmt.element_bits, 8)) if _is_finite(c, fmt.element)]
    elements = [packed(rng.choice(codes, k).tolist(), fmt.element_bits) for _ in range(rows)]
    count = fmt.scale_count(k)
    scales = [packed(_random_scales(rng, fmt, count), fmt.scale_bits or 8) for _ in range(rows)]
    return _array(elements), _array(scales)


def _is_finite(code: int, element: str) -> bool:
    return element in ("bf16", "fp32") or bool(np.isfinite(value(code, element)))


def _random_scales(rng: np.random.Generator, fmt: Format, count: int) -> list[int]:
    low, high = {"e8m0": (120, 134), "e4m3": (1, 0x7E), "bf16": (0x3E00, 0x4100), "none": (0, 1)}[
        fmt.scale
    ]
    return rng.integers(low, high, count).tolist()


def _array(rows: list[bytes]) -> U8:
    return np.array([list(row) for row in rows], np.uint8).reshape(len(rows), -1)


def values(fmt: Format, elements: U8, scales: U8, k: int) -> list[list[Fraction]]:
    """Elements times scales, exactly."""
    out: list[list[Fraction]] = []
    for row, scale_row in zip(elements, scales, strict=True):
        codes = unpacked(row.tobytes(), fmt.element_bits, k)
        factors = unpacked(scale_row.tobytes(), fmt.scale_bits, fmt.scale_count(k))
        out.append(
            [
                Fraction(value(c, fmt.element))
                * (Fraction(scale_value(factors[i // fmt.group], fmt)) if fmt.group else 1)
                for i, c in enumerate(codes)
            ]
        )
    return out


# ---- arithmetic ------------------------------------------------------------------------------


def fp32(x: Fraction) -> np.float32:
    return np.uint32(nearest(x)).view(np.float32)


def product(a: list[list[Fraction]], b: list[list[Fraction]], acc: F32 | None) -> F32:
    """Block sums exact and rounded once, added in ascending order to `acc`."""
    out = np.zeros((len(a), len(b)), np.float32)
    for m, row in enumerate(a):
        for n, column in enumerate(b):
            total = None if acc is None else acc[m, n]
            for k in range(0, len(row), 32):
                terms = zip(row[k : k + 32], column[k : k + 32], strict=True)
                block = fp32(sum((x * y for x, y in terms), Fraction(0)))
                total = block if total is None else total + block
            assert total is not None
            out[m, n] = total
    return out


def quantised(x: F32, fmt: Format, mode: ScaleMode, *, per_row: bool = False) -> tuple[U8, U8]:
    """Bytes of the elements and scales of finite FP32 rows, by the rules in `numerics.blocks`."""
    k = -(-x.shape[1] // 32) * 32
    group = k if per_row and fmt.group else fmt.group or 32
    wide = np.zeros((len(x), -(-k // group) * group), np.float32)
    wide[:, : x.shape[1]] = x
    elements: list[bytes] = []
    scales: list[bytes] = []
    for row in wide:
        codes: list[int] = []
        factors: list[int] = []
        for part in row.reshape(-1, group):
            one, factor = _group(part, fmt, mode)
            codes += one
            factors.append(factor)
        elements.append(packed(codes[:k], fmt.element_bits))
        scales.append(packed(factors, fmt.scale_bits) if fmt.group else b"")
    return _array(elements), _array(scales)


def _group(x: F32, fmt: Format, mode: ScaleMode) -> tuple[list[int], int]:
    if fmt.scale == "none":
        return _nearest(x, fmt.element), 0
    amax = np.abs(x).max()
    if fmt.scale == "e8m0":
        code = _e8m0(amax, fmt.element, mode)
        unit = scale_value(code, fmt)
        return _nearest(x.astype(np.float64) / unit, fmt.element), code
    target = amax * np.float32(1 / LARGEST[fmt.element])
    dtype = DTYPES["bf16" if fmt.scale == "bf16" else "e4m3"]
    rounded = np.array(min(target, np.float32(448)) if fmt.scale == "e4m3" else target).astype(
        dtype
    )
    code = int(rounded.view(np.uint16 if fmt.scale == "bf16" else np.uint8))
    factor = rounded.astype(np.float32)
    if factor == 0:
        return [0] * len(x), code
    return _nearest(x * (np.float32(1) / factor), fmt.element), code


def _e8m0(amax: np.float32, element: str, mode: ScaleMode) -> int:
    if amax == 0:
        return 0
    largest = 127 / 64 if element == "int8" else LARGEST[element]
    top = int(np.frexp(largest)[1]) - 1
    exponent = int(np.frexp(amax)[1]) - 1
    fraction = float(amax) / 2.0**exponent
    if mode is ScaleMode.CEIL:
        exponent += fraction > 1
    elif mode is ScaleMode.EVEN:
        half = 2.0 ** -(MANTISSA_BITS[element] + 1)
        exponent += fraction + half >= 2
    elif mode is ScaleMode.RCEIL:
        exponent += fraction > largest / 2.0**top
    return min(max(exponent - top + 127, 0), 254)


def _nearest(x: NDArray[Any], element: str) -> list[int]:
    if element in ("bf16", "fp32"):
        return x.astype(DTYPES[element]).view(f"u{np.dtype(DTYPES[element]).itemsize}").tolist()
    x = np.clip(x, -LARGEST[element], LARGEST[element])
    if element.startswith("int"):
        return [int(v) & (255 if element == "int8" else 15) for v in np.rint(x)]
    return x.astype(DTYPES[element]).view(np.uint8).tolist()


# ---- memories --------------------------------------------------------------------------------


def memories(rng: np.random.Generator, *, hbm_bytes: int = 1 << 16) -> Memories:
    """A core with random contents everywhere."""
    mem = Memories(
        l1_bytes=1 << 16,
        scale_bytes=1 << 13,
        acc_bytes=1 << 13,
        hbm=rng.integers(0, 256, hbm_bytes, np.uint8),
        fill=0,
    )
    for space in (mem.l1, mem.scale, mem.acc):
        space[:] = rng.integers(0, 256, space.size, np.uint8)
    return mem


@dataclass
class Expected:
    """What the memories must be after an operation: a copy of them, and rows written to it."""

    mem: Memories
    spaces: dict[Space | None, U8] = field(default_factory=dict[Space | None, U8])

    def __post_init__(self) -> None:
        self.spaces = {None: self.mem.hbm.copy()} | {s: self.mem.space(s).copy() for s in Space}

    def write(self, space: Space | None, start: int, pitch: int, rows: U8) -> None:
        for i, row in enumerate(rows):
            self.spaces[space][start + i * pitch : start + i * pitch + len(row)] = row

    def check(self, op: Operation, registers: dict[int, int] | None = None) -> None:
        """Run the operation; every byte of every memory must be as expected."""
        r = [0] * 32
        for number, held in (registers or {}).items():
            r[number] = held
        execute(op, r, self.mem)
        for space, wanted in self.spaces.items():
            actual = self.mem.hbm if space is None else self.mem.space(space)
            np.testing.assert_array_equal(actual, wanted, err_msg=f"{space} after {op}")


def put(memory: U8, start: int, pitch: int, rows: U8) -> None:
    """Write rows of bytes, one at a time."""
    for i, row in enumerate(rows):
        memory[start + i * pitch : start + i * pitch + len(row)] = row


def get(memory: U8, start: int, pitch: int, rows: int, row_bytes: int) -> U8:
    """Read rows of bytes, one at a time."""
    out = np.zeros((rows, row_bytes), np.uint8)
    for i in range(rows):
        out[i] = memory[start + i * pitch : start + i * pitch + row_bytes]
    return out


def bytes_of(x: NDArray[Any]) -> U8:
    """The bytes of rows of numbers."""
    return np.ascontiguousarray(x).view(np.uint8).reshape(len(x), -1)


def floats(rows: U8) -> F32:
    """The numbers in rows of bytes."""
    return np.ascontiguousarray(rows).view(np.float32)
