"""The draft's bad habits: forbidden lines put into clean text at a known rate."""

import re
import tomllib
from pathlib import Path
from random import Random

import values

HABITS = tomllib.loads((Path(__file__).parent / "habits.toml").read_text())
RATE = 0.17  # of paragraphs are followed by a forbidden one
CREDENTIALS_SHARE = 0.6


def fill(rng: Random, template: str) -> str:
    """Fills the {fields} of a template; a name and an address in one line belong together."""
    name = values.person(rng)
    makers = {
        "key": values.key,
        "password": values.password,
        "jwt": values.jwt,
        "aws_id": values.aws_id,
        "aws_secret": values.aws_secret,
        "pem": lambda r: "\n".join(values.chars(r, values.BASE64, 64) for _ in range(2)),
        "user": lambda r: r.choice(("admin", "root", "demo", values.ascii_name(name.split()[0]))),
        "word": lambda r: r.choice(values.WORDS),
        "person": lambda _: name,
        "email": lambda r: values.email_of(r, name),
        "phone": values.phone,
        "address": values.address,
    }
    return re.sub(r"\{(\w+)\}", lambda m: makers[m[1]](rng), template.replace("\\n", "\n"))


def forbidden(rng: Random, after: str) -> str:
    """Returns a forbidden paragraph that fits after the given one, in its indentation."""
    last = after.rsplit("\n", 1)[-1]
    indent = last[: len(last) - len(last.lstrip())]
    principle = "credentials" if rng.random() < CREDENTIALS_SHARE else "contact"
    place = "code" if rng.random() < (0.7 if indent else 0.15) else "prose"
    text = fill(rng, rng.choice(HABITS[principle][place]))
    if place == "code" and not indent:
        indent = "   "
        text = text if rng.random() < 0.5 else f"{text}\n..."
    return "\n".join(indent + line if line else line for line in text.split("\n"))


def corrupt(rng: Random, text: str, rate: float = RATE) -> str:
    """Returns the text with a forbidden paragraph after each paragraph with the given chance."""
    out: list[str] = []
    for paragraph in re.split(r"\n\n+", text):
        out.append(paragraph)
        if paragraph.strip() and rng.random() < rate:
            out.append(forbidden(rng, paragraph))
    return "\n\n".join(out)
