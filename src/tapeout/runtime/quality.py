"""What a format costs in quality: bits per byte of a held-out text, on the chip and in FP32."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tapeout.chip import Chip
from tapeout.compiler import Recipe, build
from tapeout.errors import CapacityError, ConfigError
from tapeout.model import Model, Tokenizer, reference_logits
from tapeout.runtime.device import F32, Device

Ratio: TypeAlias = float

Logits: TypeAlias = Callable[[Sequence[int]], F32]
"""Tokens -> logits after each of them, [tokens, vocabulary]."""

REFERENCE = "reference"
"""The name under which the reference decoder's figure stands; it runs in FP32, off the chip."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A piece of text: its tokens, and the bytes of all of them but the first."""

    tokens: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Bits that a model needs per byte of text, and the simulator's speed on this machine.

    `logit_error` is the root mean square of logits less the reference's, over the latter's.
    """

    format: str
    bits: float
    bytes: int
    tokens: int
    elapsed_s: float
    logit_error: Ratio

    @property
    def bits_per_byte(self) -> float:
        """Less is better."""
        return self.bits / self.bytes

    @property
    def tokens_per_s(self) -> float:
        """Tokens read per second of wall time, without compiling and loading."""
        return self.tokens / self.elapsed_s


def windows_of(
    text: str, tokenizer: Tokenizer, *, windows: int, window_tokens: int
) -> tuple[Window, ...]:
    """The first `windows` whole windows of a text, next to each other.

    The first token of a window has nothing before it and is not counted.

    Raises:
        ConfigError: if the text is shorter, or a window has less than two tokens.
    """
    if windows < 1 or window_tokens < 2:
        raise ConfigError("quality must be measured on at least one window of two tokens")
    ids = tokenizer.encode(text)
    if len(ids) < windows * window_tokens:
        raise ConfigError(
            f"the text must have {windows} windows of {window_tokens} tokens, not {len(ids)} tokens"
        )
    return tuple(
        _window(ids[i * window_tokens : (i + 1) * window_tokens], tokenizer) for i in range(windows)
    )


def quality(
    model: Model, chip: Chip, recipes: Sequence[Recipe], windows: Sequence[Window]
) -> tuple[Quality, ...]:
    """Read the windows with the reference decoder, then in each format on the simulated chip.

    The figures are the same for every chip; one with large tiles is simulated faster.

    Raises:
        CapacityError: if the model or a window does not fit.
    """
    longest = max(len(window.tokens) for window in windows)
    positions = model.architecture.max_positions
    if longest > positions:
        raise CapacityError(f"a window must have at most {positions} tokens, not {longest}")
    if model.architecture.head != "lm":
        raise ConfigError("the model must predict tokens, not labels", where=str(model.directory))
    exact = [reference_logits(model, window.tokens) for window in windows]
    found = [_measured(REFERENCE, windows, lambda ids: reference_logits(model, ids), exact)]
    for recipe in recipes:
        device = Device(
            model,
            build(model.architecture, recipe, chip, sequences=1, context_tokens=longest),
        )
        found.append(bits_per_byte(device, windows, exact))
    return tuple(found)


def bits_per_byte(device: Device, windows: Sequence[Window], exact: Sequence[F32]) -> Quality:
    """Read the windows on a device, each as a new sequence; `exact` is what the reference reads."""

    def logits(ids: Sequence[int]) -> F32:
        sequence = device.open()
        try:
            return device.prefill(sequence, ids)
        finally:
            device.close(sequence)

    return _measured(device.build.recipe.name, windows, logits, exact)


def surprise_bits(logits: F32, tokens: Sequence[int]) -> float:
    """Bits of all tokens but the first, each given those before it. logits: [tokens, vocabulary].

    Summed in FP64 with log-sum-exp.
    """
    x = logits[:-1].astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    chosen = x[np.arange(len(x)), list(tokens[1:])]
    return float(np.sum(np.log(np.exp(x).sum(axis=1)) - chosen) / np.log(2))


def quality_lines(found: Sequence[Quality]) -> list[str]:
    """A line for each format: bits per byte, how much more than the reference, bytes, speed."""
    base = found[0].bits_per_byte
    return [
        f"{q.format:12} {q.bits_per_byte:7.4f} bits/byte {q.bits_per_byte / base - 1:+8.2%}"
        f"  logits off by {q.logit_error:7.2g}"
        f"  over {q.bytes} bytes, {q.tokens_per_s:6.0f} tokens/s"
        for q in found
    ]


def _measured(
    name: str, windows: Sequence[Window], logits: Logits, exact: Sequence[F32]
) -> Quality:
    start_s = time.perf_counter()
    outputs = [logits(window.tokens) for window in windows]
    elapsed_s = time.perf_counter() - start_s
    pairs = zip(outputs, windows, strict=True)
    return Quality(
        format=name,
        bits=sum(surprise_bits(out, window.tokens) for out, window in pairs),
        bytes=sum(window.bytes for window in windows),
        tokens=sum(len(window.tokens) for window in windows),
        elapsed_s=elapsed_s,
        logit_error=_relative(np.concatenate(outputs), np.concatenate(list(exact))),
    )


def _relative(x: F32, reference: F32) -> float:
    scale = np.sqrt(np.mean(np.square(reference, dtype=np.float64)))
    error = np.sqrt(np.mean(np.square(x.astype(np.float64) - reference)))
    return float(error / scale) if scale else float(error)


def _window(ids: Sequence[int], tokenizer: Tokenizer) -> Window:
    first, rest = tokenizer.decode(ids[:1]), tokenizer.decode(ids)
    return Window(tokens=tuple(ids), bytes=len(rest.encode()) - len(first.encode()))
