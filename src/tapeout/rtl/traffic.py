"""Who uses a core's AXI4 master, and how: as an interconnect must be sized for."""

from dataclasses import dataclass

from . import fetch, load, pages, store, words
from .arbiter import WRITES
from .core import READERS, WRITERS
from .sizes import CoreSizes


@dataclass(frozen=True, kw_only=True)
class User:
    """One AXI ID of reads or of writes."""

    name: str
    what: str
    longest_beats: int
    """Of a burst."""
    outstanding: int | None
    """Bursts that it sends before the first is answered; None: as many as are accepted."""


def read_users(sizes: CoreSizes) -> tuple[User, ...]:
    """By ID."""
    bus_bytes = sizes.bus_bytes
    table_beats = max(2, pages.BUFFER_BYTES // bus_bytes)
    data_beats = max(1, load.BURST_BYTES // bus_bytes)
    line_beats = max(1, fetch.LINE_BYTES // bus_bytes)
    facts = {
        "program": ("instructions", line_beats, fetch.AHEAD),
        "scalars": ("numbers for the command processor", 1, 1),
        "load": ("tiles and pages", data_beats, None),
        "load_table": ("block tables of loads", 1, table_beats),
        "store_table": ("block tables of stores", 1, table_beats),
        "sample": ("logits", words.BURST_BEATS, None),
    }
    return tuple(_user(name, *facts[name]) for name in READERS)


def write_users(sizes: CoreSizes) -> tuple[User, ...]:
    """By ID."""
    data_beats = max(1, store.BURST_BYTES // sizes.bus_bytes)
    facts = {
        "store": ("tiles and pages", data_beats, store.BURSTS),
        "sample": ("the tokens that were drawn", 1, 1),
    }
    return tuple(_user(name, *facts[name]) for name in WRITERS)


def reach(sizes: CoreSizes) -> int:
    """Bytes of the aligned range in which each burst lies: a power of two."""
    return max(load.BURST_BYTES, store.BURST_BYTES, words.BURST_BEATS * sizes.bus_bytes)


WRITES_AHEAD = WRITES
"""Write addresses that are sent before the data of the first of them is."""


def _user(name: str, what: str, longest_beats: int, outstanding: int | None) -> User:
    return User(name=name, what=what, longest_beats=longest_beats, outstanding=outstanding)
