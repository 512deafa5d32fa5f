"""The scales of the values that Softmax's probabilities multiply, as chunks."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.numerics import FORMATS, Format

from .component import Component
from .decode import FORMAT_BITS, SCALE_BITS, element_facts
from .decode_element import (
    DECODE_CUTS,
    ELEMENT,
    SCALE,
    SCALING,
    ElementDecoder,
    decoded_scale,
    scaling,
)
from .ports import GRANULE_BITS, read_port

COLUMNS_BITS = 8
SCALE_WINDOW = 4  # granules that are read at a time
SCALE_WINDOW_BITS = exact_log2(SCALE_WINDOW)
INTEGER = ELEMENT.const({"integer": 1, "bits": 8})


def scales_config(address_bits: int) -> data.StructLayout:
    """What `ValueScales` does: `columns` scales from a granule on, those of a format that has some.

    columns: a multiple of 4, at least 4.
    """
    return data.StructLayout(
        {"on": 1, "address": address_bits, "columns": COLUMNS_BITS, "format": FORMAT_BITS}
    )


class ValueScales(Component):
    """Reads scales from the starts of granules, and writes all of them as chunks of FP32.

    Value: `numerics.decode_scale`. All are read once; then their chunks are written in order again
    and again until the next start, those that are there also before all are. What lies beyond the
    columns is anything. It promises without end: rings that it feeds must be cleared in the cycle
    of start. Reads must be over before the next start.

    Latency 7 cycles from the data of a chunk's last scale to `write`; throughput 4 scales per cycle
    and 1 chunk per cycle; stalls with the memory, and when there is no room.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk; a power of two, at least 4.
    address_bits : int
        Of addresses in the scale memory, in granules.

    Members
    -------
    start : In(1); config : In(scales_config), in the cycle of start
    read : Out(read_port of SCALE_WINDOW granules)
    room : In(1); reserve : Out(1); write : Out(1); data : Out(chunk)
    busy : Out(1), from the cycle after start until the last scale is read
    """

    def __init__(self, *, lanes: int, address_bits: int):
        if lanes < 4 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two of at least 4, not {lanes}")
        self.lanes = lanes
        self.depth = max(2, (1 << COLUMNS_BITS) // lanes)
        ports = {"start": In(1), "config": In(scales_config(address_bits)), "room": In(1)}
        ports |= {name: Out(1) for name in ("reserve", "write", "busy")}
        ports["read"] = Out(read_port(granules=SCALE_WINDOW, address_bits=address_bits))
        ports["data"] = Out(32 * lanes)
        super().__init__(ports, name=f"vector_scales_{lanes}_{address_bits}")

    def build(self, m: Module) -> None:
        """Ask; decode; gather a chunk; keep it; and write all that are kept."""
        m.submodules.store = store = memory.Memory(shape=32 * self.lanes, depth=self.depth, init=[])
        config = self.config
        self._ask(m)
        there, numbers = self._decode(m)
        stored = self._gather(m, there, numbers, store)
        read = store.read_port()
        place, top = Signal(range(self.depth)), Signal(range(self.depth), reset_less=True)
        go = Signal()
        m.d.comb += [
            go.eq(self.room & (place != stored)),
            self.reserve.eq(go),
            read.addr.eq(place),
            read.en.eq(go),
            self.data.eq(read.data),
        ]
        m.d.sync += self.write.eq(go)
        with m.If(go):
            m.d.sync += place.eq(Mux(place == top, 0, place + 1))
        with m.If(self.start):
            m.d.sync += [place.eq(0), self.write.eq(0)]
            m.d.sync += top.eq((config.columns - 1)[:COLUMNS_BITS] >> exact_log2(self.lanes))

    def _ask(self, m: Module) -> None:
        """A request for each window."""
        request, config = self.read.request, self.config
        address = Signal(len(request.payload), reset_less=True)
        bits = COLUMNS_BITS - SCALE_WINDOW_BITS
        unasked, due = Signal(bits), Signal(bits)
        m.d.comb += [
            request.valid.eq(unasked != 0),
            request.payload.eq(address),
            self.busy.eq(due != 0),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [unasked.eq(unasked - 1), address.eq(address + SCALE_WINDOW)]
        m.d.sync += due.eq(due - self.read.data_valid)
        with m.If(self.start):
            count = Mux(config.on, config.columns[SCALE_WINDOW_BITS:], 0)
            m.d.sync += [unasked.eq(count), due.eq(count), address.eq(config.address)]

    def _decode(self, m: Module) -> tuple[Any, Any]:
        """(whether scales come out, their FP32 bits): what the number 1 is with such a scale."""
        rule = Signal(SCALING, reset_less=True)
        with m.If(self.start), m.Switch(self.config.format):
            for each in FORMATS:
                if each.scale != "none":
                    with m.Case(each.code):
                        m.d.sync += rule.eq(SCALING.const(_rule(each)))
        there = self.read.data_valid
        asked, stages, numbers = there, [], []
        for i in range(DECODE_CUTS + 1):
            later = Signal(name=f"on{i}")
            m.d.sync += later.eq(there & ~self.start)
            there = later
            stages.append(later)
        for i in range(SCALE_WINDOW):
            m.submodules[f"decoder{i}"] = decoder = ElementDecoder()
            scale = Signal(SCALE, name=f"scale{i}", reset_less=True)
            code = self.read.data.word_select(i, GRANULE_BITS)[:SCALE_BITS]
            with m.If(asked):
                m.d.sync += scale.eq(decoded_scale(m, code, rule))
            m.d.comb += [
                decoder.advance.eq(Cat(stages[:-1]).any()),
                decoder.code.eq(1),
                decoder.scale.eq(scale),
                decoder.element.eq(INTEGER),
            ]
            numbers.append(decoder.value)
        return there, Cat(*numbers)

    def _gather(self, m: Module, there: Any, numbers: Any, store: memory.Memory) -> Any:
        """Scales become chunks in the memory; returns how many are there."""
        write = store.write_port()
        chunk = Signal(32 * self.lanes, reset_less=True)
        parts = self.lanes // SCALE_WINDOW
        part, left = Signal(range(parts)), Signal(COLUMNS_BITS, reset_less=True)
        stored, full = Signal(range(self.depth + 1)), Signal()
        last = (part == parts - 1) | (left == SCALE_WINDOW)
        m.d.comb += [write.addr.eq(stored), write.data.eq(chunk), write.en.eq(full)]
        m.d.sync += [full.eq(there & last), stored.eq(stored + full)]
        with m.If(there):
            m.d.sync += chunk.word_select(part, 32 * SCALE_WINDOW).eq(numbers)
            m.d.sync += [part.eq(part + 1), left.eq(left - SCALE_WINDOW)]
        with m.If(self.start):
            m.d.sync += [part.eq(0), stored.eq(0), full.eq(0), left.eq(self.config.columns)]
        return stored


def _rule(fmt: Format) -> dict[str, int]:
    """How a format's scales are read, without what its elements are worth."""
    rule = scaling(fmt)
    return {**rule, "top": rule["top"] - element_facts(fmt.element).unit - fmt.unit_exponent}
