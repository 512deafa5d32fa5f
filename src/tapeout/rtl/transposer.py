"""Turns 32 lines of K into columns: blocks of 32 elements along K."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from tapeout.numerics import BLOCK

from .component import Component
from .lanes import HALF_BITS, SLOT_BITS

WORD = 16  # bits that a bank holds of a line: two columns of 8 bits, or four of 4 bits
LINE_BITS = BLOCK * WORD


class Transposer(Component):
    """Takes 32 lines of 32 words, gives a word of each for word after word.

    Word j of line k lies in bank (j + k) mod 32 at k: so a line is written, and word j of all
    lines is read, in one cycle. There is room for two windows of 32 lines: while one leaves, the
    next one comes. Latency: the first columns leave 2 cycles after the last line came; throughput
    1 line per cycle; never stalls.

    Parameters
    ----------
    columns : int
        Columns of a group; 4..32.

    Members
    -------
    line : In(512); valid : In(1); row : In(5), the number of the line in its window
    narrow : In(1), elements of 4 bits, else a byte each; slot : In(4), of the first group;
    slots : In(3), groups less one that the window has; all of the window's last line
    write : Out(columns), which columns of a group leave; to : Out(4), the slot of the group;
    blocks : Out(4 blocks), of the columns with the same number modulo 4; a byte for each element
    full : Out(1), these are the last columns of their group
    done : Out(1), the last columns of the window leave
    """

    def __init__(self, *, columns: int):
        self.columns = columns
        super().__init__(
            {
                "line": In(LINE_BITS),
                "valid": In(1),
                "row": In(5),
                "narrow": In(1),
                "slot": In(SLOT_BITS),
                "slots": In(3),
                "write": Out(columns),
                "to": Out(SLOT_BITS),
                "blocks": Out(4 * HALF_BITS),
                "full": Out(1),
                "done": Out(1),
            },
            name=f"transposer_{columns}",
        )

    def build(self, m: Module) -> None:
        """Write turned by the line's number; read turned back by the word's."""
        active, word, narrow = Signal(), Signal(5), Signal()
        into, slot, slots = Signal(), Signal(SLOT_BITS), Signal(3)
        in_group = Signal(4)  # word within its group
        last_in_group = Signal()
        m.d.comb += last_in_group.eq(
            in_group == Mux(narrow, self.columns // 4 - 1, self.columns // 2 - 1)
        )
        ending = active & last_in_group & (slots == 0)
        with m.If(active):
            m.d.sync += [word.eq(word + 1), in_group.eq(Mux(last_in_group, 0, in_group + 1))]
            with m.If(last_in_group):
                m.d.sync += [slot.eq(slot + 1), slots.eq(slots - 1)]
            with m.If(ending):
                m.d.sync += active.eq(0)
        with m.If(self.valid & (self.row == BLOCK - 1)):
            m.d.sync += [active.eq(1), word.eq(0), in_group.eq(0), into.eq(~into)]
            m.d.sync += [narrow.eq(self.narrow), slot.eq(self.slot), slots.eq(self.slots)]

        words = self._banks(m, into, active, word)
        leaves, place, was_narrow = Signal(), Signal(4), Signal()
        m.d.sync += [
            leaves.eq(active),
            place.eq(in_group),
            was_narrow.eq(narrow),
            self.to.eq(slot),
            self.full.eq(active & last_in_group),
            self.done.eq(ending),
        ]
        m.d.comb += self.blocks.eq(_blocks(words, was_narrow))
        at = Mux(was_narrow, Const(0xF) << (place << 2), Const(0x3) << (place << 1))
        m.d.comb += self.write.eq(Mux(leaves, at, 0))

    def _banks(self, m: Module, into: Any, active: Any, word: Any) -> list[Any]:
        """The word of each line that was read."""
        turned = Signal(LINE_BITS)
        m.d.comb += turned.eq(_rotated(self.line, (-self.row)[:5]))
        out = []
        for bank in range(BLOCK):
            store = memory.Memory(shape=WORD, depth=2 * BLOCK, init=[])
            m.submodules[f"bank{bank}"] = store
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.en.eq(self.valid),
                write.addr.eq(Cat(self.row, into)),
                write.data.eq(turned.word_select(bank, WORD)),
                read.en.eq(active),
                read.addr.eq(Cat((bank - word)[:5], ~into)),
            ]
            out.append(read.data)
        by, back = Signal(5), Signal(LINE_BITS)
        with m.If(active):
            m.d.sync += by.eq(word)
        m.d.comb += back.eq(_rotated(Cat(*out), by))
        return [back.word_select(k, WORD) for k in range(BLOCK)]


def _rotated(line: Any, words: Any) -> Any:
    """The line turned right by 0..31 words."""
    twice = Cat(line, line)
    return (twice >> (words << 4))[:LINE_BITS]


def _blocks(words: list[Any], narrow: Any) -> Any:
    """Four blocks: of four columns of 4 bits, or of two of 8 bits, these twice."""
    out = []
    for column in range(4):
        low = 4 * column
        thin = [Cat(word[low : low + 4], Const(0, 4)) for word in words]
        start = 8 * (column % 2)
        wide = [word[start : start + 8] for word in words]
        out.append(Mux(narrow, Cat(*thin), Cat(*wide)))
    return Cat(*out)
