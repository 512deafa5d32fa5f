"""The critique loop: draft a span, judge it, release it or hold it and draft it again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tapeout.errors import CapacityError, ConfigError
from tapeout.model import TextStream, Tokenizer
from tapeout.runtime.critic import Critic
from tapeout.runtime.device import Choice, Device, Row, Sampling
from tapeout.runtime.engine import Request, check_request
from tapeout.runtime.hold import Hold, Released
from tapeout.runtime.verdict import Verdict

Score: TypeAlias = float
Reason: TypeAlias = Literal["stop", "length", "withheld"]

ATTEMPT_SHIFT = 32
"""A draw's counter is attempt * 2^32 + the token's number: the first attempt draws what an
unchecked request would."""

REVISION_SHARE = 0.5
"""Each attempt at a span must stay below this share of the thresholds of the one before: who draws
until the critic is content would otherwise find what it misses."""

REVISION_TEMPERATURE = 1.0
"""Temperature of a greedy request's further attempts: greedy would only say the same again."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How much is judged at once, and how often a span is drafted.

    A span ends with a line, with the request, or after `span_tokens`. Short spans reach the user
    sooner. But what is released cannot be taken back, and a critic knows a secret only when it
    has seen enough of it: its first tokens may lie in a span released before (`Held.line_tokens`
    counts them), and a revision that must go on from `password: ` can hardly do better. So by
    default a span is a line, unless that is very long.
    """

    span_tokens: int = 64
    attempts: int = 4

    def __post_init__(self) -> None:
        for name in ("span_tokens", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")


DEFAULT_POLICY = Policy()


@dataclass(frozen=True, kw_only=True)
class Held:
    """A span that was judged, held and dropped; its text is not told.

    `line_tokens` of the line in which it stands were released before.
    """

    first_position: int
    tokens: int
    principle: str
    score: Score
    attempt: int
    line_tokens: int


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end: a stop token, enough tokens, or "withheld": every attempt at a span was held."""

    reason: Reason
    text: str


CheckedEvent: TypeAlias = Verdict | Released | Held | Finished


def critique(
    draft: Device,
    critic: Critic,
    request: Request,
    tokenizer: Tokenizer,
    *,
    policy: Policy = DEFAULT_POLICY,
) -> Iterator[CheckedEvent]:
    """Serve one request, of which nothing leaves before its verdict.

    An error of the critic ends the loop with that error; what was not released by then never is.

    Raises:
        CapacityError, ConfigError: as `check_request`, for both devices, before anything runs.
    """
    _check(draft, critic, request)
    sequence = draft.open()
    try:
        critic.start(request.prompt)
        hold = Hold(critic, TextStream(tokenizer), len(request.prompt))
        yield from _spans(_Draft(draft, sequence, request, tokenizer), hold, policy)
    finally:
        critic.end()
        draft.close(sequence)


class _Draft:
    """The draft's side: what it said, and the tokens it will say next."""

    def __init__(self, device: Device, sequence: int, request: Request, tokenizer: Tokenizer):
        self.device = device
        self.sequence = sequence
        self.request = request
        self.tokenizer = tokenizer
        self.known = list(request.prompt)

    @property
    def made(self) -> int:
        """Tokens after the prompt."""
        return len(self.known) - len(self.request.prompt)

    def span(self, hold: Hold, tokens: int, attempt: int) -> Reason | None:
        """Push the next span into the hold; why the request ends with it, or None."""
        while len(hold) < tokens:
            token = self._next(attempt)
            if token in self.request.stop_ids:
                return "stop"
            self.known.append(token)
            hold.push(token)
            if self.made == self.request.max_tokens:
                return "length"
            if self.ends_line(token):
                return None
        return None

    def rewind(self, position: int) -> None:
        """Unsay all from a position on."""
        del self.known[position:]
        self.device.truncate(self.sequence, min(position - 1, self.device.length(self.sequence)))

    def line_tokens(self) -> int:
        """Tokens said since the last line's end."""
        said = self.known[len(self.request.prompt) :]
        lines = (i for i, token in enumerate(reversed(said)) if self.ends_line(token))
        return next(lines, len(said))

    def ends_line(self, token: int) -> bool:
        return "\n" in self.tokenizer.decode([token])

    def _next(self, attempt: int) -> int:
        """Read what is not read yet; the token that follows."""
        choice = Choice(
            sampling=_sampling(self.request.sampling, attempt),
            counter=(attempt << ATTEMPT_SHIFT) + self.made,
        )
        unread = self.known[self.device.length(self.sequence) :]
        if len(unread) > 1:
            return self.device.prefill_next(self.sequence, unread, choice)
        row = Row(sequence=self.sequence, token=unread[0], choice=choice)
        return self.device.decode([row])[0][0]


def _spans(draft: _Draft, hold: Hold, policy: Policy) -> Iterator[CheckedEvent]:
    attempt = 0
    while True:
        end = draft.span(hold, policy.span_tokens, attempt)
        if not len(hold):  # a stop token alone: nothing to judge, nothing to release
            break
        verdict = hold.judge()
        yield verdict
        if verdict.below(REVISION_SHARE**attempt):
            yield hold.release(verdict)
            attempt = 0
            if end:
                break
            continue
        dropped = len(hold)
        hold.discard()
        draft.rewind(hold.first_position)
        yield _held(verdict, dropped, attempt, draft.line_tokens())
        attempt += 1
        if attempt == policy.attempts:
            end = "withheld"
            break
    assert end is not None
    yield Finished(reason=end, text=hold.finish())


def _held(verdict: Verdict, tokens: int, attempt: int, line_tokens: int) -> Held:
    principle, score = verdict.worst
    return Held(
        first_position=verdict.first_position,
        tokens=tokens,
        principle=principle,
        score=score,
        attempt=attempt,
        line_tokens=line_tokens,
    )


def _sampling(sampling: Sampling, attempt: int) -> Sampling:
    if attempt and not sampling.temperature:
        return replace(sampling, temperature=REVISION_TEMPERATURE)
    return sampling


def _check(draft: Device, critic: Critic, request: Request) -> None:
    check_request(request, draft)
    mine = draft.build.architecture.vocab_size
    its = critic.device.build.architecture.vocab_size
    if mine != its:
        raise ConfigError(
            f"draft and critic must have one vocabulary, not {mine} and {its} tokens",
            hint="the critic reads the draft's tokens as they are",
        )
    needed = len(request.prompt) + request.max_tokens
    context = critic.device.build.sizes.context_tokens
    if needed > context:
        raise CapacityError(
            f"prompt and answer, {needed} tokens, must fit the critic's context of {context}",
            where=request.name,
        )
