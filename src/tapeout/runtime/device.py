"""A simulated chip with one model loaded: open sequences, read tokens, choose the next ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tapeout import numerics
from tapeout.compiler import Build, write_image
from tapeout.errors import CapacityError, ConfigError
from tapeout.isa.program import Program
from tapeout.model import Model
from tapeout.runtime.machines import Place, open_machine
from tapeout.sim import Statistics

F32 = NDArray[np.float32]
Temperature: TypeAlias = float
Fraction: TypeAlias = float

GRANULE_BYTES = 16
WORD = 1 << 32
PARAMETERS = np.dtype(
    [
        ("inverse_temperature", "<f4"),
        ("top_k", "<u4"),
        ("top_p", "<u4"),
        ("zero", "<u4"),
        ("seed", "<u8"),
        ("counter", "<u8"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen: temperature 0 takes the likeliest, top_k 0 and top_p 1 keep all."""

    temperature: Temperature = 0.0
    top_k: int = 0
    top_p: Fraction = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        numerics.inverse_temperature(self.temperature)
        numerics.top_p_to_q32(self.top_p)
        if not 0 <= self.top_k < WORD:
            raise ConfigError(f"top_k must be in 0..{WORD - 1}, not {self.top_k}")
        if not 0 <= self.seed < WORD * WORD:
            raise ConfigError(f"seed must be in 0..{WORD * WORD - 1}, not {self.seed}")


GREEDY = Sampling()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How one token is chosen; equal logits, sampling and counter choose the same token."""

    sampling: Sampling = GREEDY
    counter: int = 0

    def record(self) -> tuple[np.float32, int, int, int, int, int]:
        """The fields of the 32 bytes that the chip reads."""
        s = self.sampling
        top_p = max(1, numerics.top_p_to_q32(s.top_p)) % WORD  # 0 keeps all
        inverse = numerics.inverse_temperature(s.temperature)
        return inverse, s.top_k, top_p, 0, s.seed, self.counter


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sequence's part of a decode step: the token that it reads, how its next is chosen."""

    sequence: int
    token: int
    choice: Choice = Choice()


@dataclass(kw_only=True)
class _Pages:
    """What an open sequence holds."""

    length: int
    pages: list[int]


