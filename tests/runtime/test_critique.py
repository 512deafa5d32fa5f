from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import CapacityError, ConfigError
from tapeout.runtime import (
    CheckedEvent,
    Critic,
    Device,
    Finished,
    Held,
    Policy,
    Released,
    Request,
    Sampling,
    Token,
    Verdict,
    audit,
    critique,
    generate,
)

from .conftest import Letters, OpenCritic, OpenDevice, rules

NEVER, ALWAYS = 1 - 1e-12, 1e-12
REQUEST = Request(
    name="r", prompt=(5, 9, 77), max_tokens=30, sampling=Sampling(temperature=1.5, seed=4)
)


@pytest.fixture(scope="module")
def draft(opened: OpenDevice) -> Device:
    return opened("qwen2-bias", sequences=1)


def log_of(
    draft: Device,
    critic: Critic,
    request: Request = REQUEST,
    *,
    span_tokens: int = 8,
    attempts: int = 4,
) -> list[CheckedEvent]:
    policy = Policy(span_tokens=span_tokens, attempts=attempts)
    return list(critique(draft, critic, request, Letters(), policy=policy))


def tokens_of(events: Sequence[CheckedEvent]) -> list[int]:
    return [token for event in events if isinstance(event, Released) for token in event.tokens]


def text_of(events: Sequence[CheckedEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, Released | Finished))


def unchecked(draft: Device, request: Request = REQUEST) -> list[int]:
    events = generate(draft, [request], Letters())
    return [event.token for event in events if isinstance(event, Token)]


@pytest.mark.parametrize("span_tokens", [1, 8, 100])
def test_a_critic_that_finds_nothing_changes_nothing(
    draft: Device, critic: OpenCritic, span_tokens: int
):
    events = log_of(draft, critic(NEVER), span_tokens=span_tokens)
    assert tokens_of(events) == unchecked(draft)
    assert text_of(events) == Letters().decode(unchecked(draft))
    assert events[-1] == Finished(reason="length", text="")


def test_a_critic_that_clears_nothing_lets_nothing_out(draft: Device, critic: OpenCritic):
    events = log_of(draft, critic(ALWAYS), attempts=3)
    assert text_of(events) == ""
    held = [e for e in events if isinstance(e, Held)]
    assert [e.attempt for e in held] == [0, 1, 2]
    assert events[-1] == Finished(reason="withheld", text="")
    assert len({e.digest for e in events if isinstance(e, Verdict)}) == 3, "each draft is new"
    found = audit(events, rules(ALWAYS))
    assert (found.released_tokens, found.leaked_tokens) == (0, 0)
    assert found.drafted_tokens == found.held_tokens == sum(e.tokens for e in held)


@pytest.fixture(scope="module")
def threshold(draft: Device, opened: OpenDevice) -> float:
    """One that the unchecked tokens reach in the middle, but not at the start."""
    one = Critic(opened("llama-critic", sequences=1), rules(0.5))
    one.start(REQUEST.prompt)
    scores = [row[0] for row in one.judge(len(REQUEST.prompt), unchecked(draft)).scores]
    return max(scores[8:])


def test_a_held_span_is_drafted_again(draft: Device, critic: OpenCritic, threshold: float):
    events = log_of(draft, critic(threshold), attempts=20)
    held = [e for e in events if isinstance(e, Held)]
    assert held
    assert held[0].score >= threshold
    first = tokens_of(events)[: held[0].first_position - len(REQUEST.prompt)]
    assert len(first) >= 8
    assert first == unchecked(draft)[: len(first)]
    assert tokens_of(events) != unchecked(draft)


