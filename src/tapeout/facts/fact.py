"""One sourced figure, and the tables that hold all of them."""

import dataclasses
import datetime
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tapeout.config import did_you_mean
from tapeout.errors import ConfigError

Kind = Literal["measured", "vendor", "estimate", "assumption"]
Confidence = Literal["high", "medium", "low"]
Text = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Range:
    """A quantity with the least and the greatest value that we would defend."""

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"mid {self.mid:g} must be in {self.low:g}..{self.high:g}")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One sourced figure. `low`..`high` is the range that we would defend."""

    value: float
    low: float
    high: float
    unit: Text
    as_of: datetime.date
    kind: Kind
    confidence: Confidence
    source: Annotated[str, Meta(min_length=12)]

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(
                f"value must be in low..high and low at least 0, not {self.value:g} in"
                f" {self.low:g}..{self.high:g}"
            )
        if self.unit == "1/year" and self.high > 1:
            raise ValueError(f"a share per year must be at most 1, not {self.high:g}")

    @property
    def range(self) -> Range:
        """Low, value and high as a `Range`."""
        return Range(low=self.low, mid=self.value, high=self.high)


def fact(name: str) -> Fact:
    """Return the figure called `name`.

    Raises:
        ConfigError: if there is none.
    """
    known = facts()
    if name not in known:
        raise ConfigError(
            f"there is no figure {name!r}{did_you_mean(name, known)}", hint="tapeout fact list"
        )
    return known[name]


@cache
def facts() -> dict[str, Fact]:
    """All figures by name, in the order of their tables."""
    tables = sorted(
        (entry for entry in files("tapeout.facts").iterdir() if entry.name.endswith(".toml")),
        key=lambda entry: entry.name,
    )
    return read_facts((entry.name, entry.read_text(encoding="utf-8")) for entry in tables)


def read_facts(texts: Iterable[tuple[str, str]]) -> dict[str, Fact]:
    """Figures of TOML texts, each with the name of its file.

    Raises:
        ConfigError: naming the file and the figure that is malformed or given twice.
    """
    known: dict[str, Fact] = {}
    for file, text in texts:
        try:
            tables = tomllib.loads(text)
        except ValueError as error:
            raise ConfigError(str(error), where=file) from error
        for name, table in tables.items():
            if name in known:
                raise ConfigError(f"figure `{name}` is given twice", where=file)
            known[name] = _fact(table, where=f"{file}, [{name}]")
    return known


def _fact(table: Any, *, where: str) -> Fact:
    fields = {field.name for field in dataclasses.fields(Fact)}
    if not isinstance(table, dict):
        raise ConfigError("a figure must be a table", where=where)
    for key in set[str](table) - fields:
        raise ConfigError(f"unknown key `{key}`{did_you_mean(key, fields)}", where=where)
    try:
        return msgspec.convert(table, Fact)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where=where) from error
