"""The registers that a host sees, as data: hardware, pages and drivers are made from this."""

from dataclasses import dataclass
from enum import Enum, IntEnum

BLOCK_BYTES = 4096
"""Block 0 is the chip's, block 1 core 0's, and so on."""

CONTEXTS = 4
"""Programs of a core that may be prepared and queued at the same time."""

IDENTITY = int.from_bytes(b"TAPE", "big")
VERSION = 1
WORD_BITS = 32


class Access(Enum):
    """What a host may do with a register; anything else answers SLVERR and changes nothing."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read, write"
    CLEAR = "read, write 1 to clear"

    @property
    def readable(self) -> bool:
        """Whether a host may read it."""
        return self is not Access.WRITE

    @property
    def writable(self) -> bool:
        """Whether a host may write it."""
        return self is not Access.READ


class ContextState(IntEnum):
    """What has become of the program of a context."""

    IDLE = 0
    QUEUED = 1
    RUNNING = 2
    ENDED = 3
    TRAPPED = 4


@dataclass(frozen=True, kw_only=True)
class Bits:
    """A part of a register."""

    name: str
    low: int
    bits: int
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Register:
    """A register of up to 64 bits: its low word at `offset`, the high one, if any, after it.

    With `count`, so many of them, two words apart; the first has the number `first`.
    """

    name: str
    offset: int
    access: Access
    meaning: str
    bits: int = WORD_BITS
    fields: tuple[Bits, ...] = ()
    count: int = 1
    first: int = 0

    @property
    def words(self) -> int:
        """Words of one of them."""
        return -(-self.bits // WORD_BITS)

    def mask(self, word: int) -> int:
        """The bits that it has in its low word (0) or high word (1)."""
        return ((1 << self.bits) - 1) >> (WORD_BITS * word) & ((1 << WORD_BITS) - 1)


def _flags(*flags: tuple[str, str]) -> tuple[Bits, ...]:
    return tuple(Bits(name=n, low=i, bits=1, meaning=text) for i, (n, text) in enumerate(flags))


CHIP: tuple[Register, ...] = (
    Register(name="IDENTITY", offset=0x00, access=Access.READ, meaning=f"{IDENTITY:#x}: TAPE"),
    Register(name="VERSION", offset=0x04, access=Access.READ, meaning="of this map"),
    Register(
        name="CHIP", offset=0x08, access=Access.READ, bits=48, meaning="the chip's fingerprint"
    ),
    Register(name="CORES", offset=0x10, access=Access.READ, meaning="cores of the chip"),
    Register(
        name="INTERRUPTS",
        offset=0x18,
        access=Access.READ,
        bits=64,
        meaning="a bit for each core: it has an interrupt that is enabled",
    ),
)
"""Registers of the chip."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A performance counter of 64 bits; it adds up to 2^bits - 1 in a cycle."""

    name: str
    meaning: str
    bits: int = 1


COUNTERS: tuple[Counter, ...] = (
    Counter(name="CYCLES", meaning="cycles in which a program runs"),
    Counter(name="INSTRUCTIONS", meaning="instructions that have ended", bits=3),
    Counter(name="MU_BUSY", meaning="cycles in which the array of the matrix unit works"),
    Counter(name="MU_WAITING", meaning="cycles in which its next instruction waits for another"),
    Counter(name="VU_BUSY", meaning="cycles in which the vector unit works"),
    Counter(name="VU_WAITING", meaning="cycles in which its next instruction waits for another"),
    Counter(name="LD_BUSY", meaning="cycles in which the load unit works"),
    Counter(name="ST_BUSY", meaning="cycles in which the store unit works"),
    Counter(name="READ_BEATS", meaning="beats of data that have been read"),
    Counter(name="READ_WAITING", meaning="cycles in which a read's address is not taken"),
    Counter(name="WRITE_BEATS", meaning="beats of data that have been written"),
    Counter(name="WRITE_WAITING", meaning="cycles in which a write's data is not taken"),
)
"""What is counted; the control block itself counts the first."""

COUNTERS_OFFSET = 0x100
CONTEXT_OFFSET = 0x200
CONTEXT_PAIRS = 64  # of words, in a context

