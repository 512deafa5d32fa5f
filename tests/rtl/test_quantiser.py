"""How long the quantiser and the dequantiser take, and how they begin and end."""

import numpy as np
import pytest

from rtl.components import counting, started
from rtl.vector_bench import VectorBench, command_word
from tapeout.isa.instructions import Dequantise, Quantise
from tapeout.numerics import FORMATS
from tapeout.rtl.check import check_protocol
from tapeout.rtl.dequantiser import Dequantiser
from tapeout.rtl.memory_fifo import MemoryFifo
from tapeout.rtl.quantiser import Quantiser

L1_BITS, SCALE_BITS = 13, 9
OVERHEAD = 24  # cycles of a command, with the first request and the last write


def bench(unit_class, lanes, *, stalls=0.0, slow=None):
    unit = unit_class(lanes=lanes, address_bits=L1_BITS, scale_address_bits=SCALE_BITS)
    rng = np.random.default_rng(lanes)
    l1, scale = (rng.integers(0, 256, 16 << bits, np.uint8) for bits in (L1_BITS, SCALE_BITS))
    scales = {"read_scale" if unit_class is Dequantiser else "write_scale": scale}
    ports = {"read": l1, "write": l1, **scales}
    return VectorBench(unit, ports, stalls=stalls, slow=slow, seed=lanes)


def quantise(fmt, *, rows, columns, per_row=False):
    return Quantise(
        src=0, src_pitch=4 * columns, dst=0x10000, dst_pitch=4 * columns, scale=0,
        scale_pitch=0x100, format=fmt.code, mode=0, per_row=int(per_row), rows=rows, rows_reg=0,
        columns=columns,
    )  # fmt: skip


def dequantise(fmt, *, rows, columns):
    return Dequantise(
        src=0, src_pitch=4 * columns, scale=0, scale_pitch=0x100, format=fmt.code,
        dst=0x10000, dst_pitch=4 * columns, rows=rows, rows_reg=0, columns=columns,
    )  # fmt: skip


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("lanes", [4, 8, 32, 64])
def test_a_chunk_passes_each_cycle(fmt, lanes):
    chunks = 2 * 640 // lanes
    op = quantise(fmt, rows=2, columns=640)
    (cycles,) = bench(Quantiser, lanes).run([command_word(op, 2)])
    straddling = chunks // 8 if (lanes, fmt.element_bits) == (4, 6) else 0
    filling = fmt.group // lanes  # chunks that wait until their group is complete
    assert cycles <= chunks + straddling + filling + OVERHEAD
    if fmt.scale != "none":
        op = quantise(fmt, rows=2, columns=640, per_row=True)
        (cycles,) = bench(Quantiser, lanes).run([command_word(op, 2)])
        assert cycles <= 2 * chunks + straddling + OVERHEAD


@pytest.mark.parametrize(("lanes", "most"), [(4, 22), (8, 13), (32, 9), (64, 9)])
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_cycles_of_a_block(fmt, lanes, most):
    op = dequantise(fmt, rows=2, columns=320)
    (cycles,) = bench(Dequantiser, lanes).run([command_word(op, 2)])
    assert cycles <= 20 * most + 10


@pytest.mark.parametrize("unit_class", [Quantiser, Dequantiser])
def test_commands_follow_each_other(unit_class):
    """Each waits for what the one before it wrote: the second reads the codes of the first."""
    make = quantise if unit_class is Quantiser else dequantise
    wide, fp8 = FORMATS[13], FORMATS[3]
    first, none, second = (make(fmt, rows=2, columns=40) for fmt in (wide, wide, fp8))
    second = type(second)(**{**vars(second), "src": first.dst, "dst": 0x18000})
    together, apart = (bench(unit_class, 8, stalls=0.3) for _ in range(2))
    words = [command_word(first, 2), command_word(none, 0), command_word(second, 2)]
    done = together.run(words)
    assert sorted(set(done)) == done
    for word in words:
        apart.run([word])
    for name, memory in together.memories.items():
        assert np.array_equal(memory, apart.memories[name])
    written = apart.memories["write"][0x18000 : 0x18000 + 40]
    assert len(set(written.tolist())) > 4


@pytest.mark.parametrize("slow", ["read", "write", "write_scale"])
def test_the_quantiser_is_done_when_everything_is_written(slow):
    """Whichever port is slow; the bench checks that nothing is asked for when it is done."""
    unit = bench(Quantiser, 8, slow={slow: 0.97})
    word = command_word(quantise(FORMATS[5], rows=1, columns=64), 1)
    unit.run([word] * 5)
    assert unit.writes == {"read": 0, "write": 5 * 8, "write_scale": 5 * 2}


@pytest.mark.parametrize("slow", ["write", "write_scale"])
def test_nothing_is_lost_while_more_chunks_wait_than_there_is_room_for(slow):
    word = command_word(quantise(FORMATS[11], rows=4, columns=640), 4)
    free, held = bench(Quantiser, 8), bench(Quantiser, 8, slow={slow: 0.9})
    for unit in (free, held):
        unit.run([word])
    for name, memory in free.memories.items():
        assert np.array_equal(memory, held.memories[name]), name


@pytest.mark.parametrize("slow", ["read", "read_scale", "write"])
def test_the_dequantiser_is_done_when_everything_is_written(slow):
    unit = bench(Dequantiser, 8, slow={slow: 0.97})
    unit.run([command_word(dequantise(FORMATS[5], rows=1, columns=64), 1)] * 5)
    assert unit.writes == {"read": 0, "read_scale": 0, "write": 5 * 8}


@pytest.mark.parametrize("unit_class", [Quantiser, Dequantiser])
def test_without_rows_nothing_is_done(unit_class):
    make = quantise if unit_class is Quantiser else dequantise
    unit = bench(unit_class, 8)
    before = {name: memory.copy() for name, memory in unit.memories.items()}
    (cycles,) = unit.run([command_word(make(FORMATS[0], rows=0, columns=64), 0)])
    assert cycles <= 4
    assert not any(unit.reads.values())
    assert not any(unit.writes.values())
    assert all(np.array_equal(unit.memories[name], memory) for name, memory in before.items())


@pytest.mark.parametrize("unit_class", [Quantiser, Dequantiser])
@pytest.mark.parametrize("lanes", [2, 12, 2048])
def test_lanes_are_a_power_of_two(unit_class, lanes):
    with pytest.raises(ValueError, match=f"lanes must be a power of two in 4..512, not {lanes}"):
        unit_class(lanes=lanes, address_bits=L1_BITS, scale_address_bits=SCALE_BITS)


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_the_queue_in_a_memory_keeps_the_protocol(depth):
    beats = counting(1500, 9)
    model = started(MemoryFifo(9, depth=depth))
    got = check_protocol(model, {"input": beats}, {"output": len(beats)})["output"]
    assert np.array_equal(got, beats)
    run = model.run({"input": beats}, {"output": len(beats)})
    assert run.cycle_of["output"].tolist() == list(range(2, 2 + len(beats)))
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        MemoryFifo(9, depth=1)
