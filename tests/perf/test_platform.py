"""Platforms: peaks of figures and chip files, and the rate of a pair of formats."""

import dataclasses

import pytest

from tapeout.chip import Chip
from tapeout.errors import ConfigError
from tapeout.facts import fact
from tapeout.numerics import format_named
from tapeout.perf import GPUS, gpu_platform, platform_of


@pytest.mark.parametrize("name", GPUS)
def test_gpus_are_their_figures(name: str):
    platform = gpu_platform(name)
    assert platform.bytes_per_s == fact(f"{name}_bytes_per_s").value
    assert 0 < platform.memory_share.low <= platform.memory_share.high <= 1
    assert 0 < platform.compute_share.low <= platform.compute_share.high <= 1
    assert set(platform.figures) >= {f"{name}_memory_share", f"{name}_allreduce_s"}
    assert not any("usd" in figure for figure in platform.figures)


def rate(platform: str, a: str, b: str) -> float:
    return gpu_platform(platform).rates.of(format_named(a), format_named(b)) / 1e12


def test_a_missing_format_runs_at_the_next_wider_rate():
    assert rate("a100", "fp8_e4m3", "fp8_e4m3") == 312  # no FP8 on A100: 16 bits
    assert rate("a100", "int8", "int4_g32") == 624
    assert rate("h100", "mxfp4", "mxfp4") == 1979
    assert rate("h100", "mxfp6_e2m3", "mxfp4") == 1979
    assert rate("b200", "nvfp4", "nvfp4") == 9000
    assert rate("b200", "nvfp4", "mxfp8_e4m3") == 4500
    assert rate("b200", "bf16", "nvfp4") == 2250


def test_a_chip_file_is_a_platform(full: Chip):
    platform = platform_of(full)
    e4m3, mxfp4, bf16 = (format_named(n) for n in ("fp8_e4m3", "mxfp4", "bf16"))
    assert platform.rates.of(e4m3, e4m3) == full.ops8_per_s
    assert platform.rates.of(mxfp4, mxfp4) == full.ops4_per_s
    assert platform.rates.of(bf16, bf16) == 2 * 16 * 128 * 1.2e9
    assert platform.memory_share.high == full.hbm.efficiency


def test_a_chip_never_beats_its_own_efficiency(full: Chip):
    hbm = dataclasses.replace(full.hbm, efficiency=0.4)
    share = platform_of(dataclasses.replace(full, hbm=hbm)).memory_share
    assert (share.low, share.mid, share.high) == (0.4, 0.4, 0.4)


def test_an_unknown_gpu_is_refused():
    with pytest.raises(ConfigError, match="there is no figure"):
        gpu_platform("h1000")
