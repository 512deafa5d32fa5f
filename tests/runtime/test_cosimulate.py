"""A replay follows legal events, refuses others, and finds what differs."""

import random

import numpy as np
import pytest

from machines import chip_named, send
from tapeout.errors import TrapError
from tapeout.isa import (
    Barrier,
    End,
    Instruction,
    LoadTile,
    Map,
    MapFn,
    Nop,
    Operation,
    Queue,
    Set,
    Softmax,
    Space,
    StorePages,
    StoreTile,
    Take,
)
from tapeout.isa.encoding import fields
from tapeout.runtime.cosimulate import Difference, Replay, ReplayError, Write, compare
from tapeout.runtime.random_programs import random_program

NANO = chip_named("nano")
CP, LD, ST, VU = Queue.CP, Queue.LD, Queue.ST, Queue.VU


def load(dst: int, row_bytes: int = 32, rows: int = 1, src: int = 0) -> LoadTile:
    return LoadTile(
        space=Space.L1, dst=dst, dst_pitch=64, src=src, src_reg=0, src_pitch=row_bytes,
        rows=rows, rows_reg=0, row_bytes=row_bytes,
    )  # fmt: skip


def store(src: int, dst: int, row_bytes: int = 32) -> StoreTile:
    return StoreTile(
        space=Space.L1, src=src, src_pitch=64, dst=dst, dst_reg=0, dst_pitch=row_bytes,
        rows=1, rows_reg=0, row_bytes=row_bytes,
    )  # fmt: skip


def replay_of(*instructions: Instruction, memory_bytes: int = 1024) -> Replay:
    memory = np.random.default_rng(0).integers(0, 256, memory_bytes, np.uint8)
    return Replay(NANO, (*instructions, send(End())), {}, memory)


def sent(replay: Replay, count: int) -> None:
    for number in range(count):
        replay.event(CP, number)


def test_an_instruction_tells_what_it_has_written():
    replay = replay_of(send(load(128, row_bytes=20, rows=3)))
    assert replay.event(CP, 0) == []
    writes = replay.event(LD, 0)
    assert writes == [Write(memory="l1", start=128, rows=3, pitch=64, row_bytes=20)]
    assert writes[0].ranges == [(128, 148), (192, 212), (256, 276)]
    l1, memory = replay.images["l1"], replay.images["memory"]
    assert np.array_equal(l1[writes[0].addresses], memory[:60])
    assert np.flatnonzero(replay.written["l1"]).tolist() == writes[0].addresses.tolist()


def test_pages_are_written_where_the_table_says():
    op = StorePages(
        space=Space.L1, src=0, src_pitch=16, table=1, first=2, count=3, pool=512,
        page_bytes=32, offset=4, page_log2=1, row_bytes=8,
    )  # fmt: skip
    replay = replay_of(
        send(load(0, row_bytes=64)),
        *(send(Set(rd=rd, imm=imm)) for rd, imm in ((1, 100), (2, 1), (3, 3))),
        send(op),
    )
    memory = replay.images["memory"]
    memory[100:108] = np.array([5, 2], np.uint32).view(np.uint8)
    sent(replay, 5)
    replay.event(LD, 0)
    starts = [write.start for write in replay.event(ST, 4)]
    assert starts == [512 + 5 * 32 + 4 + 8, 512 + 2 * 32 + 4, 512 + 2 * 32 + 4 + 8]


def test_an_instruction_must_be_the_next_of_its_queue():
    replay = replay_of(send(load(0)), send(load(64)), send(store(0, 512)))
    with pytest.raises(ReplayError, match="nothing is the next to end"):
        replay.event(LD, 0)
    sent(replay, 2)
    with pytest.raises(ReplayError, match="instruction 0 is the next to end") as caught:
        replay.event(LD, 1)
    assert caught.value.where.startswith("LD, instruction 1: LD   loadtile")
    with pytest.raises(ReplayError, match="the command processor is at instruction 2"):
        replay.event(CP, 3)
    with pytest.raises(ReplayError, match="nothing is the next to end"):
        replay.event(ST, 2)


def test_an_instruction_must_wait_for_its_counters():
    replay = replay_of(
        send(load(0), signal=7),
        send(store(0, 512), Take(counter=7)),
        send(Nop(), Take(counter=9), queue=CP),
        send(Nop(), queue=VU, signal=9),
    )
    sent(replay, 2)
    assert replay.legal() == [(LD, 0)]
    with pytest.raises(ReplayError, match="it must still wait"):
        replay.event(ST, 1)
    replay.event(LD, 0)
    with pytest.raises(ReplayError, match="it must still wait"):
        replay.event(CP, 2)
    replay.event(ST, 1)
    assert replay.legal() == []


