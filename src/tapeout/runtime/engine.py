"""Generation with continuous batching: requests join and leave a running batch at any step."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tapeout.errors import CapacityError, ConfigError
from tapeout.model import TextStream, Tokenizer
from tapeout.runtime.device import GREEDY, Choice, Device, Row, Sampling

Reason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt and how it goes on: up to `max_tokens`, or up to one of `stop_ids`.

    `arrives_step` is the decode step before which it is unknown to the engine. Its tokens depend
    on nothing but the model, the format, the prompt and the sampling.
    """

    name: str
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = GREEDY
    stop_ids: tuple[int, ...] = ()
    arrives_step: int = 0


@dataclass(frozen=True, kw_only=True)
class Token:
    """A request's next token, with the text that it made certain. A stop token is not one."""

    request: str
    token: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A request's end, with text that never became a whole character."""

    request: str
    reason: Reason
    text: str


Event: TypeAlias = Token | Ended


@dataclass(kw_only=True)
class _Running:
    request: Request
    sequence: int
    stream: TextStream
    last: int
    made: int = 0


def check_request(request: Request, device: Device) -> None:
    """Refuse what cannot be served.

    Raises:
        ConfigError: if the model makes no tokens, the prompt is empty or not of the model's
            vocabulary, or no token is asked for.
        CapacityError: if prompt and answer do not fit the context.
    """
    architecture = device.build.architecture
    if architecture.head != "lm":
        raise ConfigError(
            "the model must be a language model, not a classifier", where=architecture.name
        )
    if not request.prompt:
        raise ConfigError("the prompt must have at least one token", where=request.name)
    outside = [t for t in request.prompt if not 0 <= t < architecture.vocab_size]
    if outside:
        raise ConfigError(
            f"tokens must be in 0..{architecture.vocab_size - 1}, not {outside[0]}",
            where=request.name,
        )
    if request.max_tokens < 1:
        raise ConfigError(
            f"max_tokens must be at least 1, not {request.max_tokens}", where=request.name
        )
    needed, context = len(request.prompt) + request.max_tokens, device.build.sizes.context_tokens
    if needed > context:
        raise CapacityError(
            f"a prompt of {len(request.prompt)} tokens and {request.max_tokens} more must fit the"
            f" context of {context}",
            where=request.name,
            hint="shorten the prompt, ask for fewer tokens, or build for a longer context",
        )


def generate(device: Device, requests: Iterable[Request], tokenizer: Tokenizer) -> Generator[Event]:
    """Serve requests, first come first served, up to as many at once as the device has sequences.

    A step admits who has arrived while there is room (a prefill each), then decodes one token of
    every running request.

    Raises:
        CapacityError, ConfigError: as `check_request`, or two requests have one name; before
            anything runs. CapacityError too if all sequences of the device are others'.
    """
    waiting = deque(sorted(requests, key=lambda r: r.arrives_step))
    _check_names(waiting)
    for request in waiting:
        check_request(request, device)
    running: list[_Running] = []
    step = 0
    try:
        while waiting or running:
            if not running:
                step = max(step, waiting[0].arrives_step)
            while _can_admit(device, waiting, running, step):
                running.append(_admit(device, waiting.popleft(), tokenizer))
                yield from _deliver(device, running, running[-1:])
            if running:
                _decode(device, running)
                yield from _deliver(device, running, list(running))
            step += 1
    finally:
        for one in running:
            device.close(one.sequence)


def _check_names(requests: Iterable[Request]) -> None:
    names = [request.name for request in requests]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"each request must have a name of its own, not `{twice}` twice")


def _can_admit(device: Device, waiting: deque[Request], running: list[_Running], step: int) -> bool:
    """With nothing running, a full device is for `open` to refuse: waiting would be for ever."""
    arrived = bool(waiting) and waiting[0].arrives_step <= step
    return arrived and (device.free_sequences > 0 or not running)


def _admit(device: Device, request: Request, tokenizer: Tokenizer) -> _Running:
    sequence = device.open()
    try:
        first = device.prefill_next(sequence, request.prompt, Choice(sampling=request.sampling))
    except BaseException:
        device.close(sequence)
        raise
    return _Running(request=request, sequence=sequence, stream=TextStream(tokenizer), last=first)


def _decode(device: Device, running: list[_Running]) -> None:
    """The counter of a draw is the number of the token in its request, whoever else runs."""
    rows = [
        Row(
            sequence=one.sequence,
            token=one.last,
            choice=Choice(sampling=one.request.sampling, counter=one.made),
        )
        for one in running
    ]
    chosen, _ = device.decode(rows)
    for one, token in zip(running, chosen, strict=True):
        one.last = token


def _deliver(device: Device, running: list[_Running], ones: list[_Running]) -> Iterator[Event]:
    """The events of each request's last token; those that end leave the batch."""
    for one in ones:
        name, reason = one.request.name, _reason(one)
        if reason != "stop":
            one.made += 1
            yield Token(request=name, token=one.last, text=one.stream.push(one.last))
        if reason:
            running.remove(one)
            device.close(one.sequence)
            yield Ended(request=name, reason=reason, text=one.stream.finish())


def _reason(one: _Running) -> Reason | None:
    if one.last in one.request.stop_ids:
        return "stop"
    return "length" if one.made + 1 == one.request.max_tokens else None
