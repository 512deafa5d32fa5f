"""Memories behind a unit's ports, with random latencies and stalls: a bench for load and store."""

import numpy as np
from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2, exact_log2

from tapeout.isa.encoding import encode
from tapeout.isa.fields import GRANULE_BYTES, Queue
from tapeout.isa.instructions import Instruction, LoadPages, LoadTile, StorePages, StoreTile
from tapeout.rtl.cell import Cell
from tapeout.rtl.command import COMMAND, REGISTER_BITS
from tapeout.rtl.component import Component
from tapeout.rtl.memory_fifo import MemoryFifo
from tapeout.rtl.ports import BURST_BYTES, memory_read, memory_write, read_port, write_port

OPEN = 256  # a `share` of 256 in 256: never stalls
CONTROLS = {"latency": 8, "share": range(OPEN + 1), "bad_from": 32, "bad_to": 32}


class Chance(Component):
    """`open` is random in every cycle, 1 in share of 256 cycles."""

    def __init__(self, seed):
        super().__init__({"share": In(range(OPEN + 1)), "open": Out(1)}, name=f"chance_{seed}")
        self.seed = seed

    def build(self, m):
        state = Signal(32, init=0x9E3779B9 * (self.seed + 1) & 0xFFFFFFFF)
        bit = state[31] ^ state[21] ^ state[1] ^ state[0]
        m.d.sync += state.eq(Cat(bit, state[:31]))
        mixed = state[3:11] ^ state[13:21] ^ state[22:30]
        m.d.comb += self.open.eq(mixed < self.share)


def chance(m, seed, share):
    m.submodules[f"chance{seed}"] = it = Chance(seed)
    m.d.comb += it.share.eq(share)
    return it.open


LINES = """\
module {name}(clk, rst, {reads}, write_line, write_data, write_mask);
  input clk, rst;
  input [{line}:0] write_line;
  input [{word}:0] write_data;
  input [{part}:0] write_mask;
  reg [{word}:0] lines [{depth}:0];
{ports}  always_ff @(posedge clk)
    for (integer i = 0; i <= {part}; i = i + 1)
      if (write_mask[i]) lines[write_line][i * 8 +: 8] <= write_data[i * 8 +: 8];
endmodule
"""
READ = """\
  input [{line}:0] line{i};
  output [{word}:0] data{i};
  assign data{i} = lines[line{i}];
"""


