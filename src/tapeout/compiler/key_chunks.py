"""Chunks of keys and values on their way through a core, each part of one beside others' parts."""

from dataclasses import dataclass, replace
from typing import TypeVar

from tapeout.compiler.append import KEY_SCALES, KEYS, VALUE_SCALES, VALUES
from tapeout.compiler.core import Buffers, CodesTile, CoreBuilder, Tile32
from tapeout.compiler.emitter import Reg
from tapeout.compiler.layout import FP32_BYTES, align, power_of_two, scale_pitch
from tapeout.compiler.spans import Span
from tapeout.isa.fields import GRANULE_BYTES, AluFn, Broadcast, MapFn, Queue, Space, acc_pitch
from tapeout.isa.instructions import LoadPages, Softmax
from tapeout.numerics import ATTENTION_CHUNK
from tapeout.numerics.formats import padded

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class HeadState:
    """What one KV head's queries keep in L1 while keys stream by."""

    head: int
    queries: CodesTile
    state: int
    state_pitch: int
    out: Tile32

    @property
    def alpha(self) -> int:
        """Where a softmax leaves the factor for the sums before it."""
        return self.state + 2 * self.state_pitch


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How many tiles of keys or values, and of their scales, lie in a core at once; at least 2."""

    tiles: int = 2
    scales: int = 2

    @property
    def deep(self) -> bool:
        """Whether the keys of a chunk may lie there beside the values of two before it."""
        return self.tiles > 3 and self.scales > 2


class KeyBuffers:
    """Buffers that chunks of keys, values, scores, probabilities and results take in turn."""

    def __init__(self, b: CoreBuilder, turns: Turns, rows: int, buffers: Buffers):
        kv, p = b.recipe.of("kv"), b.recipe.of("probabilities")
        head = b.architecture.head_dim
        self.pitch, self.scale_pitch = align(kv.row_bytes(head)), scale_pitch(kv, head)
        p_pitch = align(p.row_bytes(ATTENTION_CHUNK))
        p_scales = GRANULE_BYTES if p.scale != "none" else 0
        size, scales = ATTENTION_CHUNK * self.pitch, ATTENTION_CHUNK * self.scale_pitch
        self.deep = turns.deep
        self.tiles = [buffers.take(size) for _ in range(turns.tiles)]
        self.scales = [buffers.take_scales(scales) for _ in range(turns.scales)]
        self.probabilities = [
            CodesTile(
                address=buffers.take(rows * p_pitch),
                pitch=p_pitch,
                scale=buffers.take_scales(rows * p_scales),
                scale_pitch=p_scales,
            )
            for _ in range(1 + turns.deep)
        ]
        self.alphas = [buffers.take(FP32_BYTES * rows) for _ in range(1 + turns.deep)]
        self.scores, self.mixed = _results(b, rows, buffers)

    def keys(self, step: int) -> CodesTile:
        """Where the keys of a step go, counted in a turn."""
        half = len(self.tiles) // 2, len(self.scales) // 2
        tiles, scales = self.tiles[: half[0]], self.scales[: half[1]]
        return self._place(tiles, scales, step, self.scale_pitch)

    def values(self, step: int) -> CodesTile:
        """Where the values of a step go: they are needed for longer, and get the larger half."""
        half = len(self.tiles) // 2, len(self.scales) // 2
        tiles, scales = self.tiles[half[0] :], self.scales[half[1] :]
        return self._place(tiles, scales, step, GRANULE_BYTES if self.scale_pitch else 0)

    def _place(self, tiles: list[int], scales: list[int], step: int, scale_pitch: int) -> CodesTile:
        return CodesTile(
            address=_turn(tiles, step),
            pitch=self.pitch,
            scale=_turn(scales, step),
            scale_pitch=scale_pitch,
        )


def _results(b: CoreBuilder, rows: int, buffers: Buffers) -> tuple[list[Tile32], list[Tile32]]:
    """Where scores and weighted values are made: the accumulator banks, or L1 if wide."""
    n = padded(b.architecture.head_dim)
    if b.recipe.wide:
        scores = buffers.take(rows * FP32_BYTES * ATTENTION_CHUNK)
        mixed = buffers.take(rows * FP32_BYTES * n)
        return (
            [Tile32(space=Space.L1, address=scores, pitch=FP32_BYTES * ATTENTION_CHUNK)],
            [Tile32(space=Space.L1, address=mixed, pitch=FP32_BYTES * n)],
        )
    bank, most = FP32_BYTES * b.chip.matrix.accumulators, power_of_two(rows)
    pitches = acc_pitch(ATTENTION_CHUNK), acc_pitch(n)

    def tiles(pitch: int, *places: int) -> list[Tile32]:
        return [Tile32(space=Space.ACC, address=at, pitch=pitch) for at in places]

    if most * sum(pitches) > bank:
        return tiles(pitches[0], 0), tiles(pitches[1], bank)
    # In each bank the larger one first, so that both lie on a multiple of their sizes.
    behind = most * max(pitches)
    at = (0, behind) if pitches[0] >= pitches[1] else (behind, 0)
    return (
        tiles(pitches[0], at[0], bank + at[0]),
        tiles(pitches[1], bank + at[1], at[1]),
    )


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One chunk of keys for one head, and the buffers that it takes."""

    head: HeadState
    key: Reg
    keys: CodesTile
    values: CodesTile
    scores: Tile32
    probabilities: CodesTile
    mixed: Tile32
    kept: int
    """Where alpha is kept while the head's next one is made."""