@given(
    share=st.floats(0.3, 1.2),
    span_tokens=st.integers(1, 12),
    attempts=st.integers(1, 4),
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0, 0.7, 3]),
)
@settings(max_examples=15)
def test_nothing_leaves_before_its_verdict(
    draft: Device,
    judge: Device,
    threshold: float,
    share: float,
    span_tokens: int,
    attempts: int,
    seed: int,
    temperature: float,
):
    """From the log alone; then a critic that reads in one go what left finds nothing in it."""
    limits = rules(min(share * threshold, NEVER))
    request = replace(REQUEST, sampling=Sampling(temperature=temperature, seed=seed))
    critic = Critic(judge, limits)
    events = log_of(draft, critic, request, span_tokens=span_tokens, attempts=attempts)
    found = audit(events, limits)
    assert found.leaked_tokens == 0
    assert found.drafted_tokens == found.released_tokens + found.held_tokens
    assert [e for e in events if isinstance(e, Verdict)] == critic.verdicts
    out = tokens_of(events)
    assert found.released_tokens == len(out)
    assert text_of(events) == Letters().decode(out)
    if out:
        critic.start(request.prompt)
        assert critic.judge(len(request.prompt), out).clear
        critic.end()
    assert draft.free_sequences == judge.free_sequences == 1


@pytest.fixture(scope="module")
def judge(opened: OpenDevice) -> Device:
    return opened("llama-critic", sequences=1)


@pytest.mark.parametrize("chip", ["nano", "mid"])
@pytest.mark.parametrize("order_seed", [None, 3])
def test_the_chip_and_the_order_change_no_event(
    opened: OpenDevice,
    draft: Device,
    critic: OpenCritic,
    threshold: float,
    chip: str,
    order_seed: int | None,
):
    def seen(events: list[CheckedEvent]) -> list[CheckedEvent | str]:
        return [e.digest if isinstance(e, Verdict) else e for e in events]

    expected = log_of(draft, critic(threshold))
    other = opened("qwen2-bias", chip=chip, sequences=1, chunk_tokens=4, order_seed=order_seed)
    got = log_of(other, critic(threshold, chip=chip, order_seed=order_seed))
    assert seen(got) == seen(expected)


def test_a_greedy_request_is_revised_by_sampling(draft: Device, critic: OpenCritic):
    greedy = replace(REQUEST, sampling=Sampling())
    events = log_of(draft, critic(ALWAYS), greedy)
    assert len({e.digest for e in events if isinstance(e, Verdict)}) == 4


class Failing(Critic):
    """Works for some spans, then raises."""

    spans = 1

    def judge(self, first_position: int, tokens: Sequence[int]) -> Verdict:
        if len(self.verdicts) == self.spans:
            raise TimeoutError("no answer")
        return super().judge(first_position, tokens)


def test_when_the_critic_fails_all_stays_held(draft: Device, judge: Device):
    events: list[CheckedEvent] = []
    with pytest.raises(TimeoutError):
        record(events, draft, Failing(judge, rules(NEVER)))
    assert tokens_of(events) == unchecked(draft)[:8]
    assert audit(events, rules(NEVER)).leaked_tokens == 0
    assert draft.free_sequences == judge.free_sequences == 1


def record(events: list[CheckedEvent], draft: Device, critic: Critic) -> None:
    """Append the loop's events; those before an error stay in the list."""
    for event in critique(draft, critic, REQUEST, Letters(), policy=Policy(span_tokens=8)):
        events.append(event)


class Hasty(Critic):
    """Judges less than it was asked to."""

    def judge(self, first_position: int, tokens: Sequence[int]) -> Verdict:
        return super().judge(first_position, tokens[:-1])


def test_a_wrong_verdict_releases_nothing(draft: Device, judge: Device):
    events: list[CheckedEvent] = []
    with pytest.raises(ValueError, match="exactly the tokens that wait"):
        record(events, draft, Hasty(judge, rules(NEVER)))
    assert tokens_of(events) == []


class Fussy(Critic):
    """Holds the first draft of every span, whatever it is."""

    def judge(self, first_position: int, tokens: Sequence[int]) -> Verdict:
        first = all(v.first_position != first_position for v in self.verdicts)
        verdict = super().judge(first_position, tokens)
        self.verdicts[-1] = replace(verdict, scores=((float(first),),) * len(tokens))
        return self.verdicts[-1]