class Lines(Cell):
    """Lines of bytes with ports that read at once: much faster to compile than a Memory."""

    def __init__(self, *, width, depth, reads):
        name, line = f"lines_{width}x{depth}x{reads}", (depth - 1).bit_length()
        sizes = {"line": line - 1, "word": width - 1, "part": width // 8 - 1, "depth": depth - 1}
        ports = {f"line{i}": In(line) for i in range(reads)}
        ports |= {f"data{i}": Out(width) for i in range(reads)}
        text = LINES.format(
            name=name,
            reads=", ".join(ports),
            ports="".join(READ.format(i=i, **sizes) for i in range(reads)),
            **sizes,
        )
        ports |= {"write_line": In(line), "write_data": In(width), "write_mask": In(width // 8)}
        super().__init__(ports, name=name, text=text)


class BenchMemory(Component):
    """Main memory: readers and a writer, each with its latency, its stalls and its errors.

    A burst with an address in bad_from..bad_to - 1 is refused. `broken` becomes 1 for good when a
    rule of `ports` is broken or memory is left. Python reads and writes beats through `poke`.
    """

    def __init__(self, *, bus_bytes, beats, readers, writer):
        self.bus_bytes, self.beats = bus_bytes, beats
        self.readers, self.writer = readers, writer
        bus_bits = 8 * bus_bytes
        ports = {f"read{i}": In(memory_read(bus_bits=bus_bits)) for i in range(readers)}
        if writer:
            ports["write"] = In(memory_write(bus_bits=bus_bits))
        ports |= {name: In(shape) for name, shape in CONTROLS.items()}
        ports |= {"broken": Out(1), "beat_count": Out(32)}
        ports |= {"poke": In(1), "place": In(16), "value": In(bus_bits), "peek": Out(bus_bits)}
        super().__init__(ports, name=f"bench_memory_{bus_bytes}_{beats}_{readers}_{writer}")

    def build(self, m):
        m.submodules.store = self.store = Lines(
            width=8 * self.bus_bytes, depth=self.beats, reads=self.readers + 1
        )
        self.now = Signal(16)
        m.d.sync += self.now.eq(self.now + 1)
        line, data = self._read_port(self.readers)
        m.d.comb += [
            line.eq(self.place),
            self.peek.eq(data),
            self.store.write_line.eq(self.place),
            self.store.write_data.eq(self.value),
            self.store.write_mask.eq(self.poke.replicate(self.bus_bytes)),
        ]
        passed = [self._reader(m, i) for i in range(self.readers)]
        if self.writer:
            passed.append(self._writer(m))
        counted = passed[-1 if self.writer else 0]
        m.d.sync += self.beat_count.eq(self.beat_count + counted)

    def _bursts(self, m, port, seed):
        """Requests that have waited long enough, and whether they are refused."""
        request = port.request
        stamped = data.StructLayout({"address": 32, "left": 9, "stamp": 16, "bad": 1})
        m.submodules[f"requests{seed}"] = fifo = MemoryFifo(stamped, depth=64)
        gate = chance(m, 2 * seed, self.share)
        address = request.payload.address
        last = address + (request.payload.beats << exact_log2(self.bus_bytes))
        m.d.comb += [
            request.ready.eq(fifo.input.ready & gate),
            fifo.input.valid.eq(request.valid & gate),
            fifo.input.payload.address.eq(address >> exact_log2(self.bus_bytes)),
            fifo.input.payload.left.eq(request.payload.beats),
            fifo.input.payload.stamp.eq(self.now + self.latency),
            fifo.input.payload.bad.eq((last >= self.bad_from) & (address < self.bad_to)),
        ]
        wrong = (
            (address % self.bus_bytes != 0)
            | (address // BURST_BYTES != last // BURST_BYTES)
            | (last >= self.beats * self.bus_bytes)
        )
        with m.If(request.valid & wrong):
            m.d.sync += self.broken.eq(1)
        due = (self.now - fifo.output.payload.stamp).as_unsigned()[:16] < 1 << 15
        return fifo.output, fifo.output.valid & due

    def _reader(self, m, i):
        port = getattr(self, f"read{i}")
        line, content = self._read_port(i)
        bursts, due = self._bursts(m, port, i)
        gate = chance(m, 2 * i + 1, self.share)
        done = Signal(9, name=f"done{i}")
        free, go, last = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~port.data.valid | port.data.ready),
            go.eq(free & due & gate),
            last.eq(done == bursts.payload.left),
            bursts.ready.eq(go & last),
            line.eq(bursts.payload.address + done),
        ]
        with m.If(free):
            m.d.sync += port.data.valid.eq(go)
            m.d.sync += port.data.payload.data.eq(content)
            m.d.sync += port.data.payload.last.eq(last)
            m.d.sync += port.data.payload.error.eq(bursts.payload.bad)
        with m.If(go):
            m.d.sync += done.eq(Mux(last, 0, done + 1))
        return port.data.valid & port.data.ready

    def _read_port(self, i):
        return getattr(self.store, f"line{i}"), getattr(self.store, f"data{i}")

    def _writer(self, m):
        port, seed = self.write, self.readers
        bursts, _ = self._bursts(m, port, seed)
        gate, answering = chance(m, 2 * seed + 1, self.share), chance(m, 99, self.share)
        answer = data.StructLayout({"stamp": 16, "bad": 1})
        m.submodules.answers = answers = MemoryFifo(answer, depth=64)
        done = Signal(9, name="written")
        go, last, due = Signal(), Signal(), Signal()
        beat = port.data.payload
        m.d.comb += [
            port.data.ready.eq(bursts.valid & answers.input.ready & gate),
            go.eq(port.data.valid & port.data.ready),
            last.eq(done == bursts.payload.left),
            bursts.ready.eq(go & last),
            answers.input.valid.eq(go & last),
            answers.input.payload.stamp.eq(self.now + self.latency),
            answers.input.payload.bad.eq(bursts.payload.bad),
            due.eq((self.now - answers.output.payload.stamp).as_unsigned()[:16] < 1 << 15),
            answers.output.ready.eq((~port.response.valid | port.response.ready) & due & answering),
        ]
        with m.If(port.data.valid & (~bursts.valid | (beat.last != last) | (beat.strobe == 0))):
            m.d.sync += self.broken.eq(1)
        with m.If(go):
            m.d.sync += done.eq(Mux(last, 0, done + 1))
            m.d.comb += [
                self.store.write_line.eq(bursts.payload.address + done),
                self.store.write_data.eq(beat.data),
                self.store.write_mask.eq(beat.strobe),
            ]
        with m.If(answers.output.valid & answers.output.ready):
            m.d.sync += port.response.valid.eq(1)
            m.d.sync += port.response.payload.error.eq(answers.output.payload.bad)
        with m.Elif(port.response.ready):
            m.d.sync += port.response.valid.eq(0)
        return go


class BenchLocal(Component):
    """An on-core memory with a window port, which refuses requests at random.

    With `reads`, data come after a latency of 2, or with `late` 1 more cycles at random.
    """

    def __init__(self, *, bus_bytes, granules, seed, reads):
        self.banks, self.seed, self.reads = bus_bytes // GRANULE_BYTES, seed, reads
        self.lines = granules // self.banks
        bits = ceil_log2(granules)
        port = read_port if reads else write_port
        bits8 = 8 * bus_bytes
        ports = {"port": In(port(granules=self.banks, address_bits=bits)), "share": In(9)}
        ports |= {"poke": In(1), "place": In(16), "value": In(bits8), "peek": Out(bits8)}
        super().__init__(ports, name=f"bench_local_{bus_bytes}_{granules}_{seed}_{reads}")

    def build(self, m):
        request = self.port.request
        gate = chance(m, self.seed, self.share)
        m.d.comb += request.ready.eq(gate)
        place = request.payload if self.reads else request.payload.address
        first, window = Signal(8), []
        m.d.comb += first.eq(place % self.banks)
        peeks = []
        for bank in range(self.banks):
            m.submodules[f"bank{bank}"] = store = Lines(width=128, depth=self.lines, reads=2)
            at = ((bank - place).as_unsigned())[: ceil_log2(self.banks)] if self.banks > 1 else 0
            line = ((place + at) // self.banks) % self.lines
            peeks.append(store.data0)
            m.d.comb += [
                store.line0.eq(self.place),
                store.line1.eq(line),
                store.write_line.eq(self.place),
                store.write_data.eq(self.value.word_select(bank, 128)),
                store.write_mask.eq(self.poke.replicate(16)),
            ]
            if self.reads:
                window.append(store.data1)
            else:
                with m.If(request.valid & request.ready):
                    m.d.comb += [
                        store.write_line.eq(line),
                        store.write_data.eq(request.payload.data.word_select(at, 128)),
                        store.write_mask.eq(request.payload.mask.word_select(at, 16)),
                    ]
        m.d.comb += self.peek.eq(Cat(peeks))
        if self.reads:
            self._answer(m, Cat(window), first, request.valid & request.ready)

    def _answer(self, m, banks, first, passed):
        """The window, turned; two cycles later or, from a queue, more."""
        turned = banks
        for i in range(exact_log2(self.banks)):
            by = 128 << i
            turned = Mux(first[i], Cat(turned[by:], turned[:by]), turned)
        one, valid = Signal(128 * self.banks), Signal()
        m.d.sync += [one.eq(turned), valid.eq(passed)]
        m.submodules.late = late = MemoryFifo(128 * self.banks, depth=16)
        gate = chance(m, self.seed + 50, self.share)
        m.d.comb += [late.input.valid.eq(valid), late.input.payload.eq(one)]
        m.d.comb += [
            late.output.ready.eq(gate),
            self.port.data_valid.eq(late.output.valid & gate),
            self.port.data.eq(late.output.payload),
        ]


class TransferBench(Component):
    """A load or store unit with its memories. `ends`: 0 for each done, codes of traps."""

    def __init__(self, unit, *, beats, l1_granules, scale_granules):
        self.unit, self.stores = unit, hasattr(unit, "read_l1")
        bus_bytes = self.bus_bytes = unit.bus_bytes
        self.beats, self.granules = beats, {"l1": l1_granules, "scale": scale_granules}
        ports = {"commands": In(stream.Signature(COMMAND)), "ends": Out(stream.Signature(8))}
        ports |= {name: In(shape) for name, shape in CONTROLS.items()}
        ports |= {"local_share": In(9), "memory_bytes": In(41), "broken": Out(1), "busy": Out(1)}
        ports |= {"beat_count": Out(32)}
        for name in ("memory", "l1", "scale"):
            ports |= {f"{name}_poke": In(1), f"{name}_peek": Out(8 * bus_bytes)}
        ports |= {"place": In(16), "value": In(8 * bus_bytes)}
        super().__init__(ports, name=f"bench_{unit.module_name}_{beats}")

    def build(self, m):
        m.submodules.unit = unit = self.unit
        m.submodules.memory = hbm = BenchMemory(
            bus_bytes=self.bus_bytes,
            beats=self.beats,
            readers=1 if self.stores else 2,
            writer=int(self.stores),
        )
        connect(m, flipped(self.commands), unit.commands)
        if self.stores:
            connect(m, unit.memory, hbm.write)
            connect(m, unit.table, hbm.read0)
        else:
            connect(m, unit.memory, hbm.read0)
            connect(m, unit.table, hbm.read1)
        parts = {"memory": hbm}
        for seed, (name, granules) in enumerate(self.granules.items()):
            local = BenchLocal(
                bus_bytes=self.bus_bytes, granules=granules, seed=20 + seed, reads=int(self.stores)
            )
            m.submodules[f"local_{name}"] = parts[name] = local
            port = getattr(unit, f"{'read' if self.stores else 'write'}_{name}")
            connect(m, port, local.port)
            m.d.comb += local.share.eq(self.local_share)
        for name, part in parts.items():
            m.d.comb += [
                part.poke.eq(getattr(self, f"{name}_poke")),
                part.place.eq(self.place),
                part.value.eq(self.value),
                getattr(self, f"{name}_peek").eq(part.peek),
            ]
        m.submodules.log = log = MemoryFifo(8, depth=64)
        connect(m, log.output, flipped(self.ends))
        m.d.comb += [getattr(hbm, name).eq(getattr(self, name)) for name in CONTROLS]
        m.d.comb += [
            unit.memory_bytes.eq(self.memory_bytes),
            log.input.valid.eq(unit.done | (unit.trap != 0)),
            log.input.payload.eq(unit.trap),
            self.broken.eq(hbm.broken),
            self.beat_count.eq(hbm.beat_count),
            self.busy.eq(unit.busy),
        ]


OPERATIONS = {
    "LoadTile": LoadTile,
    "LoadPages": LoadPages,
    "StoreTile": StoreTile,
    "StorePages": StorePages,
}


def command(op, registers):
    """The bytes of a COMMAND, as the command processor would send it."""
    fields = {"x": 0, "y": 0, "z": 0}
    match op:
        case LoadTile():
            fields |= {"rows": op.rows + registers[op.rows_reg], "x": registers[op.src_reg]}
        case StoreTile():
            fields |= {"rows": op.rows + registers[op.rows_reg], "x": registers[op.dst_reg]}
        case LoadPages():
            fields |= {"rows": op.rows, "x": registers[op.table], "y": registers[op.first]}
            fields["z"] = registers[op.end]
        case StorePages():
            fields |= {"rows": registers[op.count], "x": registers[op.table]}
            fields["y"] = registers[op.first]
    word = encode(Instruction(op=op, queue=Queue.LD if "Load" in type(op).__name__ else Queue.ST))
    fields |= {"opcode": op.opcode, "payload": int.from_bytes(word[8:], "little")}
    value = 0
    for name, field in COMMAND:
        value |= (int(fields[name]) & ((1 << field.width) - 1)) << field.offset
    assert COMMAND["x"].width == REGISTER_BITS
    return np.frombuffer(value.to_bytes(-(-COMMAND.size // 8), "little"), np.uint8)


def poke(model, name, content):
    """Write a memory's bytes."""
    width = -(-model.ports["value"] // 8)
    model.set(f"{name}_poke", 1)
    for i in range(0, len(content), width):
        model.set("place", i // width)
        model.set("value", int.from_bytes(content[i : i + width].tobytes(), "little"))
        model.tick()
    model.set(f"{name}_poke", 0)


def peek(model, name, size):
    """A memory's bytes."""
    width = -(-model.ports["value"] // 8)
    out = []
    for i in range(size // width):
        model.set("place", i)
        out.append(model.get(f"{name}_peek").to_bytes(width, "little"))
    return np.frombuffer(b"".join(out), np.uint8)
