"""How long a step takes on any platform: closed forms, each a bound and a range.

In:  an Architecture, a Workload, a Chip or the figures of a GPU.
Out: `Platform`s, a `Bound` for each step, and the `Speed` at which a platform serves a workload.
"""

from tapeout.perf.platform import GPUS, Platform, Rates, gpu_platform, platform_of
from tapeout.perf.roofline import Bound, chips_needed, step_time
from tapeout.perf.speed import Speed, speed, speeds
from tapeout.perf.step import Step, decode_step, prefill_step
from tapeout.perf.workload import Workload, load_workload

__all__ = [
    "GPUS",
    "Bound",
    "Platform",
    "Rates",
    "Speed",
    "Step",
    "Workload",
    "chips_needed",
    "decode_step",
    "gpu_platform",
    "load_workload",
    "platform_of",
    "prefill_step",
    "speed",
    "speeds",
    "step_time",
]
