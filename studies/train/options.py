"""The command line that both training scripts share."""

import argparse
from pathlib import Path


def parse(doc: str | None, steps: int) -> argparse.Namespace:
    """Reads corpus, output folder and the schedule."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("corpus", type=Path, help="folder of .rst.txt files")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=16, help="windows of 512 bytes a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, help="checkpoint to go on from")
    parser.add_argument("--peak", type=float, default=1.0, help="share of the full learning rate")
    parser.add_argument("--decay", type=float, default=0.6, help="share of steps in which it falls")
    parser.add_argument("--short", type=float, default=0.75, help="share of steps at 256 bytes")
    return parser.parse_args()
