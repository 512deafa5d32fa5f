from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import CapacityError, TapeoutError
from tapeout.model import load_model, reference_logits
from tapeout.runtime import Choice, Device, Row, Sampling
from tapeout.runtime.device import F32
from tapeout.sim import Statistics

from .conftest import ROOT, OpenDevice

TOKENS = [7, 3, 90, 41, 3, 3, 127, 0, 55, 18, 64, 2, 9, 33, 71, 100, 5, 6, 8, 12]


def logits_of(device: Device, tokens: list[int]) -> F32:
    """Logits after the last token, each token read by a step of its own."""
    sequence = device.open()
    out = [device.decode([Row(sequence=sequence, token=token)])[1][0] for token in tokens]
    device.close(sequence)
    return np.array(out)


def test_prefill_is_the_reference_within_the_format(opened: OpenDevice):
    device = opened("qwen2-bias", format="fp32")
    expected = reference_logits(load_model(ROOT / "tests/checkpoints/qwen2-bias"), TOKENS)
    got = device.prefill(device.open(), TOKENS)
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("chunk_tokens", [1, 3, 16, None])
@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_chunks_and_single_steps_give_the_same_bits(
    opened: OpenDevice, chip: str, chunk_tokens: int | None
):
    expected = logits_of(opened("qwen2-bias"), TOKENS)
    device = opened("qwen2-bias", chip=chip, chunk_tokens=chunk_tokens)
    got = device.prefill(device.open(), TOKENS)
    assert got.tobytes() == expected.tobytes()


def test_greedy_takes_the_largest_logit(opened: OpenDevice):
    device = opened("mistral-window")
    sequences = [device.open(), device.open()]
    for sequence in sequences:
        device.prefill(sequence, TOKENS[: 5 + sequence])
    tokens, logits = device.decode([Row(sequence=s, token=9) for s in sequences])
    assert tokens == logits.argmax(axis=1).tolist()


def test_a_choice_depends_on_seed_and_counter_only(opened: OpenDevice):
    device = opened("mistral-window")
    sequences = [device.open() for _ in range(3)]
    for sequence in sequences:
        device.prefill(sequence, TOKENS)

    def draw(counters: list[int]) -> list[int]:
        rows = [
            Row(
                sequence=s,
                token=1,
                choice=Choice(sampling=Sampling(temperature=5, seed=2**63), counter=c),
            )
            for s, c in zip(sequences, counters, strict=True)
        ]
        tokens, _ = device.decode(rows)
        for s in sequences:
            device.truncate(s, len(TOKENS))
        return tokens

    first = draw([0, 1, 2**32])
    assert draw([2**32, 0, 1]) == [first[2], first[0], first[1]]
    assert len(set(draw([3, 4, 5]) + first)) > 2


def test_top_k_one_and_a_tiny_top_p_are_greedy(opened: OpenDevice):
    device = opened("mistral-window")
    sequence = device.open()
    wanted = int(device.prefill(sequence, TOKENS)[-1].argmax())
    for sampling in (
        Sampling(temperature=50, top_k=1, seed=4),
        Sampling(temperature=50, top_p=1e-12, seed=4),
    ):
        device.truncate(sequence, 0)
        assert device.prefill_next(sequence, TOKENS, Choice(sampling=sampling)) == wanted


LONG = (TOKENS * 3)[:40]


@pytest.fixture(scope="module")
def used(opened: OpenDevice) -> Device:
    return opened("mistral-window", sequences=3, chunk_tokens=8)


@pytest.fixture(scope="module")
def expected(opened: OpenDevice) -> F32:
    return logits_of(opened("mistral-window"), LONG)


@given(data=st.data())
@settings(max_examples=15)
def test_any_history_of_the_pool_gives_the_same_bits(
    used: Device, expected: F32, data: st.DataObject
):
    """Open, read, truncate, close in any order; pages are shared by none and lost by none."""
    open_: list[int] = []
    try:
        for _ in range(data.draw(st.integers(1, 12))):
            _act(used, open_, data, expected)
            held = sum(-(-used.length(s) // 16) for s in open_)
            assert used.free_pages == used.build.sizes.pages - held
    finally:  # hypothesis may leave in the middle
        for sequence in open_:
            used.close(sequence)
    assert used.free_sequences == 3


def _act(device: Device, open_: list[int], data: st.DataObject, expected: F32) -> None:
    actions = ["read", "read", "step", "truncate", "close"] if open_ else []
    action = data.draw(st.sampled_from(actions + ["open"] * (device.free_sequences > 0)))
    if action == "open":
        open_.append(device.open())
        return
    sequence = data.draw(st.sampled_from(open_))
    at = device.length(sequence)
    if action == "truncate":
        device.truncate(sequence, data.draw(st.integers(0, at)))
    elif action == "close":
        device.close(sequence)
        open_.remove(sequence)
    elif at < len(LONG):
        if action == "step":
            got = device.decode([Row(sequence=sequence, token=LONG[at])])[1]
        else:
            count = data.draw(st.integers(1, len(LONG) - at))
            got = device.prefill(sequence, LONG[at : at + count])
        assert got.tobytes() == expected[at : at + len(got)].tobytes()


def test_too_many_sequences(opened: OpenDevice):
    device = opened("mistral-window", sequences=2)
    assert [device.open(), device.open()] == [0, 1]
    with pytest.raises(CapacityError, match="at most 2 sequences must be open"):
        device.open()


def test_a_full_context(opened: OpenDevice):
    device = opened("mistral-window", context_tokens=20)
    sequence = device.open()
    with pytest.raises(CapacityError, match="at most 20 tokens, not 21"):
        device.prefill(sequence, [1] * 21)
    device.close(sequence)
    sequence = device.open()
    device.prefill(sequence, [1] * 20)
    with pytest.raises(CapacityError, match="at most 20 tokens, not 21"):
        device.decode([Row(sequence=sequence, token=1)])
    assert device.length(sequence) == 20


def test_wrong_calls_are_bugs(opened: OpenDevice):
    device = opened("mistral-window")
    sequence = device.open()
    with pytest.raises(ValueError, match="at least one"):
        device.prefill(sequence, [])
    with pytest.raises(ValueError, match=r"in 0\.\.0, not 1"):
        device.truncate(sequence, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be at least 0"),
        ({"temperature": float("nan")}, "temperature must be at least 0"),
        ({"top_p": 0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"top_k": -1}, "top_k must be in"),
        ({"seed": -1}, "seed must be in"),
        ({"seed": 2**64}, "seed must be in"),
    ],
)
def test_sampling_is_checked(options: dict[str, Any], message: str):
    with pytest.raises(TapeoutError, match=message):
        Sampling(**options)


def test_each_step_has_an_order_of_its_own(opened: OpenDevice, monkeypatch: pytest.MonkeyPatch):
    for order_seed, wanted in ((None, [None, None]), (7, [7, 8])):
        device = opened("mistral-window", order_seed=order_seed, chunk_tokens=4)
        seeds: list[int | None] = []

        def run(*_: object, seed: int | None, into: list[int | None] = seeds) -> Statistics:
            into.append(seed)
            return Statistics()

        monkeypatch.setattr(device.machine, "run", run)
        device.prefill(device.open(), [1] * 8)
        assert seeds == wanted


def test_order_seed_changes_nothing(opened: OpenDevice):
    expected = logits_of(opened("qwen2-bias", chip="mid"), TOKENS[:6])
    shuffled = opened("qwen2-bias", chip="mid", order_seed=3)
    assert shuffled.prefill(shuffled.open(), TOKENS[:6]).tobytes() == expected.tobytes()
