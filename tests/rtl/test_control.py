"""The chip's registers, as a host sees them, and the programs that it starts with them."""

import re

import numpy as np
import pytest

from rtl.components import started
from rtl.lite_host import SLVERR, Host
from tapeout.rtl.control import Control
from tapeout.rtl.core_control import EVENTS
from tapeout.rtl.registers_map import (
    BLOCK_BYTES,
    CHIP,
    CONTEXT_OFFSET,
    CONTEXTS,
    CORE,
    COUNTERS,
    IDENTITY,
    VERSION,
    Access,
    ContextState,
    register,
    registers_page,
)
from tapeout.rtl.sent import TRAPPED
from tapeout.rtl.trap import Trap

FINGERPRINT = "123456789abc"
CORES = 2
CONTROL = Control(cores=CORES, fingerprint=FINGERPRINT)
WORD = (1 << 32) - 1
ORDERS = [None, 0]


def address(name, *, core=0, word=0, index=None):
    """Byte address of a register's word; of the chip's if `core` is None."""
    each = register(name)
    at = each.offset + 4 * word + (8 * (index - each.first) if index is not None else 0)
    return at + (0 if core is None else BLOCK_BYTES * (core + 1))


class Cores:
    """What a core does when it is started, as far as the control sees."""

    def __init__(self, model):
        self.model = model
        self.started = [[] for _ in range(CORES)]
        self.scalars = [{} for _ in range(CORES)]
        self.will_end = [None] * CORES  # cycles until it does; None: it runs on
        self.after = [None] * CORES
        self.idle = [1] * CORES  # from the next cycle on
        for core in range(CORES):
            for port, value in {"idle": 1, "ended": 0, "halted": 0, "trap": 0, "events": 0}.items():
                self.set(core, port, value)
        model.reset()

    def set(self, core, port, value):
        self.model.set(f"cores_{core}_{port}", value)

    def get(self, core, port):
        return self.model.get(f"cores_{core}_{port}")

    def each_cycle(self):
        for core in range(CORES):
            self.set(core, "ended", 0)
            self.set(core, "idle", self.idle[core])
            if self.get(core, "scalar_enable"):
                number = self.get(core, "scalar_number")
                self.scalars[core][number] = self.get(core, "scalar_value")
            if self.after[core] is not None:
                self.after[core] -= 1
                if self.after[core] == 0:
                    self.after[core] = None
                    self.set(core, "ended", 1)
                    self.idle[core] = 1
            if self.get(core, "start"):
                assert self.get(core, "idle")
                ports = ("base", "count", "memory_bytes")
                program = tuple(self.get(core, port) for port in ports)
                self.started[core].append((*program, dict(self.scalars[core])))
                self.scalars[core] = {}
                self.idle[core] = 0
                self.after[core] = self.will_end[core]

    def end(self, core):
        """Let its program end in the next cycle."""
        self.after[core] = 1

    def halt(self, core, *, code, queue, number):
        layout = {"code": code, "queue": queue, "number": number}
        self.set(core, "trap", sum(v << TRAPPED[k].offset for k, v in layout.items()))
        self.set(core, "halted", 1)


@pytest.fixture(params=ORDERS, ids=["at_once", "random"])
def host(request):
    return new_host(request.param)


def new_host(order=None, *, component=CONTROL, **shares):
    model = started(component)
    for port in model.ports:
        if port.startswith("host_"):
            model.set(port, 0)
    cores = Cores(model)
    rng = None if order is None else np.random.default_rng(order)
    host = Host(model, rng=rng, each_cycle=cores.each_cycle, **shares)
    host.cores = cores
    return host


def prepare(host, context, *, core=0, base, count, memory_bytes, scalars, chip=FINGERPRINT):
    assert host.write(address("CONTEXT", core=core), context) == 0
    values = {
        "PROGRAM_ADDRESS": base,
        "PROGRAM_COUNT": count,
        "MEMORY_BYTES": memory_bytes,
        "PROGRAM_CHIP": int(chip, 16),
    }
    for name, value in values.items():
        write_all(host, name, value, core=core)
    for number, value in scalars.items():
        write_all(host, "SCALAR", value, core=core, index=number)


def write_all(host, name, value, *, core=0, index=None):
    for word in range(register(name).words):
        part = value >> 32 * word & WORD
        assert host.write(address(name, core=core, word=word, index=index), part) == 0


