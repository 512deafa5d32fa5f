"""A memory writes the parts of a line that the mask names, and reads what was there."""

import numpy as np
import pytest

from rtl.components import started
from tapeout.rtl.sram import Sram


@pytest.mark.parametrize(("width", "depth", "part"), [(32, 5, 8), (96, 16, 32), (7, 2, 7)])
def test_random_reads_and_writes(width, depth, part):
    model = started(Sram(width=width, depth=depth, part=part))
    rng = np.random.default_rng(1)
    held = [None] * depth
    shown = None
    for _ in range(400):
        read, write = rng.integers(0, 2, 2)
        line, other = (int(i) for i in rng.integers(0, depth, 2))
        word = int.from_bytes(rng.bytes(16), "little") & ((1 << width) - 1)
        mask = int(rng.integers(0, 1 << width // part))
        if held[other] is None:
            mask = (1 << width // part) - 1
        ports = {"read_enable": int(read), "read_line": line, "write_enable": int(write),
                 "write_line": other, "write_data": word, "mask": mask}  # fmt: skip
        for name, value in ports.items():
            model.set(name, value)
        model.tick()
        shown = held[line] if read else shown
        if write:
            bits = sum(((1 << part) - 1) << i * part for i in range(width // part) if mask >> i & 1)
            held[other] = (held[other] or 0) & ~bits | word & bits
        if shown is not None:
            assert model.get("data") == shown


def test_nothing_is_known_before_it_is_written():
    contents = set()
    for seed in (1, 2):
        model = started(Sram(width=32, depth=5, part=8))
        model.set("read_enable", 1)
        model.tick()
        contents.add((seed, model.get("data")))
    assert {value for _, value in contents} != {0}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((8, 1, 8), "depth must be at least 2"), ((9, 2, 8), "width must be a multiple of 8 bits")],
)
def test_sizes_that_do_not_work_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Sram(width=sizes[0], depth=sizes[1], part=sizes[2])
