"""The binary form of instructions in hardware: which words are none, and what is in them."""

from typing import Any

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import HEADER, HEADER_BITS, PAYLOAD_BITS, fields
from tapeout.isa.fields import Field, Queue
from tapeout.isa.instructions import (
    OPERATIONS,
    Alu,
    LoadPages,
    LoadScalar,
    LoadTile,
    Loop,
    Operation,
    Set,
    StorePages,
    StoreTile,
)
from tapeout.isa.vector import Softmax

from .alu import IMMEDIATE_BITS
from .command import ROWS_BITS, payload_layout
from .component import Component
from .registers import NUMBER_BITS as REGISTER_NUMBER_BITS
from .trap import Trap

HEADER_LAYOUT = data.StructLayout(HEADER)
WORD = data.StructLayout(
    {
        "header": HEADER_LAYOUT,
        "zero": HEADER_BITS - HEADER_LAYOUT.size,
        "payload": PAYLOAD_BITS,
    }
)
"""An instruction in memory."""

READS: dict[type[Operation], tuple[str, ...]] = {
    Alu: ("ra", "rb"),
    LoadScalar: ("address_reg",),
    Loop: ("count",),
    LoadTile: ("src_reg",),
    StoreTile: ("dst_reg",),
    LoadPages: ("table", "first", "end"),
    StorePages: ("table", "first"),
    Softmax: ("query", "key"),
}
"""Registers that go into x, y and z of a command; the others' numbers are 0."""

ROWS = ("rows", "m")
ROWS_REGISTERS = ("rows_reg", "m_reg")
IMMEDIATES = {Set: "imm", Alu: "imm", LoadScalar: "address", Loop: "length"}
RESULTS = (Set, Alu, LoadScalar)  # those that write register rd
QUEUES = tuple(queue for queue in Queue if queue <= Queue.VU)  # those that this hardware has

DECODED = data.StructLayout(
    {
        "fault": 8,
        "rd": REGISTER_NUMBER_BITS,
        "immediate": IMMEDIATE_BITS,
        "rows": ROWS_BITS,
        "adds_z": 1,
    }
)
"""What an instruction holds.

fault: a code of `Trap`, if it is none. adds_z: register z is added to `rows`.
"""

NUMBERS = data.StructLayout({name: REGISTER_NUMBER_BITS for name in "xyz"})
"""The registers that an instruction reads."""

RULE = data.StructLayout({"queues": 1 << HEADER["queue"], "zero": PAYLOAD_BITS})
"""The queues that run an operation, a bit each, and the bits of the payload that are zero."""

RULES = 128  # opcodes that may exist


class InstructionDecoder(Component):
    """Refuses what `isa.decode` refuses, and finds the fields that the processor resolves.

    Latency 0 for `numbers`, 1 cycle for `decoded`, which stays until the next `load`.

    Members
    -------
    load : In(1), with `word`
    word : In(WORD)
    numbers : Out(NUMBERS)
    decoded : Out(DECODED)
    """

    def __init__(self) -> None:
        ports = {
            "load": In(1),
            "word": In(WORD),
            "numbers": Out(NUMBERS),
            "decoded": Out(DECODED),
        }
        super().__init__(ports, name="instruction_decoder")

    def build(self, m: Module) -> None:
        """A table says what each operation must be; a case for each says what is in it."""
        header = self.word.header
        m.submodules.rules = store = memory.Memory(shape=RULE, depth=RULES, init=_rules())
        port = store.read_port(domain="comb")
        rule, known, undefined = port.data, Signal(), Signal()
        self._found = Signal(DECODED)
        m.d.comb += [
            port.addr.eq(header.opcode),
            known.eq(~header.opcode[-1] & rule.queues.bit_select(header.queue, 1)),
        ]
        with m.Switch(header.opcode):
            for cls in OPERATIONS:
                with m.Case(cls.opcode):
                    m.d.comb += [undefined.eq(self._undefined(cls)), *self._contents(cls)]
        waits_wrong = (
            (header.wait1_count == 0) & (header.wait1_counter != 0)
            | (header.wait0_count == 0) & (header.wait0_counter != 0)
            | (header.wait0_count == 0) & (header.wait1_count != 0)
            | ~header.signal_count & (header.signal_counter != 0)
        )
        reserved = self.word.zero.any() | (self.word.payload & rule.zero).any()
        with m.If(~known):
            m.d.comb += self._found.fault.eq(Trap.OPCODE)
        with m.Elif(undefined | waits_wrong | reserved):
            m.d.comb += self._found.fault.eq(Trap.FIELD)
        with m.If(self.load):
            m.d.sync += self.decoded.eq(self._found)

    def _payload(self, cls: type[Operation]) -> Any:
        layout = payload_layout(cls)
        return data.View(layout, self.word.payload[: layout.size])

    def _undefined(self, cls: type[Operation]) -> Any:
        """Whether an enumeration has no such member."""
        wrong: Any = Const(0)
        for name, field in fields(cls).items():
            if missing := _missing(field):
                wrong |= self._payload(cls)[name].matches(*missing)
        return wrong

    def _contents(self, cls: type[Operation]) -> list[Any]:
        """What this operation names."""
        payload, out = self._payload(cls), self._found
        reads = zip("xyz", READS.get(cls, ()), strict=False)
        found = [self.numbers[to].eq(payload[name]) for to, name in reads]
        for name in fields(cls):
            if name in ROWS:
                found.append(out.rows.eq(payload[name]))
            if name in ROWS_REGISTERS or (cls is StorePages and name == "count"):
                found += [self.numbers.z.eq(payload[name]), self._found.adds_z.eq(1)]
        if cls in IMMEDIATES:
            found.append(out.immediate.eq(payload[IMMEDIATES[cls]]))
        if cls in RESULTS:
            found.append(out.rd.eq(payload.rd))
        return found


def _rules() -> list[dict[str, int]]:
    """A RULE for each opcode; those that do not exist run nowhere."""
    rules = [{"queues": 0, "zero": 0} for _ in range(RULES)]
    for cls in OPERATIONS:
        queues = QUEUES if cls.queue is None else (cls.queue,)
        used = payload_layout(cls).size
        rules[cls.opcode] = {
            "queues": sum(1 << queue for queue in queues),
            "zero": (1 << PAYLOAD_BITS) - (1 << used),
        }
    return rules


def _missing(field: Field) -> list[int]:
    """Values of a field that its enumeration does not have."""
    if field.kind is None:
        return []
    return [
        value for value in range(1 << field.bits) if value not in field.kind.__members__.values()
    ]
