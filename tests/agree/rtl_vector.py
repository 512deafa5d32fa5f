"""Random operations of the element engine, on memories full of hard numbers."""

import numpy as np

from tapeout.isa.fields import GRANULE_BYTES, Broadcast, MapFn, Space, acc_pitch
from tapeout.isa.instructions import Map, Norm, Rope, Softmax, VectorMatmul
from tapeout.numerics import FORMATS, format_named

L1_BYTES, SCALE_BYTES, ACC_BYTES = 1 << 17, 1 << 13, 1 << 14
HARD = (
    *(0, 1 << 31, 1, 0x80000001, 0x7FFFFF, 0x807FFFFF, 0x800000, 0x80800000, 0x3F800000),
    *(0xBF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001),
    *(0xFFC12345, 0x3F800001, 0x40490FDB, 0xC2FE0000, 0x42FE0000, 0x33800000),
)


def numbers(rng, count, *, kind=None):
    """FP32 numbers as bits: ordinary, any bits, hard ones, all alike, alternating signs, mixed."""
    kind = rng.integers(0, 6) if kind is None else kind
    normal = rng.normal(0, 2, count).astype(np.float32).view(np.uint32)
    match kind:
        case 0 | 5:
            return normal
        case 1:
            return rng.integers(0, 1 << 32, count, dtype=np.uint32)
        case 2:
            return rng.choice(np.array(HARD, np.uint32), count)
        case 3:
            value = np.full(count, normal[0], np.uint32)
            value[1::2] ^= np.uint32(rng.integers(0, 2) << 31)
            return value
        case _:
            hard = rng.choice(np.array(HARD, np.uint32), count)
            return np.where(rng.random(count) < 0.05, hard, normal)


