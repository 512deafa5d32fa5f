import pytest

from tapeout.model import TextStream
from tapeout.runtime import Hold, Verdict
from tapeout.runtime.verdict import digest

from .conftest import Letters, rules


class Judge:
    """Gives the same score to every token."""

    def __init__(self, score: float):
        self.score = score
        self.given: list[Verdict] = []

    def judge(self, first_position: int, tokens: tuple[int, ...]) -> Verdict:
        self.given.append(
            Verdict(
                first_position=first_position,
                digest=digest(tokens),
                scores=((self.score,),) * len(tokens),
                constitution=rules(0.5),
            )
        )
        return self.given[-1]

    def made(self, verdict: object) -> bool:
        return any(verdict is one for one in self.given)


def held(judge: Judge, *tokens: int) -> Hold:
    hold = Hold(judge, TextStream(Letters()), first_position=5)
    for token in tokens:
        hold.push(token)
    return hold


def test_release_takes_a_clear_verdict():
    hold = held(Judge(0.4), 1, 2, 3)
    out = hold.release(hold.judge())
    assert (out.first_position, out.tokens, out.text) == (5, (1, 2, 3), Letters().decode([1, 2, 3]))
    assert (len(hold), hold.first_position) == (0, 8)


@pytest.mark.parametrize("score", [0.5, 0.9, float("nan"), float("inf")])
def test_a_score_at_the_threshold_holds(score: float):
    hold = held(Judge(score), 1, 2)
    with pytest.raises(ValueError, match="must be clear"):
        hold.release(hold.judge())
    assert len(hold) == 2


def test_a_verdict_that_the_judge_did_not_make_is_refused():
    judge = Judge(0.1)
    hold = held(judge, 1, 2)
    mine = hold.judge()
    forged = Verdict(
        first_position=5, digest=mine.digest, scores=mine.scores, constitution=mine.constitution
    )
    for other in (forged, Judge(0.1).judge(5, (1, 2)), None, True):
        with pytest.raises(ValueError, match="made by this hold's judge"):
            hold.release(other)  # type: ignore[arg-type]
    assert len(hold) == 2


def test_a_verdict_about_other_tokens_is_refused():
    judge = Judge(0.1)
    hold = held(judge, 1, 2)
    early = hold.judge()
    hold.push(3)
    others = (early, judge.judge(5, (1, 2, 4)), judge.judge(6, (1, 2, 3)), judge.judge(5, ()))
    for verdict in others:
        with pytest.raises(ValueError, match="exactly the tokens that wait"):
            hold.release(verdict)
    assert hold.release(hold.judge()).tokens == (1, 2, 3)


def test_a_verdict_releases_once():
    judge = Judge(0.1)
    hold = held(judge, 1, 1)
    verdict = hold.judge()
    hold.release(verdict)
    hold.push(1)
    hold.push(1)
    with pytest.raises(ValueError, match="exactly the tokens that wait"):
        hold.release(verdict)


def test_nothing_waiting_is_never_clear():
    hold = held(Judge(0.1))
    with pytest.raises(ValueError, match="must be clear"):
        hold.release(hold.judge())


def test_release_is_the_only_way_out():
    """No public attribute but these, and none of the others gives a token or text that waits."""
    hold = held(Judge(0.9), 77777, 88888)
    public = {name for name in dir(hold) if not name.startswith("_")}
    assert public == {"first_position", "push", "judge", "discard", "release", "finish"}
    assert hold.finish() == ""
    assert "77777" not in repr(hold) + repr(hold.judge())
    assert hold.discard() is None
    assert (len(hold), hold.finish()) == (0, "")
