"""What a critic watches for: principles in plain words, each judged by one of its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from tapeout.config import did_you_mean, load
from tapeout.errors import ConfigError

Text = Annotated[str, Meta(min_length=1)]
Probability = Annotated[float, Meta(gt=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Principle:
    """A rule: text is held where the sigmoid of the label's logit is at least the threshold."""

    id: Text
    sentence: Text
    judged_by: Text
    threshold: Probability


@dataclass(frozen=True, kw_only=True)
class Constitution:
    """The principles that all released text must meet."""

    principle: Annotated[tuple[Principle, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        ids = [p.id for p in self.principle]
        for name in ids:
            if ids.count(name) > 1:
                raise ConfigError(f"each principle must have an id of its own, not `{name}` twice")

    def columns(self, labels: Sequence[str]) -> tuple[int, ...]:
        """The position of each principle's label among a critic's `labels`.

        Raises:
            ConfigError: if the critic lacks one.
        """
        for p in self.principle:
            if p.judged_by not in labels:
                raise ConfigError(
                    f"principle `{p.id}` must be judged by one of the critic's labels"
                    f" ({', '.join(labels) or 'none'}), not `{p.judged_by}`"
                    f"{did_you_mean(p.judged_by, labels)}"
                )
        return tuple(labels.index(p.judged_by) for p in self.principle)


def load_constitution(path: Path) -> Constitution:
    """Read a constitution file.

    Raises:
        ConfigError: naming the key and the rule that it breaks.
    """
    try:
        return load(path, Constitution)
    except ConfigError as error:
        raise ConfigError(error.problem, where=str(path), hint=error.hint) from error
