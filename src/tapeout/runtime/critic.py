"""The critic: a second model that reads the draft's tokens and scores each by each principle."""

from collections.abc import Sequence

import numpy as np

from tapeout.errors import ConfigError
from tapeout.runtime.constitution import Constitution
from tapeout.runtime.device import Device
from tapeout.runtime.verdict import Verdict, digest


class Critic:
    """Judges one request's tokens at a time, incrementally, with a KV cache of its own.

    The prompt is read for context and not judged: it is the user's own text, and nothing of it is
    released. `verdicts` is the record of all that was judged, in order.
    """

    def __init__(self, device: Device, constitution: Constitution):
        labels = device.build.architecture.labels
        if device.build.architecture.head != "labels":
            raise ConfigError(
                "the critic must be a token classifier, not a language model",
                where=device.build.architecture.name,
                hint="its config.json names ...ForTokenClassification and id2label",
            )
        self.device = device
        self.constitution = constitution
        self.verdicts: list[Verdict] = []
        self._columns = constitution.columns(labels)
        self._sequence: int | None = None

    def start(self, prompt: Sequence[int]) -> None:
        """Read a request's prompt."""
        self.end()
        self._sequence = self.device.open()
        self.device.prefill(self._sequence, prompt)

    def end(self) -> None:
        """Forget the request."""
        if self._sequence is not None:
            self.device.close(self._sequence)
        self._sequence = None

    def judge(self, first_position: int, tokens: Sequence[int]) -> Verdict:
        """Read the tokens from a position on, in place of any read there before, and judge them.

        Raises:
            ValueError: if no request was started or tokens before the position were not read.
        """
        if self._sequence is None:
            raise ValueError("a request must be started before it is judged")
        self.device.truncate(self._sequence, first_position)
        logits = self.device.prefill(self._sequence, tokens).astype(np.float64)
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-logits[:, self._columns]))
        verdict = Verdict(
            first_position=first_position,
            digest=digest(tokens),
            scores=tuple(tuple(row) for row in scores.tolist()),
            constitution=self.constitution,
        )
        self.verdicts.append(verdict)
        return verdict

    def made(self, verdict: object) -> bool:
        """Whether this very object is one of this critic's verdicts."""
        return any(verdict is one for one in self.verdicts)
