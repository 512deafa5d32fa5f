"""The memories of a chip, as one must know them who replaces them by macros."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .memories import Memory
from .netlist import Netlist
from .sram import Sram


@dataclass(frozen=True, kw_only=True)
class ListedMemory:
    """The arrays of a module that are alike; `copies`: how many of them the chip has in all."""

    module: str
    arrays: tuple[str, ...]
    lines: int
    bits: int
    parts: int
    """Parts of a line that are written each by itself."""
    reads: int
    writes: int
    clocked: bool
    """Whether it is read at the clock; else at once."""
    new_data: bool
    """Whether a read sees what is written in the same cycle; else what was there before."""
    copies: int

    @property
    def all_bits(self) -> int:
        """Of all copies."""
        return self.lines * self.bits * self.copies


def list_memories(
    netlists: dict[str, Netlist], top: str, srams: dict[str, Sram]
) -> tuple[ListedMemory, ...]:
    """Every memory that is written, by module name of its size, the largest first."""
    found: list[ListedMemory] = []
    for name, copies in instances(netlists, top).items():
        if name in srams:
            found.append(_of_sram(srams[name], copies))
        memories = (Memory(cell) for cell in netlists[name].cells if cell.kind == "$mem_v2")
        found += _merged(_of_memory(name, each, copies) for each in memories if each.writers)
    return tuple(sorted(found, key=lambda each: (-each.all_bits, each.module, each.arrays)))


def instances(netlists: dict[str, Netlist], top: str) -> Counter[str]:
    """How often each module is in the chip."""
    counts: Counter[str] = Counter()

    def add(name: str, copies: int) -> None:
        counts[name] += copies
        for kind, number in Counter(cell.kind[1:] for cell in netlists[name].cells).items():
            if kind in netlists:
                add(kind, number * copies)

    add(top, 1)
    return counts


def _merged(memories: Iterable[ListedMemory]) -> list[ListedMemory]:
    """One for all that differ only in their names."""
    alike: dict[ListedMemory, list[ListedMemory]] = {}
    for each in memories:
        alike.setdefault(replace(each, arrays=()), []).append(each)
    return [
        replace(
            kind,
            arrays=tuple(sorted((each.arrays[0] for each in same), key=lambda n: (len(n), n))),
            copies=kind.copies * len(same),
        )
        for kind, same in alike.items()
    ]


def _of_sram(sram: Sram, copies: int) -> ListedMemory:
    return ListedMemory(
        module=sram.module_name,
        arrays=("store",),
        lines=sram.depth,
        bits=sram.width,
        parts=sram.width // sram.part,
        reads=1,
        writes=1,
        clocked=True,
        new_data=False,
        copies=copies,
    )


def _of_memory(module: str, memory: Memory, copies: int) -> ListedMemory:
    return ListedMemory(
        module=module,
        arrays=(memory.cell.name[1:],),
        lines=memory.size,
        bits=memory.bits,
        parts=max(memory.parts_written(number) for number in range(memory.writers)),
        reads=memory.readers,
        writes=memory.writers,
        clocked=memory.clocked,
        new_data=memory.new_data,
        copies=copies,
    )
