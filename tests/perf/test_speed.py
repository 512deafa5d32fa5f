"""Speed of a workload: prefill and decode together."""

import dataclasses

import pytest

from tapeout.chip import Chip
from tapeout.model import Architecture
from tapeout.perf import Workload, gpu_platform, speed, speeds


def test_tokens_per_second_by_hand(llama: Architecture, chat: Workload):
    found = speed(gpu_platform("h200"), llama, chat)
    decode_s, prefill_s = found.decode.total_s, found.prefill.total_s
    tokens, busy_s = 64 * 512, 64 * prefill_s.mid + 512 * decode_s.mid
    assert found.tokens_per_s.mid == pytest.approx(tokens / busy_s)
    assert found.tokens_per_s.low < found.tokens_per_s.mid < found.tokens_per_s.high


def test_long_outputs_approach_the_rate_of_decode(llama: Architecture, chat: Workload):
    long = dataclasses.replace(chat, prompt_tokens=1, output_tokens=4000)
    found = speed(gpu_platform("h200"), llama, long)
    assert found.tokens_per_s.mid == pytest.approx(64 / found.decode.total_s.mid, rel=0.05)


def test_the_chip_comes_first(llama: Architecture, chat: Workload, full: Chip):
    found = speeds(full, llama, chat)
    assert [(one.name, one.chips) for one in found] == [
        ("full", 1),
        ("a100", 2),
        ("h100", 2),
        ("h200", 1),
        ("b200", 1),
    ]
    assert all("capacity_share" in one.figures for one in found)
