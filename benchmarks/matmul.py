"""Speed of exact matrix products beside plain BLAS: python benchmarks/matmul.py, on one core."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded

import time
from collections.abc import Callable

import numpy as np

from tapeout.numerics import Operand, format_named, matmul, matmul_wide, prepare, quantise

SIZE = 512
NAMES = ("mxfp4", "mxfp6_e3m2", "mxint8", "mxfp8_e4m3", "nvfp4", "int8", "mxfp8_e5m2")
rng = np.random.default_rng(0)


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The shortest of `repeats` runs, after one that compiles."""
    run()
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def random(rows: int, k: int) -> np.ndarray:
    """Normal numbers in FP32."""
    return rng.standard_normal((rows, k)).astype(np.float32)


def operand(name: str, rows: int, k: int) -> Operand:
    """A prepared operand of normal numbers."""
    return prepare(quantise(random(rows, k), format_named(name)))


def large() -> None:
    """Print the rates of a product of 512 x 512 x 512, and their ratios to BLAS."""
    a, b = random(SIZE, SIZE), random(SIZE, SIZE)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    blas32 = SIZE**3 / seconds(lambda: a @ b.T, 20) / 1e9
    blas64 = SIZE**3 / seconds(lambda: a64 @ b64.T, 20) / 1e9
    print(f"{SIZE}x{SIZE}x{SIZE}        GMAC/s  of BLAS FP32  of BLAS FP64")
    print(f"{'BLAS FP32':16} {blas32:8.1f}")
    print(f"{'BLAS FP64':16} {blas64:8.1f}")
    for name in NAMES:
        x, y = operand(name, SIZE, SIZE), operand(name, SIZE, SIZE)
        rate = SIZE**3 / seconds(lambda x=x, y=y: matmul(x, y), 20) / 1e9
        print(f"{name:16} {rate:8.1f} {rate / blas32:13.2f} {rate / blas64:13.2f}")
    rate = SIZE**3 / seconds(lambda: matmul_wide(a, b), 5) / 1e9
    print(f"{'FP32, vector':16} {rate:8.1f} {rate / blas32:13.2f} {rate / blas64:13.2f}")


def small() -> None:
    """Print the times of the steps of a decode product, weights prepared."""
    k, n = 192, 512
    print(f"\nK={k} N={n}, us     quantise  prepare  matmul")
    for name in ("mxfp4", "mxfp8_e4m3", "int8"):
        weights, fmt = operand(name, n, k), format_named(name)
        for m in (1, 8):
            x = random(m, k)
            blocks = quantise(x, fmt)
            ready = prepare(blocks)
            times = (
                seconds(lambda x=x, fmt=fmt: quantise(x, fmt), 200),
                seconds(lambda blocks=blocks: prepare(blocks), 200),
                seconds(lambda ready=ready, weights=weights: matmul(ready, weights), 200),
            )
            print(f"{name:12} M={m} " + " ".join(f"{1e6 * t:9.1f}" for t in times))


if __name__ == "__main__":
    large()
    small()
