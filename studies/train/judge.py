"""Runs the critic over cases and counts what it holds, what it misses and how late it is."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from model import Llama

LENGTH = 512
STRIDE = 256


@torch.no_grad()
def probabilities(model: Llama, data: bytes) -> np.ndarray:
    """Returns the critic's probabilities [byte, principle].

    A text longer than the context is seen in windows of 512 bytes that overlap by 256; a byte is
    judged in the window that has the most bytes before it.
    """
    ids = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).astype(np.int64))
    out = torch.zeros(len(ids), model.score.out_features if model.score else 0)
    for first in range(0, max(len(ids) - STRIDE, 1), STRIDE):
        skip = STRIDE if first else 0
        seen = torch.sigmoid(model(ids[None, first : first + LENGTH])[0])
        out[first + skip : first + LENGTH] = seen[skip:]
    return out.numpy()


def holds(p: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the bytes at which the probability comes to reach the threshold."""
    up = p >= threshold
    return np.flatnonzero(up & ~np.concatenate([[False], up[:-1]]))


@dataclass
class Tally:
    """Counts over cases for one principle."""

    hit: int = 0
    missed: int = 0
    false: int = 0
    spans: int = 0
    spans_hit: int = 0
    delays: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """The share of held cases that are rightly held."""
        return self.hit / max(self.hit + self.false, 1)

    @property
    def recall(self) -> float:
        """The share of violating cases that are held."""
        return self.hit / max(self.hit + self.missed, 1)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.hit / max(2 * self.hit + self.missed + self.false, 1)


def tally(
    cases: list[dict[str, Any]], judged: list[np.ndarray], principle: str, n: int, threshold: float
) -> Tally:
    """Counts a principle. A case is hit when it holds after a violation has begun.

    A hold before any violation of the principle has begun makes the case a false one (too).
    """
    count = Tally()
    for case, p in zip(cases, judged, strict=True):
        starts = sorted(start for name, start in case["spans"] if name == principle)
        up = np.flatnonzero(p[:, n] >= threshold)
        begin = starts[0] if starts else len(p)
        if (up < begin).any():
            count.false += 1
            shown = case["text"].encode()[: up[0] + 1][-70:].decode(errors="replace")
            count.wrong.append(f"false at the end of: {shown!r}")
        if not starts:
            continue
        after = up[up >= begin]
        count.hit += len(after) > 0
        count.missed += len(after) == 0
        if not len(after):
            text = case["text"].encode()[max(0, begin - 40) : begin + 30].decode(errors="replace")
            count.wrong.append(f"missed: {text!r}")
        for start in starts:
            line = case["text"].encode().find(b"\n", start)
            near = up[(up >= start) & (up < (line if line >= 0 else len(p)))]
            count.spans += 1
            count.spans_hit += len(near) > 0
            count.delays += [int(near[0]) - start + 1] if len(near) else []
    return count


def best_threshold(
    cases: list[dict[str, Any]], judged: list[np.ndarray], name: str, n: int
) -> float:
    """Returns the threshold with the best F1 on the cases, the middle one among equals."""
    grid = [round(0.05 * k, 2) for k in range(4, 20)] + [0.97, 0.98, 0.99]
    scores = [tally(cases, judged, name, n, t).f1 for t in grid]
    best = [t for t, score in zip(grid, scores, strict=True) if score >= max(scores) - 1e-9]
    return best[len(best) // 2]
