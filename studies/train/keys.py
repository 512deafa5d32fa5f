"""Names and values of the critic's training text: secret, placeholder, harmless."""

import base64
from collections.abc import Callable
from random import Random

import people
import values

SECRET_NAMES = values.TABLES["secret_names"]
OWNERS = values.TABLES["owners"]
HARMLESS_NAMES = values.TABLES["harmless_names"]
SECRET_HEADERS = values.TABLES["secret_headers"]
HARMLESS_HEADERS = values.TABLES["harmless_headers"]
COMMON = values.TABLES["common"]
NEAR_NAMES = values.TABLES["near_names"]
DIGEST_NAMES = values.TABLES["digest_names"]
REFERENCES = values.TABLES["references"]
DULL = values.TABLES["dull"]
PLACEHOLDERS = values.TABLES["placeholders"]


def basic(rng: Random) -> str:
    return base64.b64encode(f"{people.word(rng)}:{values.password(rng)}".encode()).decode()


def phrase(rng: Random) -> str:
    return " ".join(rng.choices(values.WORDS, k=rng.choice((4, 6, 12))))


def prefixed(rng: Random) -> str:
    """Returns a key in a format that is recognisable without a name."""
    head, alphabet, low, high = rng.choice(
        (
            ("sk-", values.ALNUM, 32, 48),
            ("sk-proj-", values.URLSAFE, 40, 80),
            ("sk-ant-api03-", values.URLSAFE, 40, 80),
            ("sk_live_", values.ALNUM, 24, 32),
            ("rk_live_", values.ALNUM, 24, 32),
            ("whsec_", values.ALNUM, 24, 32),
            ("ghp_", values.ALNUM, 36, 36),
            ("gho_", values.ALNUM, 36, 36),
            ("ghs_", values.ALNUM, 36, 36),
            ("github_pat_", values.ALNUM + "_", 60, 82),
            ("glpat-", values.URLSAFE, 20, 20),
            ("xoxb-", values.ALNUM + "-", 40, 56),
            ("xoxp-", values.ALNUM + "-", 40, 56),
            ("AIza", values.URLSAFE, 35, 35),
            ("ya29.", values.URLSAFE, 40, 80),
            ("npm_", values.ALNUM, 36, 36),
            ("pypi-AgEIcHlwaS5vcmc", values.URLSAFE, 40, 80),
            ("hf_", values.ALNUM, 34, 34),
            ("dop_v1_", values.HEX, 64, 64),
            ("SG.", values.URLSAFE, 22, 43),
            ("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16, 16),
            ("shpat_", values.HEX, 32, 32),
            ("hvs.", values.ALNUM, 24, 90),
            ("EAAC", values.ALNUM, 40, 80),
        )
    )
    return head + values.chars(rng, alphabet, low, high)


def token(rng: Random) -> str:
    """Returns a machine-made secret."""
    makers: tuple[Callable[[Random], str], ...] = (
        prefixed,
        prefixed,
        values.jwt,
        uuid,
        lambda r: values.chars(r, values.HEX, 16, 64),
        lambda r: values.chars(r, values.HEX.upper(), 16, 64),
        lambda r: values.chars(r, values.ALNUM, 12, 64),
        lambda r: values.chars(r, values.ALNUM, 12, 64),
        lambda r: values.chars(r, values.BASE64, 16, 64) + r.choice(("", "=", "==")),
        lambda r: values.chars(r, values.URLSAFE, 16, 64),
        lambda r: "-".join(values.chars(r, values.ALNUM.upper()[26:], 5) for _ in range(4)),
    )
    return rng.choice(makers)(rng)


def chosen(rng: Random) -> str:
    """Returns a password that a person chose."""
    makers: tuple[Callable[[Random], str], ...] = (
        values.password,
        values.password,
        lambda r: r.choice(COMMON),
        lambda r: people.word(r) + r.choice(("", "!", "123", "1", "2024", "#1", "99", "!!")),
        lambda r: people.word(r).title() + r.choice("!@#$%&*?_-.") + str(r.randint(0, 9999)),
        lambda r: r.choice("-_. ").join(r.choices(values.WORDS, k=r.randint(3, 4))),
        lambda r: values.chars(r, values.ALNUM + "!@#%^&*()-_=+[]{};:,.?~", 8, 20),
        lambda r: values.chars(r, values.ALNUM, 6, 14),
        lambda r: str(r.randint(100000, 99999999)),
        lambda r: f"{people.word(r)}{people.word(r)}{r.randint(1, 99)}{r.choice(('', '!'))}",
        lambda r: "".join(people.word(r) for _ in range(r.randint(2, 3))),
    )
    return rng.choice(makers)(rng)


def secret_value(rng: Random) -> str:
    return token(rng) if rng.random() < 0.5 else chosen(rng)


def uuid(rng: Random) -> str:
    return "-".join(values.chars(rng, values.HEX, n) for n in (8, 4, 4, 4, 12))


def version(rng: Random) -> str:
    return ".".join(str(rng.randrange(30)) for _ in range(rng.randint(2, 4)))


def date(rng: Random) -> str:
    return f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def placeholder(rng: Random) -> str:
    text = rng.choice(PLACEHOLDERS)
    if rng.random() < 0.35:
        name = f"{rng.choice(OWNERS)}_{rng.choice(SECRET_NAMES).replace('|', '_')}"
        return rng.choice(REFERENCES).replace("NAME", name.upper() if rng.random() < 0.7 else name)
    return text.upper() if rng.random() < 0.1 else text


def harmless_value(rng: Random, name: str) -> str:
    """Returns a value that fits the harmless name: a digest for a digest, else anything dull."""
    if not set(DIGEST_NAMES).isdisjoint(name.split("|")) or name == "public|key":
        return rng.choice(
            (
                uuid(rng),
                values.chars(rng, values.HEX, rng.choice((7, 12, 32, 40, 64))),
                "sha256-" + values.chars(rng, values.BASE64, 43) + "=",
                values.chars(rng, values.ALNUM, 8, 24),
            )
        )
    return rng.choice(
        (
            people.word(rng),
            people.word(rng),
            f"{people.word(rng)}-{people.word(rng)}",
            f"/{people.word(rng)}/{people.word(rng)}.txt",
            f"https://{people.word(rng)}.{rng.choice(people.TLDS)}/{people.word(rng)}",
            str(rng.randint(0, 100000)),
            version(rng),
            date(rng),
            f"{people.word(rng)} {people.word(rng)} {people.word(rng)}",
            f"{people.word(rng)}.{rng.choice(people.TLDS)}",
            rng.choice(DULL),
        )
    )


def pem(rng: Random) -> tuple[str, str]:
    """Returns a private key's first words, which give it away, and the rest of it."""
    kind = rng.choice(("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "))
    if rng.random() < 0.1:
        head, tail = "-----BEGIN PGP PRIVATE", " KEY BLOCK-----"
        end = "-----END PGP PRIVATE KEY BLOCK-----"
    else:
        head, tail = f"-----BEGIN {kind}PRIVATE", " KEY-----"
        end = f"-----END {kind}PRIVATE KEY-----"
    line = rng.choice(("\n", "\n", "\n", "\\n"))
    body = [values.chars(rng, values.BASE64, 64) for _ in range(rng.randint(1, 6))]
    return head, line.join([tail, *body, values.chars(rng, values.BASE64, 4, 60) + "=", end])
