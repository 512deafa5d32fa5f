"""Makes the dev and held-out cases: python studies/train/cases.py CORPUS.

The texts are hand-written (cases.txt), their values come from other tools than the generator:
openssl, ssh-keygen, uuid, base64 and faker. Clean texts of other projects are added as negatives.
Cases of the part `dev` choose thresholds and guide the generator; `heldout` is only measured.
"""

import argparse
import base64
import gzip
import json
import re
import string
import subprocess
import sysconfig
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import data
import labeller
from faker import Faker

FOLDER = Path(__file__).parent
LOCALES = (
    *("en_US", "de_DE", "fr_FR", "en_GB", "es_ES"),
    *("it_IT", "pt_BR", "en_IN", "sv_SE", "nl_NL"),
)
DRAWS = 4
ALNUM = string.ascii_letters + string.digits
Case = dict[str, Any]
SHAPES = {
    "stripe": ("sk_live_", 24),
    "github": ("ghp_", 36),
    "gitlab": ("glpat-", 20),
    "npm": ("npm_", 36),
    "pypi": ("pypi-AgEIcHlwaS5vcmcCJ", 60),
    "sendgrid": ("SG.", 22),
    "openai": ("sk-proj-", 48),
    "vault": ("hvs.", 24),
    "google": ("AIza", 35),
    "slack": ("xoxb-2314110992-", 24),
}

