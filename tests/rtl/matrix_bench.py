"""The matrix unit between memories that stall at random, and products to feed it with."""

from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Cat, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.blocks import codes, scales
from rtl.components import started
from tapeout.isa.encoding import HEADER_BITS, encode
from tapeout.isa.fields import GRANULE_BYTES, Queue
from tapeout.isa.instructions import Instruction, Matmul
from tapeout.isa.shapes import scales_unit
from tapeout.numerics import BLOCK, Blocks, matmul, pack, quantise, to_bytes, unscaled
from tapeout.rtl.command import COMMAND
from tapeout.rtl.component import Component
from tapeout.rtl.matrix import MatrixUnit
from tapeout.rtl.ports import GRANULE_BITS, read_port
from tapeout.rtl.stream import Fifo

L1_GRANULES = 1 << 12
SCALE_GRANULES = 1 << 10
COUNTERS = ("array", "waiting", "lines_a", "lines_b", "done", "cycles")


class Windows(Component):
    """A memory with one port, that lets a request or its data wait with `stall` / 256."""

    def __init__(self, *, granules, depth):
        self.granules, self.depth = granules, depth
        self.bits = (depth - 1).bit_length()
        load = data.StructLayout({"address": 32, "data": GRANULE_BITS})
        super().__init__(
            {
                "port": In(read_port(granules=granules, address_bits=self.bits)),
                "load": In(load),
                "load_enable": In(1),
                "stall": In(8),
                "seed": In(8),
            },
            name=f"windows_{granules}_{depth}",
        )

    def build(self, m):
        noise = Signal(32, init=2654435761)
        one, two = Signal(32), Signal(32)
        m.d.comb += [one.eq(noise ^ (noise << 13)), two.eq(one ^ (one >> 17))]
        m.d.sync += noise.eq(two ^ (two << 5) ^ self.seed)
        m.submodules.fifo = fifo = Fifo(self.granules * GRANULE_BITS, depth=8)
        request, taken, pending = self.port.request, Signal(), Signal(range(9))
        gone = fifo.output.valid & fifo.output.ready
        m.d.comb += [
            request.ready.eq((noise[:8] >= self.stall) & (pending != 8)),
            taken.eq(request.valid & request.ready),
            fifo.output.ready.eq(noise[8:16] >= self.stall),
            self.port.data.eq(fifo.output.payload),
            self.port.data_valid.eq(gone),
        ]
        m.d.sync += [pending.eq(pending + taken - gone), fifo.input.valid.eq(taken)]
        kept, words = Signal(4), []
        shift = self.granules.bit_length() - 1
        with m.If(taken):
            m.d.sync += kept.eq(request.payload[:shift])
        for bank in range(self.granules):
            store = memory.Memory(shape=GRANULE_BITS, depth=self.depth // self.granules, init=[])
            m.submodules[f"bank{bank}"] = store
            read, write = store.read_port(), store.write_port()
            m.d.comb += [
                read.en.eq(taken),
                read.addr.eq((request.payload + (self.granules - 1 - bank)) >> shift),
                write.en.eq(self.load_enable & (self.load.address % self.granules == bank)),
                write.addr.eq(self.load.address >> shift),
                write.data.eq(self.load.data),
            ]
            words.append(read.data)
        twice = Cat(*words, *words)
        m.d.comb += fifo.input.payload.eq(twice >> (kept * GRANULE_BITS))


class Tiles(Component):
    """The accumulators: a word of `columns` numbers a group, a port for each row of a tile."""

    def __init__(self, *, rows, columns, group_bits, latency):
        self.rows, self.columns, self.group_bits = rows, columns, group_bits
        self.latency = latency
        word = 32 * columns
        super().__init__(
            {
                **{f"{end}_{name}": In(bits)
                   for end in ("read", "write")
                   for name, bits in (("enable", 1), ("group", group_bits), ("pitch", 4))},
                "mask": In(rows * columns),
                "data": In(rows * word),
                "out": Out(rows * word),
                "load": In(data.StructLayout({"address": 32, "data": word})),
                "load_enable": In(1),
                "dump_address": In(group_bits),
                "dumped": Out(word),
            },
            name=f"tiles_{rows}x{columns}_{group_bits}_{latency}",
        )  # fmt: skip

    def build(self, m):
        word = 32 * self.columns
        m.submodules.store = store = memory.Memory(shape=word, depth=1 << self.group_bits, init=[])
        dump = store.read_port(domain="comb")
        m.d.comb += [dump.addr.eq(self.dump_address), self.dumped.eq(dump.data)]
        out = []
        for row in range(self.rows):
            read, write = store.read_port(), store.write_port(granularity=32)
            m.d.comb += [
                read.en.eq(self.read_enable),
                read.addr.eq(self.read_group + (row << self.read_pitch)),
                write.addr.eq(self.write_group + (row << self.write_pitch)),
                write.data.eq(self.data.word_select(row, word)),
                write.en.eq(self.write_enable.replicate(self.columns)
                            & self.mask.word_select(row, self.columns)),
            ]  # fmt: skip
            if row == 0:
                with m.If(self.load_enable):
                    m.d.comb += write.addr.eq(self.load.address)
                    m.d.comb += write.data.eq(self.load.data)
                    m.d.comb += write.en.eq(~0)
            out.append(read.data)
        value = Cat(*out)
        for number in range(self.latency - 1):
            register = Signal(len(value), name=f"later{number}")
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += self.out.eq(value)


class Bench(Component):
    """A matrix unit with its memories; streams fill them and read the accumulators."""

    def __init__(self, *, rows, columns, accumulators, latency=2):
        self.unit = MatrixUnit(
            rows=rows, columns=columns, accumulators=accumulators, l1_granules=L1_GRANULES,
            scale_granules=SCALE_GRANULES, tile_latency=latency,
        )  # fmt: skip
        self.rows, self.columns, self.latency = rows, columns, latency
        self.groups = 1 << self.unit.group_bits
        word = 32 * columns
        granule = data.StructLayout({"address": 32, "data": GRANULE_BITS})
        group = data.StructLayout({"address": 32, "data": word})
        super().__init__(
            {
                "commands": In(stream.Signature(COMMAND)),
                "load_l1": In(stream.Signature(granule)),
                "load_scale": In(stream.Signature(granule)),
                "load_acc": In(stream.Signature(group)),
                "dump": Out(stream.Signature(word)),
                **{f"stall_{name}": In(8) for name in ("read_a", "read_b", "scale_a", "scale_b")},
                **{f"count_{name}": Out(32) for name in COUNTERS},
                "busy": Out(1),
            },
            name=f"bench_{self.unit.module_name}",
        )

    def build(self, m):
        m.submodules.unit = unit = self.unit
        connect(m, flipped(self.commands), unit.commands)
        m.submodules.tiles = tiles = Tiles(
            rows=self.rows, columns=self.columns, group_bits=unit.group_bits, latency=self.latency
        )
        for seed, name in enumerate(("read_a", "read_b", "scale_a", "scale_b")):
            l1 = name.startswith("read")
            depth, load = (L1_GRANULES, "load_l1") if l1 else (SCALE_GRANULES, "load_scale")
            source = getattr(self, load)
            m.submodules[name] = windows = Windows(granules=4 if l1 else 1, depth=depth)
            connect(m, getattr(unit, name), windows.port)
            m.d.comb += [
                windows.seed.eq(seed),
                windows.load.eq(source.payload),
                windows.load_enable.eq(source.valid),
                source.ready.eq(1),
                windows.stall.eq(getattr(self, f"stall_{name}")),
            ]
        for end in ("read", "write"):
            port = getattr(unit, f"tile_{end}")
            m.d.comb += [
                getattr(tiles, f"{end}_enable").eq(port.enable),
                getattr(tiles, f"{end}_group").eq(port.group),
                getattr(tiles, f"{end}_pitch").eq(port.pitch_log2),
            ]
        address = Signal(unit.group_bits)
        m.d.comb += [
            unit.tile_read.data.eq(tiles.out),
            tiles.data.eq(unit.tile_write.data),
            tiles.mask.eq(unit.tile_write.mask),
            tiles.load.eq(self.load_acc.payload),
            tiles.load_enable.eq(self.load_acc.valid),
            self.load_acc.ready.eq(1),
            tiles.dump_address.eq(address),
            self.dump.payload.eq(tiles.dumped),
            self.dump.valid.eq(1),
            self.busy.eq(unit.busy),
        ]
        m.d.sync += address.eq(address + self.dump.ready)
        events = (
            unit.array_busy, unit.waiting, unit.read_a.data_valid, unit.read_b.data_valid,
            unit.done, 1,
        )  # fmt: skip
        for name, event in zip(COUNTERS, events, strict=True):
            counter = getattr(self, f"count_{name}")
            m.d.sync += counter.eq(counter + event)


def operand(fmt, rows, k_blocks, rng, *, tame):
    """Blocks [rows, k]: numbers that stay finite, or anything."""
    if tame:
        return quantise(rng.standard_normal((rows, BLOCK * k_blocks)).astype(np.float32), fmt)
    all_codes = codes(fmt, rows * k_blocks, rng).reshape(rows, -1)
    count = fmt.scale_count(BLOCK * k_blocks)
    per = max(1, fmt.scale_count(BLOCK))
    some = scales(fmt, rows * (count // per), rng).reshape(rows, count)
    return Blocks(format=fmt, codes=all_codes, scales=some)


@dataclass
class Work:
    """Memory images, commands, and what the accumulators hold after them."""

    rng: np.random.Generator
    acc: np.ndarray
    l1: np.ndarray = field(default_factory=lambda: np.zeros(L1_GRANULES * 16, np.uint8))
    scale: np.ndarray = field(default_factory=lambda: np.zeros(SCALE_GRANULES * 16, np.uint8))
    ends: dict[str, int] = field(default_factory=lambda: {"l1": 0, "scale": 0})
    commands: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self):
        self.before = self.acc.copy()
        self.l1[:] = self.rng.integers(0, 256, self.l1.shape)
        self.scale[:] = self.rng.integers(0, 256, self.scale.shape)

    def place(self, space, rows, gap):
        """Put rows into a memory; returns (address, pitch)."""
        image = getattr(self, space)
        need = -(-rows.shape[1] // GRANULE_BYTES) + int(self.rng.integers(0, gap + 1))
        pitch = max(1, need) * GRANULE_BYTES
        start = (self.ends[space] + int(self.rng.integers(0, gap + 1))) * GRANULE_BYTES
        if start + pitch * len(rows) > len(image):
            start = 0  # over what lies there: only what is read back counts
            assert not self.commands, "the memory is full"
        for i, row in enumerate(rows):
            image[start + i * pitch : start + i * pitch + len(row)] = row
        self.ends[space] = start // GRANULE_BYTES + pitch * len(rows) // GRANULE_BYTES
        return start, pitch

    def room(self, space):
        return len(getattr(self, space)) // GRANULE_BYTES - self.ends[space]

    def acc_place(self, m, n):
        """(pitch, alignment) of a result in bytes."""
        pitch = max(128, 1 << (4 * n - 1).bit_length())
        return pitch, pitch << max(0, m - 1).bit_length()

    def product(self, a_format, b_format, m, n, k_blocks, *, half=None, acc=None, accumulate=False,
                transpose=False, tame=True, gap=2):  # fmt: skip
        """Add a product at a random place in the accumulators."""
        rng = self.rng
        a = operand(a_format, max(m, 1), k_blocks, rng, tame=tame)
        if transpose:
            rows = operand(b_format, n, k_blocks, rng, tame=tame)
            b = unscaled(b_format, rows.codes)
            wide = np.zeros((BLOCK * k_blocks, -(-n // BLOCK) * BLOCK), np.uint8)
            wide[:, :n] = rows.codes.T
            b_place = (*self.place("l1", pack(wide, b_format.element_bits), gap), 0, 0)
        else:
            b = operand(b_format, n, k_blocks, rng, tame=tame)
            b_place = self._operand(b, gap)
        self.multiply(a, b, m, n, k_blocks, self._operand(a, gap), b_place, half=half, acc=acc,
                      accumulate=accumulate, transpose=transpose)  # fmt: skip

    def multiply(self, a, b, m, n, k_blocks, a_place, b_place, *, half, acc, accumulate, transpose):
        """Add a product of operands that lie in the memories."""
        pitch, unit = self.acc_place(m, n)
        size = self.acc.nbytes // 2
        if acc is None:
            half = int(self.rng.integers(2)) if half is None else half
            acc = half * size + int(self.rng.integers(size // unit)) * unit
        assert acc % unit == 0
        names = ("", "_pitch", "_scale", "_scale_pitch")
        op = Matmul(
            **{f"a{n}": v for n, v in zip(names, a_place, strict=True)}, a_format=a.format.code,
            **{f"b{n}": v for n, v in zip(names, b_place, strict=True)}, b_format=b.format.code,
            acc=acc, m=m, m_reg=0, n=n, k_blocks=k_blocks, accumulate=int(accumulate),
            transpose=int(transpose),
        )  # fmt: skip
        self.command(op, m)
        if m:
            view = np.ndarray((m, n), np.float32, self.acc.data, acc, (pitch, 4))
            view[:] = matmul(a, b, view if accumulate else None)
        return op

    def _operand(self, blocks, gap):
        """Put an operand into the memories; its scales may begin within their rows."""
        elements, some = to_bytes(blocks)
        before = scales_unit(blocks.format) * int(self.rng.integers(0, 2 * gap + 1))
        others = self.rng.integers(0, 256, (len(some), before), np.uint8)
        scale, pitch = self.place("scale", np.hstack([others, some]), gap)
        return (*self.place("l1", elements, gap), scale + before, pitch)

    def command(self, op, rows):
        word = encode(Instruction(op=op, queue=Queue.MU))
        beat = np.zeros(-(-COMMAND.size // 8), np.uint8)
        beat[0] = word[0]
        beat[1:25] = np.frombuffer(word[HEADER_BITS // 8 :], np.uint8)
        beat[25:27] = np.frombuffer(rows.to_bytes(2, "little"), np.uint8)
        self.commands.append(beat)


def work(bench, seed):
    """Nothing to be done yet, and accumulators with anything in them."""
    rng = np.random.default_rng(seed)
    acc = rng.integers(0, 1 << 32, bench.groups * bench.columns, np.uint32).view(np.float32)
    some = rng.standard_normal(acc.shape).astype(np.float32)
    return Work(rng=rng, acc=np.where(rng.random(acc.shape) < 0.8, some, acc))


def _beats(image, word_bytes):
    words = image.view(np.uint8).reshape(-1, word_bytes)
    beats = np.zeros((len(words), 4 + word_bytes), np.uint8)
    beats[:, :4] = np.arange(len(words), dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    beats[:, 4:] = words
    return beats


def load(bench, work):
    """A model whose memories are filled."""
    model = started(bench)
    run = model.run(
        {
            "load_l1": _beats(work.l1, GRANULE_BYTES),
            "load_scale": _beats(work.scale, GRANULE_BYTES),
            "load_acc": _beats(work.before, 4 * bench.columns),
        },
        {},
    )
    assert not run.violations
    return model


def execute(model, work, *, stalls=(0, 0, 0, 0), limit=1 << 22, gates=None):
    """Run all commands; returns the counters' increments."""
    for name, stall in zip(("read_a", "read_b", "scale_a", "scale_b"), stalls, strict=True):
        model.set(f"stall_{name}", stall)
    before = {name: model.get(f"count_{name}") for name in COUNTERS}
    run = model.run(
        {"commands": np.stack(work.commands)}, {}, max_cycles=limit, drain_cycles=1, gates=gates
    )
    assert not run.violations, run.violations
    cycles = 0
    while model.get("busy"):
        model.tick(8)
        cycles += 8
        assert cycles < limit, "the unit hangs"
    assert model.get("busy") == 0
    after = {name: model.get(f"count_{name}") for name in COUNTERS}
    return {name: after[name] - before[name] for name in COUNTERS}


def accumulators(bench, model):
    """What the accumulators hold, as bits."""
    run = model.run({}, {"dump": bench.groups}, drain_cycles=0)
    return run.beats["dump"].reshape(-1).view(np.uint32)


def check(bench, model, work):
    """The accumulators hold what the products give, bit for bit."""
    got, want = accumulators(bench, model), work.acc.view(np.uint32)
    wrong = np.flatnonzero(got != want)
    found = [f"{i}: {got[i]:08x} not {want[i]:08x}" for i in wrong[:4]]
    assert not len(wrong), f"{len(wrong)} of {len(got)}: {found}"
