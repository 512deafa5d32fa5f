import numpy as np
import pytest

from tapeout.errors import TrapError
from tapeout.isa import Space
from tapeout.sim.state import Memories, numbers, tile


def test_a_tile_is_a_view_with_a_pitch():
    memory = np.arange(64, dtype=np.uint8)
    view = tile(memory, 3, 2, 20, 4)
    assert view.tolist() == [[3, 4, 5, 6], [23, 24, 25, 26]]
    view[1, 0] = 99
    assert memory[23] == 99


def test_numbers_need_no_alignment():
    memory = np.zeros(64, np.uint8)
    memory[5:9] = np.array([1.5], np.float32).view(np.uint8)
    assert numbers(memory, 5, 1, 0, 1)[0, 0] == 1.5


@pytest.mark.parametrize(("start", "rows", "ok"), [(0, 4, True), (1, 4, False), (-1, 1, False)])
def test_the_last_byte_counts(start: int, rows: int, ok: bool):
    memory = np.zeros(64, np.uint8)
    if ok:
        assert tile(memory, start, rows, 16, 16).shape == (rows, 16)
    else:
        with pytest.raises(TrapError, match=r"must lie in 0\.\.0x40"):
            tile(memory, start, rows, 16, 16)


def test_the_spaces_have_their_sizes():
    mem = Memories(l1_bytes=64, scale_bytes=32, acc_bytes=16, hbm=np.zeros(8, np.uint8), fill=7)
    assert [mem.space(s).size for s in Space] == [64, 32, 16]
    assert all((mem.space(s) == 7).all() for s in Space)
