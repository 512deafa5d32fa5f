"""What left, set against the verdicts: counted from the log alone, by none of the loop's code."""

from collections.abc import Iterable
from dataclasses import dataclass

from tapeout.runtime.constitution import Constitution
from tapeout.runtime.critique import CheckedEvent, Held
from tapeout.runtime.hold import Released
from tapeout.runtime.verdict import Verdict, digest


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Tokens of a log. Drafted are released or held, but for those that an error cut off.

    leaked_tokens: released without a clear verdict about exactly them, given before.
    exposed_tokens: released with a verdict, on a line of which a later span was held.
    """

    drafted_tokens: int
    released_tokens: int
    held_tokens: int
    leaked_tokens: int
    exposed_tokens: int


def audit(events: Iterable[CheckedEvent], constitution: Constitution) -> Audit:
    """Count a request's events, in the order in which they came."""
    cleared: set[tuple[int, int, str]] = set()
    drafted = released = held = leaked = exposed = 0
    for event in events:
        if isinstance(event, Verdict):
            drafted += len(event.scores)
            if _clears(event, constitution):
                cleared.add((event.first_position, len(event.scores), event.digest))
        elif isinstance(event, Released):
            count = len(event.tokens)
            released += count
            if (event.first_position, count, digest(event.tokens)) not in cleared:
                leaked += count
        elif isinstance(event, Held):
            held += event.tokens
            exposed += 0 if event.attempt else event.line_tokens
    return Audit(
        drafted_tokens=drafted,
        released_tokens=released,
        held_tokens=held,
        leaked_tokens=leaked,
        exposed_tokens=exposed,
    )


def _clears(verdict: Verdict, constitution: Constitution) -> bool:
    """Judged anew from the scores: the verdict's own word is not taken for it."""
    for row in verdict.scores:
        for score, principle in zip(row, constitution.principle, strict=True):
            if not score < principle.threshold:
                return False
    return True
