"""The mutations of the campaign, as data: faults/*.toml."""

import hashlib
import tomllib
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = Path("src/tapeout")
FAULTS = Path(__file__).parent / "faults"

KINDS = {
    "dropped valid": "a valid that is lost, or is there without a beat",
    "handshake loop": "a ready that depends on its own valid, or a valid on its ready",
    "lost back-pressure": "something goes on although there is no room for it",
    "lost state": "what must be kept is not, or stays when it must go",
    "missing check": "what must be refused, waited for or told apart is not",
    "narrow sum": "a sum or a product with too few bits",
    "off by one": "a count, a limit or an address beside the right one",
    "order of sums": "the same numbers, added in another order",
    "swapped operand": "one of two things that look alike in place of the other",
    "swapped scale": "the scale of another group or operand",
    "wrong rounding": "a tie, a sticky bit or a direction",
    "wrong sign": "a sign that is lost or turned",
    "wrong signedness": "signed taken for unsigned, or the other way round",
    "wrong special value": "NaN, infinities and zeros",
}


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault: the only place in `file` that reads `old` becomes `new`; then `tests` must fail."""

    name: str
    kind: str
    file: str
    """Within the package."""
    old: str
    new: str
    tests: tuple[str, ...]
    """What pytest is to run; the quickest that should notice."""

    @property
    def path(self) -> Path:
        """The file, from the root of the repository."""
        return PACKAGE / self.file

    def applied(self, text: str) -> str:
        """The text of the file with the fault.

        Raises:
            ValueError: if the place is not there, or not the only one.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.path} must hold once, not {count} times:\n{self.old}")
        return text.replace(self.old, self.new)

    def definition(self) -> str:
        """Changes when the mutation does."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:12]

    def key(self) -> str:
        """Changes when the mutation, the file, or a test that it names changes."""
        files = {self.path, *(Path(test.partition("::")[0]) for test in self.tests)}
        texts = "\0".join((ROOT / path).read_text(encoding="utf-8") for path in sorted(files))
        return f"{self.definition()}-{hashlib.sha256(texts.encode()).hexdigest()[:12]}"


def mutations(words: str = "") -> list[Mutation]:
    """Those of faults/*.toml whose names or files hold `words`, file by file."""
    found: list[Mutation] = []
    for path in sorted(FAULTS.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found += [Mutation(**{**one, "tests": tuple(one["tests"])}) for one in table["mutation"]]
    return [one for one in found if words in one.name or words in one.file]
