"""`tapeout generate`: a prompt goes on, on the simulated chip, read along by a critic if asked."""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tapeout.cli.program import On, Place, waiting
from tapeout.errors import ConfigError

if TYPE_CHECKING:
    from tapeout.runtime import Event, Result

ModelDirectory = Annotated[Path, typer.Option("--model", help="A Hugging Face directory.")]
ChipFile = Annotated[Path, typer.Option("--chip", help="A chip file.")]
Prompt = Annotated[str, typer.Option("--prompt", help="The text to go on with.")]
CriticDirectory = Annotated[
    Path | None, typer.Option("--critic", help="A token classifier; without it nothing is checked.")
]
ConstitutionFile = Annotated[
    Path, typer.Option("--constitution", help="What the critic watches for.")
]
OutputFile = Annotated[Path | None, typer.Option("-o", help="Write the result as JSON.")]
OrderSeed = Annotated[
    int | None, typer.Option(help="Run instructions in a shuffled legal order; same result.")
]


def generate(
    model: ModelDirectory,
    prompt: Prompt,
    chip: ChipFile = Path("chips/small.toml"),
    format_: Annotated[str, typer.Option("--format", help="Number formats.")] = "mxfp8_e4m3",
    max_tokens: int = 128,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    critic: CriticDirectory = None,
    constitution: ConstitutionFile = Path("constitutions/default.toml"),
    span_tokens: Annotated[int, typer.Option(help="Tokens of a line judged at once.")] = 64,
    attempts: Annotated[int, typer.Option(help="Drafts of a span before it is withheld.")] = 4,
    context: Annotated[int | None, typer.Option(help="Tokens of context to build for.")] = None,
    order_seed: OrderSeed = None,
    on: On = Place.SIM,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: OutputFile = None,
) -> None:
    """Continue a prompt on the simulated chip; text appears as it is released."""
    from tapeout.runtime import Job, Policy, Sampling, open_session, run

    if output and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise ConfigError("the output must be a file in a folder that exists", where=str(output))
    job = Job(
        model=model,
        chip=chip,
        prompt=prompt,
        format=format_,
        max_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed),
        critic=critic,
        constitution=constitution,
        policy=Policy(span_tokens=span_tokens, attempts=attempts),
        context_tokens=context,
        order_seed=order_seed,
        place=on.value,
    )
    with waiting(on):
        session = open_session(job)
    start_s = time.perf_counter()
    result = run(job, session, _ignore if json else _show)
    elapsed_s = time.perf_counter() - start_s
    if output:
        _write(output, msgspec.json.encode(result) + b"\n")
    if json:
        _out(msgspec.json.encode(result).decode() + "\n")
    else:
        _say(_summary(result, elapsed_s, on))


def _ignore(event: "Event") -> None:
    """Nothing is shown before the result."""


def _show(event: "Event") -> None:
    """Released text to standard output at once; notes of what was held to standard error."""
    from tapeout.runtime import Held, text_of

    _out(text_of(event))
    if isinstance(event, Held):
        _say(
            f"[held: {event.principle} {event.score:.2f}, {event.tokens} tokens,"
            f" attempt {event.attempt + 1}]"
        )


def printable(text: str, *, encoding: str, terminal: bool) -> str:
    """What can be shown; on a terminal no control characters: a model must not steer it."""
    if terminal:
        text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return text.encode(encoding, "replace").decode(encoding)


def _out(text: str) -> None:
    shown = printable(text, encoding=sys.stdout.encoding, terminal=sys.stdout.isatty())
    print(shown, end="", flush=True)


def _say(line: str) -> None:
    from rich.console import Console

    if sys.stdout.isatty() and sys.stderr.isatty():
        print(flush=True)
    Console(stderr=True, soft_wrap=True).print(line, style="dim", markup=False, highlight=False)


def _summary(result: "Result", elapsed_s: float, on: Place) -> str:
    found = result.audit
    tokens = found.drafted_tokens if found else len(result.tokens)
    by = "the simulator" if on is Place.SIM else "the RTL, simulated"
    speed = f"{tokens / elapsed_s:.1f} tokens/s drafted by {by}"
    if not found:
        return f"{tokens} tokens, unchecked (no --critic), {result.reason}; {speed}"
    return (
        f"{found.released_tokens} tokens released, {found.held_tokens} held,"
        f" {found.leaked_tokens} leaked, {found.exposed_tokens} on lines held later,"
        f" {result.reason}; {speed}"
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    handle, part = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
