"""A workload: the lengths, the batch and the formats of the requests that are priced."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from tapeout import config
from tapeout.errors import ConfigError
from tapeout.numerics import Format, format_named

Count = Annotated[int, Meta(gt=0, le=1 << 24)]
Share = Annotated[float, Meta(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests of one shape, served `batch` at a time by one group of chips.

    `weights`, `activations` and `kv` are names of number formats; `utilisation` is the share of the
    paid hours in which the chips serve at that batch.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
    prompt_tokens: Count
    output_tokens: Count
    batch: Count
    weights: str
    activations: str
    kv: str
    utilisation: Share

    def __post_init__(self) -> None:
        try:
            families = {self.activation_format.family, self.weight_format.family}
            families.add(self.kv_format.family)
        except ConfigError as error:
            raise ValueError(error.problem) from error
        if families >= {"int", "float"}:
            raise ValueError(
                "weights, activations and kv must not mix integer and floating-point formats,"
                f" not {self.weights}, {self.activations} and {self.kv}"
            )

    @property
    def weight_format(self) -> Format:
        """The format of the weights in memory."""
        return format_named(self.weights)

    @property
    def activation_format(self) -> Format:
        """The format of the other operand of every matrix product."""
        return format_named(self.activations)

    @property
    def kv_format(self) -> Format:
        """The format of the keys and values in memory."""
        return format_named(self.kv)

    @property
    def mean_context_tokens(self) -> int:
        """Tokens in a sequence's cache halfway through its output: the step that is timed."""
        return self.prompt_tokens + self.output_tokens // 2

    @property
    def max_context_tokens(self) -> int:
        """Tokens in a sequence's cache at the end: what memory must hold."""
        return self.prompt_tokens + self.output_tokens

    @property
    def text(self) -> str:
        """The workload in a line: what a price of its tokens must be read with."""
        return (
            f"{self.name}: {self.prompt_tokens} prompt and {self.output_tokens} output tokens,"
            f" batch {self.batch}, {self.weights} weights, {self.activations} activations,"
            f" {self.kv} KV, utilisation {self.utilisation:g}"
        )


def load_workload(path: Path) -> Workload:
    """Read and check a workload file; raises `ConfigError`."""
    return config.load(path, Workload)
