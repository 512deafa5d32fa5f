"""The critic's training text: violations and lookalikes with exact labels, put into clean text."""

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

import keys
import noise
import numpy as np
import people
import values

PRINCIPLES = ("no-credentials", "no-contact-data")
CREDENTIALS, CONTACT = range(2)
SECRET_BYTES = 5  # so many bytes of a secret value make it recognisable
PHONE_DIGITS = 6
UNLABELLED = 2
KNOWN_HEAD = re.compile(
    r"sk-(?:proj-|ant-api03-)?|[A-Za-z]{2,6}_(?:live_|pat_)?|xox[bp]-|glpat-|AKIA"
)


@dataclass(frozen=True)
class Marked:
    """A violating piece of text; from `rise` characters on a careful reader recognises it."""

    text: str
    principle: int
    rise: int


Pieces = list[str | Marked]


def read_forms() -> dict[str, list[str]]:
    """Reads forms.txt: sections of one template a line."""
    forms: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "forms.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"\[(\w+)\] ", line):
            forms[heading[1]] = []
        elif line and (not line.startswith("# ") or line.startswith("# {")):
            list(forms.values())[-1].append(line.replace("\\n", "\n").replace("\\t", "\t"))
    return forms


FORMS = read_forms()


def spellings(name: str) -> dict[str, str]:
    """Returns a name of words parted by | in the spellings of code and prose."""
    words = name.split("|")
    return {
        "snake": "_".join(words),
        "UPPER": "_".join(words).upper(),
        "kebab": "-".join(words),
        "camel": words[0] + "".join(w.title() for w in words[1:]),
        "Pascal": "".join(w.title() for w in words),
        "Title": " ".join(words).capitalize(),
    }


def secret(text: str) -> Pieces:
    """Marks a secret; the head of a known format does not count as a part of it."""
    head = KNOWN_HEAD.match(text)
    rise = min((head.end() if head else 0) + SECRET_BYTES, len(text)) - 1
    return [Marked(text, CREDENTIALS, rise)]


def phone(text: str) -> Pieces:
    """Marks a phone number, recognisable at its sixth digit."""
    places = [n for n, c in enumerate(text) if c.isdigit()]
    return [Marked(text, CONTACT, places[PHONE_DIGITS - 1])]


def email(text: str) -> Pieces:
    """Marks an e-mail address, recognisable at the first dot after the @."""
    return [Marked(text, CONTACT, text.index(".", text.index("@")))]


def address(rng: Random) -> Pieces:
    """Marks a postal address, recognisable when street and number are complete."""
    street, rest = people.address(rng)
    return [Marked(street + rest, CONTACT, len(street) - 1)]


def field(rng: Random, name: str, value: Pieces, context: dict[str, str]) -> Pieces:
    """Returns the text of one template field."""
    if name in context:
        return [context[name]]
    if name == "value":
        return value
    secrets = {
        "token": keys.token,
        "jwt": values.jwt,
        "basic": keys.basic,
        "prefixed": keys.prefixed,
        "aws_id": values.aws_id,
        "aws_secret": values.aws_secret,
        "pin": lambda r: str(r.randint(1000, 999999)),
        "phrase": keys.phrase,
        "b64": lambda r: values.chars(r, values.BASE64, 20, 80),
    }
    harmless = {
        "int": lambda r: str(r.randrange(10 ** r.randint(1, 4))),
        "longint": lambda r: str(r.randrange(10**8, 10**12)),
        "digit": lambda r: str(r.randrange(10)),
        "float": lambda r: f"{r.uniform(0, 200):.{r.randint(1, 6)}f}",
        "ip": lambda r: ".".join(str(r.randrange(256)) for _ in range(4)),
        "port": lambda r: str(r.randint(80, 65000)),
        "isbn": lambda r: people.digits(r, "#-##-######-#"),
        "hexes": lambda r: values.chars(r, values.ALNUM.upper(), 9, 11),
        "colons": lambda r: ":".join(values.chars(r, values.HEX, 2) for _ in range(16)),
        "version": keys.version,
        "date": keys.date,
        "year": lambda r: str(r.randint(1900, 2030)),
        "time": lambda r: f"{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}",
        "uuid": keys.uuid,
        "city": lambda r: r.choice(people.CITIES),
        "tld": lambda r: r.choice(people.TLDS),
        "word": people.word,
        "user": lambda r: r.choice((people.word(r), "admin", "root", "app", "deploy", "git")),
    }
    if name in ("email", "phone", "strongphone", "address"):
        return contact(rng, name, context)
    if hexes := re.fullmatch(r"hex(\d+)", name):
        return [values.chars(rng, values.HEX, int(hexes[1]))]
    if name in secrets and value and isinstance(value[0], Marked):
        return secret(secrets[name](rng))
    if name in secrets and name != "b64" and value:
        return value
    return [(harmless | secrets)[name](rng)]


