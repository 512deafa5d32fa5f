"""The largest magnitudes of the groups of a row that arrives in chunks."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .component import Component

MAGNITUDE_BITS = 31
SUB = 16  # elements of the smallest group
SIZES = (16, 32, 128)  # groups; larger ones are whole rows
GROUP_BITS = 2


def sub_groups(lanes: int) -> int:
    """Results for a chunk: one for each 16 elements, or one."""
    return max(1, lanes // SUB)


class GroupMaxima(Component):
    """The largest magnitude of each group: of the lanes of a chunk, or of several chunks.

    Latency `latency` cycles; throughput 1 chunk per cycle; never stalls. Magnitudes compare as
    integers, so an infinity or a NaN is the largest.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk; a power of two, at least 4.

    Members
    -------
    valid : In(1)
    magnitudes : In([lanes] 31 bits), FP32 without signs
    closes : In(1), the chunk is the last one of its group
    group : In(2), index into SIZES, or 3: a row. Constant while chunks are in the pipeline
    closed : Out(1), the results are those of a chunk with `closes`
    largest : Out([lanes / 16] 31 bits), for each 16 lanes that of their group; one if lanes < 16
    """

    def __init__(self, *, lanes: int):
        if lanes < 4 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two of at least 4, not {lanes}")
        self.lanes = lanes
        self.levels = lanes.bit_length() - 1
        self.latency = self.levels // 2 + 1  # two levels a stage; an odd one is in the last stage
        ports = {
            "valid": In(1),
            "magnitudes": In(data.ArrayLayout(MAGNITUDE_BITS, lanes)),
            "closes": In(1),
            "group": In(GROUP_BITS),
            "closed": Out(1),
            "largest": Out(data.ArrayLayout(MAGNITUDE_BITS, sub_groups(lanes))),
        }
        super().__init__(ports, name=f"group_maxima_{lanes}")

    def build(self, m: Module) -> None:
        """A tree, of which the levels that are groups are kept, then a maximum over chunks."""
        values = [self.magnitudes[i] for i in range(self.lanes)]
        valid, closes = self.valid, self.closes
        kept: dict[int, list[Any]] = {}
        for level in range(1, self.levels + 1):
            values = [_larger(m, a, b) for a, b in zip(values[0::2], values[1::2], strict=True)]
            if 1 << level in SIZES and level < self.levels:
                kept[1 << level] = values
            if level % 2 == 0:
                values, kept = _registers(m, valid, values, kept, level)
                valid, closes = _next(m, valid, closes, level)
        self._last(m, valid, closes, values[0], kept)

    def _last(self, m: Module, valid: Any, closes: Any, whole: Any, kept: Any) -> None:
        """The maximum over chunks, and for each 16 lanes the result of their group."""
        before = Signal(MAGNITUDE_BITS)
        total = _larger(m, whole, before)
        with m.If(valid):
            m.d.sync += before.eq(Mux(closes, 0, total))
        m.d.sync += self.closed.eq(valid & closes)
        with m.If(valid & closes):
            for i in range(sub_groups(self.lanes)):
                with m.Switch(self.group):
                    for number, size in enumerate(SIZES):
                        if size in kept:
                            with m.Case(number):
                                m.d.sync += self.largest[i].eq(kept[size][i * SUB // size])
                    with m.Default():
                        m.d.sync += self.largest[i].eq(total)


def _larger(m: Module, a: Any, b: Any) -> Any:
    out = Signal(MAGNITUDE_BITS, name="larger")
    m.d.comb += out.eq(Mux(a > b, a, b))
    return out


def _registers(m: Module, valid: Any, values: Any, kept: Any, level: int) -> tuple[Any, Any]:
    """The same values a cycle later."""
    later: dict[int, Any] = {}
    for value in [*values, *(v for group in kept.values() for v in group)]:
        if id(value) not in later:
            later[id(value)] = Signal(MAGNITUDE_BITS, name=f"level{level}", reset_less=True)
            with m.If(valid):
                m.d.sync += later[id(value)].eq(value)
    renamed = {size: [later[id(v)] for v in group] for size, group in kept.items()}
    return [later[id(v)] for v in values], renamed


def _next(m: Module, valid: Any, closes: Any, level: int) -> tuple[Any, Any]:
    flags = Signal(name=f"valid{level}"), Signal(name=f"closes{level}")
    m.d.sync += [flags[0].eq(valid), flags[1].eq(closes)]
    return flags
