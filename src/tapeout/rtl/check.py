"""Runs that must keep the stream protocol, under stalls on every side."""

import numpy as np
from numpy.typing import NDArray

from .harness import U8, Model, Run

GATES = 4099  # cycles after which random stalls repeat: a prime, so that streams do not align


class ProtocolError(Exception):
    """A component lost, invented or changed a beat, or broke a rule of `stream`."""


def random_gates(names: list[str], *, open_share: float, seed: int) -> dict[str, U8]:
    """For each stream, random cycles in which a transfer may begin."""
    rng = np.random.default_rng(seed)
    return {name: (rng.random(GATES) < open_share).astype(np.uint8) for name in names}


def checked_run(
    model: Model,
    sources: dict[str, U8],
    sinks: dict[str, int],
    *,
    gates: dict[str, U8] | None = None,
    probe: bool = False,
) -> Run:
    """`Model.run`.

    Raises:
        ProtocolError: if a rule of the stream protocol is broken or a beat is missing.
    """
    run = model.run(sources, sinks, gates=gates, probe=probe)
    if run.violations:
        raise ProtocolError("; ".join(run.violations))
    return run


def check_protocol(
    model: Model, sources: dict[str, U8], sinks: dict[str, int]
) -> dict[str, NDArray[np.uint8]]:
    """Send the same beats with no stalls and under several patterns of stalls, probing.

    Returns the beats of the run without stalls.

    Raises:
        ProtocolError: if a rule is broken, or if stalls change what comes out.
    """
    names = [*sources, *sinks]
    first = checked_run(model, sources, sinks)
    patterns = [random_gates(names, open_share=s, seed=i) for i, s in enumerate((0.1, 0.5, 0.9))]
    ends = random_gates(list(sinks), open_share=0.3, seed=7)  # senders always ready
    starts = random_gates(list(sources), open_share=0.3, seed=8)  # receivers always ready
    for gates in [*patterns, ends, starts]:
        run = checked_run(model, sources, sinks, gates=gates, probe=True)
        for name in sinks:
            if not np.array_equal(run.beats[name], first.beats[name]):
                raise ProtocolError(f"stalls change what leaves through {name}")
    return first.beats
