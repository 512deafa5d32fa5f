"""The values of registers against every number that they hold in runs."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from compiler.programs import END, INPUT, TABLES, alu, load_scalar, loop, set_
from tapeout.compiler.numbers import Numbers
from tapeout.compiler.registers import CommandProcessor, Registers
from tapeout.compiler.structure import Node, Repeat, parse
from tapeout.isa import Instruction
from tapeout.isa.fields import AluFn
from tapeout.isa.instructions import Alu, LoadScalar, Loop, Set

SCALARS = {1: (0, 3), 2: (1, 2)}
CELLS = (3, 0, 2, 1)
FUNCTIONS = (AluFn.ADD, AluFn.SUB, AluFn.MIN, AluFn.MAX, AluFn.MUL)
registers = st.integers(0, 5)
targets = st.sampled_from([4, 5])  # the others count turns


@st.composite
def steps(draw: st.DrawFn, depth: int = 0) -> list[Instruction]:
    out: list[Instruction] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["alu", "alu", "add", "set", "cell", "loop"]))
        rd, ra, rb = draw(targets), draw(registers), draw(registers)
        if kind == "loop" and depth < 2:
            out += loop(draw(st.sampled_from([1, 2, 3])), *draw(steps(depth + 1)))
        elif kind == "cell":
            out.append(load_scalar(rd, INPUT + 4 * draw(st.integers(0, 3))))
        elif kind == "set":
            out.append(set_(rd, draw(st.integers(0, 4))))
        elif kind == "add":
            out.append(alu(draw(st.sampled_from([AluFn.ADD, AluFn.SUB])), rd, rd, 0, 2))
        else:
            imm = draw(st.integers(0, 3))
            out.append(alu(draw(st.sampled_from(FUNCTIONS[:4])), rd, ra, rb, imm))
    return out


class Run:
    """Executes a program on numbers and keeps what the registers held at each instruction."""

    def __init__(self, instructions: tuple[Instruction, ...], held: dict[int, int]):
        self.instructions, self.held = instructions, held
        self.seen: list[tuple[int, dict[int, int]]] = []

    def nodes(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if isinstance(node, Repeat):
                op = self.instructions[node.at].op
                assert isinstance(op, Loop)
                for _ in range(self.held[op.count]):
                    self.nodes(node.body)
            else:
                self.seen.append((node, dict(self.held)))
                self.step(node)

    def step(self, index: int) -> None:
        match self.instructions[index].op:
            case Set(rd=rd, imm=imm):
                value = imm
            case LoadScalar(rd=rd, address=address):
                value = CELLS[(address - INPUT) // 4]
            case Alu(fn=fn, rd=rd, ra=ra, rb=rb, imm=imm):
                a, b = self.held[ra], self.held[rb] + imm
                value = (a + b, a - b, a * b, min(a, b), max(a, b))[fn]
            case _:
                raise AssertionError
        if rd:
            self.held[rd] = value


def follow(cp: CommandProcessor, nodes: tuple[Node, ...]) -> tuple[dict[int, Registers], Registers]:
    """The registers before each instruction, and at the end."""
    before: dict[int, Registers] = {}

    def walk(nodes: tuple[Node, ...], held: Registers, depth: int) -> Registers:
        for node in nodes:
            if isinstance(node, Repeat):
                values = cp.enter(node, held, depth)
                held = cp.leave(values, walk(node.body, dict(values.entry), depth + 1))
            else:
                before[node] = dict(held)
                cp.execute(cp.instructions[node].op, held, trial=True)
        return held

    start = {r: cp.numbers.named(("s", r), *SCALARS[r]) for r in SCALARS}
    start |= {r: cp.numbers.alu(AluFn.ADD, start[1], start[2]) for r in (3, 4, 5)}
    return before, walk(nodes, start, 0)


@given(steps())
def test_ranges_hold_in_every_run(core: list[Instruction]):
    instructions = (*core, END)
    nodes = parse(0, instructions)
    numbers = Numbers()
    cp = CommandProcessor(numbers, TABLES, instructions)
    before, end = follow(cp, nodes)
    for a, b in product(range(4), (1, 2)):
        run = Run(instructions, {0: 0, 1: a, 2: b, 3: a + b, 4: a + b, 5: a + b})
        run.nodes(nodes)
        for index, held in [*run.seen, (-1, run.held)]:
            for r, value in (end if index < 0 else before[index]).items():
                assert numbers.low(value) <= held[r] <= numbers.high(value)
                if not value.terms:
                    assert held[r] == value.constant
                elif value.step > 1:
                    assert (held[r] - value.constant) % value.step == 0


def test_a_value_of_one_turn_is_not_that_after_the_loop():
    core = [set_(4, 1), *loop(1, load_scalar(4, INPUT, 5), alu(AluFn.ADD, 5, 5, imm=4)), set_(6, 0)]
    instructions = (set_(5, 0), *core, END)
    numbers = Numbers()
    cp = CommandProcessor(numbers, TABLES, instructions)
    start = {1: numbers.named(("turns",), 0, 3)}
    nodes = parse(0, instructions)
    held = dict(start)
    inside: Registers = {}
    for node in nodes:
        if isinstance(node, Repeat):
            values = cp.enter(node, held, 0)
            inside = dict(values.entry)
            for index in node.body:
                assert isinstance(index, int)
                cp.execute(instructions[index].op, inside)
            held = cp.leave(values, inside)
        else:
            cp.execute(instructions[node].op, held)
    assert held[4] != inside[4]
    assert (numbers.low(held[4]), numbers.high(held[4])) == (0, 3)
    assert held[5] == start[1] * 4
