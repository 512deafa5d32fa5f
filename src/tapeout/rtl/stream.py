"""Streams between components, and the buffers that sit on them.

A stream is `valid`, `payload` (from the sender) and `ready` (from the receiver). A beat passes in
a cycle in which valid and ready are both 1. The rules, which `check.checked_run` enforces:

1. Once valid is 1 it stays 1, with the same payload, until the beat has passed.
2. ready does not depend combinationally on the valid or payload of its own stream, nor valid and
   payload on the ready of theirs. So streams never form a combinational loop.
3. The payload means nothing while valid is 0.

A component may let the ready of its input follow the ready of its output (it says so as its stall
rule); a `SkidBuffer` between two components cuts such a chain of wires.
"""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Shape, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .component import Component


class SkidBuffer(Component):
    """Registers on both directions of a stream: first in, first out, two beats.

    Latency 1 cycle; throughput 1 beat per cycle; input stalls when two beats are held, which is
    known from registers only.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    input : In(stream of shape)
    output : Out(stream of shape)
    """

    def __init__(self, shape: Any):
        width = Shape.cast(shape).width
        ports = {"input": In(stream.Signature(shape)), "output": Out(stream.Signature(shape))}
        super().__init__(ports, name=f"skid_{width}")
        self.width = width

    def build(self, m: Module) -> None:
        """Keep the beat that arrives while the output register is stuck."""
        spare = Signal(self.width, reset_less=True)
        spare_valid = Signal()
        front = Signal(self.width, reset_less=True)
        incoming = self.input.payload
        free = Signal()
        m.d.comb += free.eq(~self.output.valid | self.output.ready)
        m.d.comb += [self.input.ready.eq(~spare_valid), self.output.payload.eq(front)]
        with m.If(free):
            m.d.sync += self.output.valid.eq(self.input.valid | spare_valid)
            m.d.sync += front.eq(Mux(spare_valid, spare, incoming))
            m.d.sync += spare_valid.eq(0)
        with m.Elif(self.input.valid & self.input.ready):
            m.d.sync += spare_valid.eq(1)
        with m.If(self.input.ready):
            m.d.sync += spare.eq(incoming)


class Fifo(Component):
    """A queue in registers: first in, first out.

    Latency 1 cycle; throughput 1 beat per cycle; input stalls when `depth` beats are held (also
    in a cycle in which one leaves).

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.
    depth : int
        Beats that it holds; at least 1. With 1 the throughput is half a beat per cycle.

    Members
    -------
    input : In(stream of shape)
    output : Out(stream of shape)
    level : Out(0..depth), the beats that it holds
    """

    def __init__(self, shape: Any, *, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        width = Shape.cast(shape).width
        ports = {
            "input": In(stream.Signature(shape)),
            "output": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        }
        super().__init__(ports, name=f"fifo_{width}x{depth}")
        self.depth = depth
        self.width = width

    def build(self, m: Module) -> None:
        """Two pointers that wrap at `depth`, and the level."""
        slots = Array(
            Signal(self.width, name=f"slot{i}", reset_less=True) for i in range(self.depth)
        )
        head = Signal(range(self.depth))
        tail = Signal(range(self.depth))
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.input.ready.eq(self.level != self.depth),
            self.output.valid.eq(self.level != 0),
            self.output.payload.eq(slots[tail]),
            push.eq(self.input.valid & self.input.ready),
            pop.eq(self.output.valid & self.output.ready),
        ]
        m.d.sync += self.level.eq(self.level + push - pop)
        with m.If(push):
            m.d.sync += slots[head].eq(self.input.payload)
            m.d.sync += head.eq(Mux(head == self.depth - 1, 0, head + 1))
        with m.If(pop):
            m.d.sync += tail.eq(Mux(tail == self.depth - 1, 0, tail + 1))
