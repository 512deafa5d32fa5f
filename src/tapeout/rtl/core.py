"""One core: what reads its program, its units, its memories, and its way to memory outside."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .accumulators import TILE_LATENCY, Accumulators
from .arbiter import Arbiter
from .bounds import Bounds
from .component import Component
from .core_control import CORE_PORT
from .gate import gated
from .load import Load
from .matrix import MatrixUnit
from .scratchpad import Scratchpad
from .sent import NUMBER_BITS
from .sequencer import Sequencer
from .sizes import BANK_GRANULES, SCALE_BANKS, CoreSizes
from .store import Store
from .vector import VectorUnit
from .vector_scales import SCALE_WINDOW

READERS = ("program", "scalars", "load", "load_table", "store_table", "sample")
WRITERS = ("store", "sample")
UNITS = ("ld", "st", "mu", "vu")

MOMENT = wiring.Signature({"valid": Out(1), "number": Out(NUMBER_BITS)})
TRACE = wiring.Signature({name: Out(MOMENT) for name in ("cp", *UNITS)})
"""For each queue: an instruction has ended; for the command processor: it has run, or was sent."""


class Core(Component):
    """A whole core, which runs one program at a time.

    Parameters
    ----------
    sizes : CoreSizes
        Of all its parts.

    Members
    -------
    memory : Out(axi4)
    control : In(CORE_PORT)
    at_barrier : Out(1); resume : In(1), as of `Sequencer`
    trace : Out(TRACE)
    """

    def __init__(self, sizes: CoreSizes):
        self.sizes = s = sizes
        self.sequencer = Sequencer(bus_bits=s.bus_bits, depth=s.queue_depth)
        memories = {"l1_granules": s.l1_granules, "scale_granules": s.scale_granules}
        self.bounds = Bounds(**memories, accumulators=s.accumulators)
        self.load = Load(bus_bytes=s.bus_bytes, **memories)
        self.store = Store(bus_bytes=s.bus_bytes, **memories)
        array = {"rows": s.rows, "columns": s.columns, "accumulators": s.accumulators}
        self.matrix = MatrixUnit(**array, **memories, tile_latency=TILE_LATENCY)
        self.vector = VectorUnit(
            lanes=s.lanes, **memories, accumulators=s.accumulators, bus_bits=s.bus_bits
        )
        self.units = (self.load, self.store, self.matrix, self.vector)
        self.accumulators = Accumulators(**array, lane_granules=s.lane_granules)
        self.arbiter = Arbiter(bus_bits=s.bus_bits, readers=READERS, writers=WRITERS)
        ports = {
            "memory": Out(self.arbiter.axi.signature),
            "control": In(CORE_PORT),
            "at_barrier": Out(1),
            "resume": In(1),
            "trace": Out(TRACE),
        }
        super().__init__(ports, name="core")

    def build(self, m: Module) -> None:
        """Parts, and the wires between them."""
        m.submodules.sequencer, m.submodules.bounds = self.sequencer, self.bounds
        m.submodules.arbiter = self.arbiter
        connect(m, flipped(self.memory), self.arbiter.axi)
        self._program(m)
        self._units(m)
        self._memories(m)
        self._outside(m)
        self._events(m)

    def _program(self, m: Module) -> None:
        """The sequencer, and the check of what it sends."""
        sequencer, bounds, control = self.sequencer, self.bounds, self.control
        connect(m, sequencer.sent, bounds.input)
        connect(m, bounds.output, sequencer.checked)
        m.d.comb += [
            sequencer.refused.eq(bounds.trap),
            bounds.memory_bytes.eq(control.memory_bytes),
            self.load.memory_bytes.eq(control.memory_bytes),
            self.store.memory_bytes.eq(control.memory_bytes),
            self.at_barrier.eq(sequencer.at_barrier),
            sequencer.resume.eq(self.resume),
            control.trap.eq(sequencer.trap),
            control.halted.eq(sequencer.halted),
            self.trace.cp.valid.eq(sequencer.stepped.valid),
            self.trace.cp.number.eq(sequencer.stepped.number),
        ]
        connect(m, sequencer.scalar, flipped(control.scalar))
        for name in ("start", "base", "count", "memory_bytes", "watchdog_cycles"):
            m.d.comb += getattr(sequencer, name).eq(getattr(control, name))
        for name in ("idle", "ended"):
            m.d.comb += getattr(control, name).eq(getattr(sequencer, name))
        for name, event in zip(UNITS, sequencer.retired, strict=True):
            trace = getattr(self.trace, name)
            m.d.comb += [trace.valid.eq(event.valid), trace.number.eq(event.number)]

    def _units(self, m: Module) -> None:
        """Each unit behind its queue; its clock runs while it has something to do."""
        for name, unit, queue in zip(UNITS, self.units, self.sequencer.units, strict=True):
            gated(m, name, unit, unit.busy | queue.commands.valid)
            connect(m, queue.commands, unit.commands)
            m.d.comb += [queue.done.eq(unit.done), queue.trap.eq(unit.trap)]

    def _memories(self, m: Module) -> None:
        s, wide = self.sizes, self.sizes.lane_granules
        bus = s.bus_granules
        reads = {
            "st": (self.store.read_l1, bus, self.store.read_scale, bus),
            "mu_a": (self.matrix.read_a, BANK_GRANULES, self.matrix.scale_a, 1),
            "mu_b": (self.matrix.read_b, BANK_GRANULES, self.matrix.scale_b, 1),
            "vu_a": (self.vector.read_a, wide, self.vector.read_scale, SCALE_WINDOW),
            "vu_b": (self.vector.read_b, wide, None, 0),
        }
        writes = {
            "ld": (self.load.write_l1, bus, self.load.write_scale, bus),
            "vu": (self.vector.write, wide, self.vector.write_scale, 1),
        }
        for at, banks, granules, size in (
            (0, s.l1_banks, BANK_GRANULES, s.l1_granules),
            (2, SCALE_BANKS, 1, s.scale_granules),
        ):
            ports = {"read": reads, "write": writes}
            windows = {
                kind: tuple((n, e[at + 1]) for n, e in ends.items() if e[at] is not None)
                for kind, ends in ports.items()
            }
            memory = Scratchpad(
                banks=banks, bank_granules=granules, granules=size,
                reads=windows["read"], writes=windows["write"],
            )  # fmt: skip
            m.submodules["scales" if at else "l1"] = memory
            for kind, ends in ports.items():
                for name, end in ends.items():
                    if end[at] is not None:
                        connect(m, end[at], getattr(memory, f"{kind}_{name}"))
        m.submodules.accumulators = self.accumulators
        connect(m, self.matrix.tile_read, self.accumulators.tile_read)
        connect(m, self.matrix.tile_write, self.accumulators.tile_write)
        connect(m, self.vector.read_acc, self.accumulators.read)

    def _outside(self, m: Module) -> None:
        """Who reads and writes memory."""
        readers = (
            self.sequencer.program, self.sequencer.scalars, self.load.memory, self.load.table,
            self.store.table, self.vector.memory,
        )  # fmt: skip
        writers = (self.store.memory, self.vector.results)
        for name, port in zip(READERS, readers, strict=True):
            connect(m, port, getattr(self.arbiter, f"read_{name}"))
        for name, port in zip(WRITERS, writers, strict=True):
            connect(m, port, getattr(self.arbiter, f"write_{name}"))

    def _events(self, m: Module) -> None:
        """What the performance counters count."""
        events, sequencer = self.control.events, self.sequencer
        retired: Any = Cat(event.valid for event in sequencer.retired)
        axi = self.arbiter.axi
        waits = dict(zip(UNITS, sequencer.waiting, strict=True))
        m.d.sync += [
            # What is sent has stepped, but not ended.
            events.instructions.eq(
                sum(retired) + (sequencer.stepped.valid & ~sequencer.sent.valid)
            ),
            events.mu_busy.eq(self.matrix.array_busy),
            events.mu_waiting.eq(waits["mu"]),
            events.vu_busy.eq(self.vector.busy),
            events.vu_waiting.eq(waits["vu"]),
            events.ld_busy.eq(self.load.busy),
            events.st_busy.eq(self.store.busy),
            events.read_beats.eq(axi.rvalid & axi.rready),
            events.read_waiting.eq(axi.arvalid & ~axi.arready),
            events.write_beats.eq(axi.wvalid & axi.wready),
            events.write_waiting.eq(axi.wvalid & ~axi.wready),
        ]
