"""What the registers of a command processor may hold, whatever the scalars and tables are."""

from collections.abc import Iterable
from dataclasses import dataclass

from tapeout.compiler.numbers import LIMIT, ZERO, Numbers, Value
from tapeout.compiler.structure import Node, Repeat
from tapeout.errors import CompileError
from tapeout.isa.fields import AluFn
from tapeout.isa.instructions import Alu, Instruction, LoadScalar, Loop, Operation, Set
from tapeout.isa.program import TABLE_ENTRY_BYTES, Table

WORD_MAX = (1 << 32) - 1
NARROWINGS = 2

Registers = dict[int, Value]
"""What each register holds; those never written are missing."""

Range = tuple[int, int]


@dataclass(frozen=True)
class LoopValues:
    """The registers at the start of any turn of a loop, and how the loop changes them."""

    count: Value
    turn: int
    """The number of the unknown that counts turns."""
    before: Registers
    entry: Registers
    steps: dict[int, int]
    """Registers that every turn raises by a constant."""
    changed: frozenset[int]
    mark: int
    """How many fresh unknowns there were before the loop."""


@dataclass(frozen=True)
class CommandProcessor:
    """Runs a core's command processor on values instead of numbers."""

    numbers: Numbers
    tables: tuple[Table, ...]
    instructions: tuple[Instruction, ...]

    def read(self, registers: Registers, register: int) -> Value:
        """The value of a register.

        Raises:
            CompileError: if nothing was written to it.
        """
        if register == 0:
            return ZERO
        if register not in registers:
            raise CompileError(f"r{register} must be written before it is read")
        return registers[register]

    def execute(self, op: Operation, registers: Registers, *, trial: bool = False) -> None:
        """Do what a command that writes a register does; a trial may overflow.

        Raises:
            CompileError: if it may overflow, or reads an unwritten register or no table.
        """
        match op:
            case Set():
                value = Value(op.imm)
            case Alu():
                b = self.read(registers, op.rb) + op.imm
                value = self.numbers.alu(AluFn(op.fn), self.read(registers, op.ra), b)
            case LoadScalar():
                value = self._cell(self.read(registers, op.address_reg) + op.address)
            case _:
                return
        low, high = self._range(value)
        if not trial and (low < -LIMIT - 1 or high > LIMIT):
            raise CompileError(f"r{op.rd} must stay in 48 bits, not reach {low}..{high}")
        if op.rd:
            registers[op.rd] = value

    def enter(self, loop: Repeat, registers: Registers, depth: int) -> LoopValues:
        """The registers at the start of any turn of a loop."""
        op = self.instructions[loop.at].op
        assert isinstance(op, Loop)
        numbers, mark = self.numbers, len(self.numbers.freshes)
        count = self.read(registers, op.count)
        turn = numbers.turn(depth, count)
        changed = frozenset(self._written(loop.body))
        alive = [r for r in sorted(changed) if r in registers]
        kept = {r: v for r, v in registers.items() if r not in changed}
        start = {r: numbers.fresh(-LIMIT - 1, LIMIT) for r in alive}
        after = self._try(loop.body, kept | start, depth + 1)
        steps = {r: d.constant for r in alive if not (d := after[r] - start[r]).terms}
        kept |= {r: registers[r] + turn * step for r, step in steps.items()}
        others = {r: registers[r] for r in alive if r not in steps}
        ranges = self._ranges(loop.body, kept, others, depth)
        entry = kept | {r: numbers.fresh(*ranges[r]) for r in others}
        return LoopValues(count, turn.terms[0][0], dict(registers), entry, steps, changed, mark)

    def leave(self, loop: LoopValues, after: Registers) -> Registers:
        """The registers after a loop, given them at the end of any turn."""
        registers = dict(after)
        turns = self.numbers.alu(AluFn.MAX, loop.count, ZERO)
        passing = self.passing(loop)
        surely = self.numbers.low(loop.count) > 0
        for r in loop.changed:
            if r not in loop.before:
                if not surely or r not in after:
                    registers.pop(r, None)
                elif self.numbers.depends_on(after[r], passing):
                    registers[r] = self.numbers.fresh(*self._range(after[r]))
            elif r in loop.steps:
                registers[r] = loop.before[r] + turns * loop.steps[r]
            elif not surely or self.numbers.depends_on(after[r], passing):
                registers[r] = self.numbers.fresh(*self._hull(after[r], loop.before[r]))
        return registers

    def passing(self, loop: LoopValues) -> frozenset[int]:
        """The unknowns that differ from turn to turn of a loop that has just been followed."""
        return frozenset({loop.turn, *self.numbers.freshes[loop.mark :]})

    def _cell(self, address: Value) -> Value:
        low, high = self._range(address)
        for table in self.tables:
            end = table.address + table.count * TABLE_ENTRY_BYTES
            if table.address <= low and high + TABLE_ENTRY_BYTES <= end:
                if (low - table.address) % TABLE_ENTRY_BYTES or address.step % TABLE_ENTRY_BYTES:
                    raise CompileError(f"the address must be that of an entry of `{table.name}`")
                return self.numbers.cell(address, table.low, table.high)
        raise CompileError(f"addresses {low:#x}..{high:#x} must lie in one table")

    def _written(self, nodes: Iterable[Node]) -> Iterable[int]:
        for node in nodes:
            if isinstance(node, Repeat):
                yield from self._written(node.body)
            else:
                op = self.instructions[node].op
                if isinstance(op, Set | Alu | LoadScalar) and op.rd:
                    yield op.rd

    def _ranges(
        self, body: tuple[Node, ...], kept: Registers, others: Registers, depth: int
    ) -> dict[int, Range]:
        """Ranges that hold at the start of every turn: widened until they do, then narrowed."""

        def after() -> Registers:
            entry = kept | {r: self.numbers.fresh(*ranges[r]) for r in others}
            return self._try(body, entry, depth + 1)

        ranges = {r: self._range(v) for r, v in others.items()}
        while True:
            ends = after()
            grown = {r: self._grown(ranges[r], ends[r]) for r in others}
            if grown == ranges:
                break
            ranges = grown
        for _ in range(NARROWINGS):
            ends = after()
            ranges = {r: self._hull(ends[r], v) for r, v in others.items()}
        return ranges

    def _grown(self, old: Range, after: Value) -> Range:
        low, high = self._range(after)
        return (old[0] if low >= old[0] else -LIMIT - 1, old[1] if high <= old[1] else LIMIT)

    def _hull(self, one: Value, other: Value) -> Range:
        (a, b), (c, d) = self._range(one), self._range(other)
        return max(min(a, c), -LIMIT - 1), min(max(b, d), LIMIT)

    def _range(self, value: Value) -> Range:
        return self.numbers.low(value), self.numbers.high(value)

    def _try(self, nodes: Iterable[Node], entry: Registers, depth: int) -> Registers:
        """The registers after `nodes`, where a command that may be wrong gives any number."""
        registers = dict(entry)
        for node in nodes:
            if isinstance(node, Repeat):
                registers = self._try_loop(node, registers, depth)
                continue
            op = self.instructions[node].op
            try:
                self.execute(op, registers, trial=True)
            except CompileError:
                if isinstance(op, Set | Alu | LoadScalar) and op.rd:
                    registers[op.rd] = self._anything(op)
        return registers

    def _try_loop(self, loop: Repeat, registers: Registers, depth: int) -> Registers:
        try:
            values = self.enter(loop, registers, depth)
        except CompileError:  # the count is unwritten
            written = self._written(loop.body)
            return registers | {r: self.numbers.fresh(-LIMIT - 1, LIMIT) for r in written}
        return self.leave(values, self._try(loop.body, values.entry, depth + 1))

    def _anything(self, op: Operation) -> Value:
        if isinstance(op, LoadScalar):
            return self.numbers.fresh(0, WORD_MAX)
        return self.numbers.fresh(-LIMIT - 1, LIMIT)
