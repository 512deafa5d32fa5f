"""Random bits of the sampler, one round per two cycles. Value: `tapeout.numerics.random_bits64`."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from .component import Component

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Philox(Component):
    """Philox4x32-10 at a 64-bit counter under a 64-bit seed.

    `bits` is right from the cycle in which `done` is 1 until the next `start`; 2 cycles a round.

    Members
    -------
    start : In(1)
    seed, counter : In(64), read in the cycle of `start`
    done : Out(1), for one cycle
    bits : Out(64)
    """

    def __init__(self) -> None:
        ports = {"start": In(1), "seed": In(64), "counter": In(64), "done": Out(1), "bits": Out(64)}
        super().__init__(ports, name="philox")

    def build(self, m: Module) -> None:
        """Multiply in one cycle, mix in the next."""
        words = [Signal(32, name=f"word{i}") for i in range(4)]
        keys = [Signal(32, name=f"key{i}") for i in range(2)]
        products = [Signal(64, name=f"product{i}") for i in range(2)]
        left, mixing = Signal(range(ROUNDS + 1)), Signal()
        m.d.comb += self.bits.eq(Cat(words[0], words[1]))
        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [word.eq(0) for word in words[2:]]
            m.d.sync += [w.eq(self.counter.word_select(i, 32)) for i, w in enumerate(words[:2])]
            m.d.sync += [key.eq(self.seed.word_select(i, 32)) for i, key in enumerate(keys)]
            m.d.sync += [left.eq(ROUNDS), mixing.eq(0)]
        with m.Elif(left.any() & ~mixing):
            m.d.sync += mixing.eq(1)
            m.d.sync += [products[i].eq(words[2 * i] * MULTIPLIERS[i]) for i in range(2)]
        with m.Elif(left.any()):
            m.d.sync += [mixing.eq(0), left.eq(left - 1), self.done.eq(left == 1)]
            m.d.sync += [
                words[0].eq(products[1][32:] ^ words[1] ^ keys[0]),
                words[1].eq(products[1][:32]),
                words[2].eq(products[0][32:] ^ words[3] ^ keys[1]),
                words[3].eq(products[0][:32]),
            ]
            m.d.sync += [key.eq(key + step) for key, step in zip(keys, WEYL, strict=True)]
