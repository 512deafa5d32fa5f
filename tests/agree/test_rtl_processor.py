"""The RTL's command processor, queues and counters do what the simulator's core does.

Random programs run in the RTL with units that do nothing; what happened is then replayed, event by
event, in the simulator's core. Each event must be legal there, and the ends must be equal.
"""

import random
from collections import Counter, deque

import numpy as np
import pytest

from agree.driver import checkpoint
from machines import chip_named
from rtl.sequencer_bench import Bench
from tapeout.compiler import RECIPES, build
from tapeout.errors import TrapError
from tapeout.isa.encoding import encode, fields
from tapeout.isa.fields import AluFn, Queue
from tapeout.isa.instructions import (
    OPERATIONS,
    Alu,
    Barrier,
    End,
    Instruction,
    LoadScalar,
    Loop,
    Nop,
    Set,
    Take,
)
from tapeout.rtl.command import COMMAND
from tapeout.rtl.instruction import READS, ROWS, ROWS_REGISTERS
from tapeout.rtl.trap import Trap
from tapeout.sim.machine import Core

CHIP = chip_named("nano")
UNIT_OPERATIONS = [cls for cls in OPERATIONS if cls.queue not in (None, Queue.CP)]
MASK = (1 << 48) - 1
EDGES = (0, 1, 2, 7, 63, 64, 1 << 24, 1 << 40, (1 << 47) - 1)
ROUNDS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 0, 6: -1, 7: -(1 << 47)}  # register -> rounds of a loop
SMALL = {16: 0, 17: 3, 18: 40, 19: -5}
BASE = 96


class Writer:
    """Writes a random program that mostly does nothing that traps."""

    def __init__(self, rng: random.Random, *, waits: float = 0.5, wild: float = 0.0):
        self.rng, self.waits, self.wild = rng, waits, wild

    def program(self, length: int) -> list[Instruction]:
        return [*self.body(length, 0), self.place(End(), Queue.CP, {})]

    def body(self, length: int, level: int) -> list[Instruction]:
        """Counters are taken only of what the same body has signalled before."""
        tokens: dict[int, int] = {}
        out: list[Instruction] = []
        while len(out) < length:
            if level < 4 and self.rng.random() < 0.15:
                inner = self.body(self.rng.randrange(6), level + 1)
                count = self.rng.choice([1, 2, 2, 3, 3, 4, 5, 6, 7])
                loop = Loop(count=count, length=len(inner))
                out += [self.place(loop, Queue.CP, tokens), *inner]
            elif self.rng.random() < self.wild:
                wild = Loop(count=self.rng.randrange(1, 5), length=self.rng.randrange(12))
                out.append(self.place(wild, Queue.CP, tokens))
            else:
                out.append(self.plain(tokens))
        return out

    def plain(self, tokens: dict[int, int]) -> Instruction:
        rng = self.rng
        kind = rng.random()
        if kind < 0.15:
            return self.place(Set(rd=self.result(), imm=self.number()), Queue.CP, tokens)
        if kind < 0.4:
            return self.place(self.alu(), Queue.CP, tokens)
        if kind < 0.5:
            return self.place(self.load_scalar(), Queue.CP, tokens)
        if kind < 0.52:
            return self.place(Barrier(), Queue.CP, tokens)
        if kind < 0.65:
            return self.place(Nop(), Queue(rng.randrange(5)), tokens)
        cls = rng.choice(UNIT_OPERATIONS)
        return self.place(self.unit_operation(cls), cls.queue, tokens)

    def place(self, op, queue: Queue, tokens: dict[int, int]) -> Instruction:
        """With waits for what is there, and perhaps a signal."""
        rng = self.rng
        waits = []
        while tokens and len(waits) < 2 and rng.random() < self.waits:
            counter = rng.choice(list(tokens))
            count = rng.randint(1, tokens[counter])
            waits.append(Take(counter=counter, count=count))
            tokens[counter] -= count
            if not tokens[counter]:
                del tokens[counter]
        signal = -1
        if rng.random() < self.waits:
            signal = rng.choice([0, 1, 2, 31, 62, 63])
            tokens[signal] = tokens.get(signal, 0) + 1
        context = rng.randrange(4)
        return Instruction(op=op, queue=queue, waits=tuple(waits), signal=signal, context=context)

    def result(self) -> int:
        return self.rng.choice([0, *range(20, 32)])

    def number(self) -> int:
        rng = self.rng
        value = rng.choice([rng.choice(EDGES), rng.getrandbits(rng.randrange(1, 48))])
        return min(value + rng.randrange(2), (1 << 47) - 1)

    def alu(self) -> Alu:
        rng = self.rng
        fn = rng.choice(list(AluFn))
        imm = rng.choice([0, 1, rng.getrandbits(6), rng.getrandbits(20), self.number()])
        small = fn in (AluFn.ADD, AluFn.SUB, AluFn.MUL) and rng.random() < 0.7
        source = [0, *SMALL, *range(1, 6)] if small else range(32)
        return Alu(
            fn=fn,
            rd=self.result(),
            ra=rng.choice(source),
            rb=rng.choice(source),
            imm=imm >> 12 if small else imm >> 1,
        )

    def load_scalar(self) -> LoadScalar:
        rng = self.rng
        return LoadScalar(
            rd=self.result(), address=rng.randrange(8, 1000), address_reg=rng.choice([0, *SMALL])
        )

    def unit_operation(self, cls):
        rng = self.rng
        values = {}
        for name, field in fields(cls).items():
            value = rng.getrandbits(field.bits)
            if field.kind is not None:
                value = rng.choice(list(field.kind.__members__.values()))
                value = value if value < 1 << field.bits else 0
            if name in ROWS_REGISTERS or name == "count":
                value = rng.choice([0, 17, 18])
            if name in ROWS:
                value = rng.randrange(2000)
            values[name] = value * field.unit
        return cls(**values)


