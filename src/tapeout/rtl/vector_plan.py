"""What each operation of the element engine asks of its graph's ends: walks, sizes, numbers."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tapeout.isa.encoding import fields
from tapeout.isa.fields import ACC_ROW_BYTES, Broadcast, Space
from tapeout.isa.vector import Map, Norm, Rope, Softmax, VectorMatmul
from tapeout.numerics.formats import BLOCK, FORMATS, format_named

from .command import COMMAND, ROWS_BITS, payload
from .component import Component
from .vector_graph import NUMBERS
from .vector_issue import HEADS
from .vector_load import AHEAD_BITS, load_config
from .vector_maxima import MAXIMA
from .vector_phases import PHASES
from .vector_scales import scales_config
from .vector_spread import SPREAD
from .vector_store import store_config
from .vector_sums import SUMS
from .vector_walk import plan_layout

NUMBER_BYTES = 4
COLUMNS_BITS = fields(Norm)["columns"].bits
GRAPH_BITS = (len(NUMBERS) - 1).bit_length()
LEVEL = {"inner": 0, "lower": 1, "upper": 2, "outer": 3}


def plan_outputs(address_bits: int, scale_bits: int) -> dict[str, Any]:
    """Layouts of what a plan says, by name."""
    return {
        "graph": GRAPH_BITS,
        "load_a": load_config(address_bits),
        "load_b": load_config(address_bits),
        "store": store_config(address_bits),
        "result": plan_layout(1),
        "sums": SUMS,
        "maxima": MAXIMA,
        "spread": SPREAD,
        "phases": PHASES,
        "scales": scales_config(scale_bits),
        "heads": HEADS,
        "mul_field": 32,
        "alu_field": 32,
        "divided": 1,
        "divisor": COLUMNS_BITS,
        "blocks": ROWS_BITS,
    }


class VectorPlan(Component):
    """Turns a command into the walks and the sizes of its graph. Combinational.

    A `VectorMatmul` with `transpose` runs its graph once for each block of K: the others add to
    what the first has written.

    Parameters
    ----------
    lanes : int
        Numbers of a chunk.
    address_bits : int
        Of addresses of numbers in L1 or the accumulators.
    scale_bits : int
        Of granule addresses of the scale memory.

    Members
    -------
    command : In(COMMAND); ahead : In(signed), how far the first query is ahead of the first key
    block : In(11), the block of K; b_offset : In(address), of its first row
    <name> : Out(layout), of `plan_outputs`: `graph`, number of the graph; configurations, of which
        `on` and the rings are the graph's to say; `result`, rows and chunks that leave the engine;
        `mul_field`, `alu_field`: what FIELD is; `divided`: for the multiplier it is 1 / divisor;
        `blocks`: how often the graph runs
    """

    def __init__(self, *, lanes: int, address_bits: int, scale_bits: int):
        self.lanes, self.bits = lanes, address_bits
        self.outputs = plan_outputs(address_bits, scale_bits)
        super().__init__(
            {
                "command": In(COMMAND),
                "ahead": In(signed(AHEAD_BITS)),
                "block": In(ROWS_BITS),
                "b_offset": In(address_bits),
                **{name: Out(layout) for name, layout in self.outputs.items()},
            },
            name=f"vector_plan_{lanes}_{address_bits}_{scale_bits}",
        )

    def build(self, m: Module) -> None:
        """One case for each operation."""
        cases: dict[Any, Callable[[Module, Any, Any], None]] = {
            Map: self._map,
            Norm: self._norm,
            Rope: self._rope,
            Softmax: self._softmax,
            VectorMatmul: self._matmul,
        }
        m.d.comb += self.blocks.eq(1)
        with m.Switch(self.command.opcode):
            for cls, case in cases.items():
                with m.Case(cls.opcode):
                    case(m, payload(self.command, cls), self.command.rows)

    # ---- operations ------------------------------------------------------------------------------

    def _map(self, m: Module, p: Any, rows: Any) -> None:
        size = {"rows": rows, "columns": p.columns}
        column, scalar = p.b_mode == Broadcast.COLUMN, p.b_mode == Broadcast.SCALAR
        m.d.comb += self.graph.eq(Cat(column | scalar, p.fn))
        m.d.comb += self.load_a.far.eq(p.a_space == Space.ACC)
        self._tile(m, self.load_a.plans[0], p.a, p.a_pitch, **size)
        old, b = self.load_b.plans
        with m.If(column):
            self._row(m, b, p.b, rows)
        with m.Elif(scalar):
            self._tile(m, b, p.b, 0, rows=rows, columns=1)
        with m.Else():
            pitch = Mux(p.b_mode == Broadcast.ROW, 0, p.b_pitch)
            self._tile(m, b, p.b, pitch, **size)
        self._tile(m, old, p.dst, p.dst_pitch, **size)
        self._tile(m, self.store.plans[0], p.dst, p.dst_pitch, **size)
        self._spread(m, Mux(scalar, 1, rows), self._chunks(p.columns))

    def _norm(self, m: Module, p: Any, rows: Any) -> None:
        size = {"rows": rows, "columns": p.columns}
        m.d.comb += self.graph.eq(NUMBERS["norm"])
        for plan in self.load_a.plans:
            self._tile(m, plan, p.src, p.src_pitch, **size)
        self._tile(m, self.load_b.plans[0], p.gamma, 0, **size)
        self._tile(m, self.store.plans[0], p.dst, p.dst_pitch, **size)
        m.d.comb += [
            self.sums.numbers.eq(p.columns),
            self.sums.rows.eq(rows),
            self.divided.eq(1),
            self.divisor.eq(p.columns),
            self.alu_field.eq(p.eps),
        ]
        self._spread(m, rows, self._chunks(p.columns))

    def _rope(self, m: Module, p: Any, rows: Any) -> None:
        """A chunk of phases turns its two chunks of each head before the next chunk's turn."""
        m.d.comb += self.graph.eq(NUMBERS["rope"])
        half = p.head_dim >> 1
        for config, address, pitch in (
            (self.load_a, p.src, p.src_pitch),
            (self.store, p.dst, p.dst_pitch),
        ):
            m.d.comb += config.upper.eq(1)
            self._walk(
                m,
                config.plans[0],
                _numbers(address),
                inner=(2, 1, half),
                lower=(p.columns, p.head_dim, p.head_dim),
                upper=(half, self.lanes, self.lanes),
                outer=(rows, 1, _numbers(pitch)),
            )
        frequencies, positions = self.load_b.plans
        self._tile(m, frequencies, p.frequencies, 0, rows=rows, columns=p.head_dim)
        self._row(m, positions, p.positions, rows)
        m.d.comb += [
            self.phases.numbers.eq(p.head_dim),
            self.mul_field.eq(p.factor),
            self.heads.total.eq(p.columns),
            self.heads.unit.eq(p.head_dim),
        ]
        self._spread(m, rows, self._chunks(p.head_dim))

    def _softmax(self, m: Module, p: Any, rows: Any) -> None:
        scaled = Signal()
        with m.Switch(p.value_format):
            for fmt in FORMATS:
                if fmt.scale != "none":
                    with m.Case(fmt.code):
                        m.d.comb += scaled.eq(1)
        m.d.comb += [
            self.graph.eq(Mux(scaled, NUMBERS["softmax1"], NUMBERS["softmax0"])),
            self.load_a.far.eq(p.space == Space.ACC),
            self.load_a.fill.eq(1),
            self.load_a.span.on.eq(1),
            self.load_a.span.ahead.eq(self.ahead),
            self.load_a.span.group.eq(p.group),
            self.load_a.span.window.eq(p.window),
        ]
        pitch = Mux(p.space == Space.ACC, _acc_pitch(p.columns), p.columns >> 2)
        self._tile(m, self.load_a.plans[0], p.scores, pitch, rows=rows, columns=p.columns)
        state, pitch = p.state, p.state_pitch
        maximum, total, alpha = state, state + pitch, state + (pitch << 1)
        for plan, address in zip(self.load_b.plans, (total, maximum), strict=True):
            self._row(m, plan, address, rows)
        for plan, address in zip(self.store.plans, (maximum, alpha, total), strict=True):
            self._row(m, plan, address, rows)
        self._tile(m, self.result, 0, 0, rows=rows, columns=p.columns)
        for config in (self.sums, self.maxima):
            m.d.comb += [config.numbers.eq(p.columns), config.rows.eq(rows)]
        m.d.comb += [
            self.scales.address.eq(p.value_scale),
            self.scales.columns.eq(p.columns),
            self.scales.format.eq(p.value_format),
        ]
        self._spread(m, 1, self._chunks(p.columns))

    def _matmul(self, m: Module, p: Any, rows: Any) -> None:
        """A row of b lies along K, or with `transpose` along n."""
        narrow = p.b_format == format_named("bf16").code
        stride = Mux(narrow, self.lanes // 2, self.lanes)
        k = p.k_blocks << exact_log2(BLOCK)
        a_pitch, b_pitch, dst_pitch = (_numbers(f) for f in (p.a_pitch, p.b_pitch, p.dst_pitch))
        a, b, dst = (_numbers(address) for address in (p.a, p.b, p.dst))
        columns = (p.n, self.lanes, self.lanes)
        a_plan, (b_plan, old), out = self.load_a.plans[0], self.load_b.plans, self.store.plans[0]
        m.d.comb += self.load_b.narrow.eq(narrow)
        with m.If(p.transpose):
            inner = (BLOCK, self.lanes, self.lanes)
            a = a + (self.block << exact_log2(BLOCK))
            self._walk(m, a_plan, a, inner=inner, lower=(*columns[:2], 0), upper=(rows, 1, a_pitch))
            block, n = (BLOCK, 1, b_pitch), (*columns[:2], stride)
            self._walk(m, b_plan, b + self.b_offset, inner=block, upper=n, outer=(rows, 1, 0))
            for plan in (old, out):
                self._walk(m, plan, dst, upper=columns, outer=(rows, 1, dst_pitch))
            m.d.comb += [self.load_b.upper.eq(1), self.store.upper.eq(1)]
            m.d.comb += self.blocks.eq(p.k_blocks)
            more = p.accumulate | (self.block != 0)
            m.d.comb += self.graph.eq(Mux(more, NUMBERS["across1"], NUMBERS["across0"]))
            self._spread(m, BLOCK, 1)
        with m.Else():
            inner = (k, self.lanes, self.lanes)
            self._walk(m, a_plan, a, inner=inner, lower=(p.n, 1, 0), upper=(rows, 1, a_pitch))
            inner = (k, self.lanes, stride)
            self._walk(m, b_plan, b, inner=inner, lower=(p.n, 1, b_pitch), upper=(rows, 1, 0))
            for plan in (old, out):
                self._walk(m, plan, dst, inner=columns, lower=(rows, 1, dst_pitch))
            m.d.comb += self.graph.eq(Mux(p.accumulate, NUMBERS["product1"], NUMBERS["product0"]))
            m.d.comb += [
                self.sums.numbers.eq(k),
                self.sums.rows.eq(p.n),
                self.sums.initial.eq(p.accumulate),
            ]
            self._spread(m, p.n, 1)

    # ---- parts -----------------------------------------------------------------------------------

    def _walk(self, m: Module, plan: Any, start: Any, **levels: Any) -> None:
        """Loops by the name of their level: (total, unit, stride); the others turn once."""
        m.d.comb += plan.start.eq(start)
        for name, (total, unit, stride) in levels.items():
            level = plan.levels[LEVEL[name]]
            m.d.comb += [level.total.eq(total), level.unit.eq(unit), level.stride.eq(stride)]

    def _tile(
        self, m: Module, plan: Any, address: Any, pitch: Any, *, rows: Any, columns: Any
    ) -> None:
        """A tile row by row; address and pitch in granules."""
        inner, lower = (columns, self.lanes, self.lanes), (rows, 1, _numbers(pitch))
        self._walk(m, plan, _numbers(address), inner=inner, lower=lower)

    def _row(self, m: Module, plan: Any, address: Any, numbers: Any) -> None:
        self._walk(m, plan, _numbers(address), inner=(numbers, self.lanes, self.lanes))

    def _spread(self, m: Module, numbers: Any, repeats: Any) -> None:
        m.d.comb += [self.spread.numbers.eq(numbers), self.spread.repeats.eq(repeats)]

    def _chunks(self, numbers: Any) -> Any:
        """Chunks of so many numbers."""
        return (numbers + (self.lanes - 1)) >> exact_log2(self.lanes)


def _numbers(granules: Any) -> Any:
    """The address of the first number of a granule."""
    return Cat(Const(0, 2), granules) if not isinstance(granules, int) else granules << 2


def _acc_pitch(columns: Any) -> Any:
    """`isa.acc_pitch` in granules, of a multiple of 32 columns up to 224."""
    blocks, least = columns >> exact_log2(BLOCK), ACC_ROW_BYTES // 16
    return Mux(blocks > 4, 8 * least, Mux(blocks > 2, 4 * least, Mux(blocks > 1, 2 * least, least)))
