"""`tapeout rtl verify` from end to end, but for the RTL itself."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.chip import Chip
from tapeout.cli import app, main
from tapeout.rtl.trap import Trap
from tapeout.runtime import verification
from tapeout.runtime.lockstep import Failure
from tapeout.runtime.verification import Result

NANO = str(Path(__file__).parents[2] / "chips" / "nano.toml")
WRONG = Failure(
    problem="l1 0x10: expected 0x01, got 0x02",
    cycle=99,
    number=7,
    text="LD   loadtile space=L1",
)


class Quick(verification.Campaign):
    """Trials that take no time; those of seeds that end with 3 differ, and 8 is interrupted."""

    def prepare(self) -> None:
        pass

    def run(self, seeds: Iterable[int]) -> Iterator[Result]:
        for seed in seeds:
            if seed == 8:
                raise KeyboardInterrupt
            failure = WRONG if seed % 10 == 3 else None
            result = Result(seed=seed, trap=Trap.NONE, instructions=5, cycles=50, failure=failure)
            self.results.append(result)
            yield result


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "Campaign", Quick)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rtl", "verify", NANO, *words], catch_exceptions=False)
    return result.exit_code, result.stdout


def test_without_a_difference_it_ends_with_0():
    code, text = run("--programs", "3")
    assert code == 0
    first, *rest = text.splitlines()
    assert first.startswith(
        "nano: 3 programs, 0 of them with traps, 15 instructions, 150 cycles: 0 differ; 0 of 1,8"
    )
    assert rest[0].startswith("all               0 of 1")
    assert any(line.startswith("Softmax") for line in rest)
    assert not any(line.startswith("   ") for line in rest)


def test_a_difference_is_shown_with_the_command_that_repeats_it():
    code, text = run("--programs", "5", "--seed", "1")
    assert code == 1
    assert text.startswith(
        "seed 3: after instruction 7, in cycle 99:\n"
        "LD   loadtile space=L1\n"
        "l1 0x10: expected 0x01, got 0x02\n"
        f"again: tapeout rtl verify {NANO} --seed 3 --programs 1\n"
    )
    assert "1 differ" in text


def test_what_is_missing_is_listed_on_request():
    _, text = run("--programs", "1", "--missing")
    assert any(line.startswith("    ") for line in text.splitlines())


def test_random_chips_run_the_programs_too():
    code, text = run("--programs", "4", "--configurations", "2")
    assert code == 1
    names = [line.split(":")[0] for line in text.splitlines() if " differ; " in line]
    assert names == ["nano", "nano_0", "nano_1"]
    assert f"again: tapeout rtl verify {NANO} --configuration 1 --seed 3 --programs 1\n" in text
    _, text = run("--programs", "1", "--configuration", "1")
    assert text.startswith("nano_1: 1 programs")


def test_ctrl_c_leaves_what_there_is():
    code, text = run("--programs", "5", "--seed", "6", "--configurations", "1")
    assert code == 130
    assert text.startswith("nano: 2 programs")
    assert "nano_0" not in text
    assert run("--programs", "9", "--seed", "3")[0] == 1


def test_waves_are_of_the_first_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    written: list[tuple[str, int, Path]] = []

    def write(chip: Chip, result: Result, path: Path) -> int:
        written.append((chip.name, result.seed, path))
        return 84

    monkeypatch.setattr(verification, "write_waves", write)
    path = tmp_path / "a.fst"
    _, text = run("--programs", "20", "--seed", "9", "--configurations", "1", "--waves", str(path))
    assert written == [("nano", 13, path)]
    assert f"waves of seed 13, which differs at 84 ps: {path}\n" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--programs", "0"], "--programs"),
        (["--seed", "-1"], "--seed"),
        (["--waves", "nowhere/a.fst"], "a file in a folder that exists and may be written"),
        (["--waves", "a.vcd"], "the waves must be a file .fst, not .vcd"),
    ],
)
def test_a_mistake_ends_with_2(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("sys.argv", ["tapeout", "rtl", "verify", NANO, *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
