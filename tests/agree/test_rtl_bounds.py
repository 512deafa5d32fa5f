"""The RTL lets an instruction pass if and only if the simulator would run it."""

from dataclasses import replace

import numpy as np
import pytest

from agree.boundary import CHECKED, Sizes, format_problem, is_register, random_operation, rows_of
from rtl.components import started
from tapeout.errors import ConfigError, TrapError
from tapeout.isa import (
    REGISTERS,
    LoadPages,
    LoadTile,
    Map,
    MapFn,
    Matmul,
    Rope,
    Sample,
    Softmax,
    Space,
    StorePages,
    StoreTile,
    VectorMatmul,
    shape_problem,
)
from tapeout.isa.encoding import PAYLOAD_BITS, fields
from tapeout.isa.tiles import ROWS, placed
from tapeout.numerics import FORMATS
from tapeout.rtl.bounds import Bounds
from tapeout.rtl.check import check_protocol, checked_run, random_gates
from tapeout.rtl.command import COMMAND, REGISTER_BITS, payload_layout
from tapeout.rtl.sent import SENT, TRAPPED
from tapeout.rtl.trap import Trap
from tapeout.sim.execute import execute
from tapeout.sim.state import Memories

SMALL = Bounds(l1_granules=1 << 10, scale_granules=1 << 6, accumulators=1 << 10)
SIZES: Sizes = {Space.L1: 1 << 14, Space.SCALE: 1 << 10, Space.ACC: 1 << 13, None: 5003}
LARGE = Bounds(l1_granules=1 << 20, scale_granules=1 << 16, accumulators=1 << 17)
LARGE_SIZES: Sizes = {Space.L1: 1 << 24, Space.SCALE: 1 << 20, Space.ACC: 1 << 20, None: 1 << 40}
ODD = Bounds(l1_granules=1000, scale_granules=48, accumulators=1 << 8)
ODD_SIZES: Sizes = {Space.L1: 16000, Space.SCALE: 768, Space.ACC: 1 << 11, None: (1 << 39) + 7}
FORMAT_WORDS = ("b must be bf16", "probabilities in")
RUN_TIME = {
    LoadTile: ("src_reg",),
    StoreTile: ("dst_reg",),
    LoadPages: ("table", "first", "end"),
    StorePages: ("table", "first"),
    Softmax: ("query", "key"),
}


# ---- instructions as beats -----------------------------------------------------------------------


def filled(layout, **values):
    return sum(
        (values.pop(name, 0) & ((1 << field.width) - 1)) << field.offset for name, field in layout
    )


