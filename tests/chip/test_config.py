from dataclasses import replace
from pathlib import Path

import pytest

from tapeout.chip import load_chip
from tapeout.errors import ConfigError

CHIPS = Path(__file__).parents[2] / "chips"
SMALL = (CHIPS / "small.toml").read_text()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in SMALL
    path = tmp_path / "chip.toml"
    path.write_text(SMALL.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("name", "macs_per_cycle", "ops8_per_s"),
    [
        ("nano", 512, 1.2288e12),
        ("small", 2048, 4.9152e12),
        ("mid", 8192, 3.93216e13),
        ("full", 32768, 1.2582912e15),
    ],
)
def test_figures_that_a_chip_implies(name: str, macs_per_cycle: int, ops8_per_s: float):
    chip = load_chip(CHIPS / f"{name}.toml")
    assert chip.name == name
    assert chip.matrix.macs_per_cycle == macs_per_cycle
    assert chip.ops8_per_s == ops8_per_s
    assert chip.ops4_per_s == 2 * ops8_per_s
    assert chip.achieved_bytes_per_s == chip.hbm.bytes_per_s * chip.hbm.efficiency


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 8", "rows = 12", "matrix.rows must be a power of two, not 12"),
        ("columns = 8", "columns = 0", "`int` >= 1 - at `$.matrix.columns`"),
        ("lanes = 32", "lanes = 33", "vector.lanes must be a power of two, not 33"),
        (
            "accumulators = 4096",
            "accumulators = 4100",
            "accumulators must be a power of two, not 4100",
        ),
        ('l1_bytes = "64 KiB"', "l1_bytes = 1000", "l1_bytes must be a multiple of 512, not 1000"),
        ('l1_bytes = "64 KiB"', 'l1_bytes = "32 MiB"', "must be at most 16 MiB, not 33554432"),
        ('scale_bytes = "16 KiB"', 'scale_bytes = "2 MiB"', "must be at most 512 KiB, not 2097152"),
        ("rows = 8", "rows = 128", "matrix.rows must be in 1..64, not 128"),
        ("columns = 8", "columns = 2", "matrix.columns must be in 4..32, not 2"),
        ("accumulators = 4096", "accumulators = 32", "accumulators must be in 64..131072, not 32"),
        ("lanes = 32", "lanes = 2", "vector.lanes must be in 4..512, not 2"),
        ("lanes = 32", "lanes = 128", "lanes must be at most 64, half the width of 8 banks of L1"),
        ("l1_banks = 8", "l1_banks = 2", "core.l1_banks must be in 4..1024, not 2"),
        ('scale_bytes = "16 KiB"', "scale_bytes = 64", "scale_bytes must be a multiple of 256"),
        ("l1_banks = 8", "l1_banks = 6", "core.l1_banks must be a power of two, not 6"),
        ("stacks = 0", "stacks = 2", "stacks must be 0 for an AXI memory and at least 1 for HBM"),
        ('capacity_bytes = "1 GiB"', 'capacity_bytes = "2048 GiB"', "must be at most 1 TiB"),
        ("efficiency = 0.93", "efficiency = 1.5", "`float` <= 1.0 - at `$.hbm.efficiency`"),
        ('node = "N2"', 'node = "N7"', "Invalid enum value 'N7'"),
        ('name = "small"', 'name = "Small one"', "at `$.name`"),
        ("rows = 8", "row = 8", "unknown key `row` at `$.matrix`; did you mean `rows`?"),
        ("cores = 1", "cores = 1\ncolour = 2", "unknown key `colour` at `$`"),
        ("cores = 1\n", "", "missing required field `cores`"),
        ('clock_hz = "1.2 GHz"', 'clock_hz = "1.2 GB"', "'1.2 GB' is not a quantity in Hz"),
        ("[vector]", "[vector", "Expected ']' at the end of a table"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str):
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load_chip(path)
    assert message in caught.value.problem
    assert caught.value.where == str(path)


def test_a_missing_file_and_one_of_bytes_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        load_chip(tmp_path / "none.toml")
    path = tmp_path / "chip.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="codec can't decode"):
        load_chip(path)


def test_the_fingerprint_is_that_of_the_numbers(tmp_path: Path):
    small = load_chip(CHIPS / "small.toml")
    path = changed(tmp_path, "# The default", "# Another comment on the default")
    assert load_chip(path).fingerprint == small.fingerprint
    others = [
        replace(small, cores=2),
        replace(small, vector=replace(small.vector, lanes=64)),
        replace(small, hbm=replace(small.hbm, bytes_per_s=1e9)),
    ]
    assert len({chip.fingerprint for chip in [small, *others]}) == 4