class Replay:
    """The simulator's core, led through the events of a run of the RTL."""

    def __init__(self, bench: Bench, program: list[Instruction], content: bytes, scalars):
        self.bench, self.program = bench, program
        self.core = Core(CHIP, tuple(program), np.frombuffer(content, np.uint8).copy(), 0)
        self.core.depth = 10**9
        for number, value in scalars.items():
            self.core.registers[number] = value
        self.started = [deque() for _ in Queue]
        self.sent = {queue: deque(sent) for queue, sent in bench.sent.items()}
        self.commands = {queue: [] for queue in bench.sent}

    def run(self) -> None:
        for kind, queue, number in self.bench.events:
            if kind == "step":
                self.step(number)
            elif kind == "start":
                self.start(queue, number)
            else:
                instruction = self.started[queue].popleft()
                assert self.program[number] is instruction
                self.core._signal(instruction)

    def step(self, number: int) -> None:
        core = self.core
        core.at_barrier = False
        assert core.pc == number
        # What has started is not in the simulator's queues any more, but End must wait for it.
        if isinstance(self.program[number].op, End | Barrier):
            assert not any(self.started)
        queue = core.step()
        assert queue is not None, f"{number}: {core.blocked()}"
        if queue is not Queue.CP:
            instruction, registers = core.queues[queue][-1]
            sent = self.sent[queue].popleft()
            assert sent["number"] == number
            check_sent(sent, instruction, registers)
            if not isinstance(instruction.op, Nop):
                self.commands[queue].append(sent["command"])

    def start(self, queue: int, number: int) -> None:
        instruction, _ = self.core.queues[queue].popleft()
        assert self.program[number] is instruction
        assert self.core._ready(instruction)
        self.core._take(instruction)
        self.started[queue].append(instruction)

    def check_end(self) -> None:
        """Registers, counters, and why it stopped."""
        bench, core = self.bench, self.core
        for unit in bench.units:
            assert unit.commands == self.commands[unit.number][: len(unit.commands)]
        if bench.ended:
            assert core.ended
            assert not any(core.queues)
            assert bench.counters() == core.counters
            assert bench.registers() == core.registers
            return
        core.at_barrier = False
        code, queue, number = bench.trap
        if code != Trap.COUNTER:
            assert bench.registers() == core.registers
        if code == Trap.WATCHDOG:
            self.check_blocked()
            return
        if code == Trap.COUNTER:
            return
        assert number == core.pc
        if code == Trap.ROWS:
            assert queue == core.program[number].queue
            assert not 0 <= rows_of(core.program[number].op, core.registers) <= 2047
        elif code == Trap.LOOP:
            assert len(core.loops) == 8
            assert isinstance(core.program[number].op, Loop)
        else:
            assert code in (Trap.REGISTER, Trap.ADDRESS, Trap.END)
            with pytest.raises(TrapError):
                core.step()

    def check_blocked(self) -> None:
        core = self.core
        core.depth = self.bench.depth
        assert core.step() is None
        assert not any(self.started)
        assert not any(core.ready(queue) for queue in Queue)


def rows_of(op, registers) -> int:
    names = fields(type(op))
    fixed = next((getattr(op, name) for name in ROWS if name in names), 0)
    if type(op).__name__ == "StorePages":
        return registers[op.count]
    register = next((getattr(op, name) for name in ROWS_REGISTERS if name in names), 0)
    return fixed + registers[register]