def payload_of(op):
    """The payload, also of an operation whose fields hold what is not defined."""
    units = {name: field.unit for name, field in fields(type(op)).items()}
    return filled(payload_layout(type(op)), **{n: int(getattr(op, n)) // units[n] for n in units})


def beat(op, registers, *, number=0, payload=None, rng=None):
    values = {"rows": rows_of(op, registers), "opcode": op.opcode}
    values["payload"] = payload_of(op) if payload is None else payload
    names = RUN_TIME.get(type(op), ())
    for i, axis in enumerate("xyz"):
        if i < len(names):
            values[axis] = registers[getattr(op, names[i])]
        elif rng is not None:
            values[axis] = int(rng.integers(1 << REGISTER_BITS))
    return filled(SENT, queue=int(op.queue), number=number, command=filled(COMMAND, **values))


def as_bytes(words):
    size = -(-SENT.size // 8)
    return np.array([list(word.to_bytes(size, "little")) for word in words], np.uint8)


class Driver:
    """A model that gets one instruction at a time."""

    def __init__(self, component, memory_bytes):
        self.model = started(component)
        self.memory_bytes = memory_bytes
        self.model.set("memory_bytes", memory_bytes)
        self.model.set("output_ready", 1)

    def code(self, word):
        """The trap of an instruction, or 0 when it has passed, unchanged."""
        model = self.model
        assert model.get("input_ready")
        assert not model.get("busy")
        model.set("input_payload", word)
        model.set("input_valid", 1)
        model.tick()
        model.set("input_valid", 0)
        for _ in range(40):
            assert model.get("busy"), "the clock must not stand still yet"
            if model.get("output_valid"):
                assert model.get("output_payload") == word
                model.tick()
                return Trap.NONE
            if code := model.get("trap") & 0xFF:
                self.check_trap(word, model.get("trap"))
                return Trap(code)
            model.tick()
        raise AssertionError("neither passed nor trapped")

    def check_trap(self, word, trap):
        """It names the instruction, lasts a cycle, and lets nothing more pass until reset."""
        model = self.model
        for name in ("queue", "number"):
            here, there = TRAPPED[name], SENT[name]
            mask = (1 << here.width) - 1
            assert trap >> here.offset & mask == word >> there.offset & mask
        model.tick()
        assert model.get("trap") & 0xFF == 0
        for port in ("input_ready", "output_valid", "busy"):
            assert not model.get(port)
        model.reset()
        model.set("memory_bytes", self.memory_bytes)
        model.set("output_ready", 1)


# ---- verdicts ------------------------------------------------------------------------------------


def memories(sizes):
    return Memories(
        l1_bytes=sizes[Space.L1],
        scale_bytes=sizes[Space.SCALE],
        acc_bytes=sizes[Space.ACC],
        hbm=np.zeros(sizes[None], np.uint8),
        fill=0,
    )


def by_table(op, registers, sizes):
    """What must be wrong with an operation whose fields, shape and formats are right."""
    tiles = placed(op, registers)
    if not all(tile.lies_within(sizes[tile.space]) for tile in tiles):
        return Trap.ADDRESS
    rows = rows_of(op, registers)
    if isinstance(op, Matmul) and rows and op.acc % op.acc_alignment(rows):
        return Trap.ALIGNMENT
    if isinstance(op, LoadPages):
        rows = max(0, min(rows, registers[op.end] - registers[op.first]))
    if isinstance(op, LoadPages | StorePages) and rows and registers[op.first] < 0:
        return Trap.ADDRESS
    return Trap.NONE


def by_sim(op, registers, mem, sizes):
    """The trap that the simulator has; it knows nothing of the accumulators' halves."""
    tiles = placed(op, registers)
    if isinstance(op, Matmul) and tiles and not tiles[-1].lies_within(sizes[Space.ACC]):
        return Trap.ADDRESS
    try:
        execute(op, registers, mem)
    except TrapError as trap:
        return Trap.ALIGNMENT if "must start on" in trap.problem else Trap.ADDRESS
    except ValueError:  # numpy does not view rows of 16-bit numbers that overlap
        return by_table(op, registers, sizes)
    return Trap.NONE


@pytest.mark.parametrize("cls", CHECKED)
def test_what_passes_is_what_the_simulator_runs(cls):
    rng = np.random.default_rng(cls.opcode)
    mem, driver = memories(SIZES), Driver(SMALL, SIZES[None])
    for number in range(120):
        op, registers = random_operation(cls, rng, SIZES)
        if isinstance(op, LoadPages | StorePages):  # a table of zeros and its page lie in memory
            op = replace(op, pool=0, offset=0, row_bytes=min(op.row_bytes, 8))
            registers[op.table] = 0
        expected = by_sim(op, registers, mem, SIZES)
        assert expected == by_table(op, registers, SIZES)
        word = beat(op, registers, number=number, rng=rng)
        assert driver.code(word) == expected, f"{op} with {registers}: {placed(op, registers)}"


@pytest.mark.parametrize(("component", "sizes"), [(LARGE, LARGE_SIZES), (ODD, ODD_SIZES)])
@pytest.mark.parametrize("cls", CHECKED)
def test_every_end_of_every_memory(cls, component, sizes):
    check_against_table(cls, component, sizes, count=100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("component", "sizes"), [(LARGE, LARGE_SIZES), (ODD, ODD_SIZES)])
@pytest.mark.parametrize("cls", CHECKED)
def test_every_end_of_every_memory_long(cls, component, sizes, seed):
    check_against_table(cls, component, sizes, count=800, seed=seed + 1)


def check_against_table(cls, component, sizes, *, count, seed=0):
    rng = np.random.default_rng([cls.opcode, seed])
    driver = Driver(component, sizes[None])
    for number in range(count):
        op, registers = random_operation(cls, rng, sizes)
        if number % 2:
            stretch(op, registers, rng)
        expected = by_table(op, registers, sizes)
        word = beat(op, registers, number=number, rng=rng)
        assert driver.code(word) == expected, f"{op} with {registers}: {placed(op, registers)}"


def stretch(op, registers, rng):
    """Give some fields and registers extreme values, as far as the operation stays legal."""
    for name, field in fields(type(op)).items():
        if is_register(name) or rng.random() < 0.6:
            continue
        old = getattr(op, name)
        top = (1 << field.bits) - 1
        new = int(rng.choice([1, top, top - 1, top // 2 + 1, rng.integers(top)])) * field.unit
        object.__setattr__(op, name, new)
        if undefined(op) or format_problem(op) or shape_problem(op):
            object.__setattr__(op, name, old)
    rule = ROWS[type(op)]
    for name in fields(type(op)):
        if is_register(name) and name != rule.register and rng.random() < 0.3:
            far = (1 << (REGISTER_BITS - 1)) - 1
            registers[getattr(op, name)] = int(rng.choice([far, -far - 1, 1 << 40, -1, 0]))
    if rule.register:
        rows = rows_of(op, registers)
        registers[getattr(op, rule.register)] += min(max(rows, 0), 2047) - rows


@pytest.mark.parametrize("cls", [Matmul, VectorMatmul])
@pytest.mark.parametrize("k_blocks", [1, 1023, 1024, 2047])
def test_a_transposed_operand_of_many_rows(cls, k_blocks):
    rng = np.random.default_rng(k_blocks)
    driver = Driver(LARGE, LARGE_SIZES[None])
    op, registers = random_operation(cls, rng, LARGE_SIZES)
    fixed = {"m": 1, "m_reg": 0, "n": 32, "k_blocks": k_blocks, "transpose": 1}
    formats = {"a_format": 9, "b_format": 9} if cls is Matmul else {"b_format": 12}
    places = {"acc": 0, "a_scale": 0, "b_scale": 0} if cls is Matmul else {"dst": 0}
    op = replace(op, **fixed, **formats, **places, a=0)
    for pitch in (0, 64, 240, 256):
        last = LARGE_SIZES[Space.L1] - (32 * k_blocks - 1) * pitch - (16 if cls is Matmul else 64)
        for start in (last // 16 * 16, last // 16 * 16 + 16):
            placed_op = replace(op, b=min(start, (1 << 24) - 16), b_pitch=pitch)
            expected = by_table(placed_op, registers, LARGE_SIZES)
            assert driver.code(beat(placed_op, registers)) == expected
            if start + 16 <= 1 << 24:
                assert (expected == Trap.ADDRESS) == (start > last)


# ---- fields --------------------------------------------------------------------------------------


def undefined(op):
    """Whether an enumerated field holds a value that is not defined."""
    kinds = ((getattr(op, name), f) for name, f in fields(type(op)).items() if f.kind)
    return any(value not in set(f.kind) for value, f in kinds)


def by_rules(op):
    """What is wrong with fields, shape and formats; one or the other if it may be both."""
    if undefined(op):
        return {Trap.FIELD}
    try:
        shape = shape_problem(op)
    except ConfigError:
        return {Trap.FORMAT, Trap.FIELD}
    if shape.startswith(FORMAT_WORDS):
        return {Trap.FORMAT}
    if shape:
        return {Trap.FIELD}
    return {Trap.FORMAT} if format_problem(op) else {Trap.NONE}


@pytest.mark.parametrize("cls", CHECKED)
def test_every_value_of_every_narrow_field(cls):
    """Without rows: then only what a field holds can be wrong."""
    rng = np.random.default_rng(cls.opcode)
    driver, seen = Driver(SMALL, SIZES[None]), set()
    for name, field in fields(cls).items():
        for value in range(1 << field.bits) if field.bits <= 4 else (0, 1, 2, 3, 31, 32):
            op, registers = without_rows(cls, rng)
            if is_register(name) or name == ROWS[cls].name:
                continue
            object.__setattr__(op, name, value * field.unit)
            expected = by_rules(op)
            got = driver.code(beat(op, registers, rng=rng))
            assert got in expected, f"{op} with {name}={value}"
            seen.add(got)
    assert Trap.FIELD in seen


def without_rows(cls, rng):
    op, registers = random_operation(cls, rng, SIZES)
    rule = ROWS[cls]
    if not rule.register:
        object.__setattr__(op, rule.name, 0)
    else:
        registers[getattr(op, rule.register)] = -getattr(op, rule.name) if rule.name else 0
    return op, registers


@pytest.mark.parametrize("cls", CHECKED)
def test_random_fields_have_the_verdict_of_the_rules(cls):
    rng = np.random.default_rng(cls.opcode)
    driver, size = Driver(SMALL, SIZES[None]), payload_layout(cls).size
    for _ in range(80):
        payload = int.from_bytes(rng.bytes(24), "little") & ((1 << size) - 1)
        values, low = {}, 0
        for name, field in fields(cls).items():
            values[name] = (payload >> low & ((1 << field.bits) - 1)) * field.unit
            low += field.bits
        op = cls(**values)
        word = beat(op, [0] * REGISTERS, payload=payload) & ~filled(
            SENT, command=filled(COMMAND, rows=2047)
        )
        assert driver.code(word) in by_rules(op), op


@pytest.mark.parametrize("cls", CHECKED)
def test_reserved_bits_of_the_payload(cls):
    rng = np.random.default_rng(cls.opcode)
    driver = Driver(SMALL, SIZES[None])
    op, registers = without_rows(cls, rng)
    assert driver.code(beat(op, registers)) == Trap.NONE
    for bit in range(payload_layout(cls).size, PAYLOAD_BITS):
        word = beat(op, registers, payload=payload_of(op) | 1 << bit)
        assert driver.code(word) == Trap.FIELD


def test_formats_that_are_not_multiplied():
    rng = np.random.default_rng(0)
    driver = Driver(SMALL, SIZES[None])
    for a in FORMATS:
        for b in FORMATS:
            op, registers = without_rows(Matmul, rng)
            op = replace(op, a_format=a.code, b_format=b.code, transpose=0, a_scale=0, b_scale=0)
            legal = a.family == b.family != "wide"
            assert driver.code(beat(op, registers)) == (Trap.NONE if legal else Trap.FORMAT)


def test_a_transposed_operand_fills_whole_bytes():
    rng = np.random.default_rng(0)
    driver = Driver(SMALL, SIZES[None])
    for fmt in FORMATS:
        if fmt.family == "wide":
            continue
        for n in range(1, 9):
            op, registers = without_rows(Matmul, rng)
            formats = {"a_format": fmt.code, "b_format": fmt.code}
            op = replace(op, **formats, a_scale=0, b_scale=0, transpose=1, n=n)
            expected = Trap.FIELD if n * fmt.element_bits % 8 else Trap.NONE
            assert driver.code(beat(op, registers)) == expected


@pytest.mark.parametrize("head_dim", [1, 2, 4, 6, 8, 12, 64, 96, 126, 2040, 2046])
def test_the_columns_of_rope_are_whole_heads(head_dim):
    rng = np.random.default_rng(head_dim)
    driver = Driver(SMALL, SIZES[None])
    top = 1 << 17
    heads = rng.integers(1, (top - 1) // head_dim, 20, endpoint=True).tolist()
    for columns in {head_dim * h + d for h in heads for d in (-1, 0, 1, 2, head_dim // 2)}:
        if not 0 < columns < top:
            continue
        op, registers = without_rows(Rope, rng)
        op = replace(op, head_dim=head_dim, columns=columns)
        expected = Trap.FIELD if head_dim % 8 or columns % head_dim else Trap.NONE
        assert driver.code(beat(op, registers)) == expected, columns


def test_an_opcode_that_no_unit_has():
    driver = Driver(SMALL, SIZES[None])
    known = {cls.opcode for cls in CHECKED}
    for opcode in range(256):
        if opcode not in known:
            word = filled(SENT, number=opcode, command=filled(COMMAND, opcode=opcode))
            assert driver.code(word) == Trap.OPCODE


def test_a_space_that_is_not_used_is_no_matter():
    rng = np.random.default_rng(0)
    driver = Driver(SMALL, SIZES[None])
    op, registers = without_rows(Map, rng)
    for space, fn, expected in (
        (Space.SCALE, MapFn.FILL, Trap.NONE),
        (Space.SCALE, MapFn.COPY, Trap.FIELD),
        (3, MapFn.FILL, Trap.FIELD),
    ):
        got = driver.code(beat(replace(op, a_space=space, fn=fn), registers))
        assert got == expected


# ---- as a stream ---------------------------------------------------------------------------------


def legal_words(count, rng):
    """Beats that pass, of all operations, with and without rows, and nops of any command."""
    words = []
    while len(words) < count:
        cls = CHECKED[rng.integers(len(CHECKED))]
        op, registers = random_operation(cls, rng, LARGE_SIZES)
        word = beat(op, registers, number=len(words), rng=rng)
        if rng.random() < 0.3:
            command = int.from_bytes(rng.bytes(-(-COMMAND.size // 8)), "little")
            words.append(filled(SENT, nop=1, number=len(words), command=command))
        elif by_table(op, registers, LARGE_SIZES) == Trap.NONE:
            words.append(word)
    return as_bytes(words)


def large():
    model = started(LARGE)
    model.set("memory_bytes", 1 << 40)
    return model


def test_all_that_is_legal_passes_in_order_under_stalls():
    beats = legal_words(400, np.random.default_rng(1))
    got = check_protocol(large(), {"input": beats}, {"output": len(beats)})
    assert np.array_equal(got["output"], beats)


def legal_word(cls, rng, *, rows=True):
    while True:
        op, registers = random_operation(cls, rng, LARGE_SIZES)
        with_rows = rows_of(op, registers) > 0
        if with_rows == rows and by_table(op, registers, LARGE_SIZES) == Trap.NONE:
            return beat(op, registers)


@pytest.mark.parametrize(
    ("cls", "cycles"), [(LoadPages, 7), (LoadTile, 8), (Sample, 9), (Matmul, 12), (Rope, 17)]
)
def test_latency(cls, cycles):
    beats = as_bytes([legal_word(cls, np.random.default_rng(2))])
    assert checked_run(large(), {"input": beats}, {"output": 1}).cycle_of["output"] == [cycles]


@pytest.mark.parametrize(("cls", "cycles"), [(LoadPages, 6), (Sample, 6), (Matmul, 6), (Rope, 11)])
def test_throughput(cls, cycles):
    beats = as_bytes([legal_word(cls, np.random.default_rng(2))] * 50)
    run = checked_run(large(), {"input": beats}, {"output": 50})
    assert set(np.diff(run.cycle_of["output"])) == {cycles}


def test_latency_and_throughput_without_work():
    beats = as_bytes([filled(SENT, nop=1)] * 50)
    nops = checked_run(large(), {"input": beats}, {"output": 50})
    assert nops.cycle_of["output"].tolist() == list(range(2, 52))
    beats = as_bytes([legal_word(Map, np.random.default_rng(2), rows=False)] * 50)
    empty = checked_run(large(), {"input": beats}, {"output": 50})
    assert empty.cycle_of["output"].tolist() == list(range(3, 103, 2))


@pytest.mark.parametrize("bad_at", [0, 1, 7, 20])
def test_what_follows_a_trap_does_not_pass(bad_at):
    rng = np.random.default_rng(bad_at)
    beats = legal_words(40, rng)
    bad = filled(SENT, number=bad_at, command=filled(COMMAND, opcode=1))
    beats[bad_at] = as_bytes([bad])[0]
    model = large()
    gates = random_gates(["input", "output"], open_share=0.7, seed=bad_at)
    run = model.run({"input": beats}, {"output": 40}, gates=gates, max_cycles=2000)
    assert np.array_equal(run.beats["output"][:bad_at], beats[:bad_at])
    assert not run.beats["output"][bad_at:].any()
    assert model.get("output_valid") == 0
