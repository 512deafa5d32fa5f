"""The two kinds of port that a banked memory has: they hold a request and align its window."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from tapeout.isa.fields import GRANULE_BYTES

from .bank_arbiter import bank_request
from .component import Component
from .permute import moved_down, moved_up
from .ports import GRANULE_BITS, read_port, write_port


class BankShape:
    """Where a granule lies: lines of one bank's width, from bank to bank.

    Parameters
    ----------
    banks, bank_granules : int
        Powers of two.
    granules : int
        Of the whole memory: a multiple of banks * bank_granules.
    """

    def __init__(self, *, banks: int, bank_granules: int, granules: int):
        for name, value in (("banks", banks), ("bank_granules", bank_granules)):
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value}")
        row = banks * bank_granules
        if granules < row or granules % row:
            raise ValueError(f"granules must be a multiple of {row}, not {granules}")
        self.banks, self.bank_granules, self.granules = banks, bank_granules, granules
        self.row_granules = row
        self.rows = granules // row
        self.line_bits = (bank_granules - 1).bit_length()
        self.bank_bits = (banks - 1).bit_length()
        self.address_bits = (granules - 1).bit_length()
        self.row_bits = (self.rows - 1).bit_length()

    @property
    def name(self) -> str:
        """Such as `4x4_4096`."""
        return f"{self.banks}x{self.bank_granules}_{self.granules}"

    def check_window(self, name: str, granules: int) -> None:
        """Raise ValueError unless a window touches no bank twice, wherever it lies."""
        if granules < 1 or granules & (granules - 1):
            raise ValueError(f"window {name} must be a power of two, not {granules} granules")
        if granules + self.bank_granules - 1 > self.row_granules:
            most = self.row_granules - self.bank_granules + 1
            raise ValueError(f"window {name} must be at most {most} granules, not {granules}")

    def granule_of(self, address: Any) -> Any:
        """Number of a granule within its row of all banks."""
        return address[: self.line_bits + self.bank_bits]

    def row_of(self, address: Any) -> Any:
        """Number of a granule's row."""
        return address[self.line_bits + self.bank_bits :]

    def touched(self, address: Any, granules: int) -> Any:
        """A bit for each granule of a row: whether a window touches it, in this row or the next."""
        window = Const((1 << granules) - 1, granules) << self.granule_of(address)
        return window[: self.row_granules] | window[self.row_granules :]

    def touched_banks(self, address: Any, granules: int) -> tuple[Any, Any]:
        """A bit for each bank that a window touches: in the row of its first, and in the next."""
        width = self.bank_granules
        fewest = -(-granules // width)
        most = (granules + 2 * width - 2) // width
        lines: Any = Const((1 << fewest) - 1, fewest)
        if most != fewest:
            spills = address[: self.line_bits] > fewest * width - granules
            lines = Cat(lines, spills)
        banks = lines << address[self.line_bits : self.line_bits + self.bank_bits]
        return banks[: self.banks], banks[self.banks :]


def held_request(shape: BankShape) -> Signature:
    """A `bank_request`, and which lines it needs.

    row: that of the first bank; wraps: a bit for each bank that needs the next one.
    """
    return Signature(
        {
            **bank_request(shape.banks).members,
            "wraps": Out(shape.banks),
            "row": Out(max(1, shape.row_bits)),
        }
    )


class ReadEnd(Component):
    """A port that reads: holds its request until it is granted, takes the window from the banks.

    The banks' lines come one cycle after the grant. Latency 3 cycles if nobody else needs the
    banks; throughput 1 window per cycle.

    Parameters
    ----------
    shape : BankShape
    granules : int
        The window's.

    Members
    -------
    port : In(read_port)
    held : Out(held_request)
    lines : In(one line of each bank)
    """

    def __init__(self, shape: BankShape, *, granules: int):
        self.shape, self.granules = shape, granules
        port = read_port(granules=granules, address_bits=shape.address_bits)
        super().__init__(
            {
                "port": In(port),
                "held": Out(held_request(shape)),
                "lines": In(data.ArrayLayout(GRANULE_BITS, shape.row_granules)),
            },
            name=f"read_end_{shape.name}_{granules}",
        )

    def build(self, m: Module) -> None:
        """Every granule of the window is of another class, by its number modulo the window."""
        address = hold(m, self.shape, self.port.request, self.held, self.granules)
        asked = Signal(self.shape.line_bits + self.shape.bank_bits, reset_less=True)
        answer = Signal()
        m.d.sync += [answer.eq(self.held.granted), self.port.data_valid.eq(answer)]
        with m.If(self.held.granted):
            m.d.sync += asked.eq(self.shape.granule_of(address))
        low_bits = (self.granules - 1).bit_length()
        classes = []
        for number in range(self.granules):
            items = [self.lines[i] for i in range(number, self.shape.row_granules, self.granules)]
            place = asked[low_bits:]
            if number < self.granules - 1:
                place = (place + (asked[:low_bits] > number))[: len(place)]
            classes.append(chosen(m, items, place, f"class{number}"))
        turned = moved_down(m, classes, asked[:low_bits], name="turned")
        with m.If(answer):
            m.d.sync += self.port.data.eq(Cat(turned))


class WriteEnd(Component):
    """A port that writes: holds its request until it is granted, lays the window on the banks.

    Parameters
    ----------
    shape : BankShape
    granules : int
        The window's.

    Members
    -------
    port : In(write_port)
    held : Out(held_request)
    data : Out(granules of the window), each in its place modulo the window
    mask : Out(bits for the bytes of each granule of a row of the banks)
    """

    def __init__(self, shape: BankShape, *, granules: int):
        self.shape, self.granules = shape, granules
        super().__init__(
            {
                "port": In(write_port(granules=granules, address_bits=shape.address_bits)),
                "held": Out(held_request(shape)),
                "data": Out(data.ArrayLayout(GRANULE_BITS, granules)),
                "mask": Out(data.ArrayLayout(GRANULE_BYTES, shape.row_granules)),
            },
            name=f"write_end_{shape.name}_{granules}",
        )

    def build(self, m: Module) -> None:
        """A window is turned by its place modulo its size; so it fits everywhere."""
        request = self.port.request
        address = hold(m, self.shape, request, self.held, self.granules)
        window = Signal(data.ArrayLayout(GRANULE_BITS, self.granules), reset_less=True)
        mask = Signal(data.ArrayLayout(GRANULE_BYTES, self.granules), reset_less=True)
        with m.If(self.held.enters):
            m.d.sync += [window.eq(request.payload.data), mask.eq(request.payload.mask)]
        turn = address[: self.granules.bit_length() - 1]
        turned = moved_up(m, list(mask), turn, name="mask_turned")
        touched = Signal(self.shape.row_granules)
        m.d.comb += [
            touched.eq(self.shape.touched(address, self.granules)),
            Cat(self.data).eq(Cat(moved_up(m, list(window), turn, name="turned"))),
            Cat(self.mask).eq(
                Cat(
                    Mux(touched[place], turned[place % self.granules], 0)
                    for place in range(self.shape.row_granules)
                )
            ),
        ]


def hold(m: Module, shape: BankShape, request: Any, held: Any, granules: int) -> Signal:
    """Take a request when there is none, or when that which waits is granted; its address."""
    payload = request.payload
    offered = payload.address if hasattr(payload, "address") else payload
    address = Signal(shape.address_bits, name="address", reset_less=True)
    waits = Signal(name="waits")
    banks = Signal(shape.banks, name="banks", reset_less=True)
    wraps = Signal(shape.banks, name="wraps", reset_less=True)
    here, beyond = shape.touched_banks(offered, granules)
    m.d.comb += [
        request.ready.eq(~waits | held.granted),
        held.waits.eq(waits),
        held.enters.eq(request.valid & request.ready),
        held.banks.eq(banks),
        held.wraps.eq(wraps),
        held.row.eq(shape.row_of(address)),
    ]
    with m.If(request.ready):
        m.d.sync += waits.eq(request.valid)
    with m.If(held.enters):
        m.d.sync += [address.eq(offered), banks.eq(here | beyond), wraps.eq(beyond)]
    return address


def chosen(m: Module, items: list[Any], place: Any, name: str) -> Any:
    """The item whose number is `place`; their number is a power of two."""
    if len(items) == 1:
        return items[0]
    out = Signal(len(items[0]), name=name)
    for bit in place:
        items = [Mux(bit, odd, even) for even, odd in zip(items[0::2], items[1::2], strict=True)]
    m.d.comb += out.eq(items[0])
    return out
