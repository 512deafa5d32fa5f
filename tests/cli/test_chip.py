"""`tapeout chip` from end to end, and what `main` makes of mistakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli import app, main

CHIPS = Path(__file__).parents[2] / "chips"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["chip", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list():
    lines = run("list", str(CHIPS)).splitlines()
    assert [line.split(":")[0] for line in lines] == ["full", "mid", "nano", "small"]
    assert lines[3] == (
        "small: 1 x 8x8x32 at 1.2 GHz, 4.92 TOP/s (8-bit), L1 64 KiB a core,"
        " memory 1 GiB at 76.8 GB/s"
    )
    assert [one["name"] for one in json.loads(run("list", str(CHIPS), "--json"))] == [
        "full",
        "mid",
        "nano",
        "small",
    ]


def test_show():
    assert run("show", str(CHIPS / "nano.toml")).startswith("nano: 1 x 4x4x32")
    assert json.loads(run("show", str(CHIPS / "nano.toml"), "--json"))["cores"] == 1


def test_check():
    found = json.loads(run("check", str(CHIPS / "mid.toml"), "--json"))
    assert found["name"] == "mid"
    assert f"good (fingerprint {found['fingerprint']})" in run("check", str(CHIPS / "mid.toml"))


def test_a_mistake_is_three_lines_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "bad.toml"
    path.write_text('nam = "small"\n')
    monkeypatch.setattr("sys.argv", ["tapeout", "chip", "check", str(path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: unknown key `nam` at `$`; did you mean `name`?\n  at:   {path}\n"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["tapeout", "chip", "check", "chip.toml"])
    monkeypatch.setattr("tapeout.chip.load_chip", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    assert "Traceback" not in capsys.readouterr().err