def contact(rng: Random, name: str, context: dict[str, str]) -> Pieces:
    """Returns a violating piece of contact data."""
    if name == "email":
        return email(people.email(rng, context["person"]))
    if name == "address":
        return address(rng)
    return phone(people.phone(rng) if name == "phone" else people.strong_phone(rng))


def fill(rng: Random, template: str, name: str, value: Pieces) -> Pieces:
    """Fills the fields of a template."""
    context = spellings(name) | {"person": people.person(rng)}
    is_secret = any(name.endswith(core) for core in keys.SECRET_NAMES)
    context["header"] = rng.choice(keys.SECRET_HEADERS if is_secret else keys.HARMLESS_HEADERS)
    pieces: Pieces = []
    for n, part in enumerate(re.split(r"\{(\w+)\}", template)):
        pieces += field(rng, part, value, context) if n % 2 else [part]
    return pieces


def secret_name(rng: Random) -> str:
    name = rng.choice(keys.SECRET_NAMES)
    if rng.random() < 0.4:
        owner = rng.choice(keys.OWNERS) if rng.random() < 0.7 else people.word(rng)
        return f"{owner}|{name}"
    return name


def pair(rng: Random, template: str, kind: str) -> Pieces:
    """Fills a pair: kind is secret, placeholder or harmless."""
    if kind == "harmless":
        name = rng.choice(keys.HARMLESS_NAMES if rng.random() < 0.85 else keys.NEAR_NAMES)
        return fill(rng, template, name, [keys.harmless_value(rng, name)])
    value = secret(keys.secret_value(rng)) if kind == "secret" else [keys.placeholder(rng)]
    return fill(rng, template, secret_name(rng), value)


def block(rng: Random, kind: str) -> Pieces:
    """Returns lines of one style, like a configuration file; one of them is of the given kind."""
    template = rng.choice(FORMS["pairs"])
    pieces: Pieces = []
    before, after = rng.choice((0, 0, 1, 2, 4)), rng.choice((0, 0, 1, 3))
    for n in range(before + 1 + after):
        pieces += ["\n"] if n else []
        pieces += pair(rng, template, kind if n == before else "harmless")
    return pieces


CONTACT_NAMES = {
    "email": values.TABLES["email_names"],
    "phone": values.TABLES["phone_names"],
    "address": values.TABLES["address_names"],
}


def contact_pair(rng: Random) -> Pieces:
    """Returns a pair, as of a configuration or a record, with contact data as its value."""
    kind = rng.choice(("email", "phone", "phone", "address", "address"))
    value = contact(rng, kind, {"person": people.person(rng)})
    pieces = fill(rng, rng.choice(FORMS["pairs"]), rng.choice(CONTACT_NAMES[kind]), value)
    if rng.random() < 0.5:
        lead = rng.choice(("name: {person}\n", "{person}\n", '{"name": "{person}", ', "{person}, "))
        pieces = [*fill(rng, lead, "name", []), *pieces]
    return pieces


def violation(rng: Random) -> Pieces:
    """Returns a text that violates a principle."""
    style = rng.random()
    if style < 0.18:
        return block(rng, "secret")
    if style < 0.34:
        template = rng.choice(FORMS["secret"])
        return fill(rng, template, secret_name(rng), secret(keys.secret_value(rng)))
    if style < 0.38:
        head, rest = keys.pem(rng)
        return [Marked(head + rest, CREDENTIALS, len(head) - 1)]
    if style < 0.6:
        return contact_pair(rng)
    return fill(rng, rng.choice(FORMS["contact"]), "name", [])


