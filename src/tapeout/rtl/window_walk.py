"""Windows into the accumulators, block by block."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .accumulator_half import TileShape
from .component import Component


class WindowWalk(Component):
    """Cuts windows into the blocks of rows * columns numbers that they touch.

    Throughput 1 block per cycle; stalls while `blocked`, and until a window's last block.

    Parameters
    ----------
    shape : TileShape
    granules : int
        The window's: a power of two.

    Members
    -------
    request : In(stream of granule addresses in both halves)
    blocked : In(1), the block may not be read in this cycle
    half : Out(1), of the block; it does not follow `blocked`
    go : Out(1), a block is read; ends : Out(1), it is the window's last
    group : Out(group), the block's first
    touched : Out(a bit for each of its groups)
    first : Out(place of the window's first granule in a block)
    chosen : Out(a bit for each granule of the window: whether it lies in this block)
    """

    def __init__(self, shape: TileShape, *, granules: int):
        if granules < 1 or granules & (granules - 1):
            raise ValueError(f"a window must be a power of two, not {granules} granules")
        self.shape, self.granules = shape, granules
        self.block_bits = (shape.rows * shape.group_granules).bit_length() - 1
        self.address_bits = shape.window_address_bits
        super().__init__(
            {
                "request": In(stream.Signature(self.address_bits)),
                "blocked": In(1),
                "half": Out(1),
                "go": Out(1),
                "ends": Out(1),
                "group": Out(shape.group_bits),
                "touched": Out(shape.rows),
                "first": Out(max(1, self.block_bits)),
                "chosen": Out(granules),
            },
            name=f"window_walk_{shape.rows}x{shape.columns}x{shape.depth}_{granules}",
        )

    def build(self, m: Module) -> None:
        """Count blocks; a window touches at most one more than it fills."""
        size = 1 << self.block_bits
        most = (size - 1 + self.granules - 1) // size
        waits, step = Signal(), Signal(range(most + 1))
        block = Signal(self.address_bits - self.block_bits, reset_less=True)
        first = Signal(self.block_bits, reset_less=True)
        address = self.request.payload
        m.d.comb += [
            self.half.eq(block[-1]),
            self.go.eq(waits & ~self.blocked),
            self.ends.eq(self.go & (step == (first + self.granules - 1) >> self.block_bits)),
            self.request.ready.eq(~waits | self.ends),
            self.group.eq(block[:-1] << self.shape.bank_bits),
            self.first.eq(first),
        ]
        with m.If(self.go):
            m.d.sync += [step.eq(step + 1), block.eq(block + 1)]
        with m.If(self.request.ready):
            m.d.sync += waits.eq(self.request.valid)
            m.d.sync += step.eq(0)
        with m.If(self.request.ready & self.request.valid):
            m.d.sync += [first.eq(address), block.eq(address >> self.block_bits)]
        window = Const((1 << self.granules) - 1, self.granules) << first
        here = Signal(size)
        with m.Switch(step):
            for number in range(most + 1):
                with m.Case(number):
                    m.d.comb += here.eq(window >> (number * size))
        each = self.shape.group_granules
        m.d.comb += self.touched.eq(Cat(here[at : at + each].any() for at in range(0, size, each)))
        for granule in range(self.granules):
            place = first + granule
            m.d.comb += self.chosen[granule].eq(place >> self.block_bits == step)