def read_all(host, name, *, core=0, index=None):
    words = range(register(name).words)
    parts = [host.read(address(name, core=core, word=word, index=index)) for word in words]
    return sum(part << 32 * word for word, part in enumerate(parts))


def ring(host, context, *, core=0):
    return host.write(address("DOORBELL", core=core), context)


def state(host, context, *, core=0):
    return ContextState(host.read(address("STATUS", core=core)) >> 4 * context & 7)


def expected(scalars):
    """Every register gets a value; those that were not written are zero."""
    return {n: scalars.get(n, 0) & ((1 << 48) - 1) for n in range(1, 32)}


# ---- programs ------------------------------------------------------------------------------------


def test_a_program_starts_with_what_its_context_says(host):
    program = {"base": 0x1_2345_6780, "count": 77, "memory_bytes": 1 << 40}
    scalars = {1: 5, 2: -1, 7: -(1 << 47), 31: (1 << 47) - 1}
    assert state(host, 2) == ContextState.IDLE
    prepare(host, 2, **program, scalars=scalars)
    assert ring(host, 2) == 0
    host.tick(80)
    assert host.cores.started[0] == [(*program.values(), expected(scalars))]
    assert host.cores.started[1] == []
    assert state(host, 2) == ContextState.RUNNING
    host.cores.end(0)
    host.tick(2)
    assert state(host, 2) == ContextState.ENDED
    assert [state(host, c) for c in (0, 1, 3)] == [ContextState.IDLE] * 3
    assert read_all(host, "TRAP") == 0


def test_contexts_run_in_the_order_of_their_doorbells(host):
    order = [3, 0, 2, 1]
    for context in order:
        scalars = {context + 1: context + 100}
        prepare(host, context, base=context, count=10 + context, memory_bytes=5, scalars=scalars)
    host.cores.will_end[0] = 300
    for context in order:
        assert ring(host, context) == 0
    host.tick(2000)
    for context, (base, count, _, scalars) in zip(order, host.cores.started[0], strict=True):
        assert (base, count) == (context, 10 + context)
        assert scalars == expected({context + 1: context + 100})
    assert host.read(address("STATUS")) == 0x3333


def test_a_context_that_waits_or_runs_cannot_be_rung_again(host):
    for context in range(CONTEXTS):
        prepare(host, context, base=0, count=1, memory_bytes=5, scalars={})
    assert ring(host, 1) == 0
    host.tick(80)
    assert ring(host, 2) == 0
    assert [ring(host, c) for c in (1, 2, 4)] == [SLVERR] * 3
    host.cores.will_end[0] = 1
    host.cores.end(0)
    host.tick(200)
    assert len(host.cores.started[0]) == 2
    assert ring(host, 1) == 0
    host.tick(80)
    assert len(host.cores.started[0]) == 3


def test_a_queued_context_cannot_be_changed_and_a_running_one_can(host):
    for context in range(2):
        prepare(host, context, base=7, count=1, memory_bytes=5, scalars={3: 9})
        assert ring(host, context) == 0
    host.tick(80)
    names = ("PROGRAM_ADDRESS", "PROGRAM_COUNT", "PROGRAM_CHIP", "MEMORY_BYTES")
    for context, response in ((0, 0), (1, SLVERR)):
        assert host.write(address("CONTEXT"), context) == 0
        for name in names:
            assert host.write(address(name), 1) == response
        assert host.write(address("SCALAR", index=3), 1) == response
    assert read_all(host, "SCALAR", index=3) == 9
    host.cores.end(0)
    host.tick(80)
    assert host.cores.started[0][1][0] == 7
    assert host.cores.started[0][1][3][3] == 9


def test_cores_have_registers_of_their_own(host):
    for core in range(CORES):
        prepare(host, core, core=core, base=core, count=9, memory_bytes=5, scalars={4: core})
    assert ring(host, 1, core=1) == 0
    host.tick(80)
    assert host.cores.started[0] == []
    assert host.cores.started[1] == [(1, 9, 5, expected({4: 1}))]
    assert [host.read(address("CONTEXT", core=core)) for core in range(CORES)] == [0, 1]


