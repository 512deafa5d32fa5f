"""Readers and writers share one AXI4 master; memory answers in any order of IDs."""

import random
from collections import deque

import numpy as np
import pytest

from rtl.components import started
from tapeout.rtl.arbiter import Arbiter

BUS_BYTES, MEMORY = 16, 1 << 14
READERS, WRITERS = ("a", "b", "c"), ("s", "t")
UNIT = Arbiter(bus_bits=8 * BUS_BYTES, readers=READERS, writers=WRITERS)
REFUSED = MEMORY // 16  # writes below it are answered with an error


class Bus:
    """The master's other side: a memory with random stalls, and rules that it checks.

    With `data_first` it takes no address of a write before it has all the data, else no data before
    the address; AXI allows both.
    """

    def __init__(self, model, memory, seed, open_share, *, data_first=False):
        self.model, self.memory = model, memory
        self.random, self.share = random.Random(seed), open_share
        self.reads = {i: deque() for i in range(len(READERS))}
        self.addresses, self.answers = deque(), {i: deque() for i in range(len(WRITERS))}
        self.held, self.offer = {}, {}
        self.data_first, self.beats = data_first, deque()

    def open(self):
        return int(self.random.random() < self.share)

    def get(self, name):
        return self.model.get(f"axi_{name}")

    def drive(self):
        whole = any(last for _, _, last in self.beats)
        takes = {
            "ar": True,
            "aw": not self.data_first or whole,
            "w": not whole if self.data_first else bool(self.addresses),
        }
        for channel, may in takes.items():
            self.model.set(f"axi_{channel}ready", self.open() if may else 0)
        self._offer("r", self.reads)
        self._offer("b", self.answers)

    def _offer(self, channel, queues):
        full = [i for i, queue in queues.items() if queue]
        if channel not in self.offer and full and self.open():
            self.offer[channel] = self.random.choice(full)
        number = self.offer.get(channel)
        self.model.set(f"axi_{channel}valid", int(number is not None))
        if number is None:
            return
        self.model.set(f"axi_{channel}id", number)
        if channel == "r":
            address, last, error = queues[number][0]
            word = self.memory[address : address + BUS_BYTES].tobytes()
            self.model.set("axi_rdata", int.from_bytes(word, "little"))
            self.model.set("axi_rlast", last)
        else:
            error = queues[number][0]
        self.model.set(f"axi_{channel}resp", 2 * error)

    def observe(self):
        for channel, names in (("ar", ("addr", "len", "id")), ("aw", ("addr", "len", "id")),
                               ("w", ("data", "strb", "last"))):  # fmt: skip
            valid, ready = self.get(f"{channel}valid"), self.get(f"{channel}ready")
            now = [self.get(channel + name) for name in names] if valid else None
            if channel in self.held:
                assert now == self.held.pop(channel), f"{channel} dropped or changed"
            if valid and not ready:
                self.held[channel] = now
            if valid and ready:
                getattr(self, f"_{channel}")(*now)
        for channel, queues in (("r", self.reads), ("b", self.answers)):
            if channel in self.offer and self.get(f"{channel}ready"):
                queues[self.offer.pop(channel)].popleft()

    def _ar(self, address, length, number):
        places = [address + BUS_BYTES * i for i in range(length + 1)]
        self.reads[number] += [(at, int(at == places[-1]), at >= MEMORY // 2) for at in places]

    def _aw(self, address, length, number):
        self.addresses.append((address, length, number))
        self._write()

    def _w(self, word, strobe, last):
        self.beats.append((word, strobe, last))
        self._write()

    def _write(self):
        """Carry out the first write whose address and data are there."""
        if not self.addresses or not any(last for _, _, last in self.beats):
            return
        address, length, number = self.addresses.popleft()
        for place in range(length + 1):
            word, strobe, last = self.beats.popleft()
            data = word.to_bytes(BUS_BYTES, "little")
            for i in range(BUS_BYTES):
                if strobe >> i & 1:
                    self.memory[address + BUS_BYTES * place + i] = data[i]
            assert last == (place == length)
        self.answers[number].append(address < REFUSED)


class Client:
    """A reader or a writer: bursts to ask for, and what came of them."""

    def __init__(self, model, name, bursts, chance):
        self.model, self.name, self.chance = model, name, chance
        self.requests = deque(bursts)
        self.data = deque()
        self.got, self.answers, self.announced = [], [], 0
        self.offered = set()

    def stream(self, end, payload):
        """Offer the payload, or keep offering; whether it passes is known after `drive`."""
        there = payload is not None and (end in self.offered or self.chance())
        self.model.set(f"{self.name}_{end}_valid", int(there))
        if there:
            self.offered.add(end)
            self.model.set(f"{self.name}_{end}_payload", payload)

    def passed(self, end):
        at = f"{self.name}_{end}"
        gone = self.model.get(f"{at}_valid") and self.model.get(f"{at}_ready")
        if gone:
            self.offered.discard(end)
        return bool(gone)

    def request(self):
        address, beats = self.requests[0] if self.requests else (None, None)
        self.stream("request", None if address is None else address | (beats - 1) << 40)


def bursts(rng, count, low, high):
    out = []
    for _ in range(count):
        beats = rng.randint(1, 9)
        out.append((rng.randrange(low, high - 16 * beats, BUS_BYTES), beats))
    return out


def prepared(writers, expected, rng):
    """Give writers their data, and say what memory holds afterwards."""
    for writer in writers:
        for address, beats in writer.requests:
            for i in range(beats):
                word, strobe = rng.getrandbits(128), rng.getrandbits(16) | 1
                data, at = word.to_bytes(16, "little"), address + 16 * i
                for j in range(16):
                    if strobe >> j & 1:
                        expected[at + j] = data[j]
                writer.data.append((word | strobe << 128 | int(i == beats - 1) << 144, i == 0))


def cycle(model, bus, readers, writers):
    """Offer what there is, see what passes, let the clock rise."""
    bus.drive()
    for reader in readers:
        reader.request()
        model.set(f"{reader.name}_data_ready", int(reader.chance()))
    for writer in writers:
        writer.request()
        beat = writer.data[0] if writer.data else None
        known = beat is not None and (writer.announced > 0 or not beat[1])
        writer.stream("data", beat[0] if known else None)
        model.set(f"{writer.name}_response_ready", int(writer.chance()))
    done = [client for client in (*readers, *writers) if client.passed("request")]
    sent = [writer for writer in writers if writer.passed("data")]
    for client, end, log in (
        *((reader, "data", reader.got) for reader in readers),
        *((writer, "response", writer.answers) for writer in writers),
    ):
        if client.passed(end):
            log.append(model.get(f"{client.name}_{end}_payload"))
    bus.observe()
    for client in done:
        client.requests.popleft()
        client.announced += 1
    for writer in sent:
        writer.announced -= writer.data.popleft()[1]
    model.tick()


def beats_of(requests, memory):
    """What a reader gets for its bursts."""
    beats = []
    for address, count in requests:
        for i in range(count):
            at = address + 16 * i
            word = int.from_bytes(memory[at : at + 16].tobytes(), "little")
            beats.append(word | int(i == count - 1) << 128 | int(at >= MEMORY // 2) << 129)
    return beats


@pytest.mark.parametrize("share", [1.0, 0.6, 0.25])
@pytest.mark.parametrize("data_first", [False, True])
def test_everyone_gets_its_own_data(data_first, share):
    seed = int(data_first)
    rng = random.Random(seed)
    model = started(UNIT)
    memory = np.random.default_rng(seed).integers(0, 256, MEMORY, np.uint8)
    before, bus = memory.copy(), Bus(model, memory, seed, share, data_first=data_first)

    def client(name, count, low, high):
        return Client(model, name, bursts(rng, count, low, high), lambda: rng.random() < share)

    readers = [client(f"read_{name}", 12, MEMORY // 4, MEMORY) for name in READERS]
    wanted = [list(reader.requests) for reader in readers]
    part = MEMORY // 8
    writers = [client(f"write_{n}", 8, part * i, part * (i + 1)) for i, n in enumerate(WRITERS)]
    announced = [list(writer.requests) for writer in writers]
    expected = before.copy()
    prepared(writers, expected, rng)
    for _ in range(4000):
        cycle(model, bus, readers, writers)
    np.testing.assert_array_equal(memory, expected)
    for writer, requests in zip(writers, announced, strict=True):
        assert writer.answers == [int(address < REFUSED) for address, _ in requests]
    for reader, requests in zip(readers, wanted, strict=True):
        assert reader.got == beats_of(requests, before)


def alone(bursts, data):
    """Cycles until a reader that is alone has the data of its bursts; memory never stalls."""
    model = started(UNIT)
    memory = np.zeros(MEMORY, np.uint8)
    bus = Bus(model, memory, 0, 1.0)
    reader = Client(model, "read_b", bursts, lambda: True)
    for cycles in range(1000):
        if len(reader.got) == data:
            return cycles
        cycle(model, bus, [reader], [])
    raise AssertionError("memory ran dry")


def test_an_address_and_a_beat_pass_in_every_cycle():
    assert alone([(16 * i, 1) for i in range(100)], 100) <= 110
    assert alone([(128 * i, 8) for i in range(20)], 160) <= 170


def test_turns_are_fair():
    model = started(UNIT)
    bus = Bus(model, np.zeros(MEMORY, np.uint8), 0, 1.0)
    readers = [Client(model, f"read_{n}", [(0, 1)] * 99, lambda: True) for n in READERS]
    for _ in range(60):
        cycle(model, bus, readers, [])
    counts = [len(reader.got) for reader in readers]
    assert max(counts) - min(counts) <= 3
    assert min(counts) >= 12


def test_constants_of_the_protocol():
    model = started(UNIT)
    for channel in ("ar", "aw"):
        values = {n: model.get(f"axi_{channel}{n}") for n in ("size", "burst", "cache", "prot")}
        assert values == {"size": 4, "burst": 1, "cache": 3, "prot": 2}


def test_ids_are_as_many_as_the_ports():
    for readers, bits in ((("a",), 1), (("a", "b"), 1), (tuple("abc"), 2), (tuple("abcde"), 3)):
        assert Arbiter(bus_bits=32, readers=readers, writers=("w",)).id_bits == bits
