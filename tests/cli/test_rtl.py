"""`tapeout rtl` from end to end, but for the Verilog itself."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli import app, main

NANO = str(Path(__file__).parents[2] / "chips" / "nano.toml")
FILES = {"rtl/a.sv": "module a;\nendmodule\n", "manifest.json": '{"files": {"rtl/a.sv": ""}}'}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(*_: object) -> dict[str, str]:
        return dict(FILES)

    monkeypatch.setattr("tapeout.rtl.deliverable.deliver", deliver)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["rtl", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_build_says_what_it_wrote_and_what_comes_next(tmp_path: Path):
    out = tmp_path / "a" / "b"
    text = run("build", NANO, "-o", str(out))
    assert (out / "rtl" / "a.sv").read_text() == FILES["rtl/a.sv"]
    assert "1 modules, 2 lines of Verilog; top tapeout_nano" in text
    assert "--lint-only -Wall -f files.f --top-module tapeout_nano\n" in text
    assert text.endswith("obj_dir/Vtapeout_nano_bench\n")
    assert not list(out.rglob("*.part"))


def test_build_json(tmp_path: Path):
    said = json.loads(run("build", NANO, "-o", str(tmp_path), "--json"))
    assert said == {"folder": str(tmp_path), "files": sorted(FILES)}


@pytest.mark.parametrize("mistake", ["chip", "folder"])
def test_a_mistake_is_one_message_and_exit_code_2(
    mistake: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    chip, out = tmp_path / "bad.toml", tmp_path / "out"
    chip.write_text('nam = "small"\n')
    out.mkdir()
    if mistake == "folder":
        (out / "mine.txt").write_text("")
    file = str(chip) if mistake == "chip" else NANO
    monkeypatch.setattr("sys.argv", ["tapeout", "rtl", "build", file, "-o", str(out)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said, error = capsys.readouterr()
    assert said == ""
    assert error.startswith("error: ")
    assert len(error.splitlines()) <= 3
    assert sorted(path.name for path in out.iterdir()) == ["mine.txt"] * (mistake == "folder")
