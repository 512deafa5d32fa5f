"""Harmless lines full of digits, digests and odd words."""

from collections.abc import Callable
from random import Random

import keys
import people
import values

SUFFIXES = values.TABLES["suffixes"]
UNITS = ("%", "px", "ms", " MB", "k", "x", "th", " kg", "GiB", "s")
MONTHS = values.TABLES["months"]
FILLERS = values.TABLES["fillers"]
NUMBERED = values.TABLES["numbered"]


def camel(rng: Random) -> str:
    return "".join(people.word(rng).title() for _ in range(rng.randint(2, 3)))


def number(rng: Random) -> str:
    return rng.choice(
        (
            str(rng.randrange(10 ** rng.randint(1, 7))),
            str(rng.randint(1900, 2030)),
            f"{rng.uniform(0, 10 ** rng.randint(0, 4)):.{rng.randint(1, 7)}f}",
            f"{rng.randint(1, 999)},{rng.randrange(1000):03}",
            f"{rng.randint(1, 99)}{rng.choice(UNITS)}",
            f"{rng.choice('$€£')}{rng.randint(1, 999)}.{rng.randrange(100):02}",
            f"{rng.randint(1, 99)}-{rng.randint(1, 99)}",
            f"{rng.randint(1, 99)}/{rng.randint(1, 99)}",
            f"{rng.uniform(0, 9):.2f}e-{rng.randint(1, 12):02}",
        )
    )


def day(rng: Random) -> str:
    year, month = rng.randint(1950, 2030), rng.choice(MONTHS)
    return rng.choice(
        (
            keys.date(rng),
            f"{rng.randint(1, 31)} {month} {year}",
            f"{month} {rng.randint(1, 31)}, {year}",
            f"{rng.randint(1, 28):02}/{month[:3]}/{year}:{rng.randrange(24):02}:00:05 +0000",
            f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.{year}",
            f"{rng.randint(1, 12)}/{rng.randint(1, 28)}/{year}",
            f"{rng.randrange(24):02}:{rng.randrange(60):02}",
            f"{keys.date(rng)}T{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z",
        )
    )


def digest(rng: Random) -> str:
    """Returns a random-looking string that is no secret."""
    return rng.choice(
        (
            values.chars(rng, values.HEX, rng.choice((7, 8, 12, 32, 40, 64))),
            "sha256=" + values.chars(rng, values.URLSAFE, 43),
            "sha256:" + values.chars(rng, values.HEX, 64),
            "sha512-" + values.chars(rng, values.BASE64, 86) + "==",
            "h1:" + values.chars(rng, values.BASE64, 43) + "=",
            "#" + values.chars(rng, values.HEX, rng.choice((6, 40))),
            "0x" + values.chars(rng, values.HEX, rng.choice((4, 8, 16))),
            ":".join(
                values.chars(rng, values.HEX.upper(), 2) for _ in range(rng.choice((6, 16, 20)))
            ),
            keys.uuid(rng),
        )
    )


def path(rng: Random) -> str:
    steps = "/".join(people.word(rng) for _ in range(rng.randint(1, 4)))
    return f"{rng.choice(('', '/', './', '~/'))}{steps}.{rng.choice(SUFFIXES)}"


def at_sign(rng: Random) -> str:
    """Returns something with an @ that is no e-mail address."""
    word, other = people.word(rng), people.word(rng)
    return rng.choice(
        (
            f"@{word}",
            f"@{word}.{other}",
            f"@{word}.{other}({rng.randint(0, 9)})",
            f"{word} @ {other}",
            f"{word}@{keys.version(rng)}",
            f"{word}@^{keys.version(rng)}",
            f"@{word}/{other}",
            f'"@{word}/{other}": "~{keys.version(rng)}"',
            f"git@{word}.{rng.choice(people.TLDS)}:{other}/{word}.git",
            f"git@{word}.{rng.choice(people.TLDS)}: Permission denied",
            f"{word}@{'.'.join(str(rng.randrange(256)) for _ in range(4))}:/{other}",
            f"{word}@{other}:{rng.choice(('~$', '/tmp#', '~/' + word + '$'))} ls",
            f"'{word}'@'{rng.choice(('%', 'localhost', other))}'",
            f"{word}/{other}@{values.chars(rng, values.HEX, rng.choice((7, 40)))}",
            f"{word}@sha256:{values.chars(rng, values.HEX, 64)}",
            f"https://{word}@{other}/{word}",
            f"@{word.title()}\npublic {other.title()} {word}() {{",
            f"@{word}\ndef {other}({word}):",
        )
    )


