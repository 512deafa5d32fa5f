"""How fast a group of chips serves a workload: prefill and decode together."""

from collections.abc import Iterable
from dataclasses import dataclass

from tapeout.chip import Chip
from tapeout.facts import Range
from tapeout.model import Architecture
from tapeout.perf.platform import GPUS, Platform, gpu_platform, platform_of
from tapeout.perf.roofline import Bound, chips_needed, step_time
from tapeout.perf.step import decode_step, prefill_step
from tapeout.perf.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Steps of a workload on the least group of chips that holds it.

    `tokens_per_s` counts output tokens of the group while it serves; prompts are paid for in it:
    each sequence takes one prefill, alone, and a share of `output_tokens` decode steps.
    """

    name: str
    chips: int
    power_w: float
    decode: Bound
    prefill: Bound
    tokens_per_s: Range
    figures: tuple[str, ...]


def speed(platform: Platform, architecture: Architecture, workload: Workload) -> Speed:
    """Speed of a workload on a platform; raises `CapacityError` if no group of chips holds it."""
    decode, prefill = decode_step(architecture, workload), prefill_step(architecture, workload)
    chips = chips_needed(platform, decode)
    decode_s = step_time(platform, decode, chips=chips)
    prefill_s = step_time(platform, prefill, chips=chips)

    def tokens_per_s(one_decode_s: float, one_prefill_s: float) -> float:
        batch, outputs = workload.batch, workload.output_tokens
        return batch * outputs / (batch * one_prefill_s + outputs * one_decode_s)

    return Speed(
        name=platform.name,
        chips=chips,
        power_w=platform.power_w,
        decode=decode_s,
        prefill=prefill_s,
        tokens_per_s=Range(
            low=tokens_per_s(decode_s.total_s.high, prefill_s.total_s.high),
            mid=tokens_per_s(decode_s.total_s.mid, prefill_s.total_s.mid),
            high=tokens_per_s(decode_s.total_s.low, prefill_s.total_s.low),
        ),
        figures=(*platform.figures, "capacity_share"),
    )


def speeds(
    chip: Chip, architecture: Architecture, workload: Workload, *, gpus: Iterable[str] = GPUS
) -> tuple[Speed, ...]:
    """Speed of a workload on a chip and on the GPUs beside it."""
    platforms = (platform_of(chip), *(gpu_platform(name) for name in gpus))
    return tuple(speed(platform, architecture, workload) for platform in platforms)
