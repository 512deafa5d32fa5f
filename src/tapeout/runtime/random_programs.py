"""Random legal programs of one core: every instruction, and data that finds mistakes.

A program fills the core's memories, runs random operations, and stores all that it has used. It
never traps, and its result does not depend on the order in which the queues run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import Chip
from tapeout.compiler.emitter import ZERO, Emitter, Reg
from tapeout.compiler.structure import LOOPS_MAX
from tapeout.isa import (
    AluFn,
    Barrier,
    Broadcast,
    End,
    Instruction,
    LoadTile,
    Map,
    MapFn,
    Program,
    Queue,
    Scalar,
    Space,
    StoreTile,
    encode,
)
from tapeout.numerics import FORMATS
from tapeout.runtime.random_memory import PAGES, Image, NoRoomError, Windows
from tapeout.runtime.random_moves import RandomMoves
from tapeout.runtime.random_operands import random_bytes, random_codes, random_numbers
from tapeout.runtime.random_order import RandomOrder, without
from tapeout.runtime.random_products import RandomProducts
from tapeout.runtime.random_registers import RandomRegisters
from tapeout.runtime.random_shapes import Decks, Shapes
from tapeout.runtime.random_tiles import RandomTiles
from tapeout.runtime.random_vectors import RandomVectors

U8 = NDArray[np.uint8]
CHUNK_BYTES = 4096
TURNS_MAX = 12
"""Turns of all loops around an operation together."""

ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program and everything that it starts from.

    `memory` is all of the memory outside; the instructions of core 0 lie in it from address 0 on.
    The other cores of the chip only meet core 0 at its barriers.
    """

    chip: Chip
    seed: int
    program: Program
    scalars: dict[str, int]
    memory: U8
    processor_counters: frozenset[int]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """Those of core 0."""
        return self.program.cores[0]

    @property
    def registers(self) -> dict[int, int]:
        """Register -> what it holds at the start, where that is not 0."""
        return {s.register: self.scalars[s.name] for s in self.program.scalars}

    @property
    def provable(self) -> Program:
        """The program without what `compiler.verify` does not know: fewer orders are certain in it.

        If it is safe, so is the program: what is missing waits for what stands before it.
        """
        core = without(self.instructions, self.processor_counters)
        return replace(self.program, cores=(core, *self.program.cores[1:]))


def random_program(chip: Chip, seed: int, size: int) -> Case:
    """A program of about `size` random operations; equal arguments give equal programs."""
    return _Writer(chip, seed, size).case()


