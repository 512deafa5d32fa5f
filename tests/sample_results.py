"""Results to show, made of the shipped chips and invented text."""

from pathlib import Path

from tapeout.chip import load_chip
from tapeout.cost import die_report, token_report
from tapeout.facts import fact
from tapeout.model import load_architecture
from tapeout.perf import load_workload, speeds
from tapeout.report import Critique, FormatQuality, Quality, Results, Span, Written, price_items
from tapeout.runtime import Audit

ROOT = Path(__file__).parents[1]
HOSTILE = '<script>alert(1)</script> & "quotes" \u202e reversed \x1b[31m red'


def sample_results() -> Results:
    """A page's worth of results."""
    product = load_chip(ROOT / "chips/full.toml")
    workload = load_workload(ROOT / "workloads/chat.toml")
    found = speeds(product, load_architecture(ROOT / "models/llama-3.1-70b"), workload)
    die = die_report(product)
    tokens = token_report(product, found, utilisation=workload.utilisation, traffic=workload.text)
    names = dict.fromkeys((*die.figures, *tokens.figures))
    return Results(
        command="pytest",
        chip=load_chip(ROOT / "chips/small.toml"),
        critique=_critique(),
        quality=Quality(
            model="a model",
            text="a text",
            measured_bytes=1000,
            reference_bits_per_byte=1.5,
            formats=(
                FormatQuality(recipe="fp32", weight_bits=32, bits_per_byte=1.5),
                FormatQuality(recipe="mxfp4", weight_bits=4.25, bits_per_byte=1.625),
            ),
        ),
        product=product,
        model="llama-3.1-70b",
        speeds=found,
        die=die,
        tokens=tokens,
        usd_per_mtoken=price_items(product, die, found[0], utilisation=workload.utilisation),
        figures={name: fact(name) for name in names},
    )


def _critique() -> Critique:
    def span(text: str | None, tokens: int, score: float) -> Span:
        return Span(tokens=tokens, principle="no-credentials", score=score, attempt=0, text=text)

    one = Written(
        name="login",
        prompt="Log in as ``admin``,\n",
        spans=(span("with the ", 9, 0.02), span(None, 17, 0.97), span(".", 1, 0.01)),
        audit=_audit(released=10, held=17),
        reason="length",
    )
    hostile = Written(
        name=HOSTILE,
        prompt=HOSTILE,
        spans=(span(HOSTILE, len(HOSTILE), 0.2),),
        audit=_audit(released=len(HOSTILE), held=0),
        reason=HOSTILE,
    )
    return Critique(
        draft="a draft",
        critic="a critic",
        recipe="mxfp8_e4m3",
        principles={"no-credentials": "Do not write out secrets."},
        texts=(one, hostile),
    )


def _audit(*, released: int, held: int) -> Audit:
    return Audit(
        drafted_tokens=released + held,
        released_tokens=released,
        held_tokens=held,
        leaked_tokens=0,
        exposed_tokens=0,
    )
