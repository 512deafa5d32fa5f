"""The closed forms against published figures, none of which they were made from."""

import pytest

from tapeout.model import Architecture
from tapeout.perf import Workload, decode_step, gpu_platform, prefill_step, step_time


def bf16(batch: int) -> Workload:
    return Workload(
        name="published",
        prompt_tokens=2048,
        output_tokens=256,
        batch=batch,
        weights="bf16",
        activations="bf16",
        kv="bf16",
        utilisation=1.0,
    )


@pytest.mark.parametrize(("batch", "published_s"), [(8, 0.0164), (32, 0.0195), (64, 0.0225)])
def test_decode_of_llama_70b_on_four_h100(llama: Architecture, batch: int, published_s: float):
    """AIConfigurator 0.12.0, TensorRT-LLM database: 4 x H100, BF16, context 2048 to 2304."""
    total = step_time(gpu_platform("h100"), decode_step(llama, bf16(batch)), chips=4).total_s
    assert total.low < published_s < total.high
    assert total.mid == pytest.approx(published_s, rel=0.15)


@pytest.mark.parametrize(
    ("gpu", "chips", "published_s"),
    [
        ("h100", 4, 0.138),  # AIConfigurator 0.12.0, TensorRT-LLM database
        ("b200", 4, 0.077),  # the same
        ("a100", 8, 0.2351),  # measured, TensorRT-LLM v0.8 performance overview, FP16
    ],
)
def test_prefill_of_2048_tokens(llama: Architecture, gpu: str, chips: int, published_s: float):
    """Mid is 28 % below the measured A100 point: kernels are not all of a prefill."""
    total = step_time(gpu_platform(gpu), prefill_step(llama, bf16(1)), chips=chips).total_s
    assert total.mid == pytest.approx(published_s, rel=0.35)
    assert total.low < published_s
