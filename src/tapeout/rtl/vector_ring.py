"""Rings: the vector registers of the element engine, each a queue of chunks."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from .component import Component


class Ring(Component):
    """A queue in a memory, whose producer reserves room before it has the beat.

    `room`: one more may be reserved; `ready`, `pair`: one, two beats are there, that of `push`
    included. `read` reads the oldest beat, with `ahead` the one after it, into `value`, where it
    stays until the next read; `pop` frees so many of the oldest. What a beat frees may be reserved
    in the next cycle.

    Latency 1 cycle from `push` and `read` to `value`; throughput 1 beat per cycle; never stalls.

    Parameters
    ----------
    width : int
        Bits of a beat.
    depth : int
        Beats that it holds; a power of two, at least 2.

    Members
    -------
    clear : In(1); reserve : In(1); push : In(1); data : In(width)
    read : In(1); ahead : In(1); pop : In(range(3)); value : Out(width)
    room : Out(1); ready : Out(1); pair : Out(1)
    """

    def __init__(self, *, width: int, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of at least 2, not {depth}")
        self.width, self.depth = width, depth
        ports = {name: In(1) for name in ("clear", "reserve", "push", "read", "ahead")}
        ports |= {"data": In(width), "pop": In(range(3)), "value": Out(width)}
        ports |= {name: Out(1) for name in ("room", "ready", "pair")}
        super().__init__(ports, name=f"vector_ring_{width}x{depth}")

    def build(self, m: Module) -> None:
        """Two places that wrap, the beats that are there, and those that are promised."""
        m.submodules.store = store = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write = store.write_port()
        read = store.read_port(transparent_for=(write,))
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        held, free = Signal(range(self.depth + 1)), Signal(range(self.depth + 1), init=self.depth)
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(self.data),
            write.en.eq(self.push),
            read.addr.eq(tail + self.ahead),
            read.en.eq(self.read),
            self.value.eq(read.data),
            self.room.eq(free != 0),
            self.ready.eq((held != 0) | self.push),
            self.pair.eq(held[1:].any() | (held[0] & self.push)),
        ]
        m.d.sync += [
            head.eq(head + self.push),
            tail.eq(tail + self.pop),
            held.eq(held + self.push - self.pop),
            free.eq(free + self.pop - self.reserve),
        ]
        with m.If(self.clear):
            m.d.sync += [head.eq(0), tail.eq(0), held.eq(0), free.eq(self.depth)]