class Device:
    """A chip with a model's programs, weights and KV pages.

    Every open sequence can grow to the whole context of the build, so the pool of pages never
    runs out. It computes in the simulator or on the chip's RTL. With `order_seed` each step runs in
    another random legal order (on RTL: with other random stalls); the results must be the same.
    """

    def __init__(
        self, model: Model, build: Build, *, order_seed: int | None = None, place: Place = "sim"
    ):
        self.build = build
        self.machine = open_machine(place, build.chip, build.layout.end)
        write_image(self.machine.hbm, build.layout, build.recipe, model)
        self.steps = 0
        self.cycles = 0  # of all steps on RTL; the simulator counts none
        self._order_seed = order_seed
        self._open: dict[int, _Pages] = {}
        self._free_tables = list(reversed(range(build.sizes.sequences)))
        self._free_pages = list(reversed(range(build.sizes.pages)))

    @property
    def free_sequences(self) -> int:
        """How many more sequences can be opened."""
        return len(self._free_tables)

    @property
    def free_pages(self) -> int:
        """Pages of KV that no sequence holds."""
        return len(self._free_pages)

    def open(self) -> int:
        """Open an empty sequence; its number.

        Raises:
            CapacityError: if as many are open as the build has.
        """
        if not self._free_tables:
            raise CapacityError(
                f"at most {self.build.sizes.sequences} sequences must be open at once",
                hint="close one, or build the model for more sequences",
            )
        sequence = self._free_tables.pop()
        self._open[sequence] = _Pages(length=0, pages=[])
        return sequence

    def length(self, sequence: int) -> int:
        """Tokens that a sequence has read."""
        return self._open[sequence].length

    def truncate(self, sequence: int, length: int) -> None:
        """Forget all but the first `length` tokens of a sequence; what follows overwrites them."""
        held = self._open[sequence]
        if not 0 <= length <= held.length:
            raise ValueError(f"length must be in 0..{held.length}, not {length}")
        held.length = length
        needed = -(-length // self.build.sizes.page_tokens)
        while len(held.pages) > needed:
            self._free_pages.append(held.pages.pop())

    def close(self, sequence: int) -> None:
        """Give a sequence's pages back."""
        self.truncate(sequence, 0)
        del self._open[sequence]
        self._free_tables.append(sequence)

    def prefill(self, sequence: int, tokens: Sequence[int]) -> F32:
        """Read tokens, a chunk at a time. Logits after each of them: [tokens, outputs].

        Raises:
            CapacityError: if the sequence would outgrow the context.
        """
        chunks = [self._prefill(sequence, chunk, first=0)[0] for chunk in self._chunks(tokens)]
        return np.concatenate(chunks)

    def prefill_next(self, sequence: int, tokens: Sequence[int], choice: Choice) -> int:
        """Read tokens, a chunk at a time; the token chosen to follow them.

        Raises:
            CapacityError: if the sequence would outgrow the context.
        """
        chosen = 0
        for chunk in self._chunks(tokens):
            chosen = int(self._prefill(sequence, chunk, first=len(chunk) - 1, choice=choice)[1][0])
        return chosen

    def decode(self, rows: Sequence[Row]) -> tuple[list[int], F32]:
        """One step of several sequences: the next token of each, and logits [rows, outputs].

        Raises:
            CapacityError: if a sequence would outgrow the context.
        """
        for row in rows:
            self._grow(row.sequence, 1)
        logits, sampled = self._run(
            self.build.decode,
            tokens=[row.token for row in rows],
            positions=[self.length(row.sequence) for row in rows],
            numbers=[row.sequence for row in rows],
            first=0,
            choices=[row.choice for row in rows],
        )
        for row in rows:
            self._open[row.sequence].length += 1
        return sampled, logits

    def _chunks(self, tokens: Sequence[int]) -> list[Sequence[int]]:
        if not tokens:
            raise ValueError("tokens must hold at least one")
        step = self.build.chunk_tokens
        return [tokens[i : i + step] for i in range(0, len(tokens), step)]

    def _prefill(
        self, sequence: int, tokens: Sequence[int], *, first: int, choice: Choice | None = None
    ) -> tuple[F32, list[int]]:
        self._grow(sequence, len(tokens))
        start = self.length(sequence)
        out = self._run(
            self.build.prefill,
            tokens=tokens,
            positions=range(start, start + len(tokens)),
            numbers=[sequence],
            first=first,
            choices=[choice] if choice else [],
        )
        self._open[sequence].length += len(tokens)
        return out

    def _grow(self, sequence: int, tokens: int) -> None:
        """Give a sequence the pages that `tokens` more tokens need, and write them to its table."""
        held, sizes = self._open[sequence], self.build.sizes
        length = held.length + tokens
        if length > sizes.context_tokens:
            raise CapacityError(
                f"a sequence must have at most {sizes.context_tokens} tokens, not {length}",
                hint="shorten it, or build the model for a longer context",
            )
        layout = self.build.layout
        table = layout.tables + 4 * sequence * layout.table_entries
        while len(held.pages) * sizes.page_tokens < length:
            page = self._free_pages.pop()
            self._write(table + 4 * len(held.pages), [page])
            held.pages.append(page)

    def _run(
        self,
        program: Program,
        *,
        tokens: Sequence[int],
        positions: Sequence[int],
        numbers: list[int],
        first: int,
        choices: Sequence[Choice],
    ) -> tuple[F32, list[int]]:
        """Run a step; the logits of the rows from `first` on, and a token for each choice."""
        layout = self.build.layout
        outputs = len(tokens) - first
        self._write(layout.tokens, tokens)
        self._write(layout.positions, positions)
        self._write(layout.table_numbers, numbers)
        parameters = np.array([choice.record() for choice in choices], PARAMETERS)
        self._view(layout.parameters, parameters.nbytes)[:] = parameters.view(np.uint8)
        scalars = {
            "rows": len(tokens),
            "outputs": outputs,
            "samples": len(choices),
        }
        seed = None if self._order_seed is None else self._order_seed + self.steps
        done = self.machine.run(program, scalars, seed=seed)
        if not isinstance(done, Statistics):
            self.cycles += done.cycles
        self.steps += 1
        return self._logits(outputs), self._sampled(len(choices))

    def _logits(self, rows: int) -> F32:
        columns = self.build.architecture.outputs
        pitch = -(-4 * columns // GRANULE_BYTES) * GRANULE_BYTES
        data = self._view(self.build.layout.logits, rows * pitch).view(np.float32)
        return data.reshape(rows, pitch // 4)[:, :columns].copy()

    def _sampled(self, count: int) -> list[int]:
        return self._view(self.build.layout.sampled, 4 * count).view(np.uint32).tolist()

    def _write(self, address: int, values: Sequence[int] | NDArray[np.int64]) -> None:
        data = np.asarray(values, np.uint32)
        self._view(address, data.nbytes)[:] = data.view(np.uint8)

    def _view(self, address: int, size_bytes: int) -> NDArray[np.uint8]:
        return self.machine.hbm[address : address + size_bytes]
