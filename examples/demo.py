"""The whole path once: text under a critic, bits per byte, step times, dollars, a report, RTL.

Every number comes from the same functions that the commands call: see docs/tour.md.
"""

import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tapeout.chip import Chip, load_chip
from tapeout.compiler import RECIPES
from tapeout.cost import TokenReport, die_report, token_report
from tapeout.errors import TapeoutError, ToolMissingError
from tapeout.facts import fact
from tapeout.model import load_architecture, load_model, load_tokenizer
from tapeout.numerics import format_named
from tapeout.perf import load_workload, speeds
from tapeout.report import (
    Critique,
    FormatQuality,
    Quality,
    Results,
    Span,
    Written,
    price_items,
    report_page,
    write_results,
    write_whole,
)
from tapeout.report.markup import printable
from tapeout.runtime import (
    CheckedEvent,
    Critic,
    Device,
    Finished,
    Held,
    Released,
    Request,
    Sampling,
    Verdict,
    audit,
    critique,
    generate,
    load_constitution,
    open_device,
)
from tapeout.runtime.machines import Place
from tapeout.runtime.quality import quality, windows_of
from tapeout.units import si

ROOT = Path(__file__).parents[1]
DRAFT, CRITIC = ROOT / "models/draft", ROOT / "models/critic"
PRICED = ROOT / "models/llama-3.1-70b"
OUT = Path("out")
RECIPE = "mxfp8_e4m3"
MAX_TOKENS, CONTEXT = 96, 512
WINDOWS, WINDOW_TOKENS = 8, 256
# Seed 3 is chosen of three: its texts are released, revised or withheld. It is no statistic.
SAMPLING = Sampling(temperature=0.8, seed=3)
RTL_PROMPT, RTL_TOKENS, RTL_CONTEXT = "The river", 8, 64


def main() -> None:
    """Print each part as it is made; leave out/demo.json and out/report.html."""
    start_s = time.perf_counter()
    print("Text under a critic, bits per byte, step times, dollars, a report; then the RTL.")
    small, mid = load_chip(ROOT / "chips/small.toml"), load_chip(ROOT / "chips/mid.toml")
    written = texts(small)
    measured = qualities(mid)
    results = prices(written, measured, small)
    write_results(OUT / "demo.json", results)
    write_whole(OUT / "report.html", report_page(results))
    elapsed_s = time.perf_counter() - start_s
    print(f"\nReport: {(OUT / 'report.html').resolve()}  ({elapsed_s:.0f} s so far)")
    silicon(load_chip(ROOT / "chips/nano.toml"))


def texts(chip: Chip) -> Critique:
    """Let the draft go on from each prompt; nothing is shown that the critic has not cleared."""
    head(f"Text: {DRAFT.name} on chip {chip.name} in {RECIPE}, read along by {CRITIC.name}")
    constitution = load_constitution(ROOT / "constitutions/default.toml")
    rules = {p.id: f"{p.sentence} Held from {p.threshold:g}." for p in constitution.principle}
    for name, rule in rules.items():
        print(f"{name}: {rule}")
    print("[0.02] is a verdict: the worst score of the tokens before it. A critic can miss.")
    recipe = RECIPES[RECIPE]
    draft = open_device(DRAFT, chip, recipe, sequences=1, context_tokens=CONTEXT)
    reader = open_device(CRITIC, chip, recipe, sequences=1, context_tokens=CONTEXT)
    critic = Critic(reader, constitution)
    prompts = tomllib.loads((ROOT / "studies/train/prompts.toml").read_text())["prompt"]
    found = Critique(
        draft=DRAFT.name,
        critic=CRITIC.name,
        recipe=RECIPE,
        principles=rules,
        texts=tuple(text(draft, critic, p["name"], p["text"].lstrip("\n")) for p in prompts),
    )
    print(f"\nAll texts: {found.held_tokens} tokens held, {found.leaked_tokens} tokens leaked.")
    return found


