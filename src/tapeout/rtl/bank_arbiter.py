"""Who may use the banks of a memory in a cycle: of requests that share a bank, the oldest."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from .component import Component


def bank_request(banks: int) -> Signature:
    """A request that waits for banks.

    waits: there is one; banks: those that it needs; enters: another one comes in this cycle, and
    waits from the next one on; granted: it is served in this cycle.
    """
    return Signature({"waits": Out(1), "enters": Out(1), "banks": Out(banks), "granted": In(1)})


class BankArbiter(Component):
    """Grants banks to requests: each bank to at most one read and at most one write in a cycle.

    A request gets all of its banks at once, as soon as nobody older waits for one of them; a write
    also in the cycle in which the older read is granted. Of those that enter in the same cycle
    reads are older than writes, and lower numbers older than higher ones. So a request waits in
    vain for less cycles than there are requesters, and what shares a bank keeps its order.

    Combinational from the requests to the grants, which do not follow `enters`.

    Parameters
    ----------
    banks, reads, writes : int
        How many there are of each; at least 1.

    Members
    -------
    reads, writes : In(bank_request), for each
    """

    def __init__(self, *, banks: int, reads: int, writes: int):
        request = bank_request(banks)
        super().__init__(
            {"reads": In(request).array(reads), "writes": In(request).array(writes)},
            name=f"bank_arbiter_{banks}_{reads}_{writes}",
        )

    def build(self, m: Module) -> None:
        """A bit for each pair says who is older; a read that is granted blocks no write."""
        reads, writes = list(self.reads), list(self.writes)
        requests = [*reads, *writes]
        blocked: list[list[Any]] = [[] for _ in requests]
        for j, other in enumerate(requests):
            for i, request in enumerate(requests[:j]):
                other_older = self._order(m, request, other, f"{j}_older_than_{i}")
                share = Signal(name=f"share{i}_{j}")
                m.d.comb += share.eq((request.banks & other.banks).any())
                blocked[i].append(other.waits & other_older & share)
                waits = request.waits
                if i < len(reads) <= j:
                    waits &= ~request.granted
                blocked[j].append(waits & ~other_older & share)
        for request, reasons in zip(requests, blocked, strict=True):
            m.d.comb += request.granted.eq(request.waits & ~Cat(reasons).any())

    def _order(self, m: Module, request: Any, other: Any, name: str) -> Signal:
        """Whether `other` entered before `request`; if both did in one cycle, it did not."""
        older = Signal(name=name, reset_less=True)
        with m.If(request.enters):
            m.d.sync += older.eq(other.waits & ~other.granted)
        with m.Elif(other.enters):
            m.d.sync += older.eq(0)
        return older
