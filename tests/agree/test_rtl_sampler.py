"""The RTL's sampler chooses the simulator's tokens."""

import numpy as np
import pytest

from rtl.bursts_memory import BurstMemory
from rtl.components import started
from tapeout.isa import Sample
from tapeout.isa.encoding import fields
from tapeout.numerics.philox import random_bits64
from tapeout.rtl.command import COMMAND
from tapeout.rtl.sampler import Sampler
from tapeout.rtl.trap import Trap
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

BUS_BYTES = 16
UNIT = Sampler(bus_bits=8 * BUS_BYTES)
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, -3e38], np.float32)


def command(op: Sample, rows: int) -> int:
    word, low = 0, 0
    for name, field in fields(Sample).items():
        word |= getattr(op, name) // field.unit << low
        low += field.bits
    parts = {"opcode": op.opcode, "payload": word, "rows": rows}
    return sum(value << COMMAND[name].offset for name, value in parts.items())


def memory_of(hbm) -> Memories:
    return Memories(l1_bytes=64, scale_bytes=64, acc_bytes=64, hbm=hbm, fill=0)


def run(op: Sample, rows: int, hbm, *, seed: int = 0, open_share: float = 1.0, fail_at=None):
    """(memory afterwards, trap) of the RTL."""
    model, data = started(UNIT), hbm.copy()
    memory = BurstMemory(
        model, data, bus_bytes=BUS_BYTES, reads=("read",), writes=("write",), seed=seed,
        open_share=open_share,
    )  # fmt: skip
    memory.fail_at = fail_at
    model.set("commands_valid", 1)
    model.set("commands_payload", command(op, rows))
    for _ in range(200_000):
        taken = model.get("commands_valid") and model.get("commands_ready")
        memory.cycle()
        if taken:
            model.set("commands_valid", 0)
        if model.get("done") or model.get("trap"):
            break
    else:
        raise AssertionError("neither done nor trapped")
    return data, model.get("trap")


def case(rng, rows: int, columns: int, kind: str):
    hbm = rng.integers(0, 256, 1 << 15).astype(np.uint8)
    pitch = 4 * (columns + int(rng.integers(0, 4)))
    op = Sample(
        logits=0x100 + 4 * int(rng.integers(0, 4)), pitch=pitch, columns=columns,
        parameters=0x6000 + 4 * int(rng.integers(0, 4)), out=0x7000 + 4 * int(rng.integers(0, 4)),
        rows=rows, rows_reg=0,
    )  # fmt: skip
    for row in range(rows):
        logits = (rng.normal(size=columns) * rng.choice([0.1, 3, 40])).astype(np.float32)
        if kind == "equals":
            logits = rng.choice(logits[: min(3, columns)], columns)
        if kind == "special":
            at = rng.random(columns) < 0.4
            logits[at] = rng.choice(SPECIAL, int(at.sum()))
        if kind == "nan":
            logits[:] = np.nan
        if kind == "bits":
            logits = rng.integers(0, 1 << 32, columns, dtype=np.uint32).view(np.float32)
        start = op.logits + row * pitch
        hbm[start : start + 4 * columns] = logits.view(np.uint8)
        inverse = rng.choice(np.array([1.44, 0.3, 20, np.inf, 0, np.nan, -1], np.float32))
        if kind == "plain":
            inverse = np.float32(1.44)
        record = np.zeros(8, np.uint32)
        record[0] = np.float32(inverse).view(np.uint32)
        record[1] = rng.choice([0, 1, 2, columns // 2, columns, columns + 1])
        record[2] = rng.choice([0, 1, 1 << 31, (1 << 32) - 1, int(0.9 * 2**32)])
        record[4:] = rng.integers(0, 1 << 32, 4, dtype=np.uint32)
        at = op.parameters + 32 * row
        hbm[at : at + 32] = record.view(np.uint8)
    return op, hbm


@pytest.mark.parametrize("kind", ["plain", "equals", "special", "nan", "bits"])
def test_tokens_are_those_of_the_simulator(kind):
    rng = np.random.default_rng(len(kind))
    for turn in range(6):
        rows = int(rng.integers(0, 4))
        op, hbm = case(rng, rows, int(rng.integers(1, 60)), kind)
        wanted = hbm.copy()
        execute(op, [0] * 32, memory_of(wanted))
        got, trap = run(op, rows, hbm, seed=turn, open_share=float(rng.choice([1, 0.5])))
        assert trap == 0
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("counter", range(4))
def test_a_prefix_that_reaches_top_p_exactly_ends_there(counter):
    """Eight equal logits, half of the probability: the first four are kept, not five."""
    hbm = np.zeros(1 << 15, np.uint8)
    op = Sample(logits=0, pitch=32, columns=8, parameters=0x100, out=0x200, rows=1, rows_reg=0)
    record = np.array([np.float32(1).view(np.uint32), 0, 1 << 31, 0, 5, 0, counter, 0], np.uint32)
    hbm[0x100:0x120] = record.view(np.uint8)
    wanted = hbm.copy()
    execute(op, [0] * 32, memory_of(wanted))
    got, _ = run(op, 1, hbm)
    np.testing.assert_array_equal(got, wanted)
    assert wanted[0x200] < 4


def test_a_draw_on_the_border_takes_the_next_logit():
    """Of two equal logits the first has weights 0..2^30 - 1; this draw is 2^30 exactly."""
    seed, counter = 0, 4332806593
    assert random_bits64(seed, counter) >> 33 == 1 << 30
    hbm = np.zeros(1 << 15, np.uint8)
    op = Sample(logits=0, pitch=8, columns=2, parameters=0x100, out=0x200, rows=1, rows_reg=0)
    record = np.array([np.float32(1).view(np.uint32), 0, 0, 0, 0, 0, 0, 0], np.uint32)
    record[4:] = np.array([seed, counter], np.uint64).view(np.uint32)
    hbm[0x100:0x120] = record.view(np.uint8)
    wanted = hbm.copy()
    execute(op, [0] * 32, memory_of(wanted))
    got, _ = run(op, 1, hbm)
    np.testing.assert_array_equal(got, wanted)
    assert wanted[0x200] == 1


def test_many_logits_in_long_bursts():
    rng = np.random.default_rng(3)
    op, hbm = case(rng, 1, 1500, "equals")
    wanted = hbm.copy()
    execute(op, [0] * 32, memory_of(wanted))
    got, _ = run(op, 1, hbm)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("where", "trap"), [("logits", Trap.READ), ("out", Trap.WRITE)])
def test_errors_of_memory_trap(where, trap):
    op, hbm = case(np.random.default_rng(1), 1, 20, "plain")
    start = getattr(op, where) // 16 * 16
    assert run(op, 1, hbm, fail_at=range(start, start + 16))[1] == trap
