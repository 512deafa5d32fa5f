"""Pipelines: logic written once, with registers at a chosen number of its cut points."""

from typing import Any

from amaranth.hdl import Module, Signal, Value


class Pipe:
    """Carries values, and whether they are valid, from cut point to cut point.

    All registers advance together, when `advance` is 1. Of `cuts` cut points, evenly spread
    `stages` hold registers, always the last one; the others are wires.

    Parameters
    ----------
    cuts : int
        Cut points that the logic has.
    stages : int
        Cut points that hold registers: the latency in cycles; 1..cuts.
    """

    def __init__(self, m: Module, *, cuts: int, stages: int, advance: Any, valid: Any):
        self._m = m
        self._cuts, self._stages = cuts, stages
        self._advance = advance
        self._at = 0
        self.valid = valid
        """Whether the values after the last cut are of a beat."""

    def cut(self, *values: Any) -> tuple[Any, ...]:
        """Pass the next cut point; returns the values after it."""
        at, self._at = self._at, self._at + 1
        assert self._at <= self._cuts, "more cut points than announced"
        if self._at * self._stages // self._cuts == at * self._stages // self._cuts:
            return tuple(self._wire(value, i) for i, value in enumerate(values))
        valid = Signal(name=f"valid{self._at}")
        with self._m.If(self._advance):
            self._m.d.sync += valid.eq(self.valid)
        self.valid = valid
        return tuple(self._register(value, i) for i, value in enumerate(values))

    def done(self) -> None:
        """Check that the logic passed as many cut points as it announced."""
        assert self._at == self._cuts, f"{self._at} cut points, not {self._cuts}"

    def _wire(self, value: Any, index: int) -> Any:
        """A name for the value, so that what uses it twice does not compute it twice."""
        wire = Signal(Value.cast(value).shape(), name=self._name("wire", value, index))
        self._m.d.comb += wire.eq(value)
        return wire

    def _register(self, value: Any, index: int) -> Any:
        name = self._name("stage", value, index)
        register = Signal(Value.cast(value).shape(), name=name, reset_less=True)
        with self._m.If(self._advance):
            self._m.d.sync += register.eq(value)
        return register

    def _name(self, kind: str, value: Any, index: int) -> str:
        """Such as `stage3_total`; what has no name of its own gets a number."""
        own = getattr(value, "name", None) or str(index)
        return f"{kind}{self._at}_{own.rpartition('_')[2] if own[:4] in ('stag', 'wire') else own}"


def check_stages(stages: int, cuts: int) -> None:
    """Raise ValueError unless a pipeline with `cuts` cut points can have `stages` stages."""
    if not 1 <= stages <= cuts:
        raise ValueError(f"stages must be in 1..{cuts}, not {stages}")


def stream_pipe(m: Module, source: Any, sink: Any, *, cuts: int, stages: int) -> Pipe:
    """A pipe from stream to stream; it stalls as a whole when its last beat is not taken.

    The caller drives `sink.payload` with what comes out of the last cut, and calls `close`.
    """
    advance = Signal(name="advance")
    m.d.comb += advance.eq(~sink.valid | sink.ready)
    m.d.comb += source.ready.eq(advance)
    return Pipe(m, cuts=cuts, stages=stages, advance=advance, valid=source.valid)


def close(m: Module, pipe: Pipe, sink: Any, payload: Any) -> None:
    """Connect the end of a pipe to a stream."""
    pipe.done()
    m.d.comb += [sink.valid.eq(pipe.valid), sink.payload.eq(payload)]