@dataclass
class _Writer:
    """Writes one program."""

    chip: Chip
    seed: int
    size: int
    emitted: int = 0
    turns: int = 1
    depth: int = 0
    scalars: dict[str, tuple[Reg, int]] = field(default_factory=dict[str, tuple[Reg, int]])

    def __post_init__(self) -> None:
        self.rng = rng = np.random.default_rng((self.seed, self.size))
        self.image = Image(
            self.chip,
            instructions=16 * self.size + 640,
            data_bytes=8_000 * self.size,
            rng=rng,
        )
        self.emitter = Emitter(constant_end=self.image.constant_end, pages=PAGES)
        self._add_scalars()
        registers = RandomRegisters(self.emitter, self.image, rng)
        self.decks = Decks(self.seed)
        self.shapes = Shapes(self.decks, registers, self.chip.vector.lanes, rng)
        self.windows = Windows(self.chip)
        self.tiles = RandomTiles(self.emitter, self.image, self.windows, registers, rng)
        moves = RandomMoves(self.tiles, self.shapes, rng)
        self.products = RandomProducts(self.tiles, self.shapes, rng)
        vectors = RandomVectors(self.tiles, self.shapes, self.products, rng)
        self.makers: tuple[Callable[[], None], ...] = (
            *(moves.load_tile, moves.load_pages, moves.store_tile, moves.store_pages),
            *(self.products.matmul, self.products.vector_matmul),
            *(self.products.matmul, vectors.map, vectors.softmax, vectors.quantise),
            *(vectors.map, vectors.norm, vectors.rope, vectors.softmax, vectors.quantise),
            *(vectors.dequantise, vectors.sample),
        )

    def case(self) -> Case:
        """Write the program."""
        self._fill()
        while self.emitted < self.size:
            self._item()
        self._dump()
        order = RandomOrder(list(self.emitter.end()), self.rng)
        order.add(nops=self.size // 8, counters=self.size // 2)
        core = tuple(order.instructions)
        meet = [i for i in core if isinstance(i.op, Barrier)]
        other = (*meet, Instruction(op=End(), queue=Queue.CP))
        other = tuple(replace(i, waits=(), signal=-1) for i in other)
        words = np.frombuffer(b"".join(map(encode, core)), np.uint8)
        assert len(words) <= self.image.regions["program"].size_bytes, "the program is too long"
        self.image.memory[: len(words)] = words
        program = Program(
            name=f"random {self.seed}",
            chip=self.chip.fingerprint,
            cores=(core, *(other,) * (self.chip.cores - 1)),
            scalars=tuple(
                Scalar(name=name, register=reg.number, low=reg.low, high=reg.high)
                for name, (reg, _) in self.scalars.items()
            ),
            regions=tuple(self.image.regions.values()),
            tables=tuple(self.image.tables),
        )
        return Case(
            chip=self.chip,
            seed=self.seed,
            program=program,
            scalars={name: value for name, (_, value) in self.scalars.items()},
            memory=self.image.memory,
            processor_counters=frozenset(order.processor_counters),
        )

    def _add_scalars(self) -> None:
        """Run-time arguments: counts of turns, of which some are 0."""
        for number in range(4):
            high = int(self.rng.integers(1, 4))
            reg = self.emitter.register(low=0, high=high)
            value = 0 if number % 2 else int(self.rng.integers(high, endpoint=True))
            self.scalars[f"scalar {number}"] = (reg, value)

    # -- ends ----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Write everything that operations may read."""
        for space in (Space.L1, Space.SCALE):
            for low, high in self.windows.windows(space):
                for at in range(low, high, CHUNK_BYTES):
                    self._load(space, at, min(CHUNK_BYTES, high - at))
        self.products.fill_accumulators()

    def _load(self, space: Space, at: int, size: int) -> None:
        rows = 16
        row_bytes = size // rows
        kind = int(self.rng.integers(len(FORMATS) + 2))
        if kind < len(FORMATS):
            data = random_codes(FORMATS[kind], rows, row_bytes, self.rng)[:, :row_bytes]
        else:
            data = random_numbers(rows, row_bytes // 4, self.rng)
        if space is Space.SCALE or data.shape[1] < row_bytes:
            data = random_bytes(rows, row_bytes, self.rng)
        op = LoadTile(
            space=space,
            dst=at,
            dst_pitch=row_bytes,
            src=self.image.place(data, row_bytes),
            src_reg=0,
            src_pitch=row_bytes,
            rows=rows,
            rows_reg=0,
            row_bytes=row_bytes,
        )
        self.emitter.emit(op)

    def _dump(self) -> None:
        """Store everything; the accumulators by way of L1."""
        for space in (Space.L1, Space.SCALE):
            for low, high in self.windows.windows(space):
                for at in range(low, high, CHUNK_BYTES):
                    self._store(space, at, min(CHUNK_BYTES, high - at))
        for low, high in self.windows.windows(Space.ACC):
            for at in range(low, high, CHUNK_BYTES):
                size = min(CHUNK_BYTES, high - at)
                op = Map(
                    fn=MapFn.COPY,
                    a_space=Space.ACC,
                    a=at,
                    a_pitch=0,
                    b=0,
                    b_pitch=0,
                    b_mode=Broadcast.FULL,
                    dst=0,
                    dst_pitch=0,
                    rows=1,
                    rows_reg=0,
                    columns=size // 4,
                )
                self.emitter.emit(op)
                self._store(Space.L1, 0, size)

    def _store(self, space: Space, at: int, size: int) -> None:
        op = StoreTile(
            space=space,
            src=at,
            src_pitch=0,
            dst=self.image.dump(size),
            dst_reg=0,
            dst_pitch=0,
            rows=1,
            rows_reg=0,
            row_bytes=size,
        )
        self.emitter.emit(op)

    # -- body ----------------------------------------------------------------------------------

    def _item(self) -> None:
        """An operation, a loop, a barrier, or some work of the command processor."""
        kind = self.rng.random()
        if kind < (0.3 if self.depth else 0.08) and self.depth < LOOPS_MAX:
            self._loop()
        elif kind < 0.1 and not self.depth:
            self.emitter.barrier()
        elif kind < 0.4 if self.depth else kind < 0.2:
            self.shapes.registers.noise()
        else:
            self._operation()

    def _operation(self) -> None:
        maker = self.decks.draw("operation", self.makers)
        for _ in range(ATTEMPTS):
            try:
                maker()
            except NoRoomError:
                self.tiles.begin()
            else:
                self.emitted += 1
                return

    def _loop(self) -> None:
        """A loop of some items, with a register that counts its turns."""
        count = self._count()
        outer, turns = self.shapes.turn, self.turns
        turn = self.emitter.register(low=0, high=count.high - 1)
        self.emitter.alu(AluFn.ADD, ZERO, low=0, high=0, to=turn)
        self.depth, self.turns, self.shapes.turn = self.depth + 1, turns * count.high, turn
        with self.emitter.loop(count):
            for _ in range(int(self.rng.integers(1, 4))):
                self._item()
            self.emitter.alu(AluFn.ADD, turn, imm=1, low=0, high=0, to=turn)
        self.depth, self.turns, self.shapes.turn = self.depth - 1, turns, outer
        self.emitter.free(turn)
        if count not in [reg for reg, _ in self.scalars.values()]:
            self.emitter.free(count)

    def _count(self) -> Reg:
        """A register with a number of turns, which may be none, or fewer than none."""
        most = max(1, TURNS_MAX // self.turns)
        scalars = [reg for reg, _ in self.scalars.values() if reg.high <= most]
        if not scalars or self.rng.random() < 0.6:
            return self.shapes.registers.reg(int(self.rng.integers(1, min(most, 4), endpoint=True)))
        scalar = scalars[int(self.rng.integers(len(scalars)))]
        less = int(self.rng.integers(scalar.high))
        if less == 0:
            return scalar
        low, high = -less, scalar.high - less
        return self.emitter.alu(AluFn.SUB, scalar, imm=less, low=low, high=high)
