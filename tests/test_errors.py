import pytest

from tapeout import errors
from tapeout.errors import TapeoutError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TapeoutError)
]


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        ("", "", "rows must be 4, not 5"),
        ("a.toml", "", "rows must be 4, not 5\n  at:   a.toml"),
        ("", "take 4", "rows must be 4, not 5\n  hint: take 4"),
        ("a.toml", "take 4", "rows must be 4, not 5\n  at:   a.toml\n  hint: take 4"),
    ],
)
def test_an_error_says_problem_place_and_way_out(where: str, hint: str, text: str):
    error = TapeoutError("rows must be 4, not 5", where=where, hint=hint)
    assert str(error) == text
    assert (error.problem, error.where, error.hint) == ("rows must be 4, not 5", where, hint)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_user_is_a_tapeout_error(kind: type[TapeoutError]):
    assert kind.__doc__
    with pytest.raises(TapeoutError, match="x"):
        raise kind("x")


def test_the_kinds_are_told_apart():
    assert len(KINDS) == len({kind.__name__ for kind in KINDS}) >= 7
    assert all(kind.__bases__ == (TapeoutError,) for kind in KINDS if kind is not TapeoutError)
