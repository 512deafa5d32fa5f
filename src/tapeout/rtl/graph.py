"""What a module is made of, sorted by kind, and which bits of it are read."""

from collections import Counter
from collections.abc import Iterator

from .clocked import Register
from .expressions import CONDITIONS, RIGHT, Operation, copy, narrowed, one_of, operation, selection
from .memories import Memory
from .netlist import Cell, Chunk, Netlist, Signal, Wire, part, width


class Graph:
    """One module: operations whose results are read, registers, memories and instances.

    Wires have no bits that are neither driven nor read, and results without a name no high bits
    that are not read.

    Members
    -------
    wires, operations, registers, memories, instances : what there is
    bits_read : the bits of each wire that are read
    reads, parts_read : how often a wire is read, and how often not as a whole
    """

    def __init__(self, netlists: dict[str, Netlist], name: str) -> None:
        self._netlists, self.module = netlists, netlists[name]
        self.wires = dict(self.module.wires)
        self._sort_cells()
        if self._cut_wires():
            self._sort_cells()
        self._find_live()

    def _sort_cells(self) -> None:
        self.operations: list[Operation] = []
        self.registers: list[Register] = []
        self.memories: list[Memory] = []
        self.instances: list[Cell] = []
        self._drivers = drivers = {
            y[0].wire: cell
            for cell in self.module.cells
            if (y := cell.ports.get("Y")) and cell.kind[0] == "$" and self.whole(y)
        }
        for cell in self.module.cells:
            if cell.kind[0] == "\\":
                self.instances.append(cell)
            elif cell.kind == "$mem_v2":
                self.memories.append(Memory(cell))
            elif "dff" in cell.kind:
                self.registers.append(Register(cell))
            elif cell.kind == "$pmux":
                self.operations.append(selection(cell, drivers))
            elif cell.kind in RIGHT and width(cell.ports["A"]) > width(cell.ports["Y"]):
                self._shift_whole(cell)
            else:
                self.operations.append(operation(cell))
        self.operations += [copy(result, source) for result, source in self.module.joins]

    def _shift_whole(self, cell: Cell) -> None:
        """Shift all bits, and take those that are wanted: Verilog cannot cut an expression."""
        if self.whole(cell.ports["A"]) and (bit := one_of(cell)) is not None:
            self.operations.append(bit)
            return
        name, count = f"$shifted{cell.name}", width(cell.ports["A"])
        self.wires.setdefault(name, Wire(name, count, "", 0))
        whole = (Chunk(name, 0, count),)
        result = cell.ports["Y"]
        ports = {**cell.ports, "Y": whole}
        self.operations.append(operation(Cell(cell.kind, cell.name, cell.parameters, ports)))
        self.operations.append(copy(result, part(whole, 0, width(result))))

    def _cut_wires(self) -> bool:
        """Make a wire of each part of a wire that has bits which are not driven and not read."""
        read = self._bits_needed()
        self._drop_dead(read)
        there = Counter(read)
        for signal in self._driven():
            for chunk in signal:
                there[chunk.wire] |= _mask(chunk)
        pieces: dict[str, list[tuple[int, str]]] = {}
        for wire in list(self.wires.values()):
            missing = list(gaps(wire.name, wire.width, there[wire.name]))
            if missing and not wire.direction and there[wire.name]:
                runs = list(gaps(wire.name, wire.width, sum(map(_mask, missing))))
                pieces[wire.name] = [(run.low, self._piece(run, len(runs))) for run in runs]
        if pieces:
            for cell in self.module.cells:
                cell.ports = {name: _cut(each, pieces) for name, each in cell.ports.items()}
            self.module.joins = [
                (_cut(result, pieces), _cut(source, pieces)) for result, source in self.module.joins
            ]
        return bool(pieces)

    def _drop_dead(self, read: Counter[str]) -> None:
        """Take operations away whose results nobody reads."""

        def is_read(signal: Signal) -> bool:
            return any(read[chunk.wire] & _mask(chunk) for chunk in signal)

        asked = self._conditions()
        self.module.cells = [
            cell
            for cell in self.module.cells
            if cell.kind[0] == "\\"
            or "Y" not in cell.ports
            or is_read(cell.ports["Y"])
            or cell.ports["Y"][0].wire in asked
        ]
        self.module.joins = [join for join in self.module.joins if is_read(join[0])]
        self.operations = [each for each in self.operations if is_read(each.result)]

    def _conditions(self) -> set[str]:
        """Wires that only say which choice a `case` takes."""
        asked: set[str] = set()
        selections = (cell for cell in self.module.cells if cell.kind == "$pmux")
        waiting = [cell.ports["S"] for cell in selections]
        while waiting:
            for chunk in waiting.pop():
                cell = self._drivers.get(chunk.wire)
                if cell and chunk.wire not in asked and cell.kind in CONDITIONS:
                    asked.add(chunk.wire)
                    waiting += [cell.ports[name] for name in "AB" if name in cell.ports]
        return asked

    def _piece(self, run: Chunk, count: int) -> str:
        name = run.wire if count == 1 else f"{run.wire}_{run.low + run.width - 1}_{run.low}"
        while count > 1 and name in self.wires:
            name += "_"
        self.wires[name] = Wire(name, run.width, "", 0)
        return name

    def _driven(self) -> Iterator[Signal]:
        """What is written."""
        for each in self.operations:
            yield each.result
        yield from (register.q for register in self.registers)
        yield from (memory.cell.ports["RD_DATA"] for memory in self.memories)
        for cell in self.instances:
            for port, signal in cell.ports.items():
                if self.direction(cell, port) == "output":
                    yield signal

    def _find_live(self) -> None:
        """Keep the operations whose results are read, as narrow as they are read."""
        read = self._bits_needed()
        kept: list[Operation] = []
        for each in self.operations:
            if any(read[chunk.wire] & _mask(chunk) for chunk in each.result):
                bits = self._least(each, read)
                less = narrowed(each, bits) if bits else None
                if less:
                    wire = each.result[0].wire
                    self.wires[wire] = self.wires[wire]._replace(width=bits)
                kept.append(less or each)
        self.operations = kept
        self._count_reads()

    def _least(self, each: Operation, read: Counter[str]) -> int:
        """Low bits of a wire without a name that are enough; 0 if all are needed."""
        wire = each.result[0].wire
        if wire[0] != "$" or not self.whole(each.result):
            return 0
        bits = read[wire].bit_length()
        return bits if bits < self.wires[wire].width else 0

    def _bits_needed(self) -> Counter[str]:
        """The bits of each wire that anything at the edges of the module depends on."""
        producers: dict[str, list[int]] = {}
        for i, each in enumerate(self.operations):
            for chunk in each.result:
                producers.setdefault(chunk.wire, []).append(i)
        read: Counter[str] = Counter()
        done: dict[int, int] = {}
        waiting = list(self._roots())
        while waiting:
            for chunk in waiting.pop():
                mask = _mask(chunk)
                if not chunk.wire or not mask & ~read[chunk.wire]:
                    continue
                read[chunk.wire] |= mask
                for i in producers.get(chunk.wire, ()):
                    each = self.operations[i]
                    if not any(read[c.wire] & _mask(c) for c in each.result):
                        continue
                    bits = self._least(each, read)
                    less = narrowed(each, bits) if bits else None
                    size = bits if less else self.wires[each.result[0].wire].width
                    if done.get(i, -1) < size:
                        done[i] = size
                        waiting += (less or each).operands
        return read

    def _count_reads(self) -> None:
        """Which bits of each wire are read, and how often a wire is read as a whole or in part."""
        self.bits_read: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.parts_read: Counter[str] = Counter()
        operands = (signal for each in self.operations for signal in each.operands)
        for chunk in (chunk for signal in (*self._roots(), *operands) for chunk in signal):
            if chunk.wire:
                self.bits_read[chunk.wire] |= _mask(chunk)
                self.reads[chunk.wire] += 1
                self.parts_read[chunk.wire] += chunk.width < self.wires[chunk.wire].width

    def _roots(self) -> Iterator[Signal]:
        for wire in self.wires.values():
            if wire.direction == "output":
                yield (Chunk(wire.name, 0, wire.width),)
        for item in (*self.registers, *self.memories):
            yield from item.reads()
        for cell in self.instances:
            for port, signal in cell.ports.items():
                if self.direction(cell, port) == "input":
                    yield signal

    def direction(self, cell: Cell, port: str) -> str:
        """Whether a port of an instance is an input or an output."""
        return self._netlists[cell.kind[1:]].wires[f"\\{port}"].direction

    def whole(self, signal: Signal) -> bool:
        """Whether a signal is a whole wire."""
        return len(signal) == 1 and bool(
            signal[0].wire and signal[0].width == self.wires[signal[0].wire].width
        )


def _mask(chunk: Chunk) -> int:
    """The bits of a wire that a chunk is."""
    return ((1 << chunk.width) - 1) << chunk.low


def _cut(signal: Signal, pieces: dict[str, list[tuple[int, str]]]) -> Signal:
    """The same in wires that were cut."""
    out: list[Chunk] = []
    for chunk in signal:
        runs = pieces.get(chunk.wire, [])
        if not runs:
            out.append(chunk)
            continue
        low, name = max(run for run in runs if run[0] <= chunk.low)
        out.append(chunk._replace(wire=name, low=chunk.low - low))
    return tuple(out)


def gaps(name: str, bits: int, read: int) -> Iterator[Chunk]:
    """The runs of bits that are not read."""
    start = 0
    while start < bits:
        if read >> start & 1:
            start += 1
            continue
        end = start
        while end < bits and not read >> end & 1:
            end += 1
        yield Chunk(name, start, end - start)
        start = end
