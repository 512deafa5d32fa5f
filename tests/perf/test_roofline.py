"""Bounds: never faster than the peaks allow, monotone, within memory."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.chip import Chip
from tapeout.errors import CapacityError, ConfigError
from tapeout.model import Architecture, parameters
from tapeout.perf import (
    GPUS,
    Platform,
    Step,
    Workload,
    chips_needed,
    decode_step,
    gpu_platform,
    platform_of,
    prefill_step,
    step_time,
)

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
vast = {name: dataclasses.replace(gpu_platform(name), capacity_bytes=1e15) for name in GPUS}
platforms = st.sampled_from(GPUS).map(lambda name: vast[name])
groups = st.sampled_from([1, 2, 8, 32])
formats = st.sampled_from(["bf16", "fp8_e4m3", "mxfp8_e4m3", "mxfp4", "nvfp4"])
workloads = st.builds(
    Workload,
    name=st.just("any"),
    prompt_tokens=st.integers(1, 30_000),
    output_tokens=st.integers(1, 4000),
    batch=st.integers(1, 256),
    weights=formats,
    activations=formats,
    kv=formats,
    utilisation=st.just(1.0),
)


def both(llama: Architecture, workload: Workload) -> tuple[Step, Step]:
    return decode_step(llama, workload), prefill_step(llama, workload)


@shared
@given(platform=platforms, workload=workloads, chips=groups)
def test_no_prediction_beats_physics(
    llama: Architecture, platform: Platform, workload: Workload, chips: int
):
    fastest = platform.rates
    peak = max(fastest.wide_ops_per_s, fastest.float8_ops_per_s or 0, fastest.float4_ops_per_s or 0)
    for step in both(llama, workload):
        bound = step_time(platform, step, chips=chips)
        moved_bytes = step.weight_bytes + step.kv_bytes
        assert bound.total_s.low >= moved_bytes / (chips * platform.bytes_per_s) * (1 - 1e-12)
        flops = step.matmul_flops + step.attention_flops
        assert bound.total_s.low >= flops / (chips * peak) * (1 - 1e-12)
        assert bound.total_s.low >= bound.floor_s * (1 - 1e-12)
        assert bound.total_s.low <= bound.total_s.mid <= bound.total_s.high


@shared
@given(platform=platforms, workload=workloads, chips=groups, factor=st.floats(1, 4))
def test_a_better_machine_is_never_slower(
    llama: Architecture, platform: Platform, workload: Workload, chips: int, factor: float
):
    wide = platform.rates.wide_ops_per_s * factor
    better = [
        dataclasses.replace(platform, bytes_per_s=platform.bytes_per_s * factor),
        dataclasses.replace(platform, link_bytes_per_s=platform.link_bytes_per_s * factor),
        dataclasses.replace(platform, capacity_bytes=platform.capacity_bytes * factor),
        dataclasses.replace(
            platform, rates=dataclasses.replace(platform.rates, wide_ops_per_s=wide)
        ),
    ]
    for step in both(llama, workload):
        before = step_time(platform, step, chips=chips).total_s
        for machine in better:
            after = step_time(machine, step, chips=chips).total_s
            assert after.low <= before.low
            assert after.mid <= before.mid
            assert after.high <= before.high


@shared
@given(workload=workloads)
def test_more_work_is_never_faster(llama: Architecture, full: Chip, workload: Workload):
    machine = dataclasses.replace(platform_of(full), capacity_bytes=1e15)
    more = [
        dataclasses.replace(workload, batch=workload.batch + 1),
        dataclasses.replace(workload, prompt_tokens=workload.prompt_tokens + 1),
    ]
    before = step_time(machine, decode_step(llama, workload)).total_s.mid
    for larger in more:
        assert step_time(machine, decode_step(llama, larger)).total_s.mid >= before


def test_decode_of_llama_70b_by_hand(llama: Architecture, full: Chip, chat: Workload):
    """70.55 G weights less the embedding table, 64 sequences of 1280 tokens of 163,840 elements."""
    step = decode_step(llama, chat)
    weights = parameters(llama) - 128256 * 8192 + 64 * 8192
    assert step.weight_bytes == weights
    assert step.kv_bytes == 64 * 1280 * 163_840
    bound = step_time(platform_of(full), step)
    assert bound.memory_s.mid == pytest.approx((weights + step.kv_bytes) / 8e12 / 0.83)
    assert bound.total_s == bound.memory_s
    assert bound.binds == "memory"


def test_prefill_is_compute_bound(llama: Architecture, full: Chip, chat: Workload):
    step = prefill_step(llama, chat)
    bound = step_time(platform_of(full), step)
    flops = step.matmul_flops + step.attention_flops
    assert bound.binds == "compute"
    assert bound.total_s.mid == pytest.approx(flops / full.ops8_per_s / 0.75)


def test_two_chips_halve_the_work_and_pay_for_talking(llama: Architecture, chat: Workload):
    h200 = gpu_platform("h200")
    step = decode_step(llama, chat)
    one, two = step_time(h200, step), step_time(h200, step, chips=2)
    assert two.memory_s.mid == pytest.approx(one.memory_s.mid / 2)
    wire_s = 64 * 8192 * 2 / h200.link_bytes_per_s
    assert two.collective_s.mid == pytest.approx(160 * (h200.allreduce_s.mid + wire_s))
    assert two.total_s.mid == pytest.approx(two.memory_s.mid + two.collective_s.mid)
    assert one.collective_s.mid == 0


def test_kv_heads_are_not_split(llama: Architecture, chat: Workload):
    """Beyond 8 chips the KV of each is that of one head."""
    h100, step = gpu_platform("h100"), decode_step(llama, chat)
    kv_only = dataclasses.replace(step, weight_bytes=0.0)
    eight, sixteen = (step_time(h100, kv_only, chips=n).memory_s.mid for n in (8, 16))
    assert eight == sixteen


def test_a_model_that_does_not_fit_says_how_many_chips_hold_it(llama: Architecture, chat: Workload):
    h100, step = gpu_platform("h100"), decode_step(llama, chat)
    with pytest.raises(CapacityError, match=r"must fit 1 x 72 GB of h100") as caught:
        step_time(h100, step)
    assert "2 chips hold them" in caught.value.hint
    assert chips_needed(h100, step) == 2
    assert step_time(h100, step, chips=2).total_s.mid > 0


def test_a_cache_that_no_group_holds_is_refused(llama: Architecture, chat: Workload):
    crowd = dataclasses.replace(chat, batch=1 << 20)
    with pytest.raises(CapacityError, match="must fit 1024 x 72 GB of h100"):
        chips_needed(gpu_platform("h100"), decode_step(llama, crowd))


def test_a_context_beyond_the_model_is_refused(llama: Architecture, chat: Workload):
    with pytest.raises(CapacityError, match="at most 131072 tokens"):
        decode_step(llama, dataclasses.replace(chat, prompt_tokens=131_072))


def test_a_group_has_chips(llama: Architecture, chat: Workload):
    with pytest.raises(ConfigError, match=r"chips must be in 1\.\.1024, not 0"):
        step_time(gpu_platform("h100"), decode_step(llama, chat), chips=0)
