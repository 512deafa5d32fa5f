"""The chip's registers on AXI4-Lite: the host starts programs, and sees how they end."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_lite import DATA_BITS, LiteSlave, axi4_lite
from .component import Component
from .core_control import CORE_PORT, WORD_BITS, CoreControl
from .registers_map import BLOCK_BYTES, CHIP, IDENTITY, VERSION

BLOCK_BITS = (BLOCK_BYTES - 1).bit_length()


class Control(Component):
    """The registers of `registers_map`, and for each core what starts its programs.

    One access at a time, 5 cycles or more each; after reset the first waits 256 cycles. What is
    not in the map, and what its access forbids, answers SLVERR. Every ready and valid comes from a
    register.

    Parameters
    ----------
    cores : int
        1..64.
    fingerprint : str
        The chip's, 12 hex digits.
    counted : int
        What the performance counters hold after reset.

    Members
    -------
    host : In(axi4_lite), addresses of `address_bits`
    cores : Out(CORE_PORT), for each core
    interrupt_request : Out(1), while a core has an interrupt that is enabled
    """

    def __init__(self, *, cores: int, fingerprint: str, counted: int = 0):
        self.address_bits = BLOCK_BITS + cores.bit_length()
        ports = {
            "host": In(axi4_lite(address_bits=self.address_bits)),
            "cores": Out(CORE_PORT).array(cores),
            "interrupt_request": Out(1),
        }
        super().__init__(ports, name=f"control_{cores}_{fingerprint}_{counted}")
        self.fingerprint, self.counted = fingerprint, counted

    def build(self, m: Module) -> None:
        """A block for the chip, one for each core; an answer of nobody is an error."""
        m.submodules.slave = slave = LiteSlave(address_bits=self.address_bits)
        wiring.connect(m, wiring.flipped(self.host), slave.host)
        request = slave.request
        word, block = request.word[:WORD_BITS], request.word[WORD_BITS:]
        controls = [
            CoreControl(fingerprint=self.fingerprint, counted=self.counted) for _ in self.cores
        ]
        for number, (control, core) in enumerate(zip(controls, self.cores, strict=True)):
            m.submodules[f"core{number}"] = control
            wiring.connect(m, control.core, wiring.flipped(core))
            m.d.comb += [
                control.request.valid.eq(request.valid & (block == number + 1)),
                control.request.write.eq(request.write),
                control.request.word.eq(word),
                control.request.data.eq(request.data),
            ]
        pending = Cat(control.pending for control in controls)
        m.d.sync += self.interrupt_request.eq(pending.any())
        answers = [control.response for control in controls]
        done, error, value = self._chip(m, request.valid & ~request.write, word, block, pending)
        known = Cat(block == number + 1 for number in range(len(controls))).any()
        readable = (block == 0) & ~request.write
        refused = Signal()
        m.d.sync += refused.eq(request.valid & ~known & ~readable)
        m.d.comb += [
            slave.response.done.eq(Cat(done, refused, *(a.done for a in answers)).any()),
            slave.response.error.eq(Cat(error, refused, *(a.error for a in answers)).any()),
        ]
        for answer in answers:
            value = value | Mux(answer.done, answer.data, 0)
        m.d.comb += slave.response.data.eq(value)

    def _chip(
        self, m: Module, reads: Any, word: Any, block: Any, pending: Any
    ) -> tuple[Signal, Signal, Any]:
        """The chip's own registers, all of them only read."""
        values = {
            "IDENTITY": IDENTITY,
            "VERSION": VERSION,
            "CHIP": int(self.fingerprint, 16),
            "CORES": len(self.cores),
            "INTERRUPTS": pending,
        }
        done, error, value = Signal(), Signal(), Signal(DATA_BITS)
        mine = reads & (block == 0)
        m.d.sync += [done.eq(mine), error.eq(mine), value.eq(0)]
        with m.If(mine), m.Switch(word):
            for each in CHIP:
                known = values[each.name]
                whole = Const(known, 64) if isinstance(known, int) else Cat(known, Const(0, 64))
                for high in range(each.words):
                    with m.Case(each.offset // 4 + high):
                        m.d.sync += error.eq(0)
                        m.d.sync += value.eq(whole[DATA_BITS * high : DATA_BITS * (high + 1)])
        return done, error, value
