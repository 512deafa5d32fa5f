import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import CapacityError, ConfigError
from tapeout.model import load_tokenizer
from tapeout.runtime import Device, Ended, Request, Sampling, Token, generate, open_device

from .conftest import ROOT, Letters, OpenDevice

LENGTHS = (3, 17, 1, 30, 8, 21, 5, 12)
REQUESTS = [
    Request(
        name=f"r{i}",
        prompt=tuple((7 * i + 11 * j) % 128 for j in range(length)),
        max_tokens=4 + 3 * i % 11,
        sampling=Sampling(temperature=0.0 if i == 2 else 1.5, top_k=40 * (i % 2), seed=i),
        arrives_step=2 * i % 7,
    )
    for i, length in enumerate(LENGTHS)
]


def tokens_of(device: Device, requests: list[Request]) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {r.name: [] for r in requests}
    for event in generate(device, requests, Letters()):
        if isinstance(event, Token):
            out[event.request].append(event.token)
    return out


@pytest.fixture(scope="module")
def alone(opened: OpenDevice) -> dict[str, list[int]]:
    """Each request by itself on the small chip, one device of one sequence."""
    device = opened("qwen2-bias", sequences=1)
    return {r.name: tokens_of(device, [r])[r.name] for r in REQUESTS}


def test_requests_differ(alone: dict[str, list[int]]):
    assert [len(tokens) for tokens in alone.values()] == [r.max_tokens for r in REQUESTS]
    assert len({tuple(tokens[:4]) for tokens in alone.values()}) == len(REQUESTS)


@pytest.mark.parametrize("chip", ["nano", "small", "mid"])
@pytest.mark.parametrize("chunk_tokens", [5, None])
@pytest.mark.parametrize("sequences", [3, 8])
def test_the_batch_the_chunks_and_the_chip_change_no_token(
    opened: OpenDevice,
    alone: dict[str, list[int]],
    chip: str,
    chunk_tokens: int | None,
    sequences: int,
):
    device = opened("qwen2-bias", chip=chip, chunk_tokens=chunk_tokens, sequences=sequences)
    assert tokens_of(device, REQUESTS) == alone
    assert device.free_sequences == sequences


@pytest.mark.parametrize("order_seed", [0, 1])
def test_a_shuffled_order_changes_no_token(
    opened: OpenDevice, alone: dict[str, list[int]], order_seed: int
):
    device = opened("qwen2-bias", chip="mid", order_seed=order_seed)
    assert tokens_of(device, REQUESTS) == alone


@given(arrivals=st.permutations(range(0, 24, 3)), sequences=st.integers(1, 8))
@settings(max_examples=8)
def test_arrivals_change_no_token(
    opened: OpenDevice, alone: dict[str, list[int]], arrivals: list[int], sequences: int
):
    device = opened("qwen2-bias", sequences=sequences)
    requests = [
        Request(
            name=r.name,
            prompt=r.prompt,
            max_tokens=r.max_tokens,
            sampling=r.sampling,
            arrives_step=step,
        )
        for r, step in zip(REQUESTS, arrivals, strict=True)
    ]
    assert tokens_of(device, requests) == alone


@pytest.mark.parametrize("chip", ["nano", "mid"])
def test_the_shipped_model_in_a_batch_of_eight(chip: str):
    from tapeout.chip import load_chip
    from tapeout.compiler import recipe_named

    tokenizer = load_tokenizer(ROOT / "models/draft")
    requests = [
        Request(
            name=text,
            prompt=tuple(tokenizer.encode(text)),
            max_tokens=6,
            sampling=Sampling(temperature=0.8, seed=i),
        )
        for i, text in enumerate(["The ", "def f(", "import ", "Return", "x", ".. ", "a b", "\n"])
    ]

    def served(chip: str, sequences: int, requests: list[Request]) -> dict[str, list[int]]:
        device = open_device(
            ROOT / "models/draft",
            load_chip(ROOT / f"chips/{chip}.toml"),
            recipe_named("mxfp8_e4m3"),
            sequences=sequences,
            context_tokens=32,
        )
        return tokens_of(device, requests)

    batch = served(chip, 8, requests)
    assert batch["The "] == served("small", 1, requests[:1])["The "]


