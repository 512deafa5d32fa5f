"""What a critic found in a run of tokens, and the record of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tapeout.runtime.constitution import Constitution

Scores: TypeAlias = tuple[tuple[float, ...], ...]
Share: TypeAlias = float


def digest(tokens: Sequence[int]) -> str:
    """SHA-256 of tokens as 32-bit numbers: names them in records that must not hold their text."""
    return hashlib.sha256(np.array(tokens, "<u4").tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """A critic's scores of the tokens from `first_position` on, one per token and principle.

    A verdict is about exactly the tokens that `digest` names.
    """

    first_position: int
    digest: str
    scores: Scores
    constitution: Constitution

    @property
    def tokens(self) -> int:
        """How many tokens were judged."""
        return len(self.scores)

    @property
    def clear(self) -> bool:
        """Whether every score is below its threshold; a NaN is not."""
        return self.below(1.0)

    def below(self, share: Share) -> bool:
        """Whether every score is below this share of its threshold; a NaN is not."""
        limits = [share * p.threshold for p in self.constitution.principle]
        return bool(self.scores) and all(
            len(row) == len(limits) and all(s < t for s, t in zip(row, limits, strict=True))
            for row in self.scores
        )

    @property
    def worst(self) -> tuple[str, float]:
        """The principle nearest to, or furthest above, its threshold, and its largest score."""
        columns = np.nan_to_num(np.array(self.scores), nan=1.0).max(axis=0)
        excess = [
            s - p.threshold for s, p in zip(columns, self.constitution.principle, strict=True)
        ]
        at = int(np.argmax(excess))
        return self.constitution.principle[at].id, float(columns[at])
