"""Between the command processor and the queues: only legal instructions pass."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from .component import Component
from .legal import Legal
from .ports import MEMORY_BITS
from .sent import SENT, TRAPPED
from .tile_check import TileCheck
from .tile_words import OPERATIONS, STEP_BITS, WORD, words
from .trap import Trap

PLACE_BITS = (len(OPERATIONS) - 1).bit_length()


class Bounds(Component):
    """Lets an instruction pass if a unit may begin it, else traps.

    Refused are: bits and values of fields that are not defined, sizes of 0, shapes that break the
    rules of `tapeout.isa.shapes` (`Trap.FIELD`); formats that do not go together (`FORMAT`); tiles
    of `tapeout.isa.tiles` that do not lie in their memories, a first token below 0 that is read or
    written, a product that does not lie in one half of the accumulators (`ADDRESS`), or does not
    start on a multiple of its rows (`ALIGNMENT`). Where several are wrong, the first of this list
    is told. Without rows only fields, shapes and formats are checked. Block tables and pages are
    the load and store units' to check.

    One instruction is walked through, a tile of the table in a cycle, while the one before it waits
    for its verdict. Latency: 2 cycles of a nop, 3 without rows, otherwise 6 and as many as the
    table has tiles of the operation, of `Rope` 17. Throughput: 1 nop per cycle, 1 instruction in 2
    cycles without rows, in 6 with rows, in 11 of `Rope`. `input.ready` follows `output.ready`.
    After a trap nothing passes until reset.

    Parameters
    ----------
    l1_granules, scale_granules : int
        Sizes of L1 and of the scale memory.
    accumulators : int
        FP32 numbers in one half of the accumulators.

    Members
    -------
    input : In(stream of SENT)
    output : Out(stream of SENT), the same beats
    memory_bytes : In(41), the size of the memory outside; it stays while a program runs
    busy : Out(1); while it is 0 and no instruction is offered, the clock may stand still
    trap : Out(TRAPPED), for one cycle
    """

    def __init__(self, *, l1_granules: int, scale_granules: int, accumulators: int):
        ports = {
            "input": In(stream.Signature(SENT)),
            "output": Out(stream.Signature(SENT)),
            "memory_bytes": In(MEMORY_BITS + 1),
            "busy": Out(1),
            "trap": Out(TRAPPED),
        }
        super().__init__(ports, name=f"bounds_{l1_granules}_{scale_granules}_{accumulators}")
        self.check = TileCheck(
            l1_granules=l1_granules, scale_granules=scale_granules, accumulators=accumulators
        )

    def build(self, m: Module) -> None:
        """The instruction that is walked through, and the one that waits for its verdict."""
        m.submodules.legal = legal = Legal()
        m.submodules.check = check = self.check
        m.d.comb += check.memory_bytes.eq(self.memory_bytes)
        walked = Signal(SENT, reset_less=True)
        walking, stopped, take, leave, free = (
            Signal(name=name) for name in ("walking", "stopped", "take", "leave", "free")
        )
        with m.If(take):
            m.d.sync += walked.eq(self.input.payload)
        m.d.sync += walking.eq(take | (walking & ~leave))
        m.d.comb += [
            self.input.ready.eq((~walking | leave) & ~stopped),
            take.eq(self.input.valid & self.input.ready),
        ]
        word = self._walk(m, take, walking & ~leave)
        begin, checks = Signal(name="begin"), Signal(name="checks")
        m.d.sync += begin.eq(take)
        has_rows = walked.command.rows.any()
        m.d.comb += [
            legal.command.eq(walked.command),
            legal.begin.eq(begin),
            checks.eq(walking & ~walked.nop & has_rows & (~word.last | leave)),
            check.tile.valid.eq(checks),
            check.tile.final.eq(word.last),
            check.tile.word.eq(word),
            check.tile.payload.eq(walked.command.payload),
            check.tile.rows.eq(walked.command.rows),
            check.tile.x.eq(walked.command.x),
            leave.eq(walking & free & (walked.nop | ((word.last | ~has_rows) & ~legal.busy))),
        ]
        self._judge(m, walked, walking, leave, free, stopped)

    def _walk(self, m: Module, take: Any, stay: Any) -> Any:
        """The word of the tile that it is at; the last one stays until the instruction leaves."""
        m.submodules.words = table = memory.Memory(
            shape=WORD, depth=len(OPERATIONS) << STEP_BITS, init=words()
        )
        port = table.read_port()
        word = port.data
        step, place, next_place = (
            Signal(bits, name=name)
            for name, bits in (
                ("step", STEP_BITS),
                ("place", PLACE_BITS),
                ("next_place", PLACE_BITS),
            )
        )
        next_step = Signal(STEP_BITS)
        m.d.comb += [
            next_step.eq(Mux(take, 0, step + 1)),
            next_place.eq(Mux(take, _place(m, self.input.payload.command.opcode), place)),
            port.addr.eq(Cat(next_step, next_place)),
            port.en.eq(take | (stay & ~word.last)),
        ]
        with m.If(port.en):
            m.d.sync += [step.eq(next_step), place.eq(next_place)]
        return word

    def _judge(
        self, m: Module, walked: Any, walking: Any, leave: Any, free: Any, stopped: Any
    ) -> None:
        """The instruction that has left waits for its code, then for the verdict of its tiles."""
        legal, verdict = m.submodules.legal, m.submodules.check.verdict
        held = Signal(SENT, reset_less=True)
        occupied, valid, fresh, unchecked = (
            Signal(name=name) for name in ("occupied", "valid", "fresh", "unchecked")
        )
        code, later, outside = Signal(8), Signal(8), Signal()
        passes = self.output.valid & self.output.ready
        m.d.comb += [
            free.eq((~occupied | passes) & ~stopped),
            self.output.valid.eq(valid),
            self.output.payload.eq(held),
            self.trap.queue.eq(held.queue),
            self.trap.number.eq(held.number),
        ]
        m.d.comb += self.busy.eq(((walking | occupied) & ~stopped) | self.trap.code.any())
        with m.If(passes):
            m.d.sync += [occupied.eq(0), valid.eq(0)]
        with m.If(leave):
            m.d.sync += [
                held.eq(walked),
                occupied.eq(1),
                valid.eq(walked.nop),
                fresh.eq(~walked.nop),
                unchecked.eq(walked.command.rows.any()),
            ]
        verdict_code = Signal(8)
        decided = Signal()
        m.d.comb += verdict_code.eq(
            Mux(code.any(), code, Mux(outside | verdict.outside, Trap.ADDRESS, later))
        )
        m.d.sync += self.trap.code.eq(0)
        with m.If(fresh):
            m.d.sync += [fresh.eq(0), code.eq(legal.code), later.eq(legal.later)]
            m.d.comb += [decided.eq(~unchecked), verdict_code.eq(legal.code)]
        with m.Else():
            m.d.comb += decided.eq(verdict.final)
        m.d.sync += outside.eq(outside | verdict.outside)  # which ends in a trap
        with m.If(decided):
            m.d.sync += valid.eq(~verdict_code.any())
            m.d.sync += [self.trap.code.eq(verdict_code), stopped.eq(verdict_code.any())]


def _place(m: Module, opcode: Any) -> Signal:
    """The number of an operation in the table; any for others."""
    place = Signal(PLACE_BITS, name="place_of")
    with m.Switch(opcode):
        for number, cls in enumerate(OPERATIONS):
            with m.Case(cls.opcode):
                m.d.comb += place.eq(number)
    return place
