"""The command processor's registers."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import fields
from tapeout.isa.fields import REGISTERS
from tapeout.isa.instructions import Set

from .command import REGISTER_BITS
from .component import Component

NUMBER_BITS = fields(Set)["rd"].bits
READS = 3

SCALAR = wiring.Signature(
    {"enable": Out(1), "number": Out(NUMBER_BITS), "value": Out(signed(REGISTER_BITS))}
)
"""A write of a register, from whoever starts the program."""

LOOK = wiring.Signature({"number": Out(NUMBER_BITS), "value": In(signed(REGISTER_BITS))})
"""A look at a register; its value is there a cycle later."""


class Registers(Component):
    """Registers r0..r31 of 48 bits; r0 is zero.

    Latency of a read 1 cycle; a read with a write of the same register gets the old value. After
    `start`, while `clearing`, the registers that no scalar was written to since the last start
    become zero.

    Members
    -------
    start : In(1)
    clearing : Out(1)
    scalar : In(SCALAR), before `start` only
    read : In(1), with `numbers`; `values` stay until the next read
    numbers : In(NUMBER_BITS), for each of READS
    values : Out(signed(REGISTER_BITS)), for each of READS
    write : In(1), with `written` and `value`, while not clearing
    written : In(NUMBER_BITS)
    value : In(signed(REGISTER_BITS))
    look : In(LOOK)
    """

    def __init__(self) -> None:
        ports = {
            "start": In(1),
            "clearing": Out(1),
            "scalar": In(SCALAR),
            "read": In(1),
            "numbers": In(NUMBER_BITS).array(READS),
            "values": Out(signed(REGISTER_BITS)).array(READS),
            "write": In(1),
            "written": In(NUMBER_BITS),
            "value": In(signed(REGISTER_BITS)),
            "look": In(LOOK),
        }
        super().__init__(ports, name="registers")

    def build(self, m: Module) -> None:
        """One write port, for the program, the scalars and the clearing."""
        m.submodules.store = store = memory.Memory(
            shape=signed(REGISTER_BITS), depth=REGISTERS, init=[]
        )
        writing, looking = store.write_port(), store.read_port()
        place = Signal(range(REGISTERS))
        kept = Signal(REGISTERS)  # those that a scalar was written to
        with m.If(self.start):
            m.d.sync += self.clearing.eq(1)
        with m.Elif(place == REGISTERS - 1):
            m.d.sync += self.clearing.eq(0)
        with m.If(self.clearing):
            m.d.sync += [place.eq(place + 1), kept.eq(kept & ~(1 << place))]
        with m.Elif(self.scalar.enable & (self.scalar.number != 0)):
            m.d.sync += kept.eq(kept | (1 << self.scalar.number))
        for number, value in zip(self.numbers, self.values, strict=True):
            port = store.read_port()
            m.d.comb += [port.en.eq(self.read), port.addr.eq(number), value.eq(port.data)]
        m.d.comb += [looking.addr.eq(self.look.number), self.look.value.eq(looking.data)]
        m.d.comb += looking.en.eq(1)
        with m.If(self.clearing):
            m.d.comb += [writing.en.eq(~kept.bit_select(place, 1)), writing.addr.eq(place)]
        with m.Elif(self.scalar.enable):
            m.d.comb += [writing.addr.eq(self.scalar.number), writing.data.eq(self.scalar.value)]
            m.d.comb += writing.en.eq(self.scalar.number != 0)
        with m.Else():
            m.d.comb += [writing.addr.eq(self.written), writing.data.eq(self.value)]
            m.d.comb += writing.en.eq(self.write & (self.written != 0))
