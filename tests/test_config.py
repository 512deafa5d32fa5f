from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from tapeout import config
from tapeout.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Wheel:
    radius_bytes: Annotated[int, Meta(gt=0)]
    name: str = "wheel"


@dataclass(frozen=True, kw_only=True)
class Car:
    speed_bytes_per_s: float
    delay_s: float = 0.0
    front: Wheel
    others: tuple[Wheel, ...] = ()


GOOD = """
speed_bytes_per_s = "2 GB/s"
[front]
radius_bytes = "3 KiB"
[[others]]
radius_bytes = 4
"""


def load(directory: Path, text: str) -> Car:
    path = directory / "car.toml"
    path.write_text(text)
    return config.load(path, Car)


def test_quantities_become_numbers_at_every_depth(tmp_path: Path):
    text = GOOD + '[[others]]\nradius_bytes = "2 MiB"\nname = "7 KiB"\n'
    assert load(tmp_path, text) == Car(
        speed_bytes_per_s=2e9,
        front=Wheel(radius_bytes=3072),
        others=(Wheel(radius_bytes=4), Wheel(radius_bytes=2 << 20, name="7 KiB")),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("radius_bytes = 4", "radius_byte = 4", "unknown key `radius_byte` at `$.others[0]`;"
         " did you mean `radius_bytes`?"),
        ("[front]", "wings = 2\n[front]", "unknown key `wings` at `$`"),
        ("[front]", "[from]", "unknown key `from` at `$`; did you mean `front`?"),
        ('"3 KiB"', '"3 KiHz"', "'3 KiHz' is not a quantity in B, such as '512 MB'"),
        ('"3 KiB"', "-1", "Expected `int` >= 1 - at `$.front.radius_bytes`"),
        ('"3 KiB"', "true", "Expected `int`, got `bool` - at `$.front.radius_bytes`"),
        ('"2 GB/s"', '"2 GB"', "'2 GB' is not a quantity in B/s, such as '512 MB/s'"),
        ("[front]", "[front", "Expected ']' at the end of a table declaration"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, GOOD.replace(old, new))
    assert error.value.problem.startswith(message)
    assert error.value.where == str(tmp_path / "car.toml")


def test_a_missing_key_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="missing required field `front`"):
        load(tmp_path, "speed_bytes_per_s = 1.0\n")


def test_a_missing_file_and_a_file_that_is_no_text(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        config.load(tmp_path / "none.toml", Car)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "binary.toml", Car)
    assert error.value.where == str(tmp_path / "binary.toml")


def test_did_you_mean():
    assert config.did_you_mean("rosw", ["rows", "columns"]) == "; did you mean `rows`?"
    assert config.did_you_mean("xyz", ["rows", "columns"]) == ""


def test_a_suggestion_prefers_words_that_go_on_as_begun():
    assert config.did_you_mean("mxfp8", ["mxfp4", "mxfp8_e4m3"]) == "; did you mean `mxfp8_e4m3`?"
    assert config.did_you_mean("", ["rows"]) == ""
