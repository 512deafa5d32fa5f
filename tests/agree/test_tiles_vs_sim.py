"""The table of tiles says of every operation what the simulator does when it runs it."""

from dataclasses import replace

import numpy as np
import pytest

from agree.boundary import CHECKED, Sizes, random_operation
from tapeout.errors import TrapError
from tapeout.isa import LoadPages, Operation, Space, StorePages
from tapeout.isa.tiles import placed
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

SIZES: Sizes = {Space.L1: 1 << 14, Space.SCALE: 1 << 10, Space.ACC: 1 << 13, None: 5003}


def memories() -> Memories:
    return Memories(
        l1_bytes=SIZES[Space.L1],
        scale_bytes=SIZES[Space.SCALE],
        acc_bytes=SIZES[Space.ACC],
        hbm=np.zeros(SIZES[None], np.uint8),
        fill=0,
    )


@pytest.mark.parametrize("cls", CHECKED)
def test_a_tile_outside_its_memory_traps_and_nothing_else_does(cls: type[Operation]):
    rng = np.random.default_rng(cls.opcode)
    mem = memories()
    verdicts = [verdict(cls, rng, mem) for _ in range(300)]
    assert 0.2 < np.mean(verdicts) < 0.95, "both verdicts are well tried"


def verdict(cls: type[Operation], rng: np.random.Generator, mem: Memories) -> bool:
    op, registers = random_operation(cls, rng, SIZES)
    if isinstance(op, LoadPages | StorePages):  # a table of zeros and its page lie in memory
        op = replace(op, pool=0, offset=0, row_bytes=min(op.row_bytes, 8))
        registers[op.table] = 0
    tiles = [replace(tile, half=False) for tile in placed(op, registers)]  # its halves are alike
    inside = all(tile.lies_within(SIZES[tile.space]) for tile in tiles)
    try:
        execute(op, registers, mem)
        ran = True
    except TrapError as trap:
        if "address range" not in trap.problem:
            return inside  # alignment, or a first token below zero
        ran = False
    except ValueError:  # numpy does not view rows of 16-bit numbers that overlap
        return inside
    assert ran == inside, f"{op} with {registers}: {tiles}"
    return inside