@pytest.mark.parametrize("op", [Barrier(), End()])
def test_what_empties_the_queues_must_wait_for_them(op: Operation):
    replay = replay_of(send(load(0)), send(op))
    sent(replay, 1)
    with pytest.raises(ReplayError, match="it must still wait"):
        replay.event(CP, 1)
    replay.event(LD, 0)
    replay.event(CP, 1)
    if replay.ended:
        with pytest.raises(ReplayError, match="it has ended"):
            replay.event(CP, 2)
    else:
        replay.event(CP, 2)
    assert replay.ended


def test_a_trap_of_the_simulator_is_not_hidden():
    replay = replay_of(send(load(0, src=2000)))
    sent(replay, 1)
    with pytest.raises(TrapError, match="address range"):
        replay.event(LD, 0)


def test_any_order_of_legal_events_ends_with_the_same_bits():
    case = random_program(NANO, 11, 30)
    ends: list[bytes] = []
    for seed in range(3):
        replay = Replay(NANO, case.instructions, case.registers, case.memory)
        order = random.Random(seed)
        while not replay.ended:
            replay.event(*order.choice(replay.legal()))
        ends.append(b"".join(image.tobytes() for image in replay.images.values()))
    assert ends[0] == ends[1] == ends[2]


def test_bytes_are_compared():
    expected, got = np.arange(10, dtype=np.uint8), np.arange(10, dtype=np.uint8)
    assert compare("l1", 100, expected, got) is None
    got[[4, 7]] = 99
    found = compare("l1", 100, expected, got)
    assert found == Difference(memory="l1", address=104, expected=4, got=99, count=2)
    assert str(found) == "l1 0x68 must hold 0x04, not 0x63 (2 bytes differ)"
    at = np.arange(1000, 1010)
    elsewhere = compare("acc", at[::-1].copy(), expected, got)
    assert elsewhere is not None
    assert elsewhere.address == 1005


def test_a_wrong_byte_of_hardware_is_found_where_it_was_written():
    replay = replay_of(send(load(128, row_bytes=20, rows=3)))
    sent(replay, 1)
    writes = replay.event(LD, 0)
    hardware = {"l1": replay.images["l1"].copy()}
    hardware["l1"][150] ^= 1  # between rows: not of this instruction
    assert replay.check(0, writes, hardware) == []
    assert replay.check_all(hardware) == []
    hardware["l1"][193] ^= 0xFF
    (found,) = replay.check(0, writes, hardware)
    assert (found.memory, found.address, found.count, found.number) == ("l1", 193, 1, 0)
    assert found.got == found.expected ^ 0xFF
    assert "bytes differ) after instruction 0: LD   loadtile space=L1" in str(found)
    assert [(f.memory, f.address) for f in replay.check_all(hardware)] == [("l1", 193)]


def test_what_may_have_begun_is_not_compared():
    again = load(128, row_bytes=8)
    replay = replay_of(
        send(load(128), signal=1), send(again), send(load(144, row_bytes=4), Take(counter=5))
    )
    sent(replay, 3)
    writes = replay.event(LD, 0)
    assert [w.row_bytes for w in replay.unsettled()] == [8]
    hardware = {"l1": replay.images["l1"].copy()}
    hardware["l1"][130] ^= 1
    assert replay.check(0, writes, hardware) == []
    hardware["l1"][140] ^= 1
    assert [f.address for f in replay.check(0, writes, hardware)] == [140]


def test_what_traps_may_reach_beyond_its_memory():
    end = NANO.core.l1_bytes
    replay = replay_of(send(load(end - 64, row_bytes=64)), send(load(end - 16)))
    sent(replay, 2)
    replay.event(LD, 0)
    replay.forget_unsettled()
    written = replay.written["l1"]
    assert written[end - 64 : end - 16].all()
    assert not written[end - 16 :].any()


def test_registers_are_those_when_the_instruction_was_sent():
    op = load(0, row_bytes=4)
    moving = LoadTile(**{**vars(op), "src_reg": 1})
    replay = replay_of(send(Set(rd=1, imm=40)), send(moving), send(Set(rd=1, imm=80)))
    sent(replay, 3)
    replay.event(LD, 1)
    assert np.array_equal(replay.images["l1"][:4], replay.images["memory"][40:44])


@pytest.mark.parametrize("cls", [Map, Softmax])
def test_without_rows_nothing_is_written(cls: type[Operation]):
    values = dict.fromkeys(fields(cls), 0)
    values |= {"columns": 32, "fn": MapFn.ADD} if cls is Map else {"columns": 32, "group": 1}
    replay = replay_of(send(cls(**values)))
    sent(replay, 1)
    assert replay.event(VU, 0) == []
