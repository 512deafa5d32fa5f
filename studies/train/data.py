"""The corpus: Python's documentation sources, split by file."""

import hashlib
import sysconfig
from pathlib import Path
from random import Random

import habits
import labeller

SEPARATOR = "\0"  # byte 0 ends a document


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.rst.txt"))


def split(root: Path, path: Path) -> str:
    """Returns train, validation or heldout: 2 % of the files each for the last two, by hash."""
    digest = hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()
    return {0: "heldout", 1: "validation"}.get(digest[0] % 50, "train")


def documents(root: Path, part: str) -> list[str]:
    """Returns the part's texts without the lines that the labeller objects to."""
    chosen = [path for path in files(root) if split(root, path) == part]
    return [labeller.clean(path.read_text(encoding="utf-8")) for path in chosen]


def corrupted(root: Path, seed: int) -> bytes:
    """Returns the training text as one stream, shuffled, with the draft's bad habits put in."""
    rng = Random(seed)
    texts = documents(root, "train")
    rng.shuffle(texts)
    return SEPARATOR.join(habits.corrupt(rng, text) for text in texts).encode()


def programs() -> list[str]:
    """Returns the running Python's own library (PSF-2.0) without lines the labeller objects to."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "site-packages", "dist-packages", "idlelib", "encodings", "lib2to3"}
    found = sorted(p for p in root.rglob("*.py") if not skip & set(p.relative_to(root).parts))
    return [labeller.clean(path.read_text(encoding="utf-8", errors="ignore")) for path in found]
