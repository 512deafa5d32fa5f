"""The sections on quality, time and bytes."""

from xml.etree.ElementTree import Element

from tapeout.facts import Range
from tapeout.perf import Bound, Speed
from tapeout.report.charts import Bar, bar_chart
from tapeout.report.markup import element
from tapeout.report.results import Quality, Results
from tapeout.units import si

TERMS = ("compute", "memory", "collectives")


def quality_section(quality: Quality) -> list[Element]:
    """Bits per byte of the model in each format beside FP32."""
    reference = quality.reference_bits_per_byte
    bars = [
        Bar(
            label=f"{one.recipe} ({one.weight_bits:g} bits)",
            parts=(one.bits_per_byte,),
            value=f"{one.bits_per_byte:.4f}  ({one.bits_per_byte - reference:+.4f})",
        )
        for one in quality.formats
    ]
    return [
        element("h2", "Quality by format"),
        element(
            "p",
            f"Bits per byte of {quality.model} on {quality.measured_bytes:,} bytes of"
            f" {quality.text}; less is better. The dashed line is the reference decoder in FP32:"
            f" {reference:.4f}. Bits are those of one weight with its share of the scale.",
        ),
        element("figure", bar_chart("Bits per byte by format", bars, rule=reference)),
    ]


def time_section(results: Results) -> list[Element]:
    """A decode step by its terms, on the chip and on GPUs."""
    bars = [bar for speed in results.speeds for bar in _time_bars(speed)]
    chart = bar_chart("Time of a decode step", bars, parts=("total", *TERMS))
    return [
        element("h2", "Where time goes"),
        element(
            "p",
            f"A decode step of {results.model}, {results.tokens.traffic}. Compute and memory"
            " overlap; collectives overlap with nothing. Bars are middle values, lines the range.",
        ),
        element("figure", chart),
    ]


def _time_bars(speed: Speed) -> list[Bar]:
    step = speed.decode
    many = f"{speed.chips} x {speed.name}" if speed.chips > 1 else speed.name
    total = Bar(
        label=many,
        parts=(1e3 * step.total_s.mid,),
        value=f"{si(step.total_s.mid, 's')}, bound by {step.binds}",
        range=_milliseconds(step.total_s),
    )
    terms = [
        Bar(label=name, parts=(0.0,) * i + (1e3 * one.mid,), value=si(one.mid, "s"), minor=True)
        for i, (name, one) in enumerate(zip(TERMS, _terms(step), strict=True), 1)
        if one.mid
    ]
    return [total, *terms]


def _terms(step: Bound) -> tuple[Range, Range, Range]:
    return step.compute_s, step.memory_s, step.collective_s


def _milliseconds(r: Range) -> Range:
    return Range(low=1e3 * r.low, mid=1e3 * r.mid, high=1e3 * r.high)


def bytes_section(results: Results) -> list[Element]:
    """What a step of the product moves to and from memory."""
    steps = {"decode step": results.speeds[0].decode, "prefill": results.speeds[0].prefill}
    bars = [
        Bar(
            label=name,
            parts=(step.weight_bytes / 1e9, step.kv_bytes / 1e9),
            value=f"{si(step.weight_bytes, 'B')} + {si(step.kv_bytes, 'B')}",
        )
        for name, step in steps.items()
    ]
    return [
        element("h2", "Where bytes go"),
        element(
            "p",
            f"Bytes between memory and {results.product.name} for one decode step of the batch, and"
            " for the prefill of one prompt. Weights are read once a step; activations stay on the"
            " chip and move no bytes of memory.",
        ),
        element("figure", bar_chart("Bytes of a step", bars, parts=("weights", "KV"))),
    ]
