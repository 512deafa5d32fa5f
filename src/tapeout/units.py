"""Units.

Every quantity is a plain number in one unit, and its name ends with that unit:

    _bits _bytes _cycles _s _hz _j _w _mm2 _usd _flops _tokens

Rates read `_bytes_per_s`, `_usd_per_hour`. There is no `_gb` and no `_ns`:
prefixes exist only in files and on screen, and are parsed and printed here.
"""

import re

KIB = 1024
PREFIXES = {
    "p": 1e-12,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": KIB,
    "Mi": KIB**2,
    "Gi": KIB**3,
}
NUMBER = r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
QUANTITY = re.compile(rf"\s*{NUMBER}\s*([A-Za-z]*?)(B/s|B|Hz|s|J|W|FLOP/s)\s*")


def parse(text: str, unit: str) -> float:
    """Read a quantity such as "512 KiB" as a number of `unit`s ("B", "Hz", ...)."""
    match = QUANTITY.fullmatch(text)
    if match is None or match[3] != unit or match[2] not in PREFIXES:
        raise ValueError(f"{text!r} is not a quantity in {unit}, such as '512 M{unit}'")
    number = float(match[1]) * PREFIXES[match[2]]
    return int(number) if number.is_integer() else number


def si(value: float, unit: str = "") -> str:
    """`value` with a decimal prefix and three digits: 1.23e-3, "s" -> "1.23 ms"."""
    for prefix in ("P", "T", "G", "M", "k", "", "m", "u", "n", "p"):
        if abs(value) >= PREFIXES[prefix]:
            return f"{value / PREFIXES[prefix]:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


def binary(value_bytes: float) -> str:
    """A number of bytes with a binary prefix: 65536 -> "64 KiB"."""
    for prefix in ("Gi", "Mi", "Ki"):
        if value_bytes >= PREFIXES[prefix]:
            return f"{value_bytes / PREFIXES[prefix]:.4g} {prefix}B"
    return f"{value_bytes:.4g} B"
