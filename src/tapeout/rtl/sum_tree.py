"""Sums of 32 neighbours by a binary tree of FP32 additions, whatever the width of a chunk."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.numerics.fp32 import SUM_BLOCK

from .component import Component
from .fp32 import ADD_CUTS, add
from .pipe import Pipe


class SumAdder(Component):
    """Sum of two FP32 numbers. Value: `tapeout.numerics.add`.

    Latency ADD_CUTS cycles; throughput 1 per cycle; never stalls. `on` lets the pipe move; it is
    1 while something enters or is before the last register, which keeps its value.

    Parameters
    ----------
    (none)

    Members
    -------
    on : In(1); left, right : In(32); total : Out(32)
    """

    def __init__(self) -> None:
        ports = {"on": In(1), "left": In(32), "right": In(32), "total": Out(32)}
        super().__init__(ports, name="sum_adder")

    def build(self, m: Module) -> None:
        """A pipe through `add`."""
        pipe = Pipe(m, cuts=ADD_CUTS, stages=ADD_CUTS, advance=self.on, valid=Const(0, 1))
        (total,) = add(m, pipe, self.left, self.right)
        m.d.comb += self.total.eq(total)


def beside_adder(m: Module, name: str, on: Any, ends: Any) -> tuple[Any, Any, Any]:
    """What goes along with a `SumAdder`: (it moves, its sum is there, `ends` of that sum)."""
    there, ending = Signal(ADD_CUTS, name=f"{name}_there"), Signal(ADD_CUTS, name=f"{name}_ending")
    m.d.sync += [there.eq(Cat(on, there[:-1])), ending.eq(Cat(ends, ending[:-1]))]
    return on | there[:-1].any(), there[-1], ending[-1]


class SumTree(Component):
    """Sum of some numbers by a binary tree that adds neighbours.

    Latency ADD_CUTS * log2(leaves) cycles; throughput 1 sum per cycle; never stalls.

    Parameters
    ----------
    leaves : int
        Numbers: a power of two, at least 2.

    Members
    -------
    on : In(1), numbers are there; ends : In(1), goes along with them; values : In(32 * leaves)
    done : Out(1); done_ends : Out(1); total : Out(32)
    """

    def __init__(self, *, leaves: int):
        self.levels = exact_log2(leaves)
        ports = {"on": In(1), "ends": In(1), "values": In(32 * leaves)}
        ports |= {"done": Out(1), "done_ends": Out(1), "total": Out(32)}
        super().__init__(ports, name=f"sum_tree_{leaves}")

    def build(self, m: Module) -> None:
        """Levels of adders that move while something is in them."""
        words: list[Any] = [self.values.word_select(i, 32) for i in range(1 << self.levels)]
        on, ends = self.on, self.ends
        for level in range(self.levels):
            moves, on, ends = beside_adder(m, f"level{level}", on, ends)
            sums: list[Any] = []
            for i in range(len(words) // 2):
                m.submodules[f"level{level}_adder{i}"] = adder = SumAdder()
                pair = words[2 * i : 2 * i + 2]
                m.d.comb += [adder.on.eq(moves), adder.left.eq(pair[0]), adder.right.eq(pair[1])]
                sums.append(adder.total)
            words = sums
        m.d.comb += [self.done.eq(on), self.done_ends.eq(ends), self.total.eq(words[0])]


class PairSums(Component):
    """Sums of numbers that follow one another, two by two; +0 is added to one that ends alone.

    Latency ADD_CUTS cycles from the second number; throughput 1 number per cycle; never stalls.

    Parameters
    ----------
    (none)

    Members
    -------
    on : In(1), a number is there; ends : In(1), the next number begins a pair; value : In(32)
    done : Out(1); done_ends : Out(1), the second number had `ends`; total : Out(32)
    """

    def __init__(self) -> None:
        ports = {"on": In(1), "ends": In(1), "value": In(32)}
        ports |= {"done": Out(1), "done_ends": Out(1), "total": Out(32)}
        super().__init__(ports, name="pair_sums")

    def build(self, m: Module) -> None:
        """Keep the first of a pair."""
        first, waits = Signal(32, reset_less=True), Signal()
        go = self.on & (waits | self.ends)
        with m.If(self.on):
            m.d.sync += waits.eq(~waits & ~self.ends)
            m.d.sync += first.eq(self.value)
        m.submodules.adder = adder = SumAdder()
        moves, done, ends = beside_adder(m, "pair", go, self.ends)
        m.d.comb += [
            adder.on.eq(moves),
            adder.left.eq(Mux(waits, first, self.value)),
            adder.right.eq(Mux(waits, self.value, 0)),
            self.done.eq(done),
            self.done_ends.eq(ends),
            self.total.eq(adder.total),
        ]


class BlockSums(Component):
    """Sums of the blocks of 32 numbers of a row that comes in chunks. Value: `numerics.reduce_sum`
    of each block.

    A row begins a block; what its last block lacks counts as +0. Chunks of more than 32 numbers
    give several sums at once.

    Latency 5 * ADD_CUTS cycles from the last chunk of a block; throughput 1 chunk per cycle; never
    stalls.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk: a power of two, at least 4.

    Members
    -------
    on : In(1), a chunk is there; ends : In(1), it is the last of its row; values : In(32 * lanes)
    done : Out(1); done_ends : Out(1), the row ends; sums : Out(32 * blocks of a chunk)
    """

    def __init__(self, *, lanes: int):
        self.leaves, self.parts = min(lanes, SUM_BLOCK), max(1, lanes // SUM_BLOCK)
        ports = {"on": In(1), "ends": In(1), "values": In(32 * lanes)}
        ports |= {"done": Out(1), "done_ends": Out(1), "sums": Out(32 * self.parts)}
        super().__init__(ports, name=f"block_sums_{lanes}")

    def build(self, m: Module) -> None:
        """Trees over a chunk, then pairs of chunks until they are a block."""
        width = 32 * self.leaves
        sums: list[Any] = []
        stage: Any = None
        for i in reversed(range(self.parts)):
            m.submodules[f"tree{i}"] = stage = SumTree(leaves=self.leaves)
            m.d.comb += [
                stage.on.eq(self.on),
                stage.ends.eq(self.ends),
                stage.values.eq(self.values[i * width : (i + 1) * width]),
            ]
            sums = [stage.total, *sums]
        for level in range(exact_log2(SUM_BLOCK // self.leaves)):
            m.submodules[f"pairs{level}"] = pairs = PairSums()
            m.d.comb += [
                pairs.on.eq(stage.done),
                pairs.ends.eq(stage.done_ends),
                pairs.value.eq(stage.total),
            ]
            stage, sums = pairs, [pairs.total]
        m.d.comb += [
            self.done.eq(stage.done),
            self.done_ends.eq(stage.done_ends),
            self.sums.eq(Cat(sums)),
        ]