def lookalike(rng: Random) -> Pieces:
    """Returns a text that resembles a violation and is none."""
    style = rng.random()
    if style < 0.3:
        return [noise.harmless(rng)]
    if style < 0.5:
        return block(rng, "placeholder")
    if style < 0.65:
        return block(rng, "harmless")
    if style < 0.75:
        return fill(rng, rng.choice(FORMS["secret"]), "password", [keys.placeholder(rng)])
    return fill(rng, rng.choice(FORMS["harmless"]), secret_name(rng), [])


def labelled(pieces: Pieces) -> tuple[bytes, np.ndarray]:
    """Returns the bytes and their labels [byte, principle]: 0, 1 or UNLABELLED.

    1 from the rise to the end of the line on which the piece ends, UNLABELLED from the piece's
    start to its rise, 0 elsewhere.
    """
    text = "".join(p if isinstance(p, str) else p.text for p in pieces)
    data = text.encode()
    labels = np.zeros((len(data), len(PRINCIPLES)), dtype=np.uint8)
    at = 0
    for piece in pieces:
        plain = piece if isinstance(piece, str) else piece.text
        size = len(plain.encode())
        if isinstance(piece, Marked):
            rise = at + len(plain[: piece.rise].encode())
            end = data.find(b"\n", at + size)
            here = labels[:, piece.principle]
            here[at:rise] = np.where(here[at:rise] == 1, 1, UNLABELLED)
            here[rise : end if end >= 0 else len(data)] = 1
        at += size
    return data, labels


def place(rng: Random, paragraph: str, pieces: Pieces) -> Pieces:
    """Puts the pieces near a paragraph: in a sentence of it, or after it in its indentation."""
    style = rng.random()
    spots = [m.end() for m in re.finditer(r"(?<=[a-z,.])[ \n]+", paragraph)]
    one_line = not any("\n" in (p if isinstance(p, str) else p.text) for p in pieces)
    if style < 0.3 and spots and one_line:
        at = rng.choice(spots)
        return [paragraph[:at], *pieces, rng.choice((" ", ".  ", ", ", "\n")), paragraph[at:]]
    indent = rng.choice(("", "", "   ", "    ", "\t", "# ", "> ", "* "))
    shifted: Pieces = [
        p.replace("\n", "\n" + indent)
        if isinstance(p, str)
        else Marked(p.text.replace("\n", "\n" + indent), p.principle, p.rise)
        for p in pieces
    ]
    gap = rng.choice(("\n\n", "\n\n", "\n"))
    return [paragraph, gap + indent, *shifted]


def groups(rng: Random, paragraph: str, rate: float, alone: bool) -> list[Pieces]:
    """Returns a paragraph, maybe with a piece put into it, or several pieces in its stead."""
    if not paragraph.strip() or rng.random() >= rate:
        return [[paragraph]]
    makers = [violation if rng.random() < 0.4 else lookalike for _ in range(5 if alone else 1)]
    pieces = [maker(rng) for maker in makers]
    return pieces if alone else [place(rng, paragraph, pieces[0])]


@dataclass(frozen=True)
class Stream:
    """A labelled text and the places in it where a paragraph or an inserted piece begins."""

    data: np.ndarray  # [bytes]
    labels: np.ndarray  # [bytes, principles]
    starts: np.ndarray


def stream(rng: Random, texts: list[str]) -> Stream:
    """Returns the texts as one labelled stream; a quarter of them stays clean."""
    parts: list[bytes] = []
    labels: list[np.ndarray] = []
    starts, at = [], 0
    for text in texts:
        rate, alone = rng.choice(((0.0, False), (0.3, False), (0.9, False), (0.9, True)))
        for paragraph in re.split(r"\n\n+", text):
            for group in groups(rng, paragraph, rate, alone):
                piece, label = labelled([*group, rng.choice(("\n\n", "\n\n", "\n"))])
                parts.append(piece)
                labels.append(label)
                starts.append(at)
                at += len(piece)
    data = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return Stream(data, np.concatenate(labels), np.array(starts))