def text(draft: Device, critic: Critic, name: str, prompt: str) -> Written:
    """One prompt, streamed to the screen span by span."""
    print(f"\n--- {name}\n{dim(printable(prompt))}", end="", flush=True)
    tokenizer = load_tokenizer(DRAFT)
    request = Request(
        name=name,
        prompt=tuple(tokenizer.encode(prompt)),
        max_tokens=MAX_TOKENS,
        sampling=SAMPLING,
        stop_ids=draft.build.architecture.eos_ids,
    )
    start_s = time.perf_counter()
    events: list[CheckedEvent] = []
    spans: list[Span] = []
    for event in critique(draft, critic, request, tokenizer):
        events.append(event)
        for span in judged(events):
            spans.append(span)
            show(span)
    last = events[-1]
    assert isinstance(last, Finished)
    if last.text and spans:
        print(printable(last.text), end="")
        spans[-1] = replace(spans[-1], text=(spans[-1].text or "") + last.text)
    counts = audit(events, critic.constitution)
    speed = counts.drafted_tokens / (time.perf_counter() - start_s)
    print(
        f"\n--- {counts.released_tokens} tokens released, {counts.held_tokens} held,"
        f" {counts.leaked_tokens} leaked, {counts.exposed_tokens} on lines held later;"
        f" {last.reason}; {speed:.0f} tokens/s drafted"
    )
    return Written(name=name, prompt=prompt, spans=tuple(spans), audit=counts, reason=last.reason)


def judged(events: list[CheckedEvent]) -> Iterator[Span]:
    """The span that the last event released or held, with the verdict before it."""
    match events[-1]:
        case Released() as out:
            verdict = events[-2]
            assert isinstance(verdict, Verdict)
            principle, score = verdict.worst
            yield Span(
                tokens=len(out.tokens), principle=principle, score=score, attempt=0, text=out.text
            )
        case Held() as kept:
            yield Span(
                tokens=kept.tokens,
                principle=kept.principle,
                score=kept.score,
                attempt=kept.attempt,
                text=None,
            )
        case _:
            return


def show(span: Span) -> None:
    """A span's text with its verdict behind it, before the end of its line."""
    if span.text is None:
        print(red(f"[held: {span.tokens} tokens, {span.principle} {span.score:.2f}]"), end="")
    else:
        body = span.text.rstrip("\n")
        end = "\n" * (len(span.text) - len(body))
        print(printable(body) + dim(f"[{span.score:.2f}]"), end=end)
    sys.stdout.flush()


def qualities(chip: Chip) -> Quality:
    """Bits per byte of the draft: the reference decoder in FP32, then each format on the chip."""
    head(f"Quality: bits per byte of {DRAFT.name}; the bits are the same on every chip")
    model, tokenizer = load_model(DRAFT), load_tokenizer(DRAFT)
    held_out = (ROOT / "workloads/heldout.txt").read_text(encoding="utf-8")
    windows = windows_of(held_out, tokenizer, windows=WINDOWS, window_tokens=WINDOW_TOKENS)
    reference, *found = quality(model, chip, tuple(RECIPES.values()), windows)
    base = reference.bits_per_byte
    print(f"{'reference, FP32':16}          {base:.4f}   over {reference.bytes} bytes")
    formats = tuple(
        FormatQuality(
            recipe=one.format,
            weight_bits=format_named(RECIPES[one.format].weights).bits_per_element,
            bits_per_byte=one.bits_per_byte,
        )
        for one in found
    )
    for one in formats:
        more = f"{one.bits_per_byte / base - 1:+.2%}"
        print(f"{one.recipe:16} {one.weight_bits:5.3g} bits {one.bits_per_byte:.4f}  {more:>7}")
    return Quality(
        model=DRAFT.name,
        text="text that it was not trained on (workloads/heldout.txt)",
        measured_bytes=reference.bytes,
        reference_bits_per_byte=base,
        formats=formats,
    )


