"""One prompt from files to checked text: open what a job names, run it, sum it up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tapeout.chip import Chip, load_chip
from tapeout.compiler import Recipe, build, recipe_named, verify
from tapeout.errors import CapacityError, ConfigError
from tapeout.model import Tokenizer, load_architecture, load_model, load_tokenizer
from tapeout.runtime.audit import Audit, audit
from tapeout.runtime.constitution import load_constitution
from tapeout.runtime.critic import Critic
from tapeout.runtime.critique import DEFAULT_POLICY, CheckedEvent, Finished, Held, Policy, critique
from tapeout.runtime.device import GREEDY, Device, Sampling
from tapeout.runtime.engine import Ended, Request, Token, check_request, generate
from tapeout.runtime.hold import Released
from tapeout.runtime.machines import Place
from tapeout.runtime.verdict import Verdict

Event: TypeAlias = CheckedEvent | Token | Ended


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: without a critic what comes out is unchecked.

    `context_tokens` is by default what prompt and answer need.
    """

    model: Path
    chip: Path
    prompt: str
    format: str = "mxfp8_e4m3"
    max_tokens: int = 128
    sampling: Sampling = GREEDY
    critic: Path | None = None
    constitution: Path = Path("constitutions/default.toml")
    policy: Policy = DEFAULT_POLICY
    context_tokens: int | None = None
    order_seed: int | None = None
    place: Place = "sim"


@dataclass(frozen=True, kw_only=True)
class Session:
    """A job whose models are loaded on the chip."""

    draft: Device
    critic: Critic | None
    tokenizer: Tokenizer
    request: Request
    policy: Policy

    def events(self) -> Iterator[Event]:
        """Run the job."""
        if self.critic is None:
            return generate(self.draft, [self.request], self.tokenizer)
        return critique(self.draft, self.critic, self.request, self.tokenizer, policy=self.policy)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a job; `audit` and `held` only if a critic read along."""

    chip: str
    model: str
    format: str
    prompt: str
    text: str
    tokens: tuple[int, ...]
    reason: Literal["stop", "length", "withheld"]
    held: tuple[Held, ...]
    audit: Audit | None


def open_device(
    directory: Path,
    chip: Chip,
    recipe: Recipe,
    *,
    sequences: int,
    context_tokens: int,
    chunk_tokens: int | None = None,
    order_seed: int | None = None,
    place: Place = "sim",
) -> Device:
    """Compile the model of a directory for a chip, prove its programs safe, and load it.

    Raises:
        CapacityError, CompileError, ModelError: as `load_model` and `build`.
    """
    model = load_model(directory, context_tokens=context_tokens)
    built = build(
        model.architecture,
        recipe,
        chip,
        sequences=sequences,
        context_tokens=context_tokens,
        chunk_tokens=chunk_tokens,
    )
    for program in (built.prefill, built.decode):
        verify(program, chip)
    return Device(model, built, order_seed=order_seed, place=place)


def open_session(job: Job) -> Session:
    """Read everything that a job names and load it.

    Raises:
        TapeoutError: naming what is wrong with the file, the prompt or a number.
    """
    chip, recipe = load_chip(job.chip), recipe_named(job.format)
    constitution = load_constitution(job.constitution) if job.critic else None
    architecture, tokenizer = load_architecture(job.model), load_tokenizer(job.model)
    request = Request(
        name="prompt",
        prompt=tuple(tokenizer.encode(job.prompt)),
        max_tokens=job.max_tokens,
        sampling=job.sampling,
        stop_ids=architecture.eos_ids,
    )
    context = _context(job, request, architecture.max_positions)

    def opened(directory: Path) -> Device:
        return open_device(
            directory,
            chip,
            recipe,
            sequences=1,
            context_tokens=context,
            order_seed=job.order_seed,
            place=job.place,
        )

    draft = opened(job.model)
    check_request(request, draft)
    critic = None
    if job.critic and constitution:
        _check_tokenizers(tokenizer, job.critic, job.prompt)
        critic = Critic(opened(job.critic), constitution)
        _check_room(chip, draft, critic.device)
    return Session(
        draft=draft, critic=critic, tokenizer=tokenizer, request=request, policy=job.policy
    )


def run(job: Job, session: Session, on_event: Callable[[Event], None]) -> Result:
    """Run a session; `on_event` sees each event as it comes."""
    log: list[Event] = []
    for event in session.events():
        log.append(event)
        on_event(event)
    last = log[-1]
    assert isinstance(last, Finished | Ended)
    checked = [e for e in log if isinstance(e, Verdict | Released | Held | Finished)]
    build_ = session.draft.build
    return Result(
        chip=build_.chip.name,
        model=build_.architecture.name,
        format=build_.recipe.name,
        prompt=job.prompt,
        text="".join(text_of(event) for event in log),
        tokens=tuple(token for event in log for token in _tokens_of(event)),
        reason=last.reason,
        held=tuple(e for e in log if isinstance(e, Held)),
        audit=audit(checked, session.critic.constitution) if session.critic else None,
    )


def text_of(event: Event) -> str:
    """The text that an event gives to the user."""
    return "" if isinstance(event, Verdict | Held) else event.text


def _tokens_of(event: Event) -> tuple[int, ...]:
    if isinstance(event, Released):
        return event.tokens
    return (event.token,) if isinstance(event, Token) else ()


def _context(job: Job, request: Request, max_positions: int) -> int:
    if not request.prompt:
        raise ConfigError("the prompt must have at least one token, not be empty")
    if job.max_tokens < 1:
        raise ConfigError(f"max_tokens must be at least 1, not {job.max_tokens}")
    needed = len(request.prompt) + job.max_tokens
    if needed > max_positions:
        raise CapacityError(
            f"a prompt of {len(request.prompt)} tokens and {job.max_tokens} more must fit the"
            f" model's {max_positions} positions",
            hint="shorten the prompt or ask for fewer tokens",
        )
    if job.context_tokens is not None and job.context_tokens < 1:
        raise ConfigError(f"the context must be at least 1 token, not {job.context_tokens}")
    return job.context_tokens or needed


def _check_tokenizers(tokenizer: Tokenizer, critic: Path, prompt: str) -> None:
    if load_tokenizer(critic).encode(prompt) != tokenizer.encode(prompt):
        raise ConfigError(
            "draft and critic must have one tokenizer",
            where=str(critic),
            hint="the critic reads the draft's tokens as they are",
        )


def _check_room(chip: Chip, *devices: Device) -> None:
    """Draft and critic are two contexts of one chip: both lie in its memory."""
    needed = sum(device.build.layout.end for device in devices)
    if needed > chip.hbm.capacity_bytes:
        raise CapacityError(
            f"draft and critic must fit the {chip.hbm.capacity_bytes} bytes of {chip.name}'s"
            f" memory together; {needed} are needed",
            hint="ask for a shorter context or a format with fewer bits",
        )
