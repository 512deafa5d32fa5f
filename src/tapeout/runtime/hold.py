"""The token-hold FIFO: what a draft says waits here until its critic has cleared it."""

from dataclasses import dataclass
from typing import Protocol

from tapeout.model import TextStream
from tapeout.runtime.verdict import Verdict, digest


class Judge(Protocol):
    """What a hold asks: to judge tokens, and whether a verdict is its own."""

    def judge(self, first_position: int, tokens: tuple[int, ...]) -> Verdict:
        """A verdict about exactly these tokens, which stand at exactly these positions."""
        ...

    def made(self, verdict: object) -> bool:
        """Whether this very object is a verdict of this judge."""
        ...


@dataclass(frozen=True, kw_only=True)
class Released:
    """Tokens that left the hold, and the text that they made certain."""

    first_position: int
    tokens: tuple[int, ...]
    text: str


class Hold:
    """Tokens wait from the moment at which they are drafted until `release`.

    This is the only place where a checked request's tokens become text, and `release` the only
    way out: it takes a clear verdict that this hold's judge made about exactly the tokens that
    wait. `judge` shows them to the judge alone.
    """

    def __init__(self, judge: Judge, stream: TextStream, first_position: int):
        self.first_position = first_position
        self.__judge = judge
        self.__stream = stream
        self.__tokens: list[int] = []

    def __len__(self) -> int:
        return len(self.__tokens)

    def push(self, token: int) -> None:
        """Take a token in."""
        self.__tokens.append(token)

    def judge(self) -> Verdict:
        """Have all that waits judged. Whatever the judge raises, the tokens stay."""
        return self.__judge.judge(self.first_position, tuple(self.__tokens))

    def discard(self) -> None:
        """Drop all that waits."""
        self.__tokens.clear()

    def release(self, verdict: Verdict) -> Released:
        """Let out all that waits.

        Raises:
            ValueError: unless the verdict is clear, made by this hold's judge, and about exactly
                the tokens that wait.
        """
        tokens = tuple(self.__tokens)
        if not self.__judge.made(verdict):
            raise ValueError("the verdict must be made by this hold's judge")
        if (verdict.first_position, verdict.tokens, verdict.digest) != (
            self.first_position,
            len(tokens),
            digest(tokens),
        ):
            raise ValueError("the verdict must be about exactly the tokens that wait")
        if not verdict.clear:
            raise ValueError("the verdict must be clear")
        out = Released(
            first_position=self.first_position,
            tokens=tokens,
            text="".join(self.__stream.push(token) for token in tokens),
        )
        self.first_position += len(tokens)
        self.__tokens.clear()
        return out

    def finish(self) -> str:
        """Text left of released tokens that never became a whole character."""
        return self.__stream.finish()