class KeyStream:
    """Takes chunks of keys and values into the sums of some heads' queries."""

    def __init__(
        self,
        b: CoreBuilder,
        layer: int,
        heads: list[HeadState],
        span: Span,
        rows: Reg,
        buffers: KeyBuffers,
        window: int,
    ):
        self.b, self.layer, self.heads, self.span = b, layer, heads, span
        self.rows, self.buffers, self.window = rows, buffers, window
        self.deep = buffers.deep

    def begin(self, key: Reg) -> None:
        """Load the first keys, from `key` on."""
        self._load(self.heads[0], key, self.buffers.keys(0), KEYS, KEY_SCALES)

    def chunks(self, key: Reg, count: int) -> None:
        """Emit `count` chunks from `key` on, whose first keys are there; then load the next ones.

        While the vector unit turns scores into probabilities, the matrix unit multiplies those of
        the chunk before by their values, and makes the scores of the next one. `key` goes on to
        the next chunk.
        """
        e, heads = self.b.emitter, self.heads
        keys = [key]
        for i in range(1, count + 1):
            more = i * ATTENTION_CHUNK
            at = e.alu(AluFn.ADD, key, imm=more, low=key.low + more, high=key.high + more)
            keys.append(at)
        work = [(head, at) for at in keys[:-1] for head in heads]
        steps = [self._step(i, head, at) for i, (head, at) in enumerate(work)]
        alone = len(heads) == 1
        self._score(steps[0])
        for i, step in enumerate(steps):
            following = steps[i + 1] if i + 1 < len(steps) else None
            early = following is not None and len(self.buffers.scores) > 1
            if self.deep and early:
                self._proceed(following, keys[-1])
            self._weigh(step, keep=alone and self.deep and following is not None)
            if self.deep and i:
                self._mix(steps[i - 1], kept=alone)
            if self.deep and not early:
                self._proceed(following, keys[-1])
            if not self.deep:
                self._mix(step, kept=False)
                self._proceed(following, keys[-1])
        if self.deep:
            self._mix(steps[-1], kept=False)
        e.alu(AluFn.ADD, keys[-1], low=0, high=0, to=key)
        e.free(*keys[1:])

    def _proceed(self, step: _Step | None, key: Reg) -> None:
        """Make the scores of the next step, or load the keys of the next turn's first."""
        if step is None:
            self.begin(key)
            return
        self._load(step.head, step.key, step.keys, KEYS, KEY_SCALES)
        self._score(step)

    def _step(self, number: int, head: HeadState, key: Reg) -> _Step:
        buffers = self.buffers
        return _Step(
            head=head,
            key=key,
            keys=buffers.keys(number),
            values=buffers.values(number),
            scores=_turn(buffers.scores, number),
            probabilities=_turn(buffers.probabilities, number),
            mixed=_turn(buffers.mixed, number),
            kept=_turn(buffers.alphas, number),
        )

    def _score(self, step: _Step) -> None:
        """Multiply the queries by keys that are there."""
        n = padded(self.b.architecture.head_dim)
        x, keys, out = step.head.queries, step.keys, step.scores
        self._product(x, keys, out, ATTENTION_CHUNK, n, transpose=False)

    def _weigh(self, step: _Step, *, keep: bool) -> None:
        """Load values, and make probabilities of scores; keep alpha if it is to be made again."""
        b, s = self.b, step.head
        self._load(s, step.key, step.values, VALUES, VALUE_SCALES)
        b.emitter.emit(
            Softmax(
                space=step.scores.space,
                scores=step.scores.address,
                columns=ATTENTION_CHUNK,
                state=s.state,
                state_pitch=s.state_pitch,
                rows=0,
                rows_reg=self.rows.number,
                group=b.architecture.heads // b.architecture.kv_heads,
                query=self.span.position.number,
                key=step.key.number,
                window=self.window,
                value_format=b.recipe.of("kv").code,
                value_scale=step.values.scale,
                dst=step.probabilities.address,
                dst_pitch=step.probabilities.pitch,
                format=b.recipe.of("probabilities").code,
                mode=b.recipe.mode,
                scale=step.probabilities.scale,
            )
        )
        if keep:
            alpha = Tile32(space=Space.L1, address=s.alpha, pitch=GRANULE_BYTES)
            kept = Tile32(space=Space.L1, address=step.kept, pitch=GRANULE_BYTES)
            columns = s.state_pitch // FP32_BYTES
            b.map(MapFn.COPY, alpha, kept, Broadcast.FULL, kept, rows=1, columns=columns)

    def _mix(self, step: _Step, *, kept: bool) -> None:
        """Multiply probabilities by values, and add the result to a head's sums."""
        values = replace(step.values, scale=0, scale_pitch=0)
        n = padded(self.b.architecture.head_dim)
        self._product(step.probabilities, values, step.mixed, n, ATTENTION_CHUNK, transpose=True)
        s = step.head
        address = step.kept if kept else s.alpha
        alpha = Tile32(space=Space.L1, address=address, pitch=0)
        self.b.map(
            MapFn.MULADD, step.mixed, alpha, Broadcast.COLUMN, s.out, rows=self.rows, columns=n
        )

    def _load(self, head: HeadState, key: Reg, to: CodesTile, part: int, scale_part: int) -> None:
        page = self.b.layout.page
        scale_bytes = page.key_scale_bytes if part == KEYS else page.value_scale_bytes
        for space, dst, pitch, of, size in (
            (Space.L1, to.address, to.pitch, part, page.key_bytes),
            (Space.SCALE, to.scale, to.scale_pitch, scale_part, scale_bytes),
        ):
            if not pitch:
                continue
            self.b.emitter.emit(
                LoadPages(
                    space=space,
                    dst=dst,
                    dst_pitch=pitch,
                    table=self.span.table.number,
                    first=key.number,
                    end=self.span.end.number,
                    rows=ATTENTION_CHUNK,
                    pool=self.b.layout.pool,
                    page_bytes=page.page_bytes,
                    offset=page.offset(self.layer, head.head, of),
                    page_log2=page.page_tokens.bit_length() - 1,
                    row_bytes=size,
                )
            )

    def _product(
        self, x: CodesTile, w: CodesTile, out: Tile32, n: int, k: int, *, transpose: bool
    ) -> None:
        b = self.b
        source = b.recipe.of("probabilities" if transpose else "activations")
        formats = source, b.recipe.of("kv")
        b.multiply(x, w, out, formats, rows=self.rows, n=n, k=k, transpose=transpose)
        b.emitter.rest(Queue.MU)


def _turn(choices: list[T], number: int) -> T:
    return choices[number % len(choices)]
