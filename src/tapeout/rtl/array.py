"""The array of the matrix unit: dot-product units, each with the adder of its sum."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tapeout.numerics import Format

from .component import Component
from .decode import OperandLayout, format_set
from .dot import DOT_CUTS, DotUnit
from .fp32 import ADD_CUTS, MINUS_ZERO, add
from .pipe import Pipe

DOT_LATENCY = DOT_CUTS
SUM_LATENCY = ADD_CUTS


class ArrayCell(Component):
    """One product of blocks, and its sum with what the accumulator holds.

    Value: `numerics.matmul` of [1, 32] blocks, with `acc`. Latency DOT_LATENCY cycles from `a`
    and `b` to the sum with `before`, and SUM_LATENCY more to `after`; throughput 1 per cycle;
    never stalls.

    Parameters
    ----------
    formats : tuple of Format
        Formats that it multiplies.

    Members
    -------
    a, b : In(OperandLayout(formats))
    before : In(32); first : In(1), there is nothing before
    after : Out(32)
    """

    def __init__(self, *, formats: tuple[Format, ...]):
        self.formats = formats
        layout = OperandLayout(formats)
        super().__init__(
            {"a": In(layout), "b": In(layout), "before": In(32), "first": In(1), "after": Out(32)},
            name=f"cell_{format_set(formats)}",
        )

    def build(self, m: Module) -> None:
        """A dot-product unit that is always ready, and an adder."""
        m.submodules.dot = dot = DotUnit(formats=self.formats)
        m.d.comb += [
            dot.operands.payload.a.eq(self.a),
            dot.operands.payload.b.eq(self.b),
            dot.operands.valid.eq(1),
            dot.result.ready.eq(1),
        ]
        before = Mux(self.first, Const(MINUS_ZERO, 32), self.before)
        pipe = Pipe(m, cuts=ADD_CUTS, stages=ADD_CUTS, advance=Const(1), valid=Const(1))
        (total,) = add(m, pipe, before, dot.result.payload)
        pipe.done()
        m.d.comb += self.after.eq(total)


class DotRow(Component):
    """One row of the array: cells that share an operand.

    Value: `numerics.matmul` of a row of one block of K. Latency and throughput of `ArrayCell`.

    Parameters
    ----------
    formats : tuple of Format
        Formats that it multiplies.
    columns : int
        Cells.

    Members
    -------
    a : In(OperandLayout(formats)); b : In(array of columns operands)
    before : In(array of columns numbers); first : In(1)
    after : Out(array of columns numbers)
    """

    def __init__(self, *, formats: tuple[Format, ...], columns: int):
        self.formats, self.columns = formats, columns
        layout = OperandLayout(formats)
        super().__init__(
            {
                "a": In(layout),
                "b": In(data.ArrayLayout(layout, columns)),
                "before": In(data.ArrayLayout(32, columns)),
                "first": In(1),
                "after": Out(data.ArrayLayout(32, columns)),
            },
            name=f"row_{format_set(formats)}_{columns}",
        )

    def build(self, m: Module) -> None:
        """A cell for each column."""
        for column in range(self.columns):
            m.submodules[f"cell_{column}"] = cell = ArrayCell(formats=self.formats)
            m.d.comb += [
                cell.a.eq(self.a),
                cell.b.eq(self.b[column]),
                cell.before.eq(self.before[column]),
                cell.first.eq(self.first),
                self.after[column].eq(cell.after),
            ]


def delayed(m: Module, value: Any, cycles: int) -> Any:
    """The value `cycles` cycles later."""
    for _ in range(cycles):
        register = Signal.like(value, reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value