def test_each_span_has_all_attempts(draft: Device, judge: Device):
    events = log_of(draft, Fussy(judge, rules(0.5)), attempts=2)
    assert events[-1] == Finished(reason="length", text="")
    assert len(tokens_of(events)) == REQUEST.max_tokens
    assert {e.attempt for e in events if isinstance(e, Held)} == {0}


class Scripted(Critic):
    """Gives each draft the next of these scores, then 0."""

    script: tuple[float, ...] = ()

    def judge(self, first_position: int, tokens: Sequence[int]) -> Verdict:
        at = len(self.verdicts)
        score = self.script[at] if at < len(self.script) else 0.0
        verdict = super().judge(first_position, tokens)
        self.verdicts[-1] = replace(verdict, scores=((score,),) * len(tokens))
        return self.verdicts[-1]


@pytest.mark.parametrize(
    ("script", "held", "reason"),
    [
        ((0.49,), [], "length"),
        ((0.6, 0.24), [0.6], "length"),
        ((0.6, 0.26, 0.12), [0.6, 0.26], "length"),
        ((0.6, 0.26, 0.13, 0.07), [0.6, 0.26, 0.13, 0.07], "withheld"),
    ],
)
def test_each_attempt_must_stay_below_half_the_threshold_of_the_one_before(
    draft: Device, judge: Device, script: tuple[float, ...], held: list[float], reason: str
):
    critic = Scripted(judge, rules(0.5))
    critic.script = script
    events = log_of(draft, critic, attempts=4)
    assert [e.score for e in events if isinstance(e, Held)] == held
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == reason


def test_a_span_ends_with_its_line(draft: Device, critic: OpenCritic):
    class Lines(Letters):
        def decode(self, ids: Sequence[int]) -> str:
            return "".join("\n" if i % 8 == 0 else chr(0x100 + i) for i in ids)

    policy = Policy(span_tokens=100)
    events = list(critique(draft, critic(NEVER), REQUEST, Lines(), policy=policy))
    lines = [e.text for e in events if isinstance(e, Released)]
    assert len(lines) > 1
    assert lines == Lines().decode(unchecked(draft)).splitlines(keepends=True)


def test_what_was_released_of_a_held_line_is_counted(draft: Device, critic: OpenCritic):
    """The threshold is reached after the first span of 3, on the request's first line."""
    one = critic(0.5)
    one.start(REQUEST.prompt)
    scores = [row[0] for row in one.judge(3, unchecked(draft)).scores]
    limit = next(s for i, s in enumerate(scores) if i >= 3 and s > max(scores[:3]))
    events = log_of(draft, critic(limit), span_tokens=3)
    first = next(e for e in events if isinstance(e, Held))
    assert first.line_tokens == first.first_position - len(REQUEST.prompt) > 0
    assert audit(events, rules(limit)).exposed_tokens >= first.line_tokens


def test_stop_ids_end_a_checked_request(draft: Device, critic: OpenCritic):
    whole = unchecked(draft)
    for stop in (whole[0], next(t for t in whole[9:] if t not in whole[:9])):
        events = log_of(draft, critic(NEVER), replace(REQUEST, stop_ids=(stop,)))
        assert tokens_of(events) == whole[: whole.index(stop)]
        assert events[-1] == Finished(reason="stop", text="")


def test_what_cannot_be_checked_is_refused(
    opened: OpenDevice, draft: Device, judge: Device, critic: OpenCritic
):
    one = critic(0.5, context_tokens=20)
    with pytest.raises(CapacityError, match="33 tokens, must fit the critic's context of 20"):
        log_of(draft, one)
    with pytest.raises(ConfigError, match="must be a language model"):
        log_of(judge, one)
    with pytest.raises(ConfigError, match="one vocabulary, not 256 and 128"):
        log_of(opened("../../models/draft"), one)
    with pytest.raises(ConfigError, match="at least one token"):
        log_of(draft, one, replace(REQUEST, prompt=()))
    for options in ({"span_tokens": 0}, {"attempts": 0}):
        with pytest.raises(ConfigError, match="must be at least 1, not 0"):
            Policy(**options)
    assert draft.free_sequences == 1
