"""What is taken for written, against the bytes that every run has written."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tapeout.compiler.accesses import Tile
from tapeout.compiler.numbers import Numbers, Value
from tapeout.compiler.written import Area, Written
from tapeout.isa import Space
from tapeout.isa.fields import AluFn

X, Y = range(5), range(4)
SIZES = {Space.L1: 512, Space.SCALE: 0, Space.ACC: 0}


class Case:
    """Areas over x and y, and what they are in numbers."""

    def __init__(self):
        n = self.numbers = Numbers()
        self.x, self.y = n.named(("x",), 0, X[-1]), n.named(("y",), 0, Y[-1])
        self.rows = {
            "1": Value(1),
            "3": Value(3),
            "x": self.x,
            "2x": self.x * 2,
            "x+1": self.x + 1,
            "x-2": self.x - 2,
            "min(x,2)": n.alu(AluFn.MIN, self.x, Value(2)),
            "x+y": self.x + self.y,
        }

    def area(self, space: Space | None, shape: tuple[int, int, int, str, int]) -> Area:
        start, pitch, row_bytes, rows_name, by_y = shape
        rows, low = self.rows[rows_name], 64 + start
        most = max(1, self.numbers.high(rows))
        slack = by_y * pitch * Y[-1]
        size = slack + (most - 1) * pitch + row_bytes
        tile = Tile(space=space, start=low, rows=1, pitch=0, row_bytes=size)
        if not slack:
            tile = Tile(space=space, start=low, rows=most, pitch=pitch, row_bytes=row_bytes)
        return Area(
            start=self.y * (by_y * pitch) + low,
            rows=rows,
            pitch=pitch,
            row_bytes=row_bytes,
            tile=tile,
        )

    def row(self, shape: tuple[int, int, int, str, int], x: int, y: int) -> list[int]:
        """Where each row starts."""
        start, pitch, _, rows_name, by_y = shape
        count = count_of(rows_name, x, y)
        return [64 + start + by_y * pitch * y + r * pitch for r in range(count)]


def count_of(name: str, x: int, y: int) -> int:
    """The rows called `name`, as a number."""
    counts = {"2x": 2 * x, "x+1": x + 1, "x-2": x - 2, "min(x,2)": min(x, 2), "x+y": x + y}
    counts |= {"1": 1, "3": 3, "x": x}
    return counts[name]


shapes = st.tuples(
    st.sampled_from([0, 4, 8, 16, 24]),
    st.sampled_from([8, 8, 16]),
    st.sampled_from([4, 8]),
    st.sampled_from(sorted(Case().rows)),
    st.sampled_from([0, 0, 0, 1]),
)


@given(
    st.sampled_from([Space.L1, None]),
    st.lists(st.tuples(shapes, st.booleans()), min_size=1, max_size=5),
    shapes,
    st.booleans(),
)
def test_nothing_is_taken_for_written_that_is_not(
    space: Space | None,
    writes: list[tuple[tuple[int, int, int, str, int], bool]],
    read: tuple[int, int, int, str, int],
    in_loop: bool,
):
    case = Case()
    written = Written(case.numbers, SIZES)
    guard = frozenset({case.y})
    for shape, guarded in writes:
        written.write(case.area(space, shape), guard if guarded else frozenset[Value]())
    columns = written.columns(case.area(space, read), guard if in_loop else frozenset[Value]())
    for x, y in product(X, Y):
        if in_loop and y == 0:
            continue
        there = {
            start + byte
            for shape, guarded in writes
            if y > 0 or not guarded
            for start in case.row(shape, x, y)
            for byte in range(shape[2])
        }
        for start in case.row(read, x, y):
            assert all(start + c in there for c in range(read[2]) if columns[c])


def covered(writes: list[tuple[int, int, int, str, int]], read: tuple[int, int, int, str, int]):
    case = Case()
    written = Written(case.numbers, SIZES)
    for shape in writes:
        written.write(case.area(None, shape), frozenset())
    return bool(written.columns(case.area(None, read), frozenset()).all())


def test_what_is_written_is_found():
    assert covered([(0, 8, 4, "x", 0)], (0, 8, 4, "x", 0))
    assert covered([(0, 8, 4, "x", 0), (4, 8, 4, "x", 0)], (0, 8, 8, "x", 0))
    assert covered([(0, 8, 4, "x+1", 0)], (8, 8, 4, "x", 0))
    assert not covered([(0, 8, 4, "x", 0)], (8, 8, 4, "x", 0))
    assert covered([(0, 8, 8, "2x", 0)], (0, 16, 8, "x", 0))
    assert covered([(0, 16, 8, "x", 0), (8, 16, 8, "x", 0)], (0, 8, 8, "2x", 0))
    assert covered([(0, 8, 8, "min(x,2)", 0), (16, 8, 8, "x-2", 0)], (0, 8, 8, "x", 0))
    assert covered([(0, 8, 4, "x", 1)], (0, 8, 4, "x", 1))