def armour(rng: Random) -> str:
    """Returns a public key, certificate or signature between its armour lines."""
    kind = rng.choice(
        (
            "CERTIFICATE",
            "PUBLIC KEY",
            "RSA PUBLIC KEY",
            "CERTIFICATE REQUEST",
            "X509 CRL",
            "DH PARAMETERS",
        )
    )
    if rng.random() < 0.2:
        kind = rng.choice(("PGP SIGNATURE", "PGP MESSAGE", "PGP PUBLIC KEY BLOCK", "SSH SIGNATURE"))
    lines = [values.chars(rng, values.BASE64, 64) for _ in range(rng.randint(1, 5))]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"])


ATOMS: tuple[tuple[int, Callable[[Random], str]], ...] = (
    (6, people.word),
    (4, lambda r: r.choice(FILLERS)),
    (2, lambda r: people.word(r).title()),
    (2, camel),
    (1, lambda r: people.word(r).upper()),
    (1, lambda r: f"{people.word(r)}_{people.word(r)}"),
    (1, lambda r: f"{people.word(r)}-{people.word(r)}"),
    (2, lambda r: f"{people.word(r)}{r.randint(0, 999)}"),
    (1, lambda r: f"{people.word(r)}({r.choice(('', '1', '7', people.word(r)))})"),
    (1, lambda r: r.choice(NUMBERED)),
    (5, number),
    (2, day),
    (2, digest),
    (2, path),
    (2, at_sign),
    (1, keys.version),
    (1, people.person),
    (1, lambda r: f"{people.word(r)}.{r.choice(people.TLDS)}"),
    (
        1,
        lambda r: (
            f"https://{people.word(r)}.{r.choice(people.TLDS)}/{people.word(r)}?{r.choice('abx')}=1"
        ),
    ),
    (1, lambda r: ".".join(str(r.randrange(256)) for _ in range(4))),
    (1, lambda r: f"{people.word(r)}{r.choice(('=', ': ', ':', ' = '))}{number(r)}"),
    (1, lambda r: f"[{people.word(r)}]"),
    (1, lambda r: f"'{people.word(r)}'"),
    (1, lambda r: f'"{people.word(r)}"'),
)


SEPARATORS = (" ", " ", " ", ", ", "  ", ",", "\t", " | ", " - ", ";", ": ", " = ")


def line(rng: Random) -> str:
    """Returns a line of a few kinds of things with a few kinds of separators."""
    chosen = rng.choices([a for _, a in ATOMS], [w for w, _ in ATOMS], k=rng.randint(1, 5))
    separators = rng.choices(
        (" ", " ", " ", ", ", "  ", ",", "\t", " | ", " - ", ";", ": ", " = "), k=2
    )
    parts = [rng.choice(chosen)(rng) for _ in range(rng.randint(1, 9))]
    return "".join(part + rng.choice(separators) for part in parts).rstrip()


def harmless(rng: Random) -> str:
    """Returns one to six such lines, often alike."""
    style = rng.random()
    if style < 0.06:
        return armour(rng)
    if style < 0.2:
        return at_sign(rng)
    if style < 0.4:  # a table: one recipe for all rows
        chosen = rng.choices([a for _, a in ATOMS], [w for w, _ in ATOMS], k=rng.randint(2, 5))
        separator = rng.choice((" ", "  ", ",", "\t", " | "))
        rows = range(rng.randint(2, 6))
        return "\n".join(separator.join(atom(rng) for atom in chosen) for _ in rows)
    return "\n".join(line(rng) for _ in range(rng.choice((1, 1, 1, 2, 4))))
