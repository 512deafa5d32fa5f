"""Made-up people of many countries: names, e-mail addresses, phone numbers, postal addresses."""

import re
import unicodedata
from random import Random

import values

SYLLABLES = values.TABLES["syllables"]
ENDINGS = values.TABLES["endings"]
ACCENTS = str.maketrans({"a": "á", "e": "é", "o": "ö", "u": "ü", "c": "ç", "n": "ñ"})
TLDS = values.TABLES["tlds"]
PROVIDERS = values.TABLES["providers"]
CITIES = values.TABLES["cities"]
STATES = values.TABLES["states"]


def word(rng: Random) -> str:
    if rng.random() < 0.4:
        return rng.choice(values.WORDS)
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))


def given(rng: Random) -> str:
    name = rng.choice(values.FIRST) if rng.random() < 0.4 else word(rng).title()
    return name.translate(ACCENTS) if rng.random() < 0.08 else name


def family(rng: Random) -> str:
    style = rng.random()
    if style < 0.3:
        return rng.choice(values.LAST)
    if style < 0.6:
        return word(rng).title() + rng.choice(ENDINGS)
    name = word(rng).title()
    return f"{name}-{rng.choice(values.LAST)}" if style < 0.65 else name


def person(rng: Random) -> str:
    style = rng.random()
    if style < 0.08:
        return f"{rng.choice(('Dr.', 'Mr.', 'Mrs.', 'Prof.', 'Herr', 'Frau'))} {family(rng)}"
    middle = f" {rng.choice('ABCDEFGHJKLMNPRST')}." if style < 0.2 else ""
    return f"{given(rng)}{middle} {family(rng)}"


def domain(rng: Random) -> str:
    if rng.random() < 0.25:
        return rng.choice(PROVIDERS)
    name = word(rng)
    if rng.random() < 0.35:
        name += rng.choice("-.") + word(rng)
    return f"{name}.{rng.choice(TLDS)}"


def email(rng: Random, name: str) -> str:
    """Returns an address that belongs to the name, or to a role or a nickname."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    parts = re.findall(r"[a-z]+", plain) or ["info"]
    first, last = parts[0], parts[-1]
    local = rng.choice(
        (
            f"{first}.{last}",
            f"{first[0]}.{last}",
            f"{first[0]}{last}",
            f"{last}{first[0]}",
            f"{first}_{last}",
            f"{first}{last}{rng.randint(1, 99)}",
            f"{first}{rng.randint(1, 2010)}",
            f"{last}.{first}",
            f"{first}-{last}",
            f"{first}+{word(rng)}",
            first,
            last,
            word(rng) + str(rng.randint(0, 999)),
            rng.choice(("info", "support", "office", "sales", "hello", "jobs", "press", "admin")),
        )
    )
    return f"{local}@{domain(rng)}"


def digits(rng: Random, pattern: str) -> str:
    """Replaces each # of the pattern by a digit."""
    return re.sub("#", lambda _: str(rng.randrange(10)), pattern)


STRONG_PHONES = (
    "(###) ###-####",
    "(###)###-####",
    "+1 ### ### ####",
    "+1-###-###-####",
    "+1 (###) ###-####",
    "001-###-###-####x####",
    "+1-###-###-####x###",
    "(0##) #### ####",
    "+44 20 #### ####",
    "+44 (0)#### ######",
    "+44##########",
    "+49 ### #######",
    "+49(0)##########",
    "+49-###-########",
    "(0####) ######",
    "+33 # ## ## ## ##",
    "+33 (0)# ## ## ## ##",
    "+34 ### ## ## ##",
    "+34 ### ### ###",
    "+39 ### #######",
    "+39 0# ########",
    "+81-#-####-####",
    "+81 ## #### ####",
    "+91 ##### #####",
    "+91##########",
    "+55 (##) #####-####",
    "+55 ## #### ####",
    "+46 ## ### ## ##",
    "+47 ## ## ## ##",
    "+31 ## ### ####",
    "+48 ### ### ###",
    "+7 (###) ###-##-##",
    "+86 ### #### ####",
    "+61 # #### ####",
    "+## ## ### ## ##",
    "+###########",
    "+1 555 0###",
)
PHONES = (
    *STRONG_PHONES,
    "###-###-####",
    "###-###-####x####",
    "###.###.####",
    "###.###.####x###",
    "### ### ####",
    "0## ### ## ##",
    "0# ## ## ## ##",
    "0## #######",
    "0####-######",
    "0### ######",
    "0#########",
    "##########",
    "###-####",
    "555-0###",
    "0#-####-####",
    "0##-####-####",
    "090-####-####",
    "(##) ####-####",
    "## ##### ####",
    "8 ### ### ## ##",
    "### ## ## ##",
    "0800 ### ###",
    "1-800-###-####",
)


def composed_phone(rng: Random) -> str:
    """Returns 7 to 12 digits grouped in any way, with or without a prefix or an extension."""
    separator = rng.choice((" ", " ", "-", ".", "", "/"))
    prefix = rng.choice(
        ("", "", "0##", "0#", "(0##)", "(0####)", "(###)", "+##", "+## ##", "+##(0)", "00##", "001")
    )
    sizes = rng.choice(
        ((3, 4), (2, 2, 2), (3, 2, 2), (3, 3), (4, 4), (3, 3, 4), (8,), (2, 2, 2, 2))
    )
    parts = [prefix] if prefix else []
    parts += ["#" * size for size in sizes]
    extension = rng.choice(("", "", "", "", "x###", "x#####", " ext. ##"))
    text = separator.join(parts)
    if prefix.endswith(")") and rng.random() < 0.5:
        text = f"{prefix}{rng.choice((' ', '', '-'))}{separator.join(parts[1:])}"
    if text.count("#") < 6:
        text += separator + "####"
    return digits(rng, text + extension)