class Room:
    """Hands out parts of L1 that do not overlap, at random granules."""

    def __init__(self, rng, size=L1_BYTES):
        self.rng, self.at, self.size = rng, 0, size

    def take(self, byte_count):
        start = self.at + GRANULE_BYTES * int(self.rng.integers(0, 4))
        self.at = -(-(start + byte_count) // GRANULE_BYTES) * GRANULE_BYTES
        assert self.at <= self.size, "does not fit"
        return start

    def tile(self, rows, row_bytes):
        """(address, pitch)."""
        pitch = -(-row_bytes // GRANULE_BYTES) * GRANULE_BYTES
        pitch += GRANULE_BYTES * int(self.rng.integers(0, 3))
        return self.take(pitch * max(rows, 1)), pitch


def some_columns(rng):
    return int(rng.choice([1, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 96, 100, 128, 200, 288]))


def random_map(rng, *, fn=None, b_mode=None, space=None, rows=None, columns=None):
    fn = MapFn(rng.integers(len(MapFn))) if fn is None else fn
    b_mode = Broadcast(rng.integers(4)) if b_mode is None else b_mode
    rows = int(rng.integers(0, 20)) if rows is None else rows
    columns = some_columns(rng) if columns is None else columns
    space = rng.choice([Space.L1, Space.ACC]) if space is None else space
    if space == Space.ACC:
        rows = min(rows, ACC_BYTES // acc_pitch(columns))
    room, size = Room(rng), 4 * columns
    dst, dst_pitch = room.tile(rows, size)
    a, a_pitch = room.tile(rows, size)
    if rng.random() < 0.3:
        a, a_pitch = dst, dst_pitch
    if space == Space.ACC:
        a_pitch = acc_pitch(columns)
        a = GRANULE_BYTES * int(rng.integers(0, (ACC_BYTES - rows * a_pitch) // GRANULE_BYTES + 1))
    b, b_pitch = room.tile(rows, max(size, 4 * rows))
    if b_mode == Broadcast.FULL and rng.random() < 0.3:
        b, b_pitch = dst, dst_pitch
    return Map(
        fn=fn, a_space=int(space), a=a, a_pitch=a_pitch, b=b, b_pitch=b_pitch, b_mode=b_mode,
        dst=dst, dst_pitch=dst_pitch, rows=rows, rows_reg=0, columns=columns,
    )  # fmt: skip


def random_norm(rng, *, rows=None, columns=None):
    rows = int(rng.integers(0, 40)) if rows is None else rows
    columns = some_columns(rng) if columns is None else columns
    room = Room(rng)
    src, src_pitch = room.tile(rows, 4 * columns)
    dst, dst_pitch = (src, src_pitch) if rng.random() < 0.5 else room.tile(rows, 4 * columns)
    eps = int(np.float32(rng.choice([1e-5, 1e-6, 0.0])).view(np.uint32))
    return Norm(
        src=src, src_pitch=src_pitch, gamma=room.take(4 * columns), eps=eps, dst=dst,
        dst_pitch=dst_pitch, rows=rows, rows_reg=0, columns=columns,
    )  # fmt: skip


def random_rope(rng, *, rows=None, head_dim=None, heads=None):
    rows = int(rng.integers(0, 12)) if rows is None else rows
    head_dim = int(rng.choice([8, 16, 24, 32, 40, 64, 80, 128])) if head_dim is None else head_dim
    columns = head_dim * (int(rng.integers(1, 5)) if heads is None else heads)
    room = Room(rng)
    src, src_pitch = room.tile(rows, 4 * columns)
    dst, dst_pitch = (src, src_pitch) if rng.random() < 0.5 else room.tile(rows, 4 * columns)
    factor = int(np.float32(rng.choice([1.0, 1.3, 0.0721])).view(np.uint32))
    return Rope(
        src=src, src_pitch=src_pitch, positions=room.take(4 * rows),
        frequencies=room.take(4 * head_dim), factor=factor, head_dim=head_dim, dst=dst,
        dst_pitch=dst_pitch, rows=rows, rows_reg=0, columns=columns,
    )  # fmt: skip


def random_softmax(rng, *, rows=None, columns=None, wide=None):
    """The operation and (query, key), the positions that registers hold."""
    rows = int(rng.integers(0, 40)) if rows is None else rows
    columns = 32 * int(rng.integers(1, 8)) if columns is None else columns
    wide = bool(rng.random() < 0.4) if wide is None else wide
    fits = [fmt for fmt in FORMATS if (fmt.family == "wide") == wide]
    out, value = (fits[rng.integers(len(fits))] for _ in range(2))
    room, scales = Room(rng), Room(rng, SCALE_BYTES)
    space = rng.choice([Space.L1, Space.ACC])
    scores = room.take(4 * columns * rows)
    if space == Space.ACC:
        rows = min(rows, ACC_BYTES // acc_pitch(columns))
        scores = 0
    state, state_pitch = room.tile(3, 4 * rows)
    dst, dst_pitch = room.tile(rows, out.row_bytes(columns))
    key = int(rng.choice([0, 128, 5, 1 << 20]))
    near = max(0, key + int(rng.integers(-40, columns + 40)))
    query = int(rng.choice([near, near, near, near, 0, 1 << 46]))
    op = Softmax(
        space=int(space), scores=scores, columns=columns, state=state, state_pitch=state_pitch,
        rows=rows, rows_reg=0, group=int(rng.integers(1, 9)), query=1, key=2,
        window=int(rng.choice([0, 0, 1, 7, 64, 128, 100000])), value_format=value.code,
        value_scale=scales.take(16 * columns), dst=dst, dst_pitch=dst_pitch, format=out.code,
        mode=int(rng.integers(0, 2)), scale=scales.take(16 * max(rows, 1)),
    )  # fmt: skip
    return op, (query, key)


def random_product(rng, *, rows=None, n=None, k_blocks=None, transpose=None):
    m = int(rng.integers(0, 6)) if rows is None else rows
    n = int(rng.choice([1, 3, 8, 15, 16, 33, 64, 70])) if n is None else n
    k_blocks = int(rng.integers(1, 5)) if k_blocks is None else k_blocks
    transpose = int(rng.integers(0, 2)) if transpose is None else transpose
    fmt = format_named(str(rng.choice(["fp32", "bf16"])))
    room, k = Room(rng), 32 * k_blocks
    a, a_pitch = room.tile(m, 4 * k)
    b_rows, b_columns = (k, n) if transpose else (n, k)
    b, b_pitch = room.tile(b_rows, b_columns * fmt.element_bits // 8)
    dst, dst_pitch = room.tile(m, 4 * n)
    return VectorMatmul(
        a=a, a_pitch=a_pitch, b=b, b_pitch=b_pitch, b_format=fmt.code, dst=dst,
        dst_pitch=dst_pitch, m=m, m_reg=0, n=n, k_blocks=k_blocks,
        accumulate=int(rng.integers(0, 2)), transpose=transpose,
    )  # fmt: skip
