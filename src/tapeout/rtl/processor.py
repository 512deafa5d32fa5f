"""The command processor: runs its own instructions, sends the others to their queues."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tapeout.isa.fields import Queue
from tapeout.isa.instructions import Alu as AluOperation
from tapeout.isa.instructions import Barrier, End, LoadScalar, Loop, Nop, Set

from .alu import Alu
from .command import REGISTER_BITS, ROWS_BITS, payload_layout
from .component import Component
from .counters import SIGNAL, TAKES
from .fetch import TARGET_BITS, Fetch
from .instruction import WORD, InstructionDecoder
from .loops import Loops
from .ports import MEMORY_BITS, memory_read
from .registers import LOOK, SCALAR, Registers
from .scalar_load import WORD_BYTES, ScalarLoad
from .sent import EVENT, NUMBER_BITS, SENT, TRAPPED
from .trap import Trap

QUEUES = 4  # that it sends to
OUTSTANDING_BITS = 12  # of the instructions that were sent and are not retired


class Processor(Component):
    """A core's command processor, as `isa` defines Set, Alu, LoadScalar, Loop, Barrier, End, Nop.

    One instruction at a time, in 3 cycles if it is sent at once or is a Set, 4 if it is an Alu (a
    product: 11), 3 more when a loop goes round. It stalls while `sent`, its takes or its signals
    do, while `depth` instructions of a queue wait that it sends to, and at End and Barrier until
    all that it sent is retired. After a trap or a `halt` it sends and runs nothing more until
    reset; `sent` and `takes` then lose their valid.

    Parameters
    ----------
    bus_bits : int
        Width of the bus; a power of two in 32..1024.
    depth : int
        Instructions that wait in a queue.
    lines : int
        Lines of 128 bytes of the instruction cache; a power of two of at least 8.

    Members
    -------
    start : In(1), while `idle`, with base, count and memory_bytes, which stays until `ended`
    base, memory_bytes : In(MEMORY_BITS + 1), byte address of the program; size of the memory
    count : In(NUMBER_BITS), instructions
    scalar : In(SCALAR), registers of the next program, while `idle`
    idle : Out(1)
    ended : Out(1), for one cycle
    at_barrier : Out(1), until `resume`
    resume : In(1)
    halt : In(1), something has trapped
    trap : Out(TRAPPED), for one cycle
    number : Out(NUMBER_BITS), the instruction that it is at
    stepped : Out(EVENT), an instruction has run, or has been sent
    sent : Out(stream of SENT)
    started, retired : In(QUEUES), for each queue whether an instruction does in this cycle
    takes : Out(stream of TAKES)
    signals : Out(stream of SIGNAL)
    program, scalars : Out(memory_read), of instructions and of LoadScalar
    look : In(LOOK)
    """

    def __init__(self, *, bus_bits: int, depth: int, lines: int = 64):
        ports = {
            "start": In(1),
            "base": In(MEMORY_BITS + 1),
            "count": In(NUMBER_BITS),
            "memory_bytes": In(MEMORY_BITS + 1),
            "scalar": In(SCALAR),
            "idle": Out(1),
            "ended": Out(1),
            "at_barrier": Out(1),
            "resume": In(1),
            "halt": In(1),
            "trap": Out(TRAPPED),
            "number": Out(NUMBER_BITS),
            "stepped": Out(EVENT),
            "sent": Out(stream.Signature(SENT)),
            "started": In(QUEUES),
            "retired": In(QUEUES),
            "takes": Out(stream.Signature(TAKES)),
            "signals": Out(stream.Signature(SIGNAL)),
            "program": Out(memory_read(bus_bits=bus_bits)),
            "scalars": Out(memory_read(bus_bits=bus_bits)),
            "look": In(LOOK),
        }
        super().__init__(ports, name=f"processor_{bus_bits}_{depth}_{lines}")
        self.bus_bits, self.depth, self.lines = bus_bits, depth, lines

    def build(self, m: Module) -> None:
        """A state machine around the parts that compute, fetch and remember."""
        self._parts(m)
        self._word = Signal(WORD, reset_less=True)
        self._header = self._word.header
        self._fetched = Signal(8)  # why there is no instruction
        self._rows = Signal(signed(REGISTER_BITS + 1), reset_less=True)
        self._address = Signal(signed(REGISTER_BITS + 1), reset_less=True)
        self._number = Signal(NUMBER_BITS)
        self._done = Signal(TARGET_BITS)  # the last instruction that is run or jumped over
        self._pushed, self._skipped = Signal(), Signal()  # what a Loop did
        self._closing = Signal()  # a loop ends with what is done
        self._drained, self._room = Signal(), Signal(QUEUES + 1)
        self._count_outstanding(m)
        m.d.sync += self.trap.eq(0)
        m.d.comb += [self.number.eq(self._number), self.stepped.number.eq(self._number)]
        with m.FSM():
            self._begin(m)
            self._decode(m)
            self._send(m)
            self._wait(m)
            self._execute(m)
            self._loop(m)
            self._leave(m)

    def _parts(self, m: Module) -> None:
        fetch = Fetch(bus_bits=self.bus_bits, lines=self.lines)
        m.submodules.fetch = self._fetch = fetch
        m.submodules.decoder = self._decoder = InstructionDecoder()
        m.submodules.registers = self._registers = registers = Registers()
        m.submodules.alu = self._alu = Alu()
        m.submodules.loops = self._loops = Loops()
        m.submodules.load = self._load = ScalarLoad(bus_bits=self.bus_bits)
        wiring.connect(m, wiring.flipped(self.program), fetch.memory)
        wiring.connect(m, wiring.flipped(self.scalars), self._load.memory)
        start = Signal()
        m.d.comb += [
            start.eq(self.start & self.idle),
            fetch.start.eq(start),
            fetch.base.eq(self.base),
            fetch.count.eq(self.count),
            fetch.memory_bytes.eq(self.memory_bytes),
            self._loops.clear.eq(start),
            registers.start.eq(start),
            registers.look.number.eq(self.look.number),
            self.look.value.eq(registers.look.value),
        ]
        for name in SCALAR.members:
            m.d.comb += getattr(registers.scalar, name).eq(getattr(self.scalar, name))

    def _count_outstanding(self, m: Module) -> None:
        """What End and Barrier wait for, and queues with room."""
        outstanding = Signal(OUTSTANDING_BITS)
        retired = sum(self.retired)
        m.d.sync += outstanding.eq(outstanding + (self.sent.valid & self.sent.ready) - retired)
        m.d.comb += self._drained.eq(outstanding == 0)
        for i in range(QUEUES):
            waiting = Signal(range(self.depth + 1), name=f"waiting{i + 1}")
            sent = self.sent.valid & self.sent.ready & (self._header.queue == i + 1)
            m.d.sync += waiting.eq(waiting + sent - self.started[i])
            m.d.comb += self._room[i + 1].eq(waiting != self.depth)

    def _begin(self, m: Module) -> None:
        with m.State("IDLE"):
            m.d.comb += self.idle.eq(1)
            with m.If(self.start):
                m.next = "CLEAR"
        with m.State("CLEAR"), m.If(~self._registers.clearing):
            m.next = "DECODE"
        with m.State("STOPPED"):
            pass

    def _stop(self, m: Module, code: Any) -> None:
        """Trap at this instruction."""
        m.d.sync += [
            self.trap.code.eq(code),
            self.trap.queue.eq(Mux(self._fetched != 0, Queue.CP, self._header.queue)),
            self.trap.number.eq(self._number),
        ]
        m.next = "STOPPED"

    def _decode(self, m: Module) -> None:
        words, decoder, registers = self._fetch.words, self._decoder, self._registers
        m.d.comb += decoder.word.eq(words.payload.word)
        for port, name in zip(registers.numbers, "xyz", strict=True):
            m.d.comb += port.eq(decoder.numbers[name])
        with m.State("DECODE"):
            m.d.comb += words.ready.eq(~self.halt)
            with m.If(words.valid & ~self.halt):
                m.d.comb += [decoder.load.eq(1), registers.read.eq(1)]
                m.d.sync += [
                    self._word.eq(words.payload.word),
                    self._number.eq(words.payload.number),
                    self._done.eq(words.payload.number),
                    self._fetched.eq(words.payload.trap),
                    self._pushed.eq(0),
                    self._skipped.eq(0),
                ]
                m.next = "OPERANDS"
        x, y, z = self._registers.values
        decoded, alu = decoder.decoded, self._alu
        layout = payload_layout(AluOperation)
        m.d.comb += [
            alu.fn.eq(self._word.payload[layout["fn"].offset :]),
            alu.x.eq(x),
            alu.y.eq(y),
            alu.imm.eq(decoded.immediate),
        ]
        with m.State("OPERANDS"):
            m.d.comb += alu.start.eq(1)
            m.d.sync += [
                self._rows.eq(Mux(decoded.adds_z, z, 0) + decoded.rows),
                self._address.eq(x + decoded.immediate),
            ]
            with m.If(self._fetched != 0):
                self._stop(m, self._fetched)
            with m.Elif(decoded.fault != 0):
                self._stop(m, decoded.fault)
            with m.Elif(self._header.queue != Queue.CP):
                m.next = "SEND"
            with m.Elif(self._is(Barrier) | self._is(End)):
                m.next = "DRAIN"
            with m.Else():
                self._wait_or_execute(m)

    def _is(self, cls: type) -> Any:
        return self._header.opcode == cls.opcode

    def _send(self, m: Module) -> None:
        sent, header = self.sent.payload, self._header
        m.d.comb += [getattr(sent, name).eq(header[name]) for name in TAKES.members]
        m.d.comb += [
            sent.queue.eq(header.queue),
            sent.signal_counter.eq(header.signal_counter),
            sent.signal_count.eq(header.signal_count),
            sent.number.eq(self._number),
            sent.nop.eq(self._is(Nop)),
            sent.command.opcode.eq(header.opcode),
            sent.command.payload.eq(self._word.payload),
            sent.command.rows.eq(self._rows),
        ]
        for name, value in zip("xyz", self._registers.values, strict=True):
            m.d.comb += sent.command[name].eq(value)
        with m.State("SEND"):
            with m.If(self._rows[ROWS_BITS:].any()):
                self._stop(m, Trap.ROWS)
            with m.Elif(~self.halt & self._room.bit_select(header.queue, 1)):
                m.d.comb += self.sent.valid.eq(1)
                with m.If(self.sent.ready):
                    self._step(m)

    def _wait_or_execute(self, m: Module) -> None:
        with m.If(self._header.wait0_count != 0):
            m.next = "WAIT"
        with m.Else():
            m.next = "EXECUTE"

    def _wait(self, m: Module) -> None:
        header = self._header
        m.d.comb += [getattr(self.takes.payload, name).eq(header[name]) for name in TAKES.members]
        with m.State("DRAIN"), m.If(self._drained & ~self.halt):
            self._wait_or_execute(m)
        with m.State("WAIT"):
            m.d.comb += self.takes.valid.eq(~self.halt)
            with m.If(self.takes.valid & self.takes.ready):
                m.next = "EXECUTE"

    def _write(self, m: Module, value: Any) -> None:
        registers = self._registers
        m.d.comb += [
            registers.write.eq(1),
            registers.written.eq(self._decoder.decoded.rd),
            registers.value.eq(value),
        ]

    def _execute(self, m: Module) -> None:
        alu, load = self._alu, self._load
        m.d.comb += load.address.eq(self._address)
        with m.State("EXECUTE"), m.Switch(self._header.opcode):
            with m.Case(Set.opcode):
                self._write(m, self._decoder.decoded.immediate)
                self._finish(m)
            with m.Case(AluOperation.opcode), m.If(alu.done):
                with m.If(alu.overflow):
                    self._stop(m, Trap.REGISTER)
                with m.Else():
                    self._write(m, alu.result)
                    self._finish(m)
            with m.Case(LoadScalar.opcode):
                end = self._address + WORD_BYTES
                with m.If((self._address < 0) | (end > self.memory_bytes)):
                    self._stop(m, Trap.ADDRESS)
                with m.Else():
                    m.d.comb += load.start.eq(1)
                    m.next = "LOAD"
            with m.Case(Loop.opcode):
                m.next = "LOOP"
            with m.Default():
                self._finish(m)
        with m.State("LOAD"), m.If(load.done):
            with m.If(load.error):
                self._stop(m, Trap.READ)
            with m.Else():
                self._write(m, load.value)
                self._finish(m)

    def _loop(self, m: Module) -> None:
        """Open a loop, or jump over its instructions."""
        rounds, length = self._registers.values[0], self._decoder.decoded.immediate
        goes_round = (rounds > 0) & (length != 0)
        last, pushed = self._number + length, self._loops.pushed
        m.d.comb += [
            pushed.first.eq(self._number + 1),
            pushed.last.eq(last),
            pushed.rounds.eq(rounds),
        ]
        with m.State("LOOP"):
            m.d.sync += [self._pushed.eq(goes_round), self._skipped.eq(~goes_round)]
            with m.If(goes_round & self._loops.full):
                self._stop(m, Trap.LOOP)
            with m.Else():
                m.d.comb += self._loops.push.eq(goes_round)
                m.next = "LOOPED"
            with m.If(~goes_round):
                m.d.sync += self._done.eq(last)
        with m.State("LOOPED"):
            self._finish(m)

    def _finish(self, m: Module) -> None:
        """Signal, if the instruction does, then step."""
        with m.If(self._header.signal_count):
            m.next = "SIGNAL"
        with m.Else():
            self._step(m)

    def _step(self, m: Module) -> None:
        """The instruction is through."""
        m.d.comb += self.stepped.valid.eq(1)
        with m.If(self._is(End)):
            m.d.comb += self.ended.eq(1)
            m.next = "IDLE"
        with m.Elif(self._is(Barrier)):
            m.next = "BARRIER"
        with m.Else():
            self._go_on(m)

    def _go_on(self, m: Module) -> None:
        """To the next instruction, or where loops lead."""
        with m.If(self._skipped | (self._closing & ~self._pushed)):
            m.next = "CLOSE"
        with m.Else():
            m.next = "DECODE"

    def _leave(self, m: Module) -> None:
        fetch, loops = self._fetch, self._loops
        m.d.comb += [
            self._closing.eq(loops.any & (loops.top.last == self._done)),
            self.signals.payload.counter.eq(self._header.signal_counter),
            self.signals.payload.number.eq(self._number),
        ]
        with m.State("SIGNAL"):
            m.d.comb += self.signals.valid.eq(1)
            with m.If(self.signals.ready):
                self._step(m)
        with m.State("BARRIER"):
            m.d.comb += self.at_barrier.eq(1)
            with m.If(self.resume):
                self._go_on(m)
        with m.State("CLOSE"):
            with m.If(self._closing & (loops.top.rounds > 1)):
                m.d.comb += [loops.round.eq(1), fetch.jump.eq(1), fetch.target.eq(loops.top.first)]
                m.next = "DECODE"
            with m.Elif(self._closing):
                m.d.comb += loops.pop.eq(1)
            with m.Else():
                m.d.comb += [fetch.jump.eq(self._skipped), fetch.target.eq(self._done + 1)]
                m.next = "DECODE"
