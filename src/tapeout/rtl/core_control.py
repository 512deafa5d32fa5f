"""What a host sees of one core: its registers, and the programs that it starts."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import REGISTERS

from .axi_lite import DATA_BITS, RESPONSE, request_layout
from .command import REGISTER_BITS
from .component import Component
from .halt import CYCLES_BITS
from .ports import MEMORY_BITS
from .registers import SCALAR
from .registers_map import (
    BLOCK_BYTES,
    CONTEXT_OFFSET,
    CONTEXT_PAIRS,
    CONTEXTS,
    CORE,
    COUNTERS,
    COUNTERS_OFFSET,
    Access,
    ContextState,
    Register,
    register,
)
from .sent import NUMBER_BITS, TRAPPED
from .stream import Fifo
from .trap import Trap

WORD_BITS = (BLOCK_BYTES // 4 - 1).bit_length()
CONTEXT_BITS = (CONTEXTS - 1).bit_length()
PAIR_BITS = (CONTEXT_PAIRS - 1).bit_length()
COUNTER_BITS = 64
GRAIN = REGISTER_BITS // 3  # the memory of contexts is written by thirds: low word, high part
COUNTER_NAMES = tuple(counter.name for counter in COUNTERS)

EVENTS = data.StructLayout({counter.name.lower(): counter.bits for counter in COUNTERS[1:]})
"""What is to be added to the performance counters in this cycle."""

CORE_PORT = wiring.Signature(
    {
        "start": Out(1),
        "base": Out(MEMORY_BITS + 1),
        "count": Out(NUMBER_BITS),
        "memory_bytes": Out(MEMORY_BITS + 1),
        "scalar": Out(SCALAR),
        "watchdog_cycles": Out(CYCLES_BITS),
        "idle": In(1),
        "ended": In(1),
        "halted": In(1),
        "trap": In(TRAPPED),
        "events": In(EVENTS),
    }
)
"""A core, seen from its control: the ports of `Sequencer` with these names, and events."""


def pair(name: str) -> int:
    """The place of a context's register in its memory."""
    return (register(name).offset - CONTEXT_OFFSET) // 8


