"""The work of one step of a batch: operations and bytes in the workload's formats."""

from dataclasses import dataclass

from tapeout.errors import CapacityError
from tapeout.model import Architecture, kv_bytes_per_token, step_work, weight_bytes
from tapeout.perf.workload import Workload

ACTIVATION_BYTES = 2
"""Bytes of one activation between chips: collectives carry 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step of the whole batch computes, moves and keeps, over all chips together.

    Weights are streamed once a step; activations stay on the chip and move no bytes of memory.
    `resident_bytes` is what memory must hold: all weights, and `kv_resident_bytes` of KV.
    """

    workload: Workload
    matmul_flops: int
    attention_flops: int
    weight_bytes: float
    kv_bytes: float
    weight_resident_bytes: float
    kv_resident_bytes: float
    allreduces: int
    allreduce_bytes: float
    kv_heads: int


def decode_step(architecture: Architecture, workload: Workload) -> Step:
    """One token for each sequence of the batch, halfway through their outputs."""
    return _step(
        architecture,
        workload,
        sequences=workload.batch,
        new_tokens=1,
        context_tokens=workload.mean_context_tokens - 1,
    )


def prefill_step(architecture: Architecture, workload: Workload) -> Step:
    """The whole prompt of one sequence, with the logits of its last token."""
    return _step(
        architecture,
        workload,
        sequences=1,
        new_tokens=workload.prompt_tokens,
        context_tokens=0,
    )


def _step(
    architecture: Architecture,
    workload: Workload,
    *,
    sequences: int,
    new_tokens: int,
    context_tokens: int,
) -> Step:
    if workload.max_context_tokens > architecture.max_positions:
        raise CapacityError(
            f"prompt and output must be at most {architecture.max_positions} tokens"
            f" for {architecture.name}, not {workload.max_context_tokens}",
            where=f"workload {workload.name}",
        )
    one = step_work(architecture, new_tokens=new_tokens, context_tokens=context_tokens)
    weight_bits = workload.weight_format.bits_per_element
    kv_bits = workload.kv_format.bits_per_element
    rows = (sequences - 1) * new_tokens * architecture.hidden  # embedding rows of the others
    kv_elements = one.kv_elements_read + one.kv_elements_written
    return Step(
        workload=workload,
        matmul_flops=sequences * one.matmul_flops,
        attention_flops=sequences * one.attention_flops,
        weight_bytes=(one.weight_elements + rows) * weight_bits / 8,
        kv_bytes=sequences * kv_elements * kv_bits / 8,
        weight_resident_bytes=weight_bytes(architecture, weight_bits),
        kv_resident_bytes=workload.batch
        * workload.max_context_tokens
        * kv_bytes_per_token(architecture, kv_bits),
        allreduces=2 * architecture.layers,
        allreduce_bytes=sequences * new_tokens * architecture.hidden * ACTIVATION_BYTES,
        kv_heads=architecture.kv_heads,
    )