def test_registers_answer_while_a_program_is_loaded():
    host = new_host()
    prepare(host, 1, base=1, count=1, memory_bytes=5, scalars={3: 9, 30: 8})
    host.send_write(address("DOORBELL"), 1)
    for index in (3, 30, 3, 29):
        host.send_read(address("SCALAR", index=index))
    host.finish()
    assert [value for _, value in host.answers["r"]] == [9, 8, 9, 0]
    assert ring(host, 0) == 0
    host.cores.end(0)
    host.tick(12)  # context 0 is being loaded
    assert host.write(address("SCALAR", index=3), 77) == 0
    host.tick(80)
    program = (1, 1, 5, expected({3: 9, 30: 8}))
    assert host.cores.started[0] == [program], "context 0 is for no chip"
    assert read_all(host, "TRAP") == Trap.CHIP
    assert host.read(address("SCALAR", index=3)) == 77


# ---- traps and interrupts ------------------------------------------------------------------------


def test_a_program_for_another_chip_traps(host):
    prepare(host, 3, base=0, count=1, memory_bytes=5, scalars={}, chip="123456789abd")
    assert ring(host, 3) == 0
    host.tick(80)
    assert host.cores.started[0] == []
    assert state(host, 3) == ContextState.TRAPPED
    assert read_all(host, "TRAP") == Trap.CHIP | 3 << 12


def test_nothing_starts_after_a_program_for_another_chip(host):
    for context, chip in enumerate(("0" * 12, FINGERPRINT)):
        prepare(host, context, base=0, count=1, memory_bytes=5, scalars={}, chip=chip)
    for context in range(2):
        assert ring(host, context) == 0
    host.tick(200)
    assert host.cores.started[0] == []
    assert state(host, 1) == ContextState.QUEUED


def test_a_trap_is_kept_and_nothing_more_starts(host):
    for context in range(3):
        prepare(host, context, base=0, count=1, memory_bytes=5, scalars={})
        assert ring(host, context) == 0
    host.tick(80)
    host.cores.halt(0, code=Trap.ADDRESS, queue=3, number=0xDEAD_BEEF)
    host.tick(200)
    assert [state(host, c) for c in range(3)] == [
        ContextState.TRAPPED,
        ContextState.QUEUED,
        ContextState.QUEUED,
    ]
    assert read_all(host, "TRAP") == Trap.ADDRESS | 3 << 8
    assert read_all(host, "TRAP_NUMBER") == 0xDEAD_BEEF
    assert [ring(host, c) for c in (0, 3)] == [SLVERR] * 2
    assert len(host.cores.started[0]) == 1


def test_an_interrupt_comes_when_enabled_and_goes_when_cleared(host):
    model = host.model
    assert host.write(address("INTERRUPT_ENABLE", core=1), 1) == 0
    prepare(host, 0, core=1, base=0, count=1, memory_bytes=5, scalars={})
    prepare(host, 0, core=0, base=0, count=1, memory_bytes=5, scalars={})
    host.cores.will_end = [10, 200]
    assert ring(host, 0, core=0) == 0
    host.tick(120)
    assert host.read(address("INTERRUPT_STATUS", core=0)) == 1
    assert model.get("interrupt_request") == 0, "core 0's is not enabled"
    assert ring(host, 0, core=1) == 0
    host.tick(250)
    assert model.get("interrupt_request") == 1
    assert host.read(address("INTERRUPTS", core=None)) == 0b10
    assert host.write(address("INTERRUPT_STATUS", core=1), 0b10) == 0
    assert host.read(address("INTERRUPT_STATUS", core=1)) == 1, "only ones clear"
    assert host.write(address("INTERRUPT_STATUS", core=1), 0b01) == 0
    host.tick(2)
    assert model.get("interrupt_request") == 0
    assert host.write(address("INTERRUPT_ENABLE", core=0), 0b11) == 0
    host.tick(2)
    assert model.get("interrupt_request") == 1


def test_a_trap_interrupts(host):
    assert host.write(address("INTERRUPT_ENABLE"), 0b10) == 0
    prepare(host, 0, base=0, count=1, memory_bytes=5, scalars={}, chip="0" * 12)
    assert ring(host, 0) == 0
    host.tick(80)
    assert host.read(address("INTERRUPT_STATUS")) == 0b10
    assert host.model.get("interrupt_request") == 1


def test_the_watchdog_is_the_cores(host):
    assert host.cores.get(1, "watchdog_cycles") == 0
    assert host.write(address("WATCHDOG_CYCLES", core=1), 0xABCD_1234) == 0
    assert host.cores.get(1, "watchdog_cycles") == 0xABCD_1234
    assert host.cores.get(0, "watchdog_cycles") == 0


