"""The matrix unit: Matmul, from the fetchers of its operands to the accumulators."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature, connect, flipped

from tapeout.isa.fields import ACC_ROW_BYTES, SCALE_WORD_BYTES
from tapeout.isa.instructions import Matmul
from tapeout.numerics import FORMATS

from .array import DOT_LATENCY, SUM_LATENCY, DotRow
from .command import COMMAND, payload
from .component import Component
from .gate import gated
from .groups import GRANULES, log2, operand_job
from .lanes import GROUPS, Lane
from .operands import OperandFetcher
from .passes import PITCH_LOG2_BITS, PassWalk, TileIssue, tile_job
from .ports import read_port, unit_ports
from .stream import Fifo

ALL_FORMATS = tuple(fmt for fmt in FORMATS if fmt.family != "wide")
JOBS = 4  # instructions that wait, or that are being fetched ahead
LANE_LATENCY = 2
WORD_BYTES = 4


class MatrixJobs(Component):
    """Turns commands into what the fetchers and the array are to do.

    Throughput 1 command per cycle; stalls when one of the three has enough.

    Parameters
    ----------
    rows, columns : int
        Of the array.
    address_bits, scale_bits : int
        Bits of a granule's number in L1 and in the scale memory.
    group_bits : int
        Bits of the number of a group of accumulators; the highest is that of the half.

    Members
    -------
    commands : In(stream of COMMAND)
    a, b : Out(stream of operand_job); tiles : Out(stream of tile_job)
    """

    def __init__(
        self, *, rows: int, columns: int, address_bits: int, scale_bits: int, group_bits: int
    ):
        self.rows, self.columns, self.group_bits = rows, columns, group_bits
        self.operand = operand_job(address_bits=address_bits, scale_bits=scale_bits)
        self.tile = tile_job(group_bits=group_bits)
        super().__init__(
            {
                "commands": In(stream.Signature(COMMAND)),
                "a": Out(stream.Signature(self.operand)),
                "b": Out(stream.Signature(self.operand)),
                "tiles": Out(stream.Signature(self.tile)),
            },
            name=f"matrix_jobs_{rows}x{columns}_{address_bits}_{scale_bits}_{group_bits}",
        )

    def build(self, m: Module) -> None:
        """Everything follows from the command's fields and what was last done in its half."""
        command = self.commands.payload
        op = payload(command, Matmul)
        layouts = {"a": self.operand, "b": self.operand, "tiles": self.tile}
        fifos = {name: Fifo(layout, depth=JOBS) for name, layout in layouts.items()}
        ready = Signal()
        m.d.comb += ready.eq(Cat(fifo.input.ready for fifo in fifos.values()).all())
        m.d.comb += self.commands.ready.eq(ready)
        some = command.rows != 0
        taken = self.commands.valid & ready
        for name, fifo in fifos.items():
            m.submodules[f"{name}_fifo"] = fifo
            connect(m, fifo.output, flipped(getattr(self, name)))
            m.d.comb += fifo.input.valid.eq(taken & (some if name != "tiles" else 1))
        down = (command.rows - 1)[: len(command.rows)] >> log2(GROUPS * self.rows)
        across = (op.n - 1)[: len(op.n)] >> log2(GROUPS * self.columns)
        again = {"a": (across, 0), "b": (0, down)}
        for name in "ab":
            job = data.View(self.operand, fifos[name].input.payload)
            m.d.comb += [
                job.address.eq(op[name]),
                job.pitch.eq(op[f"{name}_pitch"]),
                Cat(job.offset, job.scale).eq(op[f"{name}_scale"] << log2(SCALE_WORD_BYTES)),
                job.scale_pitch.eq(op[f"{name}_scale_pitch"]),
                job.format.eq(op[f"{name}_format"]),
                job.rows.eq(command.rows if name == "a" else op.n),
                job.blocks.eq(op.k_blocks),
                job.inner.eq(again[name][0]),
                job.outer.eq(again[name][1]),
                job.transpose.eq(op.transpose if name == "b" else 0),
            ]
        self._tiles(m, data.View(self.tile, fifos["tiles"].input.payload), op, taken & some)

    def _tiles(self, m: Module, job: Any, op: Any, begins: Any) -> None:
        command = self.commands.payload
        least = log2(ACC_ROW_BYTES // WORD_BYTES)
        group, pitch = Signal(self.group_bits), Signal(PITCH_LOG2_BITS)
        m.d.comb += [group.eq(op.acc >> (log2(self.columns) - 2)), pitch.eq(least)]
        for bit in range(least, 12):
            with m.If(op.n > (1 << bit)):
                m.d.comb += pitch.eq(bit + 1)
        same = self._same(m, group[-1], Cat(op.acc, command.rows, op.n), begins)
        m.d.comb += [
            job.group.eq(group),
            job.pitch_log2.eq(pitch - log2(self.columns)),
            job.m.eq(command.rows - 1),
            job.n.eq(op.n - 1),
            job.blocks.eq(op.k_blocks),
            job.accumulate.eq(op.accumulate),
            job.fence.eq(op.accumulate & ~same),
            job.nothing.eq(command.rows == 0),
            job.a.format.eq(op.a_format),
            job.a.transpose.eq(0),
            job.b.format.eq(op.b_format),
            job.b.transpose.eq(op.transpose),
        ]

    def _same(self, m: Module, half: Any, key: Any, begins: Any) -> Any:
        """Whether the last product in this half had the same tiles: then none comes too soon."""
        known = Signal(2)
        same = []
        for number in range(2):
            last = Signal(len(key), name=f"last{number}", reset_less=True)
            same.append(known[number] & (last == key))
            with m.If(begins & (half == number)):
                m.d.sync += [last.eq(key), known[number].eq(1)]
        return Mux(half, same[1], same[0])


def tile_read(*, rows: int, columns: int, group_bits: int) -> Signature:
    """Reads of a tile: `data` holds it a fixed number of cycles later."""
    return Signature(
        {
            "enable": Out(1),
            "group": Out(group_bits),
            "pitch_log2": Out(PITCH_LOG2_BITS),
            "data": In(data.ArrayLayout(32, rows * columns)),
        }
    )


def tile_write(*, rows: int, columns: int, group_bits: int) -> Signature:
    """Writes of a tile; `mask` has a bit for each of its numbers."""
    return Signature(
        {
            "enable": Out(1),
            "group": Out(group_bits),
            "pitch_log2": Out(PITCH_LOG2_BITS),
            "data": Out(data.ArrayLayout(32, rows * columns)),
            "mask": Out(rows * columns),
        }
    )


class MatrixUnit(Component):
    """Runs `Matmul`. Value: `numerics.matmul`.

    Throughput: one tile of rows x columns results and one block of K per cycle, while lines come
    from L1 at one of each operand per cycle. Instructions are fetched ahead; their tiles follow
    one another without a gap, but before an instruction adds to what lies where the last one in
    that half of the accumulators did not write the same tiles.

    Parameters
    ----------
    rows, columns : int
        Of the array: powers of two, 1..64 and 4..32.
    accumulators : int
        FP32 numbers in one half of the accumulators: a power of two.
    l1_granules, scale_granules : int
        Sizes of L1 and of the scale memory.
    tile_latency : int
        Cycles from a read of a tile to its data; 1..9.

    Members
    -------
    commands, done, trap, busy : unit_ports(COMMAND)
    read_a, read_b : Out(read_port of 4 granules); scale_a, scale_b : Out(read_port of 1 granule)
    tile_read : Out(tile_read); tile_write : Out(tile_write)
    array_busy : Out(1), a tile is issued; waiting : Out(1), the array waits for operands
    """

    def __init__(
        self,
        *,
        rows: int,
        columns: int,
        accumulators: int,
        l1_granules: int,
        scale_granules: int,
        tile_latency: int,
    ):
        self.rows, self.columns, self.tile_latency = rows, columns, tile_latency
        self.address_bits = (l1_granules - 1).bit_length()
        self.scale_bits = (scale_granules - 1).bit_length()
        self.group_bits = log2(2 * accumulators // columns)
        tiles = {"rows": rows, "columns": columns, "group_bits": self.group_bits}
        lines = {"granules": GRANULES, "address_bits": self.address_bits}
        scales = {"granules": 1, "address_bits": self.scale_bits}
        super().__init__(
            {
                **unit_ports(COMMAND),
                **{f"read_{name}": Out(read_port(**lines)) for name in "ab"},
                **{f"scale_{name}": Out(read_port(**scales)) for name in "ab"},
                "tile_read": Out(tile_read(**tiles)),
                "tile_write": Out(tile_write(**tiles)),
                "array_busy": Out(1),
                "waiting": Out(1),
            },
            name=f"matrix_{rows}x{columns}_{self.group_bits}_{self.address_bits}"
            f"_{self.scale_bits}_{tile_latency}",
        )

    def build(self, m: Module) -> None:
        """Commands, fetchers, lanes, the array, and the way of its results."""
        sizes = {"address_bits": self.address_bits, "scale_bits": self.scale_bits}
        shape = {"rows": self.rows, "columns": self.columns}
        tiles = {**shape, "group_bits": self.group_bits}
        m.submodules.jobs = jobs = MatrixJobs(**sizes, **tiles)
        m.submodules.passes = passes = PassWalk(**tiles)
        revisit = self.tile_latency + SUM_LATENCY + 1
        m.submodules.issue = issue = TileIssue(**tiles, revisit=revisit)
        array = [DotRow(formats=ALL_FORMATS, columns=self.columns) for _ in range(self.rows)]
        connect(m, flipped(self.commands), jobs.commands)
        connect(m, jobs.tiles, passes.jobs)
        connect(m, passes.passes, issue.passes)
        for name, lanes in (("a", self.rows), ("b", self.columns)):
            fetcher = OperandFetcher(lanes=lanes, turns=name == "b", **sizes)
            m.submodules[f"fetch_{name}"] = fetcher
            connect(m, getattr(jobs, name), fetcher.jobs)
            connect(m, fetcher.elements, flipped(getattr(self, f"read_{name}")))
            connect(m, fetcher.scales, flipped(getattr(self, f"scale_{name}")))
            lanes = self._edge(m, name, fetcher, issue, lanes)
            if name == "a":
                m.d.comb += [row.a.eq(lane) for row, lane in zip(array, lanes, strict=True)]
            else:
                m.d.comb += [row.b[i].eq(lane) for row in array for i, lane in enumerate(lanes)]
        self._results(m, issue.tile, array)
        self._count(m)
        m.d.sync += [self.array_busy.eq(issue.busy), self.waiting.eq(issue.waiting)]

    def _edge(self, m: Module, name: str, fetcher: Any, issue: Any, lanes: int) -> list[Any]:
        """The lanes of an operand, between its fetcher and the array; what they decode."""
        read, at, unpack, free, free_slot = (
            getattr(issue, f"{name}_{part}")
            for part in ("read", "at", "unpack", "free", "free_slot")
        )
        decode = Signal(name=f"decode_{name}")
        kept = Signal.like(unpack, name=f"unpack_{name}", reset_less=True)
        m.d.sync += decode.eq(read)
        with m.If(read):
            m.d.sync += kept.eq(unpack)
        m.d.comb += [
            getattr(issue, f"{name}_full").eq(fetcher.full),
            fetcher.free.eq(free),
            fetcher.free_slot.eq(free_slot),
        ]
        blocks = len(fetcher.write.blocks) // 256
        operands = []
        for number in range(lanes):
            lane = Lane(formats=ALL_FORMATS)
            m.submodules[f"lane_{name}{number}"] = lane
            m.d.comb += [
                lane.write.eq(fetcher.write.lanes[number]),
                lane.slot.eq(fetcher.write.slot),
                lane.low.eq(fetcher.write.blocks.word_select(number % blocks, 256)),
                lane.high.eq(fetcher.write.high),
                lane.wide.eq(fetcher.write.wide),
                lane.scale_write.eq(fetcher.scale_write.lanes[number]),
                lane.scale_slot.eq(fetcher.scale_write.slot),
                lane.scales.eq(fetcher.scale_write.data),
                lane.read.eq(read),
                lane.at.eq(at),
                lane.decode.eq(decode),
                lane.unpack.eq(kept),
            ]
            operands.append(lane.operand)
        return operands

    def _results(self, m: Module, tile: Any, array: list[DotRow]) -> None:
        """Read what a tile holds when its sums come, and write it back."""
        until_sum = LANE_LATENCY + DOT_LATENCY
        stages = [tile]
        for number in range(until_sum + SUM_LATENCY):
            register = Signal(tile.shape(), name=f"tile{number + 1}", reset_less=False)
            m.d.sync += register.eq(stages[-1])
            stages.append(register)
        asks, sums, ends = (
            stages[until_sum - self.tile_latency], stages[until_sum], stages[-1],
        )  # fmt: skip
        row_mask = (Const(2, 2) << ends.rows) - 1
        column_mask = ((Const(2, 2) << ends.columns) - 1)[: self.columns]
        mask = Cat(Mux(row_mask[row], column_mask, 0) for row in range(self.rows))
        m.d.comb += [
            self.tile_read.enable.eq(asks.valid & ~asks.first),
            self.tile_read.group.eq(asks.group),
            self.tile_read.pitch_log2.eq(asks.pitch_log2),
            self.tile_write.enable.eq(ends.valid),
            self.tile_write.group.eq(ends.group),
            self.tile_write.pitch_log2.eq(ends.pitch_log2),
            self.tile_write.data.eq(Cat(row.after for row in array)),
            self.tile_write.mask.eq(mask),
        ]
        m.d.sync += self.done.eq(ends.last)
        self._rows(m, stages, sums.first, array)

    def _rows(self, m: Module, stages: list[Any], first: Any, array: list[DotRow]) -> None:
        """The rows of the array; the clock of one stands still while no tile uses it."""
        moving = len(stages) - 1 - LANE_LATENCY
        comes, width = stages[LANE_LATENCY - 1], 32 * self.columns
        for number, row in enumerate(array):
            left = Signal(range(moving + 1), name=f"left{number}")
            uses = comes.rows >= number if number else 1
            with m.If(comes.valid & uses):
                m.d.sync += left.eq(moving)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            m.d.comb += [
                row.before.eq(self.tile_read.data.as_value().word_select(number, width)),
                row.first.eq(first),
            ]
            gated(m, f"row{number}", row, left != 0)

    def _count(self, m: Module) -> None:
        """Instructions that are not done."""
        begun = Signal(6)
        taken = self.commands.valid & self.commands.ready
        m.d.sync += begun.eq(begun + taken - self.done)
        m.d.comb += [self.busy.eq(begun != 0), self.trap.eq(0)]
