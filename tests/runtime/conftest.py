"""Devices with the tiny checkpoints on the shipped chips, and a tokenizer for their 128 tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tapeout.chip import load_chip
from tapeout.compiler import recipe_named
from tapeout.runtime import Constitution, Critic, Device, Principle, open_device

ROOT = Path(__file__).parents[2]
CONTEXT_TOKENS = 64

OpenDevice = Callable[..., Device]
OpenCritic = Callable[..., Critic]


class Letters:
    """One character per token; token 10 ends a line."""

    note = ""

    def encode(self, text: str) -> list[int]:
        return [ord(c) % 128 for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("\n" if i == 10 else chr(0x100 + i) for i in ids)


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture(scope="session")
def opened() -> OpenDevice:
    """`opened("qwen2-bias", chip="nano", ...)`: a device with a test checkpoint."""

    def open_(
        name: str,
        *,
        chip: str = "small",
        format: str = "mxfp8_e4m3",
        sequences: int = 8,
        context_tokens: int = CONTEXT_TOKENS,
        chunk_tokens: int | None = None,
        order_seed: int | None = None,
    ) -> Device:
        return open_device(
            ROOT / "tests" / "checkpoints" / name,
            load_chip(ROOT / "chips" / f"{chip}.toml"),
            recipe_named(format),
            sequences=sequences,
            context_tokens=context_tokens,
            chunk_tokens=chunk_tokens,
            order_seed=order_seed,
        )

    return open_


def rules(*thresholds: float, label: str = "harmful") -> Constitution:
    """Principles p0, p1, .. with these thresholds."""
    return Constitution(
        principle=tuple(
            Principle(id=f"p{i}", sentence="Do not.", judged_by=label, threshold=threshold)
            for i, threshold in enumerate(thresholds)
        )
    )


@pytest.fixture
def critic(opened: OpenDevice) -> OpenCritic:
    """`critic(0.5, ...)`: the test classifier with a threshold for the label "harmful"."""

    def open_(threshold: float, **options: object) -> Critic:
        return Critic(opened("llama-critic", sequences=1, **options), rules(threshold))

    return open_
