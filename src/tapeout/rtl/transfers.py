"""What the load and the store unit share: how commands become jobs, and how they end."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal

from tapeout.isa.instructions import LoadPages, LoadTile, StorePages, StoreTile

from .command import payload

IN_FLIGHT_BITS = 8  # of a number of commands: more than all parts of a unit can hold


def to_job(
    m: Module,
    commands: Any,
    jobs: Any,
    *,
    tile_class: type[LoadTile | StoreTile],
    pages_class: type[LoadPages | StorePages],
) -> None:
    """Connect a stream of commands to one of jobs."""
    near, far = ("dst", "src") if tile_class is LoadTile else ("src", "dst")
    command, job = commands.payload, jobs.payload
    tile, pages = payload(command, tile_class), payload(command, pages_class)
    paged = Signal()

    def either(name: str, other: str | None = None) -> Any:
        return Mux(paged, pages[other or name], tile[name])

    m.d.comb += [
        paged.eq(command.opcode == pages_class.opcode),
        jobs.valid.eq(commands.valid),
        commands.ready.eq(jobs.ready),
        job.pages.eq(paged),
        job.space.eq(either("space")),
        job.local.eq(either(near)),
        job.local_pitch.eq(either(f"{near}_pitch")),
        job.row_bytes.eq(either("row_bytes")),
        job.rows.eq(command.rows),
        job.base.eq(either(far, "pool")),
        job.pitch.eq(either(f"{far}_pitch", "page_bytes")),
        job.offset.eq(pages.offset),
        job.page_log2.eq(pages.page_log2),
        job.limited.eq(pages_class is LoadPages),
        job.x.eq(command.x),
        job.y.eq(command.y),
        job.z.eq(command.z),
    ]


class Ends:
    """Tells how commands end, and when the unit is busy.

    The unit drives `ended`, 1 in a cycle in which the oldest command ends, and `trap`, a code of
    `Trap` in a cycle in which that command traps.
    """

    def __init__(self, m: Module, unit: Any) -> None:
        self.ended = Signal(name="ended")
        self.trap = Signal(8, name="trap_now")
        self.halted = Signal(name="halted")
        """A command has trapped: none ends any more."""
        self.in_flight = Signal(IN_FLIGHT_BITS, name="in_flight")
        """Commands that have been taken and are not over."""
        taken, over = Signal(name="taken"), Signal(name="over")
        m.d.comb += [
            taken.eq(unit.commands.valid & unit.commands.ready),
            over.eq(self.ended & (self.trap == 0) & ~self.halted),
            unit.busy.eq((self.in_flight != 0) | unit.done),
        ]
        m.d.sync += [
            self.in_flight.eq(self.in_flight + taken - over),
            unit.done.eq(over),
            unit.trap.eq(Mux(self.halted, 0, self.trap)),
            self.halted.eq(self.halted | (self.trap != 0)),
        ]