MANUALS = {
    "dev": "req enc ec ssh ssh_config ssh-keygen config",
    "heldout": "x509 verify s_client rsa ssh-add scp ssh-agent ciphers",
}
SOURCES = {
    "dev": """numpy-*/RECORD cryptography-*/RECORD numpy/random/*.pyi cryptography/x509/*.py
        cryptography/hazmat/primitives/serialization/ssh.py faker/utils/*.py click/*.py""",
    "heldout": """networkx-*/RECORD httpx2-*/RECORD httpx2/_*.py idna/*.py packaging/*.py
        huggingface_hub/utils/_auth.py huggingface_hub/hf_api.py mpmath/calculus/*.py""",
}


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def ssh_key(kind: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        command("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path))
        return path.read_text().strip()


def made_by_tools(name: str) -> str | None:
    """Returns keys and certificates made by openssl and ssh-keygen."""
    rsa = ("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    match name:
        case "ssh_key":
            return ssh_key("ed25519")
        case "ec_key":
            return command("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
        case "rsa_key":
            return "  " + command(*rsa, "-quiet").replace("\n", "\n  ")[:400]
        case "escaped_key":
            return command("openssl", "genpkey", "-algorithm", "ed25519").replace("\n", "\\n")
        case "public_key":
            key = command("openssl", "genpkey", "-algorithm", "ed25519")
            words = ("openssl", "pkey", "-pubout")
            return subprocess.run(words, input=key.encode(), capture_output=True).stdout.decode()
        case "certificate":
            words = ("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "/dev/null")
            return command("openssl", *words, "-subj", "/CN=acme.test")[:400]
    return None


def value(rng: Random, fake: Faker, name: str) -> str:
    """Returns a value of the named kind."""
    if made := made_by_tools(name):
        return made
    if name in SHAPES:
        head, size = SHAPES[name]
        return head + "".join(rng.choices(ALNUM, k=size))
    kind, size = re.sub(r"_?\d+$", "", name), "".join(re.findall(r"\d+$", name))
    raw = rng.randbytes(int(size or 16))
    makers = {
        "hex": lambda: raw.hex()[: int(size or 0)],
        "base64": lambda: base64.b64encode(raw).decode(),
        "urlsafe": lambda: base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "token": lambda: "".join(rng.choices(ALNUM, k=len(raw))),
        "basic": lambda: base64.b64encode(f"prom:{fake.password()}".encode()).decode(),
        "aws_id": lambda: "AKIA" + base64.b32encode(rng.randbytes(10)).decode(),
        "jwt": lambda: ".".join(
            base64.urlsafe_b64encode(part).decode().rstrip("=")
            for part in (b'{"typ":"JWT","alg":"RS256"}', b'{"iss":"acme"}', rng.randbytes(48))
        ),
        "password": lambda: rng.choice(
            (
                fake.password(length=rng.randint(8, 16)),
                f"{fake.user_name()}{rng.randint(10, 99)}!",
            )
        ),
        "passphrase": lambda: "".join(fake.words(3)),
        "uuid": lambda: str(uuid.UUID(bytes=rng.randbytes(16), version=4)),
        "int": lambda: str(rng.randint(8, 99)),
        "digit": lambda: str(rng.randrange(10)),
        "colons": lambda: raw.hex(":").upper(),
        "name": fake.name,
        "company": fake.company,
        "email": lambda: rng.choice((fake.email, fake.free_email, fake.company_email))(),
        "phone": fake.phone_number,
        "address": fake.address,
    }
    return makers[kind]()


def written(part_seed: int) -> Iterator[Case]:
    """Yields the hand-written cases, each with several values."""
    rng = Random(part_seed)
    principles = {"C": "no-credentials", "P": "no-contact-data"}
    blocks = re.split(r"^==== (\w+) (\w+)\n", (FOLDER / "cases.txt").read_text(), flags=re.M)[1:]
    for style, (part, _, template) in enumerate(zip(*[iter(blocks)] * 3, strict=True)):
        for draw in range(DRAWS):
            fake = Faker(LOCALES[(style + draw * 3) % len(LOCALES)])
            fake.seed_instance(style * 100 + draw)
            text, spans = "", []
            for n, piece in enumerate(re.split(r"\[\[([CP-] \w+)\]\]", template.strip("\n"))):
                if n % 2:
                    mark, name = piece.split()
                    made = value(rng, fake, name)
                    if mark != "-":
                        spans.append([principles[mark], len(text.encode())])
                    text += made
                else:
                    text += piece
            yield {"part": part, "source": f"written {style}", "text": text, "spans": spans}


def chunks(rng: Random, source: str, text: str, part: str) -> Iterator[Case]:
    """Yields passages of a clean text, cut at line ends."""
    text = labeller.clean(text)
    starts = [m.end() for m in re.finditer("\n", text[:-280])]
    for start in rng.sample(starts, min(20, len(starts))):
        piece = text[start : start + 280].rsplit("\n", 1)[0]
        if piece.strip():
            yield {"part": part, "source": source, "text": piece, "spans": []}


def man(name: str) -> str:
    """Returns a manual page as plain text."""
    for folder in ("man1", "man5", "man7", "man3"):
        for path in Path("/usr/share/man", folder).glob(f"{name}.*gz"):
            page = gzip.decompress(path.read_bytes())
            wide = {"MANWIDTH": "90", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
            shown = subprocess.run(("man", "-l", "-"), input=page, capture_output=True, env=wide)
            return shown.stdout.decode()
    return ""


def clean_texts(corpus: Path) -> Iterator[tuple[str, str, str]]:
    """Yields (part, source, text) of other projects with permissive licences."""
    for part, pages in MANUALS.items():
        yield from ((part, f"man {page}", man(page)) for page in pages.split())
    for part, split in (("dev", "validation"), ("heldout", "heldout")):
        texts = data.documents(corpus, split)
        for n in range(3):
            yield part, f"{split} docs {n}", "\n\n".join(texts[n::3])
    site = Path(sysconfig.get_paths()["purelib"])
    for part, patterns in SOURCES.items():
        for pattern in patterns.split():
            files = sorted(site.glob(pattern))[:40]
            yield part, pattern, "\n".join(path.read_text() for path in files)


def dump(case: Case) -> str:
    """Returns a line of JSON; a letter of each secret is escaped, so that scanners stay calm."""
    text, mark = str(case["text"]), "\ue000"
    places = [len(text.encode()[:start].decode()) + 2 for _, start in case["spans"]]
    for at in reversed(places):
        text = f"{text[:at]}{mark}{ord(text[at]):04x}{text[at + 1 :]}"
    return json.dumps(case | {"text": text}).replace("\\ue000", "\\u")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    args = parser.parse_args()
    rng = Random(7)
    cases = list(written(7))
    for part, source, text in clean_texts(args.corpus):
        found = list(chunks(rng, source, text, part))
        print(part, source, len(found))
        cases += found
    for part in ("dev", "heldout"):
        lines = [dump(case) + "\n" for case in cases if case["part"] == part]
        (FOLDER / f"{part}_cases.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
