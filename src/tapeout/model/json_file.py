"""JSON objects from files that others wrote."""

import json
from pathlib import Path
from typing import Any

from tapeout.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: the file is absent, is no JSON, or holds no object or a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"cannot read {path.name}: {error.strerror}",
            where=str(path),
            hint="give the directory of a model: config.json with *.safetensors",
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name} is not UTF-8 text", where=str(path)) from error
    return parse_json(text, path)


def parse_json(text: str | bytes, path: Path) -> dict[str, Any]:
    """The object in JSON text that came from `path`.

    Raises:
        ModelError: it is no JSON, or holds no object or a key twice.
    """
    try:
        found = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not valid JSON: {error}", where=str(path)) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} must hold a JSON object", where=str(path))
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"`{key}` appears twice")
        table[key] = value
    return table
