"""Closed-form time of a step: the slower of compute and memory, and the collectives after it."""

from dataclasses import dataclass
from typing import Literal

from tapeout.errors import CapacityError, ConfigError
from tapeout.facts import Range, fact
from tapeout.perf.platform import Platform
from tapeout.perf.step import Step
from tapeout.units import si

MAX_CHIPS = 1024
Term = Literal["compute", "memory", "collectives"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Time of a step on a group of chips. Low is the time at the best share reached, not the floor.

    Compute and memory overlap perfectly, collectives overlap with nothing.
    `floor_s` is bytes over peak bandwidth or operations over peak rate, whichever is greater.
    """

    compute_s: Range
    memory_s: Range
    collective_s: Range
    total_s: Range
    floor_s: float
    chips: int
    weight_bytes: float
    kv_bytes: float
    binds: Term


def step_time(platform: Platform, step: Step, *, chips: int = 1) -> Bound:
    """Time of a step split evenly over `chips` (tensor parallel: two all-reduces a layer).

    KV heads beyond the number of chips are shared; with more chips than heads they are repeated.

    Raises:
        CapacityError: if weights and KV do not fit, saying how many chips would hold them.
    """
    if not 1 <= chips <= MAX_CHIPS:
        raise ConfigError(f"chips must be in 1..{MAX_CHIPS}, not {chips}")
    if not _fits(platform, step, chips):
        raise CapacityError(
            f"weights of {si(step.weight_resident_bytes, 'B')} and KV of"
            f" {si(step.kv_resident_bytes, 'B')} must fit {chips} x"
            f" {si(_usable_bytes(platform), 'B')} of {platform.name}",
            where=f"workload {step.workload.name}",
            hint=f"{chips_needed(platform, step)} chips hold them; or reduce batch or context",
        )
    compute_s, memory_s = _ideal_s(platform, step, chips)
    compute = _over(compute_s, platform.compute_share)
    memory = _over(memory_s, platform.memory_share)
    collective = _collective_s(platform, step, chips)
    pairs = zip(_ends(compute), _ends(memory), _ends(collective), strict=True)
    low, mid, high = (max(c, m) + n for c, m, n in pairs)
    return Bound(
        compute_s=compute,
        memory_s=memory,
        collective_s=collective,
        total_s=Range(low=low, mid=mid, high=high),
        floor_s=max(compute_s, memory_s),
        chips=chips,
        weight_bytes=step.weight_bytes,
        kv_bytes=step.kv_bytes,
        binds=_binds(compute, memory, collective),
    )


def chips_needed(platform: Platform, step: Step) -> int:
    """Return the least power of two of chips whose memory holds weights and KV.

    Raises:
        CapacityError: if no group of up to 1024 does.
    """
    chips = 1
    while chips <= MAX_CHIPS:
        if _fits(platform, step, chips):
            return chips
        chips *= 2
    raise CapacityError(
        f"weights and KV must fit {MAX_CHIPS} x {si(_usable_bytes(platform), 'B')}"
        f" of {platform.name}, not {si(step.weight_resident_bytes + step.kv_resident_bytes, 'B')}",
        where=f"workload {step.workload.name}",
        hint="reduce batch or context, or choose narrower formats",
    )


def _usable_bytes(platform: Platform) -> float:
    return platform.capacity_bytes * fact("capacity_share").value


def _kv_share(step: Step, chips: int) -> float:
    """Part of the KV that one chip holds and reads: at least one head's."""
    return max(1 / chips, 1 / step.kv_heads)


def _fits(platform: Platform, step: Step, chips: int) -> bool:
    held = step.weight_resident_bytes / chips + step.kv_resident_bytes * _kv_share(step, chips)
    return held <= _usable_bytes(platform)


def _ideal_s(platform: Platform, step: Step, chips: int) -> tuple[float, float]:
    """Compute and memory time of one chip at its peaks."""
    work = step.workload
    matmul = step.matmul_flops / platform.rates.of(work.activation_format, work.weight_format)
    attention = step.attention_flops / platform.rates.of(work.activation_format, work.kv_format)
    moved_bytes = step.weight_bytes / chips + step.kv_bytes * _kv_share(step, chips)
    return (matmul + attention) / chips, moved_bytes / platform.bytes_per_s


def _collective_s(platform: Platform, step: Step, chips: int) -> Range:
    if chips == 1:
        return Range(low=0, mid=0, high=0)
    wire_s = 2 * (chips - 1) / chips * step.allreduce_bytes / platform.link_bytes_per_s
    low, mid, high = (step.allreduces * (s + wire_s) for s in _ends(platform.allreduce_s))
    return Range(low=low, mid=mid, high=high)


def _over(ideal_s: float, share: Range) -> Range:
    """A time at the peak, divided by the shares of the peak that are reached."""
    return Range(low=ideal_s / share.high, mid=ideal_s / share.mid, high=ideal_s / share.low)


def _ends(r: Range) -> tuple[float, float, float]:
    return r.low, r.mid, r.high


def _binds(compute: Range, memory: Range, collective: Range) -> Term:
    terms: tuple[tuple[Term, Range], ...] = (
        ("compute", compute),
        ("memory", memory),
        ("collectives", collective),
    )
    return max(terms, key=lambda term: term[1].mid)[0]
