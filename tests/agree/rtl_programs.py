"""Random programs of one core that use all its units, and the simulator's core beside the RTL's."""

from itertools import zip_longest

import numpy as np

from tapeout.isa.fields import COUNTERS, AluFn, Queue, Space
from tapeout.isa.instructions import (
    Alu,
    Dequantise,
    End,
    Instruction,
    LoadScalar,
    LoadTile,
    Loop,
    Matmul,
    Nop,
    Quantise,
    Sample,
    Set,
    StoreTile,
    Take,
)
from tapeout.isa.program import Program
from tapeout.numerics import BLOCK, FORMATS
from tapeout.rtl.contents import CoreContents
from tapeout.sim.machine import Core, _run_to_end

HBM = 1 << 18
NARROW = [fmt for fmt in FORMATS if fmt.family != "wide"]
ROUNDS, OFFSET, ROWS = 5, 6, 7  # registers of loops, of addresses and of rows
MORE_ROWS = 3  # in register ROWS, at most


def instruction(op, *waits, signal=-1, queue=None):
    if queue is None:
        queue = Queue.CP if isinstance(op, Nop) else op.queue
    return Instruction(op=op, queue=queue, waits=tuple(waits), signal=signal)


def program_of(chip, *cores, scalars=()):
    return Program(name="test", chip=chip.fingerprint, cores=cores, scalars=scalars)