def prices(written: Critique, measured: Quality, chip: Chip) -> Results:
    """Step times and prices of the product beside GPUs, and everything as results."""
    product = load_chip(ROOT / "chips/full.toml")
    workload = load_workload(ROOT / "workloads/chat.toml")
    architecture = load_architecture(PRICED)
    found = speeds(product, architecture, workload)
    tokens = token_report(product, found, utilisation=workload.utilisation, traffic=workload.text)
    head(f"Time and dollars: {PRICED.name} on chip {product.name} and on GPUs, closed forms")
    price_table(tokens)
    die = die_report(product)
    return Results(
        command="make demo",
        chip=chip,
        critique=written,
        quality=measured,
        product=product,
        model=PRICED.name,
        speeds=found,
        die=die,
        tokens=tokens,
        usd_per_mtoken=price_items(product, die, found[0], utilisation=workload.utilisation),
        figures={name: fact(name) for name in dict.fromkeys((*die.figures, *tokens.figures))},
    )


def price_table(tokens: TokenReport) -> None:
    """A line for each platform: the decode step, and what a million output tokens cost."""
    print(f"{tokens.traffic}\n")
    print(f"{'platform':16} {'chips':>5}  {'decode step':30}  USD per million output tokens")
    for row in tokens.rows:
        step, usd = row.step_s, row.usd_per_mtoken
        times = f"{si(step.mid, 's')} [{si(step.low, 's')} to {si(step.high, 's')}]"
        price = f"{usd.mid:.3g} [{usd.low:.3g} to {usd.high:.3g}]"
        print(f"{f'{row.platform} ({row.basis})':16} {row.chips:5}  {times:30}  {price}")
    print("\nmiddle [low to high]; every figure's source is in the report and in docs/figures.md")


def silicon(chip: Chip) -> None:
    """The same tokens twice: from the simulator, and from the chip's own hardware."""
    head(f"Silicon: {DRAFT.name} on the RTL of chip {chip.name}, beside the simulator")
    expected, _, _ = first_tokens(chip, "sim")
    note = "making and compiling the chip's RTL: some minutes the first time, then kept"
    try:
        with Console(stderr=True).status(note):
            got, cycles, seconds = first_tokens(chip, "rtl")
    except ToolMissingError as error:
        print(f"left out: {error}")
        return
    print(f"prompt     {RTL_PROMPT!r}\nsimulator  {expected!r}\nRTL        {got!r}")
    if got != expected:
        raise SystemExit("error: the RTL must give the simulator's tokens")
    print(
        f"{RTL_TOKENS} tokens, the same; {cycles:,} cycles, simulated at"
        f" {cycles / seconds / 1e3:.0f} kHz; at {chip.clock_hz / 1e9:g} GHz"
        f" {si(cycles / RTL_TOKENS / chip.clock_hz, 's')} a token, the prompt included"
    )


def first_tokens(chip: Chip, place: Place) -> tuple[str, int, float]:
    """Text, cycles of the hardware (0 in the simulator), and seconds that it ran."""
    device = open_device(
        DRAFT, chip, RECIPES[RECIPE], sequences=1, context_tokens=RTL_CONTEXT, place=place
    )
    tokenizer = load_tokenizer(DRAFT)
    request = Request(
        name="rtl",
        prompt=tuple(tokenizer.encode(RTL_PROMPT)),
        max_tokens=RTL_TOKENS,
        sampling=SAMPLING,
    )
    start_s = time.perf_counter()
    text = "".join(event.text for event in generate(device, [request], tokenizer))
    return text, device.cycles, time.perf_counter() - start_s


def head(title: str) -> None:
    """A part's title."""
    print(f"\n=== {title}", flush=True)


def dim(words: str) -> str:
    """Words in the background of a terminal."""
    return f"\x1b[2m{words}\x1b[0m" if sys.stdout.isatty() else words


def red(words: str) -> str:
    """Words that stand out on a terminal."""
    return f"\x1b[31m{words}\x1b[0m" if sys.stdout.isatty() else words


if __name__ == "__main__":
    try:
        main()
    except TapeoutError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
