"""Made-up secrets and people, drawn from a seeded generator."""

import base64
import string
import tomllib
from pathlib import Path
from random import Random

ALNUM = string.ascii_letters + string.digits
BASE64 = ALNUM + "+/"
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
TABLES: dict[str, list[str]] = tomllib.loads(
    (Path(__file__).parent / "words.toml").read_text(encoding="utf-8")
)
FIRST = TABLES["first"]
LAST = TABLES["last"]
WORDS = TABLES["words"]


def chars(rng: Random, alphabet: str, low: int, high: int | None = None) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(low, high or low)))


def ascii_name(name: str) -> str:
    return name.lower().replace("ü", "ue")


def password(rng: Random) -> str:
    """Returns a password as a person would choose one, or a random one with punctuation."""
    word, other = rng.sample(WORDS, 2)
    style = rng.randrange(5)
    if style == 0:
        return f"{word.title()}{rng.randint(10, 9999)}{rng.choice('!?#$%&*')}"
    if style == 1:
        leet = word.translate(str.maketrans("aeio", "4310"))
        return f"{leet}{rng.choice('_-.!@')}{rng.randint(1, 999)}"
    if style == 2:
        return f"{word.title()}-{other.title()}-{rng.randint(10, 99)}"
    if style == 3:
        return chars(rng, ALNUM + "!#%*+-_=?^~", 10, 18) + rng.choice("0123456789")
    return f"{word}{other}{rng.randint(10, 9999)}"


def jwt(rng: Random) -> str:
    header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    body = f'{{"sub":"{rng.randint(10**6, 10**9)}","name":"{rng.choice(FIRST)}"}}'
    payload = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
    return f"{header}.{payload}.{chars(rng, URLSAFE, 43)}"


def key(rng: Random) -> str:
    """Returns a machine-made key in one of the formats that services use."""
    makers = (
        lambda: "sk-" + chars(rng, ALNUM, 32, 48),
        lambda: "sk-proj-" + chars(rng, URLSAFE, 32, 64),
        lambda: "sk_live_" + chars(rng, ALNUM, 24),
        lambda: "ghp_" + chars(rng, ALNUM, 36),
        lambda: "AIza" + chars(rng, URLSAFE, 35),
        lambda: "glpat-" + chars(rng, URLSAFE, 20),
        lambda: f"xoxb-{rng.randint(10**10, 10**11)}-{chars(rng, ALNUM, 24)}",
        lambda: chars(rng, HEX, 32),
        lambda: chars(rng, HEX, 40, 64),
        lambda: chars(rng, BASE64, 38, 43) + "=",
        lambda: chars(rng, URLSAFE, 22, 43),
    )
    return rng.choice(makers)()


def aws_id(rng: Random) -> str:
    return "AKIA" + chars(rng, string.ascii_uppercase + "234567", 16)


def aws_secret(rng: Random) -> str:
    return chars(rng, BASE64, 40)


def person(rng: Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def email_of(rng: Random, name: str) -> str:
    """Returns an address for the named person in a domain that RFC 2606 reserves."""
    first, last = ascii_name(name).split()
    local = rng.choice(
        (f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}", f"{first}{rng.randint(1, 99)}")
    )
    site = rng.choice(("mail", "home", "post", rng.choice(WORDS), f"{rng.choice(WORDS)}-labs"))
    return f"{local}@{site}.{rng.choice(('example', 'example.com', 'example.org', 'example.net'))}"


def phone(rng: Random) -> str:
    """Returns a number from the 555-01xx range that is set aside for fiction."""
    area, line = rng.randint(201, 989), rng.randint(100, 199)
    return rng.choice(
        (
            f"+1 555 0{line}",
            f"+1 {area} 555 0{line}",
            f"+1-{area}-555-0{line}",
            f"({area}) 555-0{line}",
            f"{area}-555-0{line}",
        )
    )


def address(rng: Random) -> str:
    street = f"{rng.randint(1, 990)} {rng.choice(LAST)} {rng.choice(('Street', 'Road', 'Avenue'))}"
    return f"{street}, {rng.choice(WORDS).title()}ville {rng.randint(10000, 99999)}"
