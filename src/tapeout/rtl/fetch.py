"""Instructions from memory, through a small cache that reads ahead."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import WORD_BYTES

from .component import Component
from .ports import MEMORY_BITS, memory_read
from .sent import NUMBER_BITS
from .stream import Fifo
from .trap import Trap

LINE_BYTES = 128
LINE_WORDS = LINE_BYTES // WORD_BYTES
WORD_LOG2 = WORD_BYTES.bit_length() - 1
SLOT_BITS = MEMORY_BITS - WORD_LOG2  # of an instruction's address in words
LINE_BITS = SLOT_BITS - (LINE_WORDS.bit_length() - 1)
TARGET_BITS = NUMBER_BITS + 1  # an instruction that loops lead to, perhaps far after the last
AHEAD = 4  # lines that are read ahead of the one in use

FETCHED = data.StructLayout({"word": 8 * WORD_BYTES, "number": NUMBER_BITS, "trap": 8})
"""An instruction as it lies in memory and its number, or why there is none."""


class Fetch(Component):
    """Instructions in order, and from another place after a jump.

    Lines of LINE_BYTES are kept in a direct-mapped cache; the next AHEAD lines of the program are
    read before they are needed. After the last instruction comes `Trap.END`, after an instruction
    in a beat with an error `Trap.READ`; a program that does not start on an instruction boundary or
    does not end within memory is `Trap.ADDRESS`.

    Latency 3 cycles from a jump to an instruction in the cache; throughput one instruction in 2
    cycles from the cache. The stream stalls while an instruction is not there.

    Parameters
    ----------
    bus_bits : int
        Width of the bus; a power of two in 32..1024.
    lines : int
        Lines of the cache; a power of two of at least 8.

    Members
    -------
    start : In(1), with base, count and memory_bytes: empties the cache, then begins at number 0
    base, memory_bytes : In(MEMORY_BITS + 1), byte address of instruction 0; size of the memory
    count : In(NUMBER_BITS), instructions
    jump : In(1), drops what was fetched and goes on at number `target`
    target : In(TARGET_BITS)
    words : Out(stream of FETCHED), loses its valid at a jump
    memory : Out(memory_read)
    """

    def __init__(self, *, bus_bits: int, lines: int = 64):
        if not 32 <= bus_bits <= 8 * LINE_BYTES or bus_bits & (bus_bits - 1):
            raise ValueError(f"bus_bits must be a power of two in 32..1024, not {bus_bits}")
        if lines < 2 * AHEAD or lines & (lines - 1):
            raise ValueError(f"lines must be a power of two of at least {2 * AHEAD}, not {lines}")
        ports = {
            "start": In(1),
            "base": In(MEMORY_BITS + 1),
            "count": In(NUMBER_BITS),
            "memory_bytes": In(MEMORY_BITS + 1),
            "jump": In(1),
            "target": In(TARGET_BITS),
            "words": Out(stream.Signature(FETCHED)),
            "memory": Out(memory_read(bus_bits=bus_bits)),
        }
        super().__init__(ports, name=f"fetch_{bus_bits}_{lines}")
        self.bus_bits, self.lines = bus_bits, lines
        self.line_beats = max(1, 8 * LINE_BYTES // bus_bits)

    def build(self, m: Module) -> None:
        """A reader of the cache, and a filler that goes ahead of it."""
        self._memories(m)
        self._slot, self._number = Signal(SLOT_BITS + 1), Signal(TARGET_BITS)  # the next to read
        self._count, self._last = Signal(NUMBER_BITS), Signal(SLOT_BITS + 1)
        self._next_line = Signal(LINE_BITS + 1)  # the next to fill
        self._restart = Signal()  # slot, number and next_line are set
        self._stopped = Signal(init=1)  # after a start, until what was asked for has come
        self._misplaced = Signal()
        self._valid, self._pending = Signal(self.lines), Signal(self.lines)
        self._error = Signal(self.lines)
        self._begin(m)
        self._read(m)
        asked, asking = self._ask(m)
        self._fill(m, asked, asking)

    def _memories(self, m: Module) -> None:
        row_bits = max(8 * WORD_BYTES, self.bus_bits)
        self._row_words = row_bits // (8 * WORD_BYTES)
        m.submodules.rows = self._rows = memory.Memory(
            shape=data.ArrayLayout(self.bus_bits, row_bits // self.bus_bits),
            depth=self.lines * LINE_WORDS // self._row_words,
            init=[],
        )
        tag_bits = LINE_BITS + 1 - _log2(self.lines)
        m.submodules.tags = self._tags = memory.Memory(shape=tag_bits, depth=self.lines, init=[])
        m.submodules.fills = self._fills = Fifo(_log2(self.lines), depth=AHEAD)

    def _begin(self, m: Module) -> None:
        """Where to go on after a start or a jump; a start waits for what is still to come."""
        base = Signal(SLOT_BITS + 1)
        slot, number = Signal(SLOT_BITS + 1), Signal(TARGET_BITS)
        end_bytes = self.base + (self.count << WORD_LOG2)
        m.d.comb += [
            number.eq(Mux(self.start, 0, self.target)),
            slot.eq(Mux(self.start, self.base[WORD_LOG2:], base + self.target)),
            self._restart.eq(self.start | self.jump),
        ]
        with m.If(self._restart):
            m.d.sync += [self._slot.eq(slot), self._number.eq(number)]
            m.d.sync += self._next_line.eq(slot >> _log2(LINE_WORDS))
        with m.If(self.start):
            m.d.sync += [
                base.eq(self.base[WORD_LOG2:]),
                self._count.eq(self.count),
                self._last.eq((end_bytes >> WORD_LOG2) - 1),
                self._misplaced.eq(self.base[:WORD_LOG2].any() | (end_bytes > self.memory_bytes)),
                self._stopped.eq(1),
            ]
        with m.Elif(self._stopped & (self._fills.level == 0)):
            m.d.sync += self._stopped.eq(0)

    def _read(self, m: Module) -> None:
        """Look an instruction up, and offer it a cycle later if it is there."""
        rows, tags = self._rows.read_port(), self._tags.read_port()
        looked, present, failed = Signal(), Signal(), Signal()
        line = self._slot >> _log2(LINE_WORDS)
        index = line[: _log2(self.lines)]
        m.d.comb += [
            rows.addr.eq(self._slot >> _log2(self._row_words)),
            tags.addr.eq(index),
            rows.en.eq(~looked),
            tags.en.eq(~looked),
        ]
        past, hit, known, load = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            hit.eq(present & (tags.data == line >> _log2(self.lines))),
            known.eq(looked & (past | self._misplaced | hit)),
            load.eq(known & (~self.words.valid | self.words.ready)),
        ]
        with m.If(~looked):
            m.d.sync += [
                present.eq(self._valid.bit_select(index, 1)),
                failed.eq(self._error.bit_select(index, 1)),
                past.eq(self._number >= self._count),
            ]
        m.d.sync += looked.eq(~self._restart & ~self._stopped & (~looked | (known & ~load)))
        with m.If(self._restart):
            m.d.sync += self.words.valid.eq(0)
        with m.Elif(load):
            m.d.sync += self.words.valid.eq(1)
        with m.Elif(self.words.ready):
            m.d.sync += self.words.valid.eq(0)
        with m.If(load & ~self._restart & ~past):
            m.d.sync += [self._slot.eq(self._slot + 1), self._number.eq(self._number + 1)]
        with m.If(load):
            words = Value.cast(rows.data)
            place = self._slot[: _log2(self._row_words)]
            m.d.sync += [
                self.words.payload.word.eq(words.word_select(place, 8 * WORD_BYTES)),
                self.words.payload.number.eq(self._number),
                self.words.payload.trap.eq(
                    Mux(
                        past,
                        Trap.END,
                        Mux(self._misplaced, Trap.ADDRESS, Mux(failed, Trap.READ, Trap.NONE)),
                    )
                ),
            ]

    def _ask(self, m: Module) -> tuple[Signal, Signal]:
        """Ask for the next line that is not there; returns its index, and whether it is asked."""
        tags, writing = self._tags.read_port(), self._tags.write_port()
        looked, present, pending = Signal(), Signal(), Signal()
        asking, same, wanted = Signal(), Signal(), Signal()
        index = self._next_line[: _log2(self.lines)]
        tag = self._next_line >> _log2(self.lines)
        last_line = self._last >> _log2(LINE_WORDS)
        near = self._next_line <= (self._slot >> _log2(LINE_WORDS)) + AHEAD
        idle = self._stopped | self._misplaced | (self._count == 0)
        m.d.comb += [
            tags.addr.eq(index),
            same.eq(tags.data == tag),
            wanted.eq(near & (self._next_line <= last_line) & ~idle),
            asking.eq(
                looked
                & ~self._restart
                & ~pending
                & ~(same & present)
                & self._fills.input.ready
                & ~self.memory.request.valid
            ),
            writing.addr.eq(index),
            writing.data.eq(tag),
            writing.en.eq(asking),
            self._fills.input.valid.eq(asking),
            self._fills.input.payload.eq(index),
        ]
        m.d.sync += [
            looked.eq(wanted & ~self._restart & ~looked),
            present.eq(self._valid.bit_select(index, 1)),
            pending.eq(self._pending.bit_select(index, 1)),
        ]
        with m.If(looked & ~self._restart & (asking | (same & (present | pending)))):
            m.d.sync += self._next_line.eq(self._next_line + 1)
        words = Mux(self._next_line == last_line, self._last[: _log2(LINE_WORDS)], LINE_WORDS - 1)
        with m.If(asking):
            m.d.sync += [
                self.memory.request.valid.eq(1),
                self.memory.request.payload.address.eq(self._next_line << _log2(LINE_BYTES)),
                self.memory.request.payload.beats.eq(self._beats(words)),
            ]
        with m.Elif(self.memory.request.ready):
            m.d.sync += self.memory.request.valid.eq(0)
        return index, asking

    def _beats(self, words: Any) -> Any:
        """Beats, less one, of so many instructions, less one."""
        if self.bus_bits > 8 * WORD_BYTES:
            return words >> _log2(self._row_words)
        beats = 8 * WORD_BYTES // self.bus_bits
        return (words * beats + beats - 1)[: (self.line_beats - 1).bit_length()]

    def _fill(self, m: Module, asked: Signal, asking: Signal) -> None:
        """Write what comes; a line is there when all of it has come without an error."""
        writing = self._rows.write_port(granularity=1)
        beat = self.memory.data.payload
        arrives, done = Signal(), Signal()
        place, failed = Signal(range(self.line_beats)), Signal()
        index = self._fills.output.payload
        beats_in_row = self._row_words * 8 * WORD_BYTES // self.bus_bits
        at = Cat(place, index)
        m.d.comb += [
            self.memory.data.ready.eq(1),
            arrives.eq(self.memory.data.valid),
            done.eq(arrives & beat.last),
            self._fills.output.ready.eq(done),
            writing.addr.eq(at[_log2(beats_in_row) :]),
            writing.data.eq(beat.data.replicate(beats_in_row)),
            writing.en.eq(Mux(arrives, 1 << at[: _log2(beats_in_row)], 0)),
        ]
        with m.If(arrives):
            m.d.sync += place.eq(Mux(beat.last, 0, place + 1))
            m.d.sync += failed.eq((failed | beat.error) & ~beat.last)
        comes = Mux(done, 1 << index, 0)[: self.lines]
        goes = Mux(asking, 1 << asked, 0)[: self.lines]
        m.d.sync += [
            self._valid.eq(Mux(self._stopped, 0, (self._valid & ~goes) | comes)),
            self._pending.eq((self._pending | goes) & ~comes),
        ]
        with m.If(done):
            m.d.sync += self._error.eq(
                Mux(failed | beat.error, self._error | comes, self._error & ~comes)
            )


def _log2(number: int) -> int:
    """Of a power of two."""
    return number.bit_length() - 1
