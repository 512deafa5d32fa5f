from pathlib import Path

import pytest

from tapeout.errors import ConfigError
from tapeout.report import Results, read_results, write_results, write_whole


def test_results_survive_a_file(results: Results, tmp_path: Path):
    path = tmp_path / "out" / "demo.json"
    write_results(path, results)
    assert read_results(path) == results
    assert [one.name for one in path.parent.iterdir()] == ["demo.json"]


def test_a_missing_file_says_what_makes_one(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_results(tmp_path / "none.json")


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "demo.json"
    path.write_text('{"command": 1}')
    with pytest.raises(ConfigError, match=r"holds no results: .*command"):
        read_results(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be written"):
        write_whole(tmp_path, "text")
    assert list(tmp_path.parent.glob(".*.part")) == []
