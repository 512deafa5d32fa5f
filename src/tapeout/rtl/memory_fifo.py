"""A queue in a memory, for beats too wide or too many to be kept in registers."""

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from .component import Component


class MemoryFifo(Component):
    """A queue in a memory with one write and one read port: first in, first out.

    Latency 2 cycles; throughput 1 beat per cycle; input stalls when `depth` beats wait in the
    memory, besides the one that is on offer.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.
    depth : int
        Beats that the memory holds; at least 2.

    Members
    -------
    input : In(stream of shape)
    output : Out(stream of shape)
    """

    def __init__(self, shape: Any, *, depth: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        width = Shape.cast(shape).width
        ports = {"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))}
        super().__init__(ports, name=f"memory_fifo_{width}x{depth}")
        self.depth, self.width = depth, width

    def build(self, m: Module) -> None:
        """The memory's read register is the beat on offer."""
        m.submodules.store = store = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port()
        stored = Signal(range(self.depth + 1))
        m.d.comb += [
            self.input.ready.eq(stored != self.depth),
            write.en.eq(self.input.valid & self.input.ready),
            write.data.eq(self.input.payload),
            read.en.eq((~self.output.valid | self.output.ready) & (stored != 0)),
            self.output.payload.eq(read.data),
        ]
        m.d.sync += stored.eq(stored + write.en - read.en)
        with m.If(read.en):
            m.d.sync += self.output.valid.eq(1)
        with m.Elif(self.output.ready):
            m.d.sync += self.output.valid.eq(0)
        for name, port in (("head", write), ("tail", read)):
            place = Signal(range(self.depth), name=name)
            m.d.comb += port.addr.eq(place)
            with m.If(port.en):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