def granules(size):
    return -(-size // 16) * 16


class Writer:
    """Operations within the memories of a chip; what each does is defined whatever they hold."""

    def __init__(self, chip, seed):
        self.rng = np.random.default_rng(seed)
        self.l1, self.scale = chip.core.l1_bytes, chip.core.scale_bytes
        self.half = chip.matrix.accumulators

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def place(self, size, extent, low=0):
        return 16 * self.number(-(-low // 16), (size - extent) // 16)

    def pitch(self, row):
        return granules(row) + 16 * self.number(0, 3)

    def move(self, cls):
        space = Space(self.number(0, 1))
        size = (self.l1, self.scale)[space]
        row = int(
            self.rng.choice([self.number(1, 40), 16 * self.number(1, 20), self.number(1, 300)])
        )
        rows, pitch = self.number(0, 30), self.pitch(row)
        rows = min(rows, size // pitch)
        local = self.place(size, rows * pitch)
        far = self.number(row, row + 100)
        far = int(self.rng.choice([row, far]))
        start = self.number(0, HBM // 2 - rows * far - row)
        if cls is LoadTile:
            return LoadTile(
                space=space, dst=local, dst_pitch=pitch, src=start, src_reg=OFFSET, src_pitch=far,
                rows=rows, rows_reg=0, row_bytes=row,
            )  # fmt: skip
        return StoreTile(
            space=space, src=local, src_pitch=pitch, dst=start + HBM // 2 - 500, dst_reg=OFFSET,
            dst_pitch=far, rows=rows, rows_reg=0, row_bytes=row,
        )  # fmt: skip

    def rows(self, most):
        """Rows in the instruction, in its register, and of both at most."""
        register = ROWS if self.number(0, 1) else 0
        rows = self.number(0, most)
        return rows, register, rows + (MORE_ROWS if register else 0)

    def load(self):
        return self.move(LoadTile)

    def store(self):
        return self.move(StoreTile)

    def quantise(self):
        fmt = FORMATS[self.number(0, len(FORMATS) - 1)]
        (rows, rows_reg, most), columns = self.rows(6), self.number(1, 200)
        src_pitch, dst_pitch = self.pitch(4 * columns), self.pitch(fmt.row_bytes(columns))
        scale_pitch = self.pitch(max(1, fmt.scale_row_bytes(columns)))
        return Quantise(
            src=self.place(self.l1 // 2, most * src_pitch), src_pitch=src_pitch,
            dst=self.place(self.l1, most * dst_pitch, self.l1 // 2), dst_pitch=dst_pitch,
            scale=self.place(self.scale, most * scale_pitch), scale_pitch=scale_pitch,
            format=fmt.code, mode=self.number(0, 3), per_row=self.number(0, 1), rows=rows,
            rows_reg=rows_reg, columns=columns,
        )  # fmt: skip

    def dequantise(self):
        fmt = FORMATS[self.number(0, len(FORMATS) - 1)]
        (rows, rows_reg, most), columns = self.rows(6), self.number(1, 200)
        src_pitch, dst_pitch = self.pitch(fmt.row_bytes(columns)), self.pitch(4 * columns)
        scale_pitch = self.pitch(max(1, fmt.scale_row_bytes(columns)))
        return Dequantise(
            src=self.place(self.l1, most * src_pitch, self.l1 // 2), src_pitch=src_pitch,
            scale=self.place(self.scale, most * scale_pitch), scale_pitch=scale_pitch,
            format=fmt.code, dst=self.place(self.l1 // 2, most * dst_pitch), dst_pitch=dst_pitch,
            rows=rows, rows_reg=rows_reg, columns=columns,
        )  # fmt: skip

    def matmul(self):
        a = NARROW[self.number(0, len(NARROW) - 1)]
        same = [fmt for fmt in NARROW if fmt.family == a.family]
        b = same[self.number(0, len(same) - 1)]
        n, k_blocks, transpose = self.number(1, 40), self.number(1, 4), self.number(0, 1)
        if transpose:
            n = -(-n // 4) * 4
        m, m_reg, most = self.rows(12)
        pitch = max(128, 1 << (4 * n - 1).bit_length())
        unit = pitch << max(0, most - 1).bit_length()
        columns = BLOCK * k_blocks
        a_pitch, a_scale_pitch = (
            self.pitch(a.row_bytes(columns)),
            self.pitch(a.scale_row_bytes(columns)),
        )
        b_rows, b_columns = (columns, n) if transpose else (n, columns)
        b_pitch, b_scale_pitch = (
            self.pitch(b.row_bytes(b_columns)),
            self.pitch(b.scale_row_bytes(columns)),
        )
        return Matmul(
            a=self.place(self.l1, most * a_pitch), a_pitch=a_pitch,
            a_scale=self.place(self.scale, most * a_scale_pitch), a_scale_pitch=a_scale_pitch,
            a_format=a.code, b=self.place(self.l1, b_rows * b_pitch), b_pitch=b_pitch,
            b_scale=self.place(self.scale, n * b_scale_pitch), b_scale_pitch=b_scale_pitch,
            b_format=b.code, acc=unit * self.number(0, 8 * self.half // unit - 1), m=m, m_reg=m_reg,
            n=n, k_blocks=k_blocks, accumulate=self.number(0, 1), transpose=transpose,
        )  # fmt: skip

    def sample(self):
        (rows, rows_reg, _), columns = self.rows(3), self.number(1, 60)
        pitch = 4 * (columns + self.number(0, 3))
        return Sample(
            logits=4 * self.number(0, 9999), pitch=pitch, columns=columns,
            parameters=4 * self.number(0, 9999), out=HBM - 4 * self.number(6, 99), rows=rows,
            rows_reg=rows_reg,
        )  # fmt: skip

    def processor(self):
        rd, kind = self.number(8, 31), self.number(0, 3)
        if kind == 0:
            return Set(rd=rd, imm=self.number(0, 1 << 30))
        if kind == 1:
            return LoadScalar(rd=rd, address=self.number(0, HBM // 2), address_reg=OFFSET)
        fn = AluFn(self.number(0, 5))
        return Alu(fn=fn, rd=rd, ra=OFFSET, rb=ROWS, imm=self.number(0, 9))

    def operations(self, count):
        makers = (
            self.load, self.store, self.quantise, self.dequantise, self.matmul, self.matmul,
            self.sample, self.processor,
        )  # fmt: skip
        queue = None
        for _ in range(count):
            if queue is None or self.rng.random() < 0.6:
                maker = makers[self.number(0, len(makers) - 1)]
            op = maker()
            queue = op.queue
            yield op

    def program(self, count):
        """In order where the queue changes; a part of it in a loop."""
        operations = list(self.operations(count))
        start = self.number(1, count - 1)
        length = self.number(1, count - start)
        parts = operations[:start], operations[start : start + length], operations[start + length :]
        body = [
            *chained(parts[0], self.rng),
            instruction(Loop(count=ROUNDS, length=0)),
            *chained(parts[1], self.rng),
            instruction(Alu(fn=AluFn.ADD, rd=OFFSET, ra=OFFSET, rb=0, imm=13)),
        ]
        at = next(i for i, each in enumerate(body) if isinstance(each.op, Loop))
        body[at] = instruction(Loop(count=ROUNDS, length=len(body) - at - 1))
        begin = [
            instruction(Set(rd=number, imm=self.number(0, most)))
            for number, most in ((ROUNDS, 3), (OFFSET, 400), (ROWS, MORE_ROWS))
        ]
        return [*begin, *body, *chained(parts[2], self.rng), instruction(End())]


def chained(operations, rng):
    """Each waits for the one before it, if that is of another queue; at the end a Nop waits.

    No two wait for the same counter: one could take what is another's.
    """
    out, wait, counter = [], (), int(rng.integers(COUNTERS))
    for op, after in zip_longest(operations, operations[1:]):
        signal = -1
        changes = after is None or after.queue != op.queue
        if changes:
            counter = (counter + 1) % COUNTERS
            signal = counter
        out.append(instruction(op, *wait, signal=signal))
        wait = (Take(counter=counter, count=1),) if changes else ()
    if out:
        out.append(instruction(Nop(), *wait, queue=Queue.CP))
    return out


class Beside:
    """The simulator's core, which begins with what the RTL's holds."""

    def __init__(self, machine, program):
        self.machine = machine
        contents = self.contents
        self.core = Core(machine.chip, program.cores[0], machine.hbm.copy(), 0)
        memories = self.core.memories
        memories.l1[:], memories.scale[:] = contents.l1, contents.scale
        memories.acc[:] = contents.acc

    @property
    def contents(self):
        return CoreContents(self.machine.simulation, self.machine.chip)

    def check(self):
        """Run the simulator, and compare every byte."""
        _run_to_end([self.core], None)
        theirs, ours = self.core.memories, self.contents
        for name, want, got in (
            ("memory", theirs.hbm, self.machine.hbm),
            ("l1", theirs.l1, ours.l1),
            ("scale", theirs.scale, ours.scale),
            ("accumulators", theirs.acc, ours.acc),
        ):
            wrong = np.flatnonzero(want != got)
            found = [f"{at:#x}: {got[at]:02x} not {want[at]:02x}" for at in wrong[:4]]
            assert not len(wrong), f"{len(wrong)} bytes of {name} differ: {found}"