class CoreControl(Component):
    """The registers of a core, `registers_map.CORE`, and the queue of its contexts.

    A doorbell queues a context. When no program runs, the oldest is loaded: its registers leave
    through `core.scalar`, one in a cycle; then the core is started, unless the program is for
    another chip. After a trap nothing is started until reset.

    Latency of an access 1 cycle; more while a program is loaded, and in the 256 cycles after reset
    in which the contexts are cleared.

    Parameters
    ----------
    fingerprint : str
        The chip's, 12 hex digits.
    counted : int
        What the performance counters hold after reset.

    Members
    -------
    request : In(request_layout), a word of the block
    response : Out(RESPONSE)
    core : Out(CORE_PORT)
    pending : Out(1), something has happened that is enabled
    """

    def __init__(self, *, fingerprint: str, counted: int = 0):
        ports = {
            "request": In(request_layout(word_bits=WORD_BITS)),
            "response": Out(RESPONSE),
            "core": Out(CORE_PORT),
            "pending": Out(1),
        }
        super().__init__(ports, name=f"core_control_{fingerprint}_{counted}")
        self.fingerprint = int(fingerprint, 16)
        self.counted = counted

    def build(self, m: Module) -> None:
        """Registers, the memory of contexts, counters; then accesses, and the programs' course."""
        self._values = {
            each.name: Signal(each.bits, name=each.name.lower())
            for each in CORE
            if each.offset < COUNTERS_OFFSET and each.access is not Access.WRITE
        }
        self._states = Array(
            Signal(3, name=f"state{i}", init=ContextState.IDLE) for i in range(CONTEXTS)
        )
        self._trapped = Signal()
        self._running = Signal()
        self._set_ended, self._set_trapped = Signal(), Signal()
        self._memory(m)
        m.submodules.queue = self._queue = Fifo(CONTEXT_BITS, depth=CONTEXTS)
        status = self._values["STATUS"]
        m.d.comb += [status[4 * i : 4 * i + 3].eq(each) for i, each in enumerate(self._states)]
        m.d.comb += self.core.watchdog_cycles.eq(self._values["WATCHDOG_CYCLES"])
        self._access(m)
        self._run(m)
        enabled = self._values["INTERRUPT_ENABLE"] & self._values["INTERRUPT_STATUS"]
        m.d.sync += self.pending.eq(enabled.any())

    # ---- the contexts' registers ----------------------------------------------------------------

    def _memory(self, m: Module) -> None:
        """Pairs of words, of which 48 bits are kept; cleared after reset."""
        m.submodules.contexts = store = memory.Memory(
            shape=REGISTER_BITS, depth=CONTEXTS * CONTEXT_PAIRS, init=[]
        )
        self._write = store.write_port(granularity=GRAIN)
        self._read = store.read_port()
        self._load_address = Signal(CONTEXT_BITS + PAIR_BITS)
        self._loading = Signal()
        clearing = Signal(CONTEXT_BITS + PAIR_BITS + 1)
        self._clear = ~clearing[-1]
        self._place = Cat(self.request.word[1 : 1 + PAIR_BITS], self._values["CONTEXT"])
        self._store = Signal()  # an access writes
        high = self.request.word[0]
        m.d.sync += clearing.eq(clearing + self._clear)
        m.d.comb += [
            self._read.addr.eq(Mux(self._loading, self._load_address, self._place)),
            self._write.addr.eq(Mux(self._clear, clearing[:-1], self._place)),
            self._write.en.eq(
                Mux(self._clear, 0b111, Mux(self._store, Mux(high, 0b100, 0b011), 0))
            ),
            self._write.data.eq(
                Mux(self._clear, 0, Cat(self.request.data, self.request.data[:GRAIN]))
            ),
        ]

    # ---- accesses --------------------------------------------------------------------------------

    def _access(self, m: Module) -> None:
        """One access: find out whether it is legal, do it, answer in the next cycle."""
        request = self.request
        waiting, go, legal = Signal(), Signal(), Signal()
        in_context = request.word >= CONTEXT_OFFSET // 4
        m.d.comb += go.eq((request.valid | waiting) & ~self._clear & ~(in_context & self._loading))
        m.d.sync += waiting.eq((request.valid | waiting) & ~go)
        writes, reads = Signal(), Signal()
        m.d.comb += [writes.eq(go & request.write & legal), reads.eq(go & ~request.write & legal)]
        value = Signal(DATA_BITS, name="value_now")
        kept = Signal(DATA_BITS, reset_less=True)  # the high word of a counter that was read
        counters = self._count(m, writes)
        with m.Switch(request.word):
            for each in CORE:
                if each.name not in (*COUNTER_NAMES, "SCALAR"):
                    self._decode(m, each, legal, value, writes)
        with m.If(self._is_scalar()):
            free = self._free(register("SCALAR"))
            m.d.comb += legal.eq(~request.write | free)
        pair_number = request.word[1:]
        first = COUNTERS_OFFSET // 8
        with m.If((pair_number >= first) & (pair_number < first + len(COUNTERS))):
            m.d.comb += legal.eq(~request.write)
            m.d.comb += value.eq(Mux(request.word[0], kept, counters[:DATA_BITS]))
            with m.If(reads & ~request.word[0]):
                m.d.sync += kept.eq(counters[DATA_BITS:])
        from_memory, high, simple = Signal(), Signal(), Signal(DATA_BITS)
        m.d.sync += [
            self.response.done.eq(go),
            self.response.error.eq(go & ~legal),
            from_memory.eq(reads & in_context),
            high.eq(request.word[0]),
            simple.eq(Mux(reads, value, 0)),
        ]
        self._events(m, writes)
        m.d.comb += self._store.eq(writes & in_context)
        stored = self._read.data
        scalar = self._is_scalar()
        sign = Mux(stored[-1] & scalar, (1 << (DATA_BITS - GRAIN)) - 1, 0)
        upper = Cat(stored[DATA_BITS:], Const(0, DATA_BITS - GRAIN) | sign)
        answer = Mux(high, upper, stored[:DATA_BITS])
        m.d.comb += self.response.data.eq(Mux(from_memory, answer, simple))

    def _is_scalar(self) -> Any:
        """Whether a word is a scalar's, of which every bit may be written."""
        number = self.request.word[1:] - CONTEXT_OFFSET // 8
        return (number > 0) & (number < REGISTERS)

    def _decode(self, m: Module, each: Register, legal: Any, value: Any, writes: Any) -> None:
        """What may be done with a register; the value of one that is not in memory."""
        request = self.request
        assert each.count == 1
        for word in range(each.words):
            ones = request.data & ~Const(each.mask(word), DATA_BITS)
            may_write = Const(0, 1)
            if each.access.writable:
                may_write = (ones == 0) & self._free(each)
            with m.Case(each.offset // 4 + word):
                m.d.comb += legal.eq(Mux(request.write, may_write, Const(each.access.readable, 1)))
                if each.name in self._values:
                    m.d.comb += value.eq(self._values[each.name])
                    if each.access is Access.READ_WRITE:
                        with m.If(writes):
                            m.d.sync += self._values[each.name].eq(request.data)

    def _free(self, each: Register) -> Any:
        """Whether the state of a context allows the write."""
        if each.name == "DOORBELL":
            state = self._states[self.request.data[:CONTEXT_BITS]]
            busy = (state == ContextState.QUEUED) | (state == ContextState.RUNNING)
            return ~busy & ~self._trapped
        if each.offset >= CONTEXT_OFFSET:
            return self._states[self._values["CONTEXT"]] != ContextState.QUEUED
        return Const(1, 1)

    def _events(self, m: Module, writes: Any) -> None:
        """What a write does beside keeping a value."""
        request, status = self.request, self._values["INTERRUPT_STATUS"]
        rings = writes & (request.word == register("DOORBELL").offset // 4)
        clears = writes & (request.word == register("INTERRUPT_STATUS").offset // 4)
        happened = Cat(self._set_ended, self._set_trapped)
        m.d.sync += status.eq((status & ~Mux(clears, request.data[:2], 0)) | happened)
        context = request.data[:CONTEXT_BITS]
        m.d.comb += [self._queue.input.valid.eq(rings), self._queue.input.payload.eq(context)]
        with m.If(rings):
            m.d.sync += self._states[context].eq(ContextState.QUEUED)

    def _count(self, m: Module, writes: Any) -> Any:
        """The performance counters; returns the one that is asked for."""
        control = register("CONTROL")
        reset = writes & (self.request.word == control.offset // 4) & self.request.data[0]
        chosen = Const(0, COUNTER_BITS)
        for i, each in enumerate(COUNTERS):
            name = f"count_{each.name.lower()}"
            counter = Signal(COUNTER_BITS, name=name, init=self.counted)
            more = self.core.events[each.name.lower()] if i else self._running
            with m.If(reset):
                m.d.sync += counter.eq(0)
            with m.Elif(more != 0):
                m.d.sync += counter.eq(counter + more)
            chosen = chosen | Mux(self.request.word[1:] == COUNTERS_OFFSET // 8 + i, counter, 0)
        return chosen

    # ---- programs --------------------------------------------------------------------------------

    def _run(self, m: Module) -> None:
        """Load the oldest context in the queue, start it, see how it ends."""
        core, queue = self.core, self._queue.output
        context = Signal(CONTEXT_BITS)
        index, arrived = Signal(PAIR_BITS), Signal(PAIR_BITS)
        arrives = Signal()
        ours = Signal()  # the program is for this chip
        m.d.comb += self._load_address.eq(Cat(index, context))
        m.d.sync += [arrived.eq(index), arrives.eq(self._loading)]
        self._load(m, arrives, arrived, ours)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += queue.ready.eq(~self._trapped)
                with m.If(queue.valid & queue.ready):
                    m.d.sync += [context.eq(queue.payload), index.eq(1)]
                    m.next = "load"
            with m.State("load"):
                m.d.comb += self._loading.eq(1)
                m.d.sync += index.eq(index + 1)
                with m.If(index == pair("PROGRAM_CHIP")):
                    m.next = "loaded"
            with m.State("loaded"):
                m.next = "check"
            with m.State("check"):
                with m.If(~ours):
                    m.d.sync += self._values["TRAP"].eq(Cat(Const(Trap.CHIP, 12), context))
                    self._trap(m, context)
                    m.next = "idle"
                with m.Elif(core.idle):
                    m.d.comb += core.start.eq(1)
                    m.d.sync += self._states[context].eq(ContextState.RUNNING)
                    m.next = "run"
            with m.State("run"):
                m.d.comb += self._running.eq(1)
                with m.If(core.halted):
                    self._keep(m, context)
                    self._trap(m, context)
                    m.next = "idle"
                with m.Elif(core.ended):
                    m.d.comb += self._set_ended.eq(1)
                    m.d.sync += self._states[context].eq(ContextState.ENDED)
                    m.next = "idle"

    def _load(self, m: Module, arrives: Any, arrived: Any, ours: Any) -> None:
        """Pass on the pair that has come from the memory."""
        core, value = self.core, self._read.data
        m.d.comb += [
            core.scalar.enable.eq(arrives & (arrived < REGISTERS)),
            core.scalar.number.eq(arrived),
            core.scalar.value.eq(value),
        ]
        with m.If(arrives), m.Switch(arrived):
            for name, kept in (
                ("PROGRAM_ADDRESS", core.base),
                ("PROGRAM_COUNT", core.count),
                ("MEMORY_BYTES", core.memory_bytes),
            ):
                with m.Case(pair(name)):
                    m.d.sync += kept.eq(value)
            with m.Case(pair("PROGRAM_CHIP")):
                m.d.sync += ours.eq(value == self.fingerprint)

    def _keep(self, m: Module, context: Any) -> None:
        """The core's trap, as the host reads it."""
        trap = self.core.trap
        m.d.sync += self._values["TRAP"].eq(Cat(trap.code, trap.queue, Const(0, 1), context))
        m.d.sync += self._values["TRAP_NUMBER"].eq(trap.number)

    def _trap(self, m: Module, context: Any) -> None:
        """Nothing more is started."""
        m.d.comb += self._set_trapped.eq(1)
        m.d.sync += [self._trapped.eq(1), self._states[context].eq(ContextState.TRAPPED)]