CORE: tuple[Register, ...] = (
    Register(
        name="CONTROL",
        offset=0x00,
        access=Access.WRITE,
        bits=1,
        meaning="acts when it is written",
        fields=_flags(("reset_counters", "sets all performance counters to 0")),
    ),
    Register(
        name="CONTEXT",
        offset=0x04,
        access=Access.READ_WRITE,
        bits=2,
        meaning="whose registers PROGRAM_ADDRESS, .. and SCALAR are",
    ),
    Register(
        name="DOORBELL",
        offset=0x08,
        access=Access.WRITE,
        bits=2,
        meaning="queues a context's program; SLVERR while it is queued or runs, and after a trap",
    ),
    Register(
        name="STATUS",
        offset=0x0C,
        access=Access.READ,
        bits=16,
        meaning="the state of each context: "
        + ", ".join(f"{state.value} {state.name.lower()}" for state in ContextState),
        fields=tuple(
            Bits(name=f"context{i}", low=4 * i, bits=3, meaning=f"state of context {i}")
            for i in range(CONTEXTS)
        ),
    ),
    Register(
        name="TRAP",
        offset=0x10,
        access=Access.READ,
        bits=14,
        meaning="the core's trap, kept until reset",
        fields=(
            Bits(name="code", low=0, bits=8, meaning="`Trap`; 0: none"),
            Bits(name="queue", low=8, bits=3, meaning="queue of the instruction"),
            Bits(name="context", low=12, bits=2, meaning="context of the program"),
        ),
    ),
    Register(
        name="TRAP_NUMBER",
        offset=0x14,
        access=Access.READ,
        meaning="place in the program of the instruction that trapped",
    ),
    Register(
        name="WATCHDOG_CYCLES",
        offset=0x18,
        access=Access.READ_WRITE,
        meaning="traps when nothing has moved for so many cycles; 0: never",
    ),
    Register(
        name="INTERRUPT_ENABLE",
        offset=0x1C,
        access=Access.READ_WRITE,
        bits=2,
        meaning="which of INTERRUPT_STATUS interrupt",
        fields=_flags(("ended", "a program has ended"), ("trapped", "the core has trapped")),
    ),
    Register(
        name="INTERRUPT_STATUS",
        offset=0x20,
        access=Access.CLEAR,
        bits=2,
        meaning="what has happened since it was cleared",
        fields=_flags(("ended", "a program has ended"), ("trapped", "the core has trapped")),
    ),
    *(
        Register(
            name=counter.name,
            offset=COUNTERS_OFFSET + 8 * i,
            access=Access.READ,
            bits=64,
            meaning=f"{counter.meaning}; reading the low word keeps the high one for the next read",
        )
        for i, counter in enumerate(COUNTERS)
    ),
    Register(
        name="SCALAR",
        offset=CONTEXT_OFFSET + 8,
        access=Access.READ_WRITE,
        bits=64,
        meaning="register of the command processor at the start: 48 bits and copies of their sign",
        count=31,
        first=1,
    ),
    Register(
        name="PROGRAM_ADDRESS",
        offset=CONTEXT_OFFSET + 0x100,
        access=Access.READ_WRITE,
        bits=41,
        meaning="byte address in memory of the core's instructions",
    ),
    Register(
        name="PROGRAM_COUNT",
        offset=CONTEXT_OFFSET + 0x108,
        access=Access.READ_WRITE,
        meaning="instructions of the core",
    ),
    Register(
        name="MEMORY_BYTES",
        offset=CONTEXT_OFFSET + 0x110,
        access=Access.READ_WRITE,
        bits=41,
        meaning="size of the memory; what lies beyond traps",
    ),
    Register(
        name="PROGRAM_CHIP",
        offset=CONTEXT_OFFSET + 0x118,
        access=Access.READ_WRITE,
        bits=48,
        meaning="fingerprint of the chip that the program is for; traps unless it is CHIP",
    ),
)
"""Registers of one core. Those from CONTEXT_OFFSET on are the context's that CONTEXT names; they
cannot be written while it is queued."""


def register(name: str) -> Register:
    """The register of the chip or of a core with this name."""
    return next(each for each in (*CHIP, *CORE) if each.name == name)


def registers_page() -> str:
    """The map as Markdown."""
    parts = [
        "# Registers",
        "This page is made from `src/tapeout/rtl/registers_map.py`; change it there.",
        "Words of 32 bits, little-endian, on AXI4-Lite. A register of more bits has its low word at"
        " its offset and its high word after it. What is not listed, a word that is not aligned, a"
        " write of less than a word, and a one in a bit that a register does not have answer SLVERR"
        " and change nothing; such a read gives 0.",
        f"The chip's registers are in the first {BLOCK_BYTES} bytes, those of core 0 in the next,"
        " and so on.",
        "## Chip",
        _table(CHIP),
        "## Core",
        f"A core has {CONTEXTS} contexts. To run a program: name a context, write its registers,"
        " ring the doorbell with its number. Programs run one at a time, in the order of the"
        f" doorbells. Registers from {CONTEXT_OFFSET:#x} on are those of the context that CONTEXT"
        " names; they cannot be written while it is queued.",
        _table(CORE),
        "## Fields",
        _fields(),
    ]
    return "\n\n".join(parts) + "\n"


def _table(registers: tuple[Register, ...]) -> str:
    rows = ["| offset | register | bits | access | meaning |", "| --- | --- | --- | --- | --- |"]
    for each in registers:
        name, offset = each.name, f"{each.offset:#05x}"
        if each.count > 1:
            name += f"[{each.first}..{each.first + each.count - 1}]"
            offset += f" + 8 * (i - {each.first})"
        rows.append(
            f"| `{offset}` | `{name}` | {each.bits} | {each.access.value} | {each.meaning} |"
        )
    return "\n".join(rows)


def _fields() -> str:
    rows = ["| register | bits | field | meaning |", "| --- | --- | --- | --- |"]
    for each in (*CHIP, *CORE):
        for part in each.fields:
            high = part.low + part.bits - 1
            bits = str(part.low) if part.bits == 1 else f"{part.low}..{high}"
            rows.append(f"| `{each.name}` | {bits} | `{part.name}` | {part.meaning} |")
    return "\n".join(rows)