def check_sent(sent: dict[str, int], instruction: Instruction, registers) -> None:
    op = instruction.op
    waits = [(take.counter, take.count) for take in instruction.waits] + [(0, 0)] * 2
    got = [(sent[f"wait{i}_counter"], sent[f"wait{i}_count"]) for i in range(2)]
    assert got == waits[:2]
    assert sent["signal_count"] == (instruction.signal >= 0)
    assert sent["signal_counter"] == max(instruction.signal, 0)
    assert sent["nop"] == isinstance(op, Nop)
    if sent["nop"]:
        return
    command = {name: sent["command"] >> f.offset & ((1 << f.width) - 1) for name, f in COMMAND}
    assert command["opcode"] == op.opcode
    assert command["payload"] == int.from_bytes(encode(instruction)[8:], "little")
    assert command["rows"] == rows_of(op, registers)
    for name, field in zip("xyz", READS.get(type(op), ()), strict=False):
        assert command[name] == registers[getattr(op, field)] & MASK


def image(program: list[Instruction], rng: random.Random) -> bytes:
    content = rng.randbytes(BASE) + b"".join(map(encode, program)) + rng.randbytes(100)
    return content + bytes(-len(content) % 128)


def run_both(
    bench: Bench, program, content, scalars, *, base=BASE, cycles=9000, watchdog_cycles=250
) -> Replay:
    """Run in the RTL, then in the simulator what happened."""
    for number, value in scalars.items():
        bench.scalar(number, value)
    bench.start(base, len(program), watchdog_cycles=watchdog_cycles)
    bench.run(cycles)
    assert bench.ended or bench.halted, "the run takes too long"
    replay = Replay(bench, program, content, scalars)
    if bench.halted and bench.trap[0] == Trap.COUNTER:
        with pytest.raises(TrapError, match="counter"):
            replay.run()
    else:
        replay.run()
    replay.check_end()
    return replay


def run_random(seed: int, **options) -> Bench:
    rng = random.Random(seed)
    writer = Writer(rng, waits=rng.choice([0.2, 0.6]), wild=rng.choice([0, 0, 0.05]))
    program = writer.program(rng.randrange(5, 60))
    content = image(program, rng)
    bench = Bench(
        content,
        seed=seed,
        open_share=rng.choice([0.3, 0.7, 1.0]),
        latency=rng.choice([1, 30]),
        unit_cycles=rng.choice([1, 20]),
        **options,
    )
    slow = options.get("bus_bits") == 32  # a line takes longer to come
    scalars = {**ROUNDS, **SMALL}
    run_both(bench, program, content, scalars, watchdog_cycles=1000 if slow else 250)
    return bench


def test_random_programs():
    ends = Counter(outcome(run_random(seed)) for seed in range(120))
    assert ends["ended"] > 60
    assert {"REGISTER", "ADDRESS", "WATCHDOG"} <= ends.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"depth": 2}, {"depth": 16, "lines": 64}, {"bus_bits": 32}, {"bus_bits": 1024}],
    ids=str,
)
def test_many_random_programs(options):
    ends = Counter(outcome(run_random(seed, **options)) for seed in range(1000, 1300))
    assert {"ended", "REGISTER", "ADDRESS", "WATCHDOG"} <= ends.keys()


def outcome(bench: Bench) -> str:
    return "ended" if bench.ended else Trap(bench.trap[0]).name


@pytest.mark.parametrize("part", ["decode", "prefill"])
def test_a_compiled_program(part):
    """Straight from the compiler: loops, block tables, waits and signals of a whole model."""
    model, _ = checkpoint("mistral-window")
    recipe = RECIPES["mxfp8_e4m3"]
    programs = build(model.architecture, recipe, CHIP, sequences=2, context_tokens=50)
    code, layout = getattr(programs, part), programs.layout
    rows = 2 if part == "decode" else 7
    memory = np.zeros(layout.end + -layout.end % 128, np.uint8)
    for address, values in ((layout.positions, range(9, 9 + rows)), (layout.table_numbers, [1, 0])):
        data = np.asarray(values, np.uint32).view(np.uint8)
        memory[address : address + data.size] = data
    program = code.cores[0]
    base = memory.size
    content = memory.tobytes() + b"".join(map(encode, program))
    content += bytes(-len(content) % 128)
    values = {"rows": rows, "outputs": 1, "samples": 0}
    scalars = {scalar.register: values[scalar.name] for scalar in code.scalars}
    bench = Bench(content, open_share=1.0, latency=10, unit_cycles=20, depth=4)
    run_both(bench, program, content, scalars, base=base, cycles=50000)
    assert bench.ended
    steps = sum(kind == "step" for kind, _, _ in bench.events)
    assert bench.cycle < 7 * steps