# ---- performance counters ------------------------------------------------------------------------


def test_counters_add_what_happens(host):
    rng = np.random.default_rng(1)
    totals = dict.fromkeys(EVENTS.members, 0)
    for _ in range(100):
        events = {name: int(rng.integers(1 << f.width)) for name, f in EVENTS}
        host.cores.set(0, "events", sum(v << EVENTS[n].offset for n, v in events.items()))
        host.tick()
        for name, value in events.items():
            totals[name] += value
    host.cores.set(0, "events", 0)
    for name, total in totals.items():
        assert read_all(host, name.upper()) == total
        assert read_all(host, name.upper(), core=1) == 0
    assert read_all(host, "CYCLES") == 0
    assert host.write(address("CONTROL"), 1) == 0
    assert [read_all(host, counter.name) for counter in COUNTERS] == [0] * len(COUNTERS)


def test_cycles_are_those_of_programs():
    host = new_host()
    prepare(host, 0, base=0, count=1, memory_bytes=5, scalars={})
    host.cores.will_end[0] = 40
    for runs in (1, 2):
        assert ring(host, 0) == 0
        host.tick(200)
        assert read_all(host, "CYCLES") == 40 * runs


def test_both_words_of_a_counter_are_of_one_moment():
    host = new_host(
        component=Control(cores=CORES, fingerprint=FINGERPRINT, counted=(1 << 32) - 200)
    )
    most = (1 << EVENTS["instructions"].width) - 1
    host.cores.set(0, "events", most << EVENTS["instructions"].offset)
    low = host.read(address("INSTRUCTIONS"))
    assert low < 5000, "it has passed 2^32 while the contexts were cleared"
    assert host.read(address("INSTRUCTIONS", word=1)) == 1
    assert read_all(host, "READ_BEATS") == (1 << 32) - 200
    host.cores.set(0, "events", 1 << EVENTS["read_beats"].offset)
    low = host.read(address("READ_BEATS"))
    host.tick(200)
    assert host.read(address("READ_BEATS", word=1)) == 0
    assert host.read(address("READ_BEATS", word=1)) == 0
    assert host.read(address("READ_BEATS")) < low
    assert host.read(address("READ_BEATS", word=1)) == 1


# ---- the map -------------------------------------------------------------------------------------


def test_the_chip_says_what_it_is(host):
    assert read_all(host, "IDENTITY", core=None) == IDENTITY
    assert read_all(host, "VERSION", core=None) == VERSION
    assert read_all(host, "CHIP", core=None) == int(FINGERPRINT, 16)
    assert read_all(host, "CORES", core=None) == CORES


