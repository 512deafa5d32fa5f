"""The seeded faults of studies/breakage: fresh enough to seed, and each one caught."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "breakage", ROOT / "studies" / "breakage" / "run.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["breakage"] = module
    spec.loader.exec_module(module)
    return module


FAULTS = study().faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_names_one_place_and_a_test(fault: Any):
    assert (ROOT / fault.file).read_text().count(fault.old) == 1
    assert fault.old != fault.new
    assert (ROOT / fault.test.split("::")[0]).is_file()


def test_names_are_unique():
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_caught(fault: Any, tmp_path: Path):
    run = study()
    run.copy_tree(tmp_path)
    assert run.try_fault(fault, tmp_path).caught_by, "no test failed"