def test_stop_ids_end_a_request(opened: OpenDevice, alone: dict[str, list[int]]):
    whole = alone["r5"]
    stop = next(t for i, t in enumerate(whole) if i and t not in whole[:i])
    request = Request(
        name="r5",
        prompt=REQUESTS[5].prompt,
        max_tokens=REQUESTS[5].max_tokens,
        sampling=REQUESTS[5].sampling,
        stop_ids=(stop,),
    )
    events = list(generate(opened("qwen2-bias"), [request], Letters()))
    kept = whole[: whole.index(stop)]
    assert [e.token for e in events if isinstance(e, Token)] == kept
    assert "".join(e.text for e in events) == Letters().decode(kept)
    assert events[-1] == Ended(request="r5", reason="stop", text="")


def test_one_token(opened: OpenDevice, alone: dict[str, list[int]]):
    request = Request(
        name="r0", prompt=REQUESTS[0].prompt, max_tokens=1, sampling=REQUESTS[0].sampling
    )
    events = list(generate(opened("qwen2-bias"), [request], Letters()))
    first = alone["r0"][0]
    assert events == [
        Token(request="r0", token=first, text=Letters().decode([first])),
        Ended(request="r0", reason="length", text=""),
    ]


def test_a_caller_who_leaves_frees_the_device(opened: OpenDevice):
    device = opened("qwen2-bias")
    events = generate(device, REQUESTS, Letters())
    for _ in range(5):
        next(events)
    assert device.free_sequences < 8
    events.close()
    assert device.free_sequences == 8
    assert device.free_pages == device.build.sizes.pages


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "error", "message"),
    [
        ((), 4, ConfigError, "at least one token"),
        ((1, 128), 4, ConfigError, r"in 0\.\.127, not 128"),
        ((1, -1), 4, ConfigError, r"in 0\.\.127, not -1"),
        ((1,), 0, ConfigError, "max_tokens must be at least 1"),
        ((1,) * 60, 5, CapacityError, "60 tokens and 5 more must fit the context of 64"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_runs(
    opened: OpenDevice, prompt: tuple[int, ...], max_tokens: int, error: type, message: str
):
    device = opened("qwen2-bias")
    bad = Request(name="bad", prompt=prompt, max_tokens=max_tokens)
    with pytest.raises(error, match=message):
        list(generate(device, [REQUESTS[0], bad], Letters()))
    assert device.steps == 0


def test_a_device_that_others_fill_is_refused(opened: OpenDevice):
    device = opened("qwen2-bias", sequences=1)
    device.open()
    with pytest.raises(CapacityError, match="at most 1 sequences must be open"):
        list(generate(device, REQUESTS, Letters()))


def test_an_error_on_the_way_frees_the_device(opened: OpenDevice, monkeypatch: pytest.MonkeyPatch):
    device = opened("qwen2-bias", sequences=2)

    def run(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(device.machine, "run", run)
    with pytest.raises(KeyboardInterrupt):
        list(generate(device, REQUESTS, Letters()))
    assert device.free_sequences == 2
    assert device.free_pages == device.build.sizes.pages


def test_each_request_has_its_name(opened: OpenDevice):
    with pytest.raises(ConfigError, match="a name of its own, not `r3` twice"):
        list(generate(opened("qwen2-bias"), [*REQUESTS, REQUESTS[3]], Letters()))


def test_a_request_may_fill_the_context(opened: OpenDevice):
    request = Request(name="full", prompt=(1,) * 60, max_tokens=4)
    assert len(tokens_of(opened("qwen2-bias"), [request])["full"]) == 4