@pytest.mark.parametrize("cores", [1, 5])
def test_each_core_has_its_block(cores):
    control = Control(cores=cores, fingerprint="00aa0bcdef12")
    model = started(control)
    for port in model.ports.keys() - {"clk", "rst"}:
        model.set(port, 0)
    model.reset()
    host = Host(model)
    assert read_all(host, "CORES", core=None) == cores
    assert read_all(host, "CHIP", core=None) == 0x00AA_0BCD_EF12
    for core in range(cores):
        assert host.write(address("WATCHDOG_CYCLES", core=core), core + 5) == 0
    assert [model.get(f"cores_{i}_watchdog_cycles") for i in range(cores)] == [
        core + 5 for core in range(cores)
    ]
    for block in range(cores + 1, (1 << control.address_bits) // BLOCK_BYTES):
        assert host.read_any(BLOCK_BYTES * block + address("CONTEXT", core=None)) == (SLVERR, 0)
        assert host.write(BLOCK_BYTES * block + address("CONTEXT", core=None), 0) == SLVERR


def words_of(registers):
    """Word address in the block -> (register, which word of it)."""
    return {
        (each.offset + 8 * i) // 4 + word: (each, word)
        for each in registers
        for i in range(each.count)
        for word in range(each.words)
    }


def test_registers_do_not_overlap():
    for block in (CHIP, CORE):
        words = sum(each.count * each.words for each in block)
        assert len(words_of(block)) == words
        assert max(words_of(block)) < BLOCK_BYTES // 4
        assert len({each.name for each in block}) == len(block)


def test_every_word_is_read_or_refused():
    host = new_host()
    blocks = {0: words_of(CHIP), 1: words_of(CORE), 2: words_of(CORE), 3: {}}
    for block, known in blocks.items():
        for word in range(BLOCK_BYTES // 4):
            if word > 300 and word % 37:
                continue
            readable = word in known and known[word][0].access.readable
            response, value = host.read_any(BLOCK_BYTES * block + 4 * word)
            assert response == (0 if readable else SLVERR), hex(4 * word)
            assert readable or value == 0


def test_every_word_is_written_or_refused():
    host = new_host()
    blocks = {0: words_of(CHIP), 1: words_of(CORE), 3: {}}
    for block, known in blocks.items():
        for word in range(BLOCK_BYTES // 4):
            if (word > 300 and word % 37) or word == register("DOORBELL").offset // 4:
                continue
            writable = word in known and known[word][0].access.writable
            response = host.write(BLOCK_BYTES * block + 4 * word, 0)
            assert response == (0 if writable else SLVERR), hex(4 * word)


@pytest.mark.parametrize("seed", range(3))
def test_random_accesses_read_what_was_written(seed):
    """Reads and writes at once, in random order, of words whose values only the host changes."""
    rng = np.random.default_rng(seed)
    host = new_host(seed)
    plain = [r for r in CORE if r.access is Access.READ_WRITE]
    kept = {}
    context = [0] * CORES
    for _ in range(250):
        core = int(rng.integers(CORES))
        each = plain[rng.integers(len(plain))]
        index = int(rng.integers(each.first, each.first + each.count)) if each.count > 1 else None
        word = int(rng.integers(each.words))
        at = address(each.name, core=core, word=word, index=index)
        key = (core, each.name, index, word)
        if each.offset >= CONTEXT_OFFSET:
            key = (*key, context[core])
        mask = each.mask(word)
        strobe = 15 if rng.random() < 0.8 else int(rng.integers(16))
        value = int(rng.integers(WORD, endpoint=True))
        value = value if rng.random() < 0.2 else value & mask
        if each.name == "SCALAR" and word == 1:
            value = value & 0x7FFF | (0xFFFF_8000 if value >> 15 & 1 else 0)
        wrong = strobe != 15 or value & ~mask
        assert host.write(at, value, strobe=strobe) == (SLVERR if wrong else 0)
        if not wrong:
            kept[key] = value
            if each.name == "CONTEXT":
                context[core] = value
        assert host.read(at) == kept.get((*key[:4], *key[4:5]), 0)


def test_an_address_that_is_not_aligned_is_refused(host):
    for offset in (1, 2, 3):
        assert host.read_any(offset) == (SLVERR, 0)
        assert host.write(address("WATCHDOG_CYCLES") + offset, 5) == SLVERR
    assert host.read(address("WATCHDOG_CYCLES")) == 0


@pytest.mark.parametrize(("offers", "takes"), [(1, 1), (1, 0.1), (0.1, 1)])
def test_many_accesses_at_once(offers, takes):
    host = new_host(5, offers=offers, takes=takes)
    values = {(index, word): 1000 * index + word for index in range(1, 13) for word in (0, 1)}
    for (index, word), value in values.items():
        host.send_write(address("SCALAR", index=index, word=word), value)
        host.send_read(address("IDENTITY" if word else "CORES", core=None))
    host.finish()
    assert host.answers["b"] == [(0,)] * len(values)
    assert host.answers["r"] == [(0, CORES), (0, IDENTITY)] * (len(values) // 2)
    for index, word in values:
        host.send_read(address("SCALAR", index=index, word=word))
    host.finish()
    assert host.answers["r"][len(values) :] == [(0, value) for value in values.values()]


def test_reset_clears_every_context():
    host = new_host()
    for context in range(CONTEXTS):
        ones = {number: -1 for number in (1, 2, 31)}
        prepare(host, context, base=9, count=9, memory_bytes=9, scalars=ones)
    host.model.reset()
    for context in range(CONTEXTS):
        assert host.write(address("CONTEXT"), context) == 0
        for each in (r for r in CORE if r.offset >= CONTEXT_OFFSET):
            for index in {each.first, each.first + each.count // 16, each.first + each.count - 1}:
                assert read_all(host, each.name, index=index if each.count > 1 else None) == 0


def test_the_page_lists_every_register_and_field():
    page = registers_page()
    for each in (*CHIP, *CORE):
        assert re.search(rf"^\| `{each.offset:#05x}.*`{each.name}\b", page, re.M)
        for part in each.fields:
            assert f"| `{each.name}` | " in page
            assert f"`{part.name}` | {part.meaning} |" in page
