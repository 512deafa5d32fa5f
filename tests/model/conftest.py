"""Checkpoints for the tests of the model room."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """`edited("llama2-mha", key=value)`: a copy with other keys in config.json; ... removes one."""

    def edit(name: str, **changes: Any) -> Path:
        directory = tmp_path / name
        shutil.copytree(CHECKPOINTS / name, directory, dirs_exist_ok=True)
        path = directory / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
        return directory

    return edit
