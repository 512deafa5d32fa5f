"""What a host does with a chip's registers, in a simulation of it."""

from .registers_map import BLOCK_BYTES, ContextState, register
from .simulation import Simulation

CONTEXT = 0  # of a core, the only one that is used
WORD_MASK = 0xFFFFFFFF
RESET_COUNTERS = 1
EVERYTHING = 0b11  # ends and traps


class Driver:
    """Starts programs and sees how they end, one program per core at a time."""

    def __init__(self, simulation: Simulation, *, cores: int):
        self.simulation = simulation
        self.cores = cores

    def prepare(
        self, core: int, *, scalars: dict[int, int], watchdog_cycles: int, **program: int
    ) -> None:
        """Write everything that a program needs; `program` holds values by names of registers."""
        self._write(core, "CONTROL", RESET_COUNTERS)
        self._write(core, "CONTEXT", CONTEXT)
        self._write(core, "WATCHDOG_CYCLES", watchdog_cycles)
        self._write(core, "INTERRUPT_STATUS", EVERYTHING)
        self._write(core, "INTERRUPT_ENABLE", EVERYTHING)
        for name, value in program.items():
            self._write(core, name, value)
        scalar = register("SCALAR")
        for number in range(scalar.first, scalar.first + scalar.count):
            self._write(core, "SCALAR", scalars.get(number, 0), number - scalar.first)

    def ring(self, core: int) -> None:
        """Start the program."""
        self._write(core, "DOORBELL", CONTEXT)

    def interrupting(self) -> list[int]:
        """The cores that have an interrupt, which is cleared."""
        bits = self.simulation.read(register("INTERRUPTS").offset)
        bits |= self.simulation.read(register("INTERRUPTS").offset + 4) << 32
        found = [core for core in range(self.cores) if bits >> core & 1]
        for core in found:
            self._write(core, "INTERRUPT_STATUS", EVERYTHING)
        return found

    def state(self, core: int) -> ContextState:
        """What has become of the program."""
        return ContextState(self._read(core, "STATUS") >> 4 * CONTEXT & 7)

    def trap(self, core: int) -> tuple[int, int, int]:
        """Code, queue, and number of the instruction."""
        trap = self._read(core, "TRAP")
        return trap & 0xFF, trap >> 8 & 7, self._read(core, "TRAP_NUMBER")

    def counter(self, core: int, name: str) -> int:
        """A performance counter."""
        return self._read(core, name)

    def _write(self, core: int, name: str, value: int, index: int = 0) -> None:
        each = register(name)
        at = BLOCK_BYTES * (core + 1) + each.offset + 8 * index
        for word in range(each.words):
            self.simulation.write(at + 4 * word, value >> 32 * word & WORD_MASK)

    def _read(self, core: int, name: str) -> int:
        each = register(name)
        at = BLOCK_BYTES * (core + 1) + each.offset
        return sum(self.simulation.read(at + 4 * i) << 32 * i for i in range(each.words))
