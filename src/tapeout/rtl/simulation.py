"""A chip that runs: compiled with a memory on its AXI4 ports and a host on its AXI4-Lite port."""

import ctypes
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import verilated
from .component import Component
from .memory_options import MemoryOptions, options_struct
from .top import RESET_CYCLES

U8 = NDArray[np.uint8]

CHIP_BENCH = verilated.Bench(
    main="core_harness.cpp",
    parts=("axi_memory.cpp",),
    memories=True,
    optimise="-O2",
    shared=True,
)
QUEUES = ("cp", "ld", "st", "mu", "vu")
EVENT = np.dtype([("cycle", "<i8"), ("number", "<i4"), ("core", "<i2"), ("queue", "<i2")])
"""An instruction of a queue was done, or one of cp was executed or sent; queue: of QUEUES."""

CYCLE_PS = 2  # of a waveform's time: the clock is low, then high
CHUNK_CYCLES = 50_000  # after which Python looks for Ctrl-C
IDLE_CYCLES = 1_000_000
OKAY = 0


class SimulationError(Exception):
    """The chip broke a rule of its ports, or did not answer: a bug of the RTL."""


class Stop(IntFlag):
    """Why a run came back."""

    CYCLES = 0
    INTERRUPT = 1
    EVENT = 2
    STUCK = 4
    VIOLATION = 8
    EVENTS_FULL = 16


class _State(ctypes.Structure):
    """`State` of core_harness.cpp."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("cycle", "idle_cycles", "waiting", "events", "lost_events", "reads", "writes"),
            *("read_beats", "write_beats", "violations", "interrupt"),
        )
    ]


class _Array(ctypes.Structure):
    """`Array` of core_harness.cpp."""

    _fields_ = [
        ("scope", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("entries", ctypes.c_int64),
        ("entry_bytes", ctypes.c_int64),
        ("entry_bits", ctypes.c_int64),
    ]


@dataclass(frozen=True, kw_only=True)
class Waves:
    """A waveform (FST) of the cycles first..last."""

    path: Path
    first: int = 0
    last: int = 1 << 62


@dataclass(frozen=True, kw_only=True)
class ChipBuild:
    """A chip compiled into a shared library."""

    library: Path
    ports: dict[str, int]
    traced: bool


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What has passed through all AXI4 ports since the start; `waiting` is not answered yet."""

    reads: int
    writes: int
    read_beats: int
    write_beats: int
    waiting: int


