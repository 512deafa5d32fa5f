"""The parts of benchmarks/rtl_core.py that need no RTL: its programs, and who is to blame."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from machines import chip_named, program_of, send
from tapeout.compiler import recipe_named
from tapeout.isa import Nop, Program, Queue, Take
from tapeout.numerics import matmul_segmented, quantise
from tapeout.sim import Machine

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EVENT = np.dtype([("cycle", "<i8"), ("number", "<i4"), ("core", "<i2"), ("queue", "<i2")])
NANO = chip_named("nano")
Load = Callable[[str], ModuleType]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Load:
    """`module("rtl_idle")` is that file of benchmarks."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def region(piece: Any, name: str, memory: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = next(r for r in piece.program.regions if r.name == name)
    return memory[found.address : found.end].view(np.float32)


def run(piece: Any) -> NDArray[np.uint8]:
    machine = Machine(NANO, piece.memory.size)
    machine.hbm[:] = piece.memory
    machine.run(piece.program, piece.scalars)
    return machine.hbm


@pytest.mark.parametrize("recipe", ["mxfp8_e4m3", "int8", "mxfp4"])
@pytest.mark.parametrize("m", [1, 32])
def test_a_product_is_one(module: Load, recipe: str, m: int):
    n, k = 64, 96
    piece = module("rtl_pieces").product(NANO, recipe, m=m, n=n, k=k)
    rng, formats = np.random.default_rng(1), recipe_named(recipe)
    x, w = (rng.standard_normal((rows, k)).astype(np.float32) for rows in (m, n))
    wanted = matmul_segmented(
        quantise(x, formats.of("activations")), quantise(w, formats.of("weights"))
    )
    actual = region(piece, "logits", run(piece)).reshape(m, n)
    np.testing.assert_array_equal(actual.view(np.uint32), wanted.view(np.uint32))
    assert piece.macs == m * n * k


@pytest.mark.parametrize("recipe", ["mxfp8_e4m3", "int8"])
def test_the_last_token_of_a_prefill_attends_as_in_a_decode(module: Load, recipe: str):
    """Both see the same queries and keys; only what earlier tokens of the prefill see differs."""
    attending = module("rtl_pieces").attending
    context = 272
    piece = attending(NANO, recipe, rows=2, context=context, decode=True)
    out = region(piece, "attended", run(piece))
    assert np.isfinite(out).all()
    assert np.unique(out).size > out.size // 2
    prefill = attending(NANO, recipe, rows=4, context=context, decode=False)
    assert np.isfinite(region(prefill, "attended", run(prefill))).all()
    assert prefill.scalars == {"rows": 4}


def blamed(module: Load, program: Program, *events: tuple[int, int, Queue]) -> dict[str, int]:
    rows = [(cycle, number, 0, int(queue)) for cycle, number, queue in events]
    found = module("rtl_idle").idle_cycles(program, np.array(rows, EVENT))
    return {cause: cycles for cause, cycles in found.items() if cycles}


def test_who_is_to_blame_for_an_idle_matrix_unit(module: Load):
    """A product at 100; the next one waits for the vector unit, which waited for a load."""
    nop = Nop()
    program = program_of(
        NANO,
        (
            send(nop, queue=Queue.MU),
            send(nop, signal=1, queue=Queue.LD),
            send(nop, Take(counter=1), signal=2, queue=Queue.VU),
            send(nop, Take(counter=2), queue=Queue.MU),
            send(nop, queue=Queue.MU),
        ),
    )
    sent = [(10 + i, i, Queue.CP) for i in range(4)]
    ended = [(100, 0, Queue.MU), (150, 1, Queue.LD), (170, 2, Queue.VU), (200, 3, Queue.MU)]
    late = [(230, 4, Queue.CP), (240, 4, Queue.MU)]
    causes = blamed(module, program, *sent, *ended, *late)
    assert causes == {"loads": 50, "vector": 20, "dispatch": 30}
