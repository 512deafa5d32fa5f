from tapeout.runtime import Audit, CheckedEvent, Finished, Held, Released, Verdict, audit
from tapeout.runtime.verdict import digest

from .conftest import rules

LIMITS = rules(0.5, 0.7)


def verdict(first: int, tokens: tuple[int, ...], *scores: float) -> Verdict:
    rows = tuple((score, 0.1) for score in scores) or ((0.1, 0.1),) * len(tokens)
    return Verdict(first_position=first, digest=digest(tokens), scores=rows, constitution=LIMITS)


def released(first: int, *tokens: int) -> Released:
    return Released(first_position=first, tokens=tokens, text="..")


def leaked(*events: CheckedEvent) -> int:
    return audit(events, LIMITS).leaked_tokens


def test_a_clean_log():
    hold = Held(first_position=5, tokens=2, principle="p0", score=0.9, attempt=0, line_tokens=2)
    again = Held(first_position=5, tokens=2, principle="p0", score=0.8, attempt=1, line_tokens=2)
    log = [
        verdict(3, (1, 2)),
        released(3, 1, 2),
        verdict(5, (7, 7), 0.2, 0.9),
        hold,
        verdict(5, (7, 8), 0.8, 0.2),
        again,
        verdict(5, (4, 5, 6)),
        released(5, 4, 5, 6),
        Finished(reason="length", text=""),
    ]
    assert audit(log, LIMITS) == Audit(
        drafted_tokens=9, released_tokens=5, held_tokens=4, leaked_tokens=0, exposed_tokens=2
    )


def test_every_way_to_leak_is_seen():
    good = verdict(3, (1, 2))
    assert leaked(good, released(3, 1, 2)) == 0
    assert leaked(released(3, 1, 2)) == 2
    assert leaked(released(3, 1, 2), good) == 2, "the verdict came too late"
    assert leaked(good, released(3, 1, 3)) == 2, "other tokens"
    assert leaked(good, released(4, 1, 2)) == 2, "another position"
    assert leaked(good, released(3, 1, 2, 9)) == 3, "one token more"
    assert leaked(verdict(3, (1, 2), 0.1, 0.5), released(3, 1, 2)) == 2, "a score at its threshold"
    assert leaked(verdict(3, (1, 2), 0.1, float("nan")), released(3, 1, 2)) == 2


def test_a_verdict_under_softer_rules_does_not_count():
    soft = Verdict(
        first_position=3, digest=digest((1,)), scores=((0.6, 0.1),), constitution=rules(0.9, 0.9)
    )
    assert soft.clear
    assert leaked(soft, released(3, 1)) == 1