def build_chip(component: Component, *, trace: bool = False) -> ChipBuild:
    """Compile a component with the ports of a chip, or find it in the cache.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    path = verilated.library(component, CHIP_BENCH, trace=trace)
    return ChipBuild(library=path, ports=verilated.port_widths(component), traced=trace)


class Simulation:
    """A running chip. `memory` is the memory itself, not a copy: both sides see every change.

    Equal arguments and calls give the same run, cycle by cycle. Starts with a reset.
    """

    def __init__(
        self,
        build: ChipBuild,
        memory: U8,
        options: MemoryOptions | None = None,
        *,
        seed: int = 1,
        waves: Waves | None = None,
    ):
        assert memory.dtype == np.uint8, "memory is bytes"
        assert memory.flags.c_contiguous, "memory is one piece"
        self._simulation: int | None = None
        self._library = _load(build.library)
        self.memory = memory
        options = options or MemoryOptions()
        struct = options_struct(options, seed)
        self._simulation = self._library.sim_new(
            memory.ctypes.data, memory.size, ctypes.byref(struct)
        )
        for fault in options.faults:
            self._library.sim_fault(
                self._simulation, fault.start, fault.end, fault.reads, fault.writes
            )
        self._arrays: dict[str, U8] | None = None
        if waves is not None:
            assert build.traced, "only a build with `trace` writes waves"
            window = (str(waves.path).encode(), waves.first, waves.last + 1)
            self._library.sim_trace(self._simulation, *window)
        self.reset()

    def close(self) -> None:
        """Free the model and finish its waveform."""
        if self._simulation is not None:
            self._library.sim_delete(self._simulation)
        self._simulation = None

    def __del__(self) -> None:
        self.close()

    def reset(self) -> None:
        """Hold reset for some cycles; transactions under way are forgotten."""
        self._library.sim_reset(self._simulation, RESET_CYCLES)

    # ---- host --------------------------------------------------------------------------------

    def write(self, address: int, value: int) -> None:
        """Write a word through AXI4-Lite.

        Raises:
            SimulationError: if it is not answered, or with an error.
        """
        if (response := self.try_write(address, value)) != OKAY:
            raise SimulationError(f"writing register {address:#x} gave response {response}")

    def read(self, address: int) -> int:
        """Read a word through AXI4-Lite; raises as `write`."""
        value, response = self.try_read(address)
        if response != OKAY:
            raise SimulationError(f"reading register {address:#x} gave response {response}")
        return value

    def try_write(self, address: int, value: int) -> int:
        """As `write`; returns the response."""
        return self._answered(self._library.sim_write(self._simulation, address, value))

    def try_read(self, address: int) -> tuple[int, int]:
        """As `read`; returns the value and the response."""
        value = ctypes.c_uint32()
        response = self._library.sim_read(self._simulation, address, ctypes.byref(value))
        return value.value, self._answered(response)

    def _answered(self, response: int) -> int:
        self.check()
        if response < 0:
            raise SimulationError("the control port did not answer")
        return response

    # ---- time --------------------------------------------------------------------------------

    def run(
        self, max_cycles: int, *, until: Stop = Stop.INTERRUPT, idle_cycles: int = IDLE_CYCLES
    ) -> Stop:
        """Let the clock run until what `until` names, or for `max_cycles`; why it stopped.

        Without EVENT or EVENTS_FULL in `until`, the oldest events are dropped when there are many.

        Raises:
            SimulationError: if a rule of a port was broken, or nothing has moved for `idle_cycles`.
        """
        stops = until | Stop.STUCK | Stop.VIOLATION
        left = max_cycles
        while left > 0:
            cycles = min(left, CHUNK_CYCLES)
            reason = Stop(self._library.sim_run(self._simulation, cycles, idle_cycles, int(stops)))
            self.check()
            if reason & until:
                return reason & until
            if reason:
                raise SimulationError(f"nothing has moved for {idle_cycles} cycles")
            left -= cycles
        return Stop.CYCLES

    @property
    def cycle(self) -> int:
        """Cycles since the start, those of the reset included."""
        return self._state().cycle

    @property
    def interrupt(self) -> bool:
        """Whether the chip asks for the host."""
        return bool(self._state().interrupt)

    @property
    def traffic(self) -> Traffic:
        """What memory has done."""
        state = self._state()
        return Traffic(
            reads=state.reads,
            writes=state.writes,
            read_beats=state.read_beats,
            write_beats=state.write_beats,
            waiting=state.waiting,
        )

    def events(self) -> NDArray[Any]:
        """The events since the last call, oldest first, as EVENT."""
        out = np.empty(self._state().events, EVENT)
        self._library.sim_events(self._simulation, out.ctypes.data, len(out))
        return out

    def violations(self) -> list[str]:
        """What broke a rule of a port, in words."""
        count = self._state().violations
        return [self._library.sim_violation(self._simulation, i).decode() for i in range(count)]

    def check(self) -> None:
        """Raise SimulationError if a rule of a port was broken."""
        if found := self.violations():
            raise SimulationError("; ".join(found))

    def _state(self) -> Any:
        state = _State()
        self._library.sim_state(self._simulation, ctypes.byref(state))
        return state

    # ---- memories of the chip ----------------------------------------------------------------

    @property
    def arrays(self) -> dict[str, U8]:
        """Every memory of the chip by its place in the hierarchy: [entries, bytes], not a copy."""
        if self._arrays is None:
            found = (self._array(i) for i in range(self._library.sim_arrays(self._simulation)))
            self._arrays = dict(sorted(found))
        return self._arrays

    def _array(self, index: int) -> tuple[str, U8]:
        array = _Array()
        self._library.sim_array(self._simulation, index, ctypes.byref(array))
        size = array.entries * array.entry_bytes
        data = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(array.data))
        shaped = data.reshape(array.entries, array.entry_bytes)
        return f"{array.scope.decode()}.{array.name.decode()}", shaped[
            :, : -(-array.entry_bits // 8)
        ]


def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    pointer, number, small = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    library.sim_new.restype = pointer
    library.sim_violation.restype = ctypes.c_char_p
    library.sim_events.restype = library.sim_arrays.restype = number
    for name, arguments in {
        "new": [pointer, number, pointer],
        "delete": [pointer],
        "reset": [pointer, number],
        "run": [pointer, number, number, small],
        "write": [pointer, number, ctypes.c_uint32],
        "read": [pointer, number, pointer],
        "fault": [pointer, number, number, small, small],
        "state": [pointer, pointer],
        "events": [pointer, pointer, number],
        "violation": [pointer, number],
        "arrays": [pointer],
        "array": [pointer, number, pointer],
        "trace": [pointer, ctypes.c_char_p, number, number],
    }.items():
        getattr(library, f"sim_{name}").argtypes = arguments
    return library
