"""`tapeout report` from end to end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sample_results import sample_results
from tapeout.cli import app
from tapeout.errors import ConfigError
from tapeout.report import write_results


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["report", "build", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        run(str(tmp_path / "none.json"), "-o", str(tmp_path / "report.html"))
    assert caught.value.where == str(tmp_path / "none.json")
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_written_and_its_size_told(tmp_path: Path):
    results_file = tmp_path / "demo.json"
    write_results(results_file, sample_results())
    output = tmp_path / "out" / "report.html"
    found = json.loads(run(str(results_file), "-o", str(output), "--json"))
    assert found == {"file": str(output), "bytes": output.stat().st_size}
    assert run(str(results_file), "-o", str(output)) == f"{output}: {found['bytes']} bytes\n"
