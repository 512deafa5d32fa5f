"""How fast the functional simulator runs the shipped draft model, beside what BLAS could do.

    python benchmarks/simulator.py

Prints tokens per second of prefill and decode on each small chip, microseconds per instruction,
and the share of the time that the same products take as bare FP64 BLAS calls in the same run.
"""

import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tapeout.chip import load_chip
from tapeout.compiler import build, recipe_named
from tapeout.model import load_model, step_flops
from tapeout.runtime import Device, Row

ROOT = Path(__file__).parents[1]
RECIPE, PROMPT_TOKENS, STEPS = "mxfp8_e4m3", 256, 20


def blas_flops_per_s() -> float:
    """The rate of a square FP64 product on one core."""
    a, b = np.random.default_rng(0).normal(size=(2, 512, 512))
    a @ b
    start_s = time.perf_counter()
    for _ in range(10):
        a @ b
    return 10 * 2 * 512**3 / (time.perf_counter() - start_s)


def main() -> None:
    """Print a line for each chip and batch."""
    model = load_model(ROOT / "models/draft")
    architecture = model.architecture
    with threadpool_limits(1, "blas"):
        peak = blas_flops_per_s()
    print(f"BLAS FP64, 512^3, one core: {peak / 1e9:.1f} GFLOP/s; {RECIPE}")
    print("chip   batch  prefill tok/s  of BLAS  decode tok/s  of BLAS")
    for name in ("nano", "small", "mid"):
        chip = load_chip(ROOT / "chips" / f"{name}.toml")
        for batch in (1, 8):
            built = build(
                architecture, recipe_named(RECIPE), chip, sequences=batch, context_tokens=512
            )
            device = Device(model, built)
            sequences = [device.open() for _ in range(batch)]
            prompt = list(range(32, 32 + 64)) * (PROMPT_TOKENS // 64)
            device.prefill(sequences[0], prompt)
            start_s = time.perf_counter()
            for sequence in sequences:
                device.truncate(sequence, 0)
                device.prefill(sequence, prompt)
            prefill_s = (time.perf_counter() - start_s) / batch
            start_s = time.perf_counter()
            for _ in range(STEPS):
                device.decode([Row(sequence=s, token=65) for s in sequences])
            step_s = (time.perf_counter() - start_s) / STEPS
            read = step_flops(architecture, new_tokens=PROMPT_TOKENS, context_tokens=0)
            one = step_flops(architecture, new_tokens=1, context_tokens=PROMPT_TOKENS)
            print(
                f"{name:6} {batch:5}  {PROMPT_TOKENS / prefill_s:13.0f}"
                f"  {read / peak / prefill_s:7.1%}  {batch / step_s:12.1f}"
                f"  {batch * one / peak / step_s:7.2%}"
            )


if __name__ == "__main__":
    main()
