"""What a machine can do at most, and how much of that is reached: GPUs and chips of ours."""

from dataclasses import dataclass

from tapeout.chip import Chip
from tapeout.facts import Range, fact, facts
from tapeout.numerics import Format

GPUS = ("a100", "h100", "h200", "b200")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Peak operations per second by family and width; a multiply-add counts as two.

    A format without a rate of its own runs at that of the next wider one, at last at 16 bits.
    """

    wide_ops_per_s: float
    float8_ops_per_s: float | None = None
    float4_ops_per_s: float | None = None
    int8_ops_per_s: float | None = None
    int4_ops_per_s: float | None = None

    def of(self, a: Format, b: Format) -> float:
        """Peak rate of products of `a` and `b`: that of the wider of the two."""
        bits = max(a.element_bits, b.element_bits)
        family = a.family if a.family == b.family else "wide"
        if family == "wide":
            return self.wide_ops_per_s
        floats = (self.float4_ops_per_s, self.float8_ops_per_s)
        narrow, byte = floats if family == "float" else (self.int4_ops_per_s, self.int8_ops_per_s)
        choices = (narrow, byte) if bits <= 4 else (byte,)
        return next((rate for rate in choices if rate is not None), self.wide_ops_per_s)


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Peaks of one chip, and the range of the share of them that steps reach.

    `allreduce_s` is the time of a short all-reduce among the chips of one group, the bytes at
    `link_bytes_per_s` come on top. `figures` names the facts behind the numbers.
    """

    name: str
    rates: Rates
    bytes_per_s: float
    memory_share: Range
    compute_share: Range
    capacity_bytes: float
    power_w: float
    allreduce_s: Range
    link_bytes_per_s: float
    figures: tuple[str, ...]


def gpu_platform(name: str) -> Platform:
    """Return one of `GPUS` from its figures.

    Raises:
        ConfigError: if a figure of that name is missing.
    """

    def value(field: str) -> float:
        return fact(f"{name}_{field}").value

    def rate(kind: str) -> float | None:
        key = f"{name}_{kind}_ops_per_s"
        return fact(key).value if key in facts() else None

    return Platform(
        name=name,
        rates=Rates(
            wide_ops_per_s=value("float16_ops_per_s"),
            float8_ops_per_s=rate("float8"),
            float4_ops_per_s=rate("float4"),
            int8_ops_per_s=rate("int8"),
        ),
        bytes_per_s=value("bytes_per_s"),
        memory_share=fact(f"{name}_memory_share").range,
        compute_share=fact(f"{name}_compute_share").range,
        capacity_bytes=value("capacity_bytes"),
        power_w=value("power_w"),
        allreduce_s=fact(f"{name}_allreduce_s").range,
        link_bytes_per_s=value("link_bytes_per_s"),
        figures=tuple(key for key in facts() if key.startswith(f"{name}_") and "_usd_" not in key),
    )


def platform_of(chip: Chip) -> Platform:
    """Return a chip file as a platform; its BF16 products run on the vector unit."""
    share = fact("chip_memory_share").range
    cap = chip.hbm.efficiency
    shares = (min(share.low, cap), min(share.mid, cap), min(share.high, cap))
    ours = ("memory_share", "compute_share", "allreduce_s", "link_bytes_per_s")
    return Platform(
        name=chip.name,
        rates=Rates(
            wide_ops_per_s=2 * chip.cores * chip.vector.lanes * chip.clock_hz,
            float8_ops_per_s=chip.ops8_per_s,
            float4_ops_per_s=chip.ops4_per_s,
            int8_ops_per_s=chip.ops8_per_s,
            int4_ops_per_s=chip.ops4_per_s,
        ),
        bytes_per_s=chip.hbm.bytes_per_s,
        memory_share=Range(low=shares[0], mid=shares[1], high=shares[2]),
        compute_share=fact("chip_compute_share").range,
        capacity_bytes=chip.hbm.capacity_bytes,
        power_w=chip.process.power_w,
        allreduce_s=fact("chip_allreduce_s").range,
        link_bytes_per_s=fact("chip_link_bytes_per_s").value,
        figures=tuple(f"chip_{name}" for name in ours),
    )
