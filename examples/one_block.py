"""One block of a weight times one block of activations: by hand in fractions, and by the chip."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from tapeout.model import load_model
from tapeout.numerics import decode, decode_scale, format_named, matmul, prepare, quantise

NAME = "model.layers.0.self_attn.o_proj.weight"


def main() -> None:
    """Print the codes, the exact sum and the rounded one."""
    fmt = format_named("mxfp8_e4m3")
    weight = load_model(Path("models/draft")).tensor(NAME)[:1, :32]
    activation = np.geomspace(1 / 4096, 4, 32, dtype=np.float32)[None]
    w, x = quantise(weight, fmt), quantise(activation, fmt)
    print("weights, FP32:  ", " ".join(f"{v:.5f}" for v in weight[0, :6]), "...")
    print("codes:          ", " ".join(f"{c:#04x}" for c in w.codes[0, :6]), "...")
    print("as E4M3:        ", " ".join(f"{v:g}" for v in decode(w.codes, "e4m3")[0, :6]), "...")
    print("scale, E8M0:    ", f"{w.scales[0, 0]} = 2^{int(w.scales[0, 0]) - 127}")
    pairs = zip(decode(w.codes, "e4m3")[0], decode(x.codes, "e4m3")[0], strict=True)
    exact = sum((Fraction(float(a)) * Fraction(float(b)) for a, b in pairs), Fraction(0))
    for blocks in (w, x):
        exact *= Fraction(float(decode_scale(blocks.scales, "e8m0")[0, 0]))
    rounded = np.float32(float(exact))
    chip = matmul(prepare(x), prepare(w))[0, 0]
    power = exact.denominator.bit_length() - 1
    print("exact sum:      ", f"{exact.numerator} / 2^{power} = {float(exact):.12g}")
    print("rounded to FP32:", rounded, f"({rounded.view(np.uint32):#010x})")
    print("the chip's:     ", chip, f"({chip.view(np.uint32):#010x})")


if __name__ == "__main__":
    main()