def phone(rng: Random) -> str:
    return composed_phone(rng) if rng.random() < 0.4 else digits(rng, rng.choice(PHONES))


def strong_phone(rng: Random) -> str:
    """Returns a number that is recognisable without the words around it."""
    return digits(rng, rng.choice(STRONG_PHONES))


# The US postal service's street suffixes, and what streets are called elsewhere.
STREETS = values.TABLES["streets"]
GERMANIC = values.TABLES["germanic"]
ROMANIC = values.TABLES["romanic"]


def us_address(rng: Random) -> tuple[str, str]:
    house = rng.randint(1, 99999) if rng.random() < 0.5 else rng.randint(1, 999)
    unit = rng.choice(("Apt.", "Suite", "Unit", "#", "Apartment"))
    flat = rng.choice(("", f" {unit} {digits(rng, '###')}", f", {unit} {digits(rng, '##')}"))
    town = rng.choice((rng.choice(CITIES), family(rng) + rng.choice(("ville", "ton", " City"))))
    town = f"{rng.choice(('', '', 'East ', 'New ', 'Port ', 'Lake ', 'South '))}{town}"
    line = rng.choice((", ", "\n"))
    zip_code = digits(rng, rng.choice(("#####", "#####-####")))
    street = f"{house:0{rng.choice((1, 3))}} {family(rng)} {rng.choice(STREETS)}"
    return street, f"{flat}{line}{town}, {rng.choice(STATES)} {zip_code}"


def british_address(rng: Random) -> tuple[str, str]:
    line = rng.choice((", ", "\n"))
    code = f"{rng.choice('BELMNSW')}{rng.choice('ABCDEL')}{rng.randint(1, 20)} {rng.randint(1, 9)}"
    code += values.chars(rng, "ABDEFGHJLNPQRSTUWXYZ", 2)
    name = f"{family(rng)} {rng.choice(STREETS)}"
    street = f"{rng.randint(1, 300)}{rng.choice(('', '', 'A', 'b'))} {name}"
    if rng.random() < 0.35:
        flat = rng.choice(("Flat", "Studio", "Unit", "House No."))
        street = f"{flat} {digits(rng, '##')}{rng.choice(('', 'M', 'b'))}{line}{street}"
        if rng.random() < 0.5:
            street = re.sub(r"(\D)\d+ (\S+ \S+)$", r"\1\2", street)
    if rng.random() < 0.3:
        street = f"{rng.randint(1, 99)}/{rng.randint(1, 300)},{line[-1]}{name}"
        return street, f"{line}{word(rng).title()}{rng.choice((' ', '-'))}{digits(rng, '######')}"
    return street, f"{line}{rng.choice(CITIES)}{line}{code}"


def european_address(rng: Random) -> tuple[str, str]:
    line, house = rng.choice((", ", "\n")), str(rng.randint(1, 999))
    house += rng.choice(("", "", "", "a", "B", f"/{rng.randint(1, 40)}", "-12"))
    town = word(rng).title() + rng.choice(("", "hausen", "burg", "o"))
    city = rng.choice((rng.choice(CITIES), town))
    code = digits(rng, rng.choice(("#####", "#####", "####", "####", "##-###", "### ##")))
    code += rng.choice(("", "", "", " AB", " KX"))
    if rng.random() < 0.2:  # streets of other kinds
        name = rng.choice((family(rng), f"{word(rng).title()} {given(rng)} {family(rng)}"))
        return f"{name}{rng.choice((' ', ', '))}{house}", f"{line}{code} {city}"
    if rng.random() < 0.45:
        kind = rng.choice(GERMANIC)
        name = f"{given(rng)}-{family(rng)}" if kind[0] == "-" else family(rng)
        return f"{name}{kind} {house}", f"{line}{code} {city}"
    first = f"{given(rng)} " if rng.random() < 0.4 else ""
    street = f"{rng.choice(ROMANIC)} {first}{family(rng)}"
    if rng.random() < 0.4:
        return f"{house}{rng.choice((', ', ' '))}{street}", f"{line}{code} {city}"
    flat = rng.choice(("", "", f" Piso {rng.randint(1, 9)}", f", Appartamento {house}"))
    street = f"{street}{rng.choice((', ', ' '))}{house}"
    return street, f"{flat}{line}{code}{rng.choice((' ', ', '))}{city}"


def address(rng: Random) -> tuple[str, str]:
    """Returns street and house number, which make it recognisable, and the rest."""
    style = rng.random()
    if style < 0.04:
        return f"PO Box {digits(rng, '####')}", f", {rng.choice(CITIES)} {digits(rng, '#####')}"
    if style < 0.07:
        street = f"{digits(rng, '#-#-##')} {family(rng)}-cho"
        return street, f", {word(rng).title()} {digits(rng, '###-####')}"
    if style < 0.4:
        return us_address(rng)
    return british_address(rng) if style < 0.55 else european_address(rng)
