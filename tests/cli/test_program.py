"""`tapeout program` from end to end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.program import app
from tapeout.errors import EncodingError, TapeoutError
from tapeout.isa import Program, Region, Scalar, instructions_from_text, write_program

PROGRAM = Program(
    name="example",
    chip="0123456789ab",
    cores=(
        instructions_from_text("LD nop -> c1\nMU nop wait=c1\nLD nop\nCP end"),
        instructions_from_text("CP end"),
    ),
    scalars=(Scalar(name="position", register=1, low=0, high=4095),),
    regions=(Region(name="weights", address=64, size_bytes=1024, kind="weights"),),
    notes={"model": "tiny"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_program(PROGRAM, tmp_path / "example.tapeout")
    return tmp_path / "example.tapeout"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_show(file: Path):
    assert run("show", str(file)).splitlines() == [
        "program example for chip 0123456789ab",
        "note model: tiny",
        "scalar r1 position: 0..4095",
        "region 0x0000000040..0x000000043f weights weights: 1024 bytes",
        "core 0: 4 instructions: CP 1, LD 2, MU 1",
        "core 1: 1 instructions: CP 1",
    ]


def test_show_json(file: Path):
    figures = json.loads(run("show", str(file), "--json"))
    assert figures["chip"] == "0123456789ab"
    assert figures["scalars"] == [{"name": "position", "register": 1, "low": 0, "high": 4095}]
    assert figures["regions"][0]["kind"] == "weights"
    assert figures["instructions"] == [{"CP": 1, "LD": 2, "MU": 1}, {"CP": 1}]
    assert "assembly" not in figures


def test_show_assembly(file: Path):
    text = run("show", str(file), "--assembly")
    assert instructions_from_text(text) == PROGRAM.cores[0] + PROGRAM.cores[1]
    assert json.loads(run("show", str(file), "--assembly", "--json"))["assembly"] in text


def test_a_damaged_file_is_an_error_with_its_place(file: Path):
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EncodingError, match="the file is cut off") as caught:
        run("show", str(file))
    assert caught.value.where == str(file)


DRAFT, NANO = "models/draft", "chips/nano.toml"


def test_build_check_and_run_on_a_chip(tmp_path: Path):
    built = run("build", "--model", DRAFT, "--chip", NANO, "--sequences", "2", "--context", "64",
                "-o", str(tmp_path))  # fmt: skip
    assert built.count("no deadlock, no race") == 2
    prefill = str(tmp_path / "prefill.tapeout")
    assert "no race" in run("check", prefill, "--chip", NANO)
    words = ("run", prefill, "--chip", NANO, "--model", DRAFT, "--tokens", "72,101,108", "--json")
    in_order, shuffled = (json.loads(run(*words, *more)) for more in ((), ("--order-seed", "5")))
    assert in_order["sha256"] == shuffled["sha256"]
    assert len(in_order["next"]) == 3


def test_the_same_program_on_rtl(tmp_path: Path):
    run("build", "--model", DRAFT, "--chip", NANO, "--sequences", "1", "--context", "32",
        "-o", str(tmp_path))  # fmt: skip
    words = ("run", str(tmp_path / "prefill.tapeout"), "--chip", NANO, "--model", DRAFT)
    words += ("--tokens", "84", "--json")
    assert json.loads(run(*words, "--on", "rtl")) == json.loads(run(*words))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("72,x", "tokens must be whole numbers"),
        ("", "the program takes 1.."),
        ("300", "tokens must be in 0..255"),
    ],
)
def test_run_refuses_bad_tokens(tmp_path: Path, tokens: str, message: str):
    run("build", "--model", DRAFT, "--chip", NANO, "--sequences", "1", "--context", "32",
        "-o", str(tmp_path))  # fmt: skip
    words = ["run", str(tmp_path / "prefill.tapeout"), "--chip", NANO, "--model", DRAFT]
    with pytest.raises(TapeoutError, match=message):
        run(*words, "--tokens", tokens)


def test_a_program_for_another_chip_is_refused(tmp_path: Path):
    run("build", "--model", DRAFT, "--chip", NANO, "--sequences", "1", "--context", "32",
        "-o", str(tmp_path))  # fmt: skip
    with pytest.raises(TapeoutError, match="chip"):
        run("check", str(tmp_path / "prefill.tapeout"), "--chip", "chips/small.toml")
