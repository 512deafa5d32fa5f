"""Read a TOML file into a frozen dataclass, strictly, with errors that name the key."""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from tapeout import units
from tapeout.errors import ConfigError

T = TypeVar("T")
UNIT_OF_SUFFIX = {"_bytes_per_s": "B/s", "_bytes": "B", "_hz": "Hz", "_s": "s", "_w": "W"}


def load(path: Path, cls: type[T]) -> T:
    """Read `path` as a `cls`. Unknown keys are errors; "512 KiB" is read as 524288.

    Raises:
        ConfigError: naming the file, the key and the rule it breaks.
    """
    text = read_text(path)
    try:
        table = tomllib.loads(text)
        return msgspec.convert(_checked(table, cls, where="$"), cls)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(str(error), where=str(path)) from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: if it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"the file must be UTF-8 text: {error}", where=str(path)) from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: "; did you mean `rows`?", or nothing."""
    words = list(known)
    longer = [w for w in words if word and w.startswith(word)]
    near = longer or difflib.get_close_matches(word, words, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _checked(table: dict[str, Any], cls: type, *, where: str) -> dict[str, Any]:
    """The table with quantities as numbers, all of its keys known to `cls`."""
    types = get_type_hints(cls)
    out: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"unknown key `{key}` at `{where}`{did_you_mean(key, types)}")
        unit = next((u for s, u in UNIT_OF_SUFFIX.items() if f"_{key}".endswith(s)), None)
        item = _item_type(types[key])
        if dataclasses.is_dataclass(types[key]) and isinstance(value, dict):
            value = _checked(value, types[key], where=f"{where}.{key}")
        elif item is not None and isinstance(value, list):
            value = [
                _checked(v, item, where=f"{where}.{key}[{i}]") if isinstance(v, dict) else v
                for i, v in enumerate(value)
            ]
        elif isinstance(value, str) and unit:
            value = units.parse(value, unit)
        out[key] = value
    return out


def _item_type(annotation: Any) -> type | None:
    """The dataclass that a `tuple[..., ...]` or `list[...]` field holds, if it holds one."""
    if get_origin(annotation) in (tuple, list):
        first = get_args(annotation)[0]
        return first if isinstance(first, type) and dataclasses.is_dataclass(first) else None
    return None
