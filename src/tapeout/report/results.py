"""What a report shows: text with its verdicts, quality, times and prices, and their sources."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from tapeout.chip import Chip
from tapeout.cost import DieReport, TokenReport
from tapeout.errors import ConfigError
from tapeout.facts import Fact
from tapeout.perf import Speed
from tapeout.runtime import Audit

Count = Annotated[int, Meta(ge=0)]
BitsPerByte: TypeAlias = float
Score: TypeAlias = float
Usd: TypeAlias = float


@dataclass(frozen=True, kw_only=True)
class Span:
    """Tokens that were judged together: their worst score, and their text unless it was held."""

    tokens: Count
    principle: str
    score: Score
    attempt: Count
    text: str | None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one prompt became, span by span, and the count of what left and what did not."""

    name: str
    prompt: str
    spans: tuple[Span, ...]
    audit: Audit
    reason: str


@dataclass(frozen=True, kw_only=True)
class Critique:
    """The texts that a draft wrote on the chip under a critic, and the principles it judged by."""

    draft: str
    critic: str
    recipe: str
    principles: dict[str, str]
    texts: tuple[Written, ...]

    @property
    def held_tokens(self) -> int:
        """Tokens that the critic kept on the chip."""
        return sum(text.audit.held_tokens for text in self.texts)

    @property
    def leaked_tokens(self) -> int:
        """Tokens that left the chip without a clear verdict about them."""
        return sum(text.audit.leaked_tokens for text in self.texts)


@dataclass(frozen=True, kw_only=True)
class FormatQuality:
    """A recipe's bits per byte of text and the bits that one of its weights takes."""

    recipe: str
    weight_bits: float
    bits_per_byte: BitsPerByte


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Bits per byte of one model on one text: the reference decoder in FP32, then on the chip."""

    model: str
    text: str
    measured_bytes: Count
    reference_bits_per_byte: BitsPerByte
    formats: tuple[FormatQuality, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything on one page, as the demo leaves it in out/demo.json.

    `chip` wrote the text; `product` is the chip that is timed and priced. `usd_per_mtoken` splits
    the price of a million of its tokens into items. `figures` are the sourced numbers behind it.
    """

    command: str
    chip: Chip
    critique: Critique
    quality: Quality
    product: Chip
    model: str
    speeds: tuple[Speed, ...]
    die: DieReport
    tokens: TokenReport
    usd_per_mtoken: dict[str, Usd]
    figures: dict[str, Fact]


def write_results(path: Path, results: Results) -> None:
    """Write results as JSON; the file is there whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(results)).decode() + "\n")


def read_results(path: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        ConfigError: if there is no such file, or it holds no results.
    """
    hint = "`make demo` writes out/demo.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror}", where=str(path), hint=hint
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"the file holds no results: {error}", where=str(path), hint=hint
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file under another name first, so that no half of it is ever seen.

    Raises:
        ConfigError: if the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ConfigError(
            f"the file cannot be written: {error.strerror}", where=str(path)
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
