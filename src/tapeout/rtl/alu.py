"""The command processor's arithmetic on 48-bit integers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from tapeout.isa.encoding import fields
from tapeout.isa.fields import AluFn
from tapeout.isa.instructions import Alu as AluOperation

from .command import REGISTER_BITS
from .component import Component

FN_BITS = fields(AluOperation)["fn"].bits
IMMEDIATE_BITS = fields(AluOperation)["imm"].bits
B_BITS = REGISTER_BITS + 1  # of a register plus an immediate
DIGIT_BITS = 7  # of the second that are multiplied in a cycle
DIGITS = B_BITS // DIGIT_BITS
SHIFT_MAX = 63


class Alu(Component):
    """fn(x, y + imm) as `isa.AluFn` defines it, exact: `overflow` if it does not fit 48 bits.

    Latency 2 cycles from `start` to `done`, 2 + DIGITS for a product; one at a time, no stalls.
    `done` stays 1, with the result, until the next start. `y` and `imm` are looked at in the
    cycle of `start`; `x` and `fn` stay as they are until `done`.

    Members
    -------
    start : In(1)
    fn : In(FN_BITS)
    x, y : In(signed(REGISTER_BITS))
    imm : In(IMMEDIATE_BITS)
    result : Out(signed(REGISTER_BITS))
    overflow : Out(1)
    done : Out(1)
    """

    def __init__(self) -> None:
        ports = {
            "start": In(1),
            "fn": In(FN_BITS),
            "x": In(signed(REGISTER_BITS)),
            "y": In(signed(REGISTER_BITS)),
            "imm": In(IMMEDIATE_BITS),
            "result": Out(signed(REGISTER_BITS)),
            "overflow": Out(1),
            "done": Out(1),
        }
        super().__init__(ports, name="alu")

    def build(self, m: Module) -> None:
        """Add the immediate; compute, for products digit by digit; check."""
        operand = Signal(signed(B_BITS), reset_less=True)
        begun, left = Signal(), Signal(range(DIGITS + 1))
        value = Signal(signed(B_BITS + 1), reset_less=True)  # all but products
        is_product = Signal()
        m.d.comb += is_product.eq(self.fn == AluFn.MUL)
        m.d.sync += begun.eq(self.start)
        with m.If(self.start):
            m.d.sync += [operand.eq(self.y + self.imm), self.done.eq(0), left.eq(0)]
        with m.Elif(begun):
            m.d.sync += [value.eq(self._value(m, operand)), left.eq(Mux(is_product, DIGITS, 0))]
            m.d.sync += self.done.eq(~is_product)
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), self.done.eq(left == 1)]
        low, high = self._product(m, operand, begun, left)
        product = Cat(low, high).as_signed()
        m.d.comb += [
            self.result.eq(Mux(is_product, low[:REGISTER_BITS], value[:REGISTER_BITS])),
            self.overflow.eq(Mux(is_product, _too_wide(product), _too_wide(value))),
        ]

    def _value(self, m: Module, operand: Signal) -> Signal:
        """Of the functions that take one cycle."""
        value = Signal(signed(B_BITS + 1))
        amount = Signal(range(SHIFT_MAX + 1))
        m.d.comb += amount.eq(Mux(operand < 0, 0, Mux(operand > SHIFT_MAX, SHIFT_MAX, operand)))
        less = self.x < operand
        with m.Switch(self.fn):
            with m.Case(AluFn.ADD):
                m.d.comb += value.eq(self.x + operand)
            with m.Case(AluFn.SUB):
                m.d.comb += value.eq(self.x - operand)
            with m.Case(AluFn.MIN):
                m.d.comb += value.eq(Mux(less, self.x, operand))
            with m.Case(AluFn.MAX):
                m.d.comb += value.eq(Mux(less, operand, self.x))
            with m.Default():
                m.d.comb += value.eq(self.x >> amount)
        return value

    def _product(
        self, m: Module, operand: Signal, begun: Signal, left: Signal
    ) -> tuple[Signal, Signal]:
        """Low digits and the rest of the product, after a cycle for each digit of the operand."""
        # Digits of the operand that are left, above those of the result.
        low = Signal(B_BITS, reset_less=True)
        high = Signal(signed(REGISTER_BITS + 1), reset_less=True)
        digit = Signal(signed(DIGIT_BITS + 1))
        total = Signal(signed(REGISTER_BITS + DIGIT_BITS + 1))
        last = left == 1
        m.d.comb += [
            digit.eq(Cat(low[:DIGIT_BITS], last & low[DIGIT_BITS - 1])),  # only the last has a sign
            total.eq(high + self.x * digit),
        ]
        with m.If(begun):
            m.d.sync += [low.eq(operand), high.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += low.eq(Cat(low[DIGIT_BITS:], total[:DIGIT_BITS]))
            m.d.sync += high.eq(total >> DIGIT_BITS)
        return low, high


def _too_wide(value: Signal) -> Signal:
    """Whether an integer does not fit a register."""
    upper = value[REGISTER_BITS - 1 :]
    return upper.any() & ~upper.all()
