import numpy as np
import pytest

from tapeout.errors import ConfigError
from tapeout.model import load_model, reference_logits
from tapeout.runtime import Critic
from tapeout.runtime.verdict import digest

from .conftest import ROOT, OpenCritic, OpenDevice, rules

PROMPT = [1, 5, 9, 100]
TOKENS = (7, 3, 90, 41, 3, 10, 127, 0, 55, 18, 64, 2)


def test_scores_are_the_sigmoid_of_the_labels_logits(critic: OpenCritic):
    one = critic(0.5, format="fp32")
    one.start(PROMPT)
    verdict = one.judge(len(PROMPT), TOKENS)
    model = load_model(ROOT / "tests/checkpoints/llama-critic")
    logits = reference_logits(model, [*PROMPT, *TOKENS])[len(PROMPT) :, 2]
    np.testing.assert_allclose(np.array(verdict.scores)[:, 0], 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert (verdict.first_position, verdict.tokens) == (len(PROMPT), len(TOKENS))
    assert verdict.digest == digest(TOKENS)
    assert verdict.worst == ("p0", max(verdict.scores)[0])


@pytest.mark.parametrize("span_tokens", [1, 5])
@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_spans_and_what_was_dropped_change_no_score(
    critic: OpenCritic, chip: str, span_tokens: int
):
    whole = critic(0.5)
    whole.start(PROMPT)
    expected = whole.judge(len(PROMPT), TOKENS).scores
    one = critic(0.5, chip=chip)
    one.start([9])
    one.start(PROMPT)
    scores: list[tuple[float, ...]] = []
    for at in range(0, len(TOKENS), span_tokens):
        one.judge(len(PROMPT) + at, (8,) * 7)  # a span that is dropped
        scores += one.judge(len(PROMPT) + at, TOKENS[at : at + span_tokens]).scores
    assert tuple(scores) == expected


def test_verdicts_are_recorded_and_known(critic: OpenCritic):
    one, other = critic(0.5), critic(0.5)
    for c in (one, other):
        c.start(PROMPT)
    verdict, its = one.judge(4, (1,)), other.judge(4, (1,))
    assert verdict.scores == its.scores
    assert one.verdicts == [verdict]
    assert one.made(verdict)
    assert not other.made(verdict)


def test_a_critic_must_have_started(critic: OpenCritic):
    one = critic(0.5)
    with pytest.raises(ValueError, match="must be started"):
        one.judge(0, (1,))
    one.start(PROMPT)
    with pytest.raises(ValueError, match=r"in 0\.\.4"):
        one.judge(5, (1,))
    one.end()
    with pytest.raises(ValueError, match="must be started"):
        one.judge(4, (1,))


def test_a_language_model_is_no_critic(opened: OpenDevice):
    with pytest.raises(ConfigError, match="must be a token classifier"):
        Critic(opened("qwen2-bias"), rules(0.5))


def test_the_constitution_must_fit(opened: OpenDevice):
    with pytest.raises(ConfigError, match="judged by one of the critic's labels"):
        Critic(opened("llama-critic"), rules(0.5, label="secret"))
