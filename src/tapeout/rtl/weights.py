"""The order and the weights of logits: `tapeout.numerics.sampling`, one logit per cycle."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from .component import Component
from .fp32 import ADD_CUTS, BIAS, FRACTION, MUL_CUTS, add, mul, parts
from .pipe import Pipe
from .sfu import Function, SpecialFunctions
from .stream import Fifo

WEIGHT_BITS = 31
WEIGHT_FRACTION = 30  # the largest logit weighs 2^30
IN_FLIGHT = 16  # logits that may be within the special functions

LOGIT = data.StructLayout({"value": 32, "last": 1})
WEIGHED = data.StructLayout({"key": 32, "weight": WEIGHT_BITS, "last": 1})


def order_key(word: Any) -> Any:
    """An unsigned number that orders like the logit: NaN is 0, both zeros are equal."""
    number = parts(word)
    negative = word[31] & ~number.zero
    magnitude = Mux(number.zero, 0, word[:31])
    return Mux(
        number.nan,
        Const(0, 32),
        Mux(negative, Cat(~magnitude, Const(0, 1)), Cat(magnitude, Const(1, 1))),
    )


class Weights(Component):
    """Order key and weight of each logit. Value: `numerics.weights`, given the largest logit.

    Throughput 1 logit per cycle; stalls when `weighed` is not ready. `best` and `inverse` must not
    change while logits are inside.

    Members
    -------
    logits : In(stream of LOGIT)
    best : In(32), the largest logit
    inverse : In(32), the inverse temperature in FP32
    weighed : Out(stream of WEIGHED)
    """

    def __init__(self) -> None:
        ports = {
            "logits": In(stream.Signature(LOGIT)),
            "best": In(32),
            "inverse": In(32),
            "weighed": Out(stream.Signature(WEIGHED)),
        }
        super().__init__(ports, name="weights")

    def build(self, m: Module) -> None:
        """Subtract and multiply in one pipe, then 2^x; what needs neither goes beside it."""
        side_layout = data.StructLayout({"key": 32, "is_best": 1, "last": 1})
        m.submodules.powers = powers = SpecialFunctions()
        m.submodules.side = side = Fifo(side_layout, depth=IN_FLIGHT)
        advance = Signal()
        pipe = Pipe(
            m,
            cuts=ADD_CUTS + MUL_CUTS,
            stages=ADD_CUTS + MUL_CUTS,
            advance=advance,
            valid=self.logits.valid,
        )
        logit = self.logits.payload
        key = Signal(32, name="key")
        m.d.comb += key.eq(order_key(logit.value))
        is_best = (key == order_key(self.best)) & key.any()
        minus_best = Cat(self.best[:31], ~self.best[31])
        difference, key, is_best, last = add(
            m, pipe, logit.value, minus_best, key, is_best, logit.last
        )
        exponent, key, is_best, last = mul(m, pipe, difference, self.inverse, key, is_best, last)
        pipe.done()
        room = side.input.ready & powers.requests.ready
        out = side.output.payload
        m.d.comb += [
            advance.eq(~pipe.valid | room),
            self.logits.ready.eq(advance),
            powers.requests.valid.eq(pipe.valid & side.input.ready),
            powers.requests.payload.function.eq(Function.EXP2),
            powers.requests.payload.x.eq(exponent),
            side.input.valid.eq(pipe.valid & powers.requests.ready),
            side.input.payload.key.eq(key),
            side.input.payload.is_best.eq(is_best),
            side.input.payload.last.eq(last),
            self.weighed.valid.eq(powers.result.valid & side.output.valid),
            self.weighed.payload.key.eq(out.key),
            self.weighed.payload.last.eq(out.last),
            self.weighed.payload.weight.eq(
                Mux(out.is_best, 1 << WEIGHT_FRACTION, _fixed(powers.result.payload))
            ),
            powers.result.ready.eq(self.weighed.ready & side.output.valid),
            side.output.ready.eq(self.weighed.ready & powers.result.valid),
        ]


def _fixed(word: Any) -> Any:
    """floor(p * 2^30) of an FP32 p that is not negative; at most 2^30, and 0 of a NaN."""
    number = parts(word)
    places = WEIGHT_FRACTION - FRACTION
    below = (BIAS - number.exponent)[:8]
    value = (number.significand << places) >> Mux(below[5:].any(), 31, below[:5])
    large = number.exponent >= BIAS
    return Mux(number.nan, 0, Mux(large, 1 << WEIGHT_FRACTION, value))
