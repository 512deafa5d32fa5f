from dataclasses import replace
from pathlib import Path

import pytest

from tapeout.chip import Chip, load_chip
from tapeout.report import block_diagram, diagram_file

CHIPS = sorted((Path(__file__).parents[2] / "chips").glob("*.toml"))


def words(chip: Chip) -> str:
    return " ".join(one.text or "" for one in block_diagram(chip).iter("text"))


@pytest.mark.parametrize("path", CHIPS, ids=lambda p: p.stem)
def test_shows_the_numbers_of_every_chip(path: Path):
    chip = load_chip(path)
    text = words(chip)
    assert f"{chip.matrix.rows} x {chip.matrix.columns} x 32" in text
    assert f"{chip.vector.lanes} lanes" in text
    assert f"{chip.core.l1_banks} banks" in text
    for queue in ("LD", "MU", "VU", "ST"):
        assert queue in text
    assert text.count("stack") == chip.hbm.stacks


def test_changes_with_the_chip():
    chip = load_chip(CHIPS[0])
    wider = replace(chip, vector=replace(chip.vector, lanes=2 * chip.vector.lanes))
    assert words(chip) != words(wider)


def test_the_file_brings_its_own_colours():
    text = diagram_file(load_chip(CHIPS[0]))
    assert "prefers-color-scheme: dark" in text
    used = {part.split(")")[0] for part in text.split("var(")[1:]}
    assert all(f"{name}: #" in text for name in used)
