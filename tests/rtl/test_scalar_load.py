"""A 32-bit number from any byte address, whatever the width of the bus."""

import random

import pytest

from rtl.components import started
from rtl.sequencer_bench import SlowMemory, Wires
from tapeout.rtl.scalar_load import ScalarLoad

BUSES = (32, 64, 128, 1024)


def loads(bus_bits, addresses, *, bad=range(0), open_share=0.5, seed=1):
    """(value, error) of each."""
    rng = random.Random(seed)
    content = rng.randbytes(8192)
    w = Wires(started(ScalarLoad(bus_bits=bus_bits)))
    w["start"] = 0
    w.reset()
    memory = SlowMemory(w, "memory", content, bus_bits // 8, rng, open_share=open_share, bad=bad)
    out = []
    for address in addresses:
        w["start"], w["address"] = 1, address
        for cycle in range(300):
            memory.drive()
            w.settle()
            if cycle and w["done"]:
                break
            memory.observe()
            w.tick()
            w["start"] = 0
        assert w["done"]
        assert not memory.coming
        value = int.from_bytes(content[address : address + 4], "little")
        assert w["error"] or w["value"] == value, f"{address}: {w['value']:#x}, not {value:#x}"
        out.append(w["error"])
    return out, memory


@pytest.mark.parametrize("bus_bits", BUSES)
def test_every_offset(bus_bits):
    addresses = [*range(140), *range(4090, 4100), *range(8180, 8189)]
    errors, memory = loads(bus_bits, addresses)
    assert not any(errors)
    assert len(memory.reads) == sum(1 + (address % 4 > 0) for address in addresses)


def test_errors_of_either_word():
    errors, _ = loads(32, [12, 13, 15, 16, 17, 19, 20, 12], bad=range(16, 20))
    assert errors == [0, 1, 1, 1, 1, 1, 0, 0]


def test_widths_that_cannot_be():
    for bus_bits in (8, 48):
        with pytest.raises(ValueError, match="power of two of at least 32"):
            ScalarLoad(bus_bits=bus_bits)
