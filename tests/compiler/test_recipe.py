import pytest

from tapeout.compiler import RECIPES, Recipe, recipe_named
from tapeout.errors import ConfigError
from tapeout.numerics import FORMATS, ScaleMode


def recipe(**formats: str) -> Recipe:
    usual = {
        "name": "x",
        "weights": "int8",
        "activations": "int8",
        "kv": "int8",
        "probabilities": "int8",
    }
    return Recipe(**(usual | formats))  # pyright: ignore[reportArgumentType]


def test_there_is_a_recipe_for_every_weight_format():
    assert {fmt.name for fmt in FORMATS} <= set(RECIPES)
    for name, one in RECIPES.items():
        assert recipe_named(name) is one
        assert one.name == name


def test_an_unknown_name_is_answered_with_a_near_one():
    with pytest.raises(ConfigError, match=r"not mxpf4; did you mean `mxfp4`\?"):
        recipe_named("mxpf4")


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"weights": "mxfp4"}, "must be both int or both float"),
        ({"kv": "fp8_e4m3"}, "must be both int or both float"),
        ({"probabilities": "mxfp8_e4m3"}, "must be both int or both float"),
        ({"activations": "fp32"}, "must be both int or both float"),
        ({"weights": "bf16"}, "wide weights must have wide activations and KV"),
        ({"weights": "bf16", "activations": "fp32"}, "wide weights must have wide"),
        ({"activations": "int4_g128"}, "a scale for each 32 elements or fewer, not int4_g128"),
        ({"weights": "int5"}, "format must be one of"),
    ],
)
def test_formats_that_do_not_go_together(formats: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        recipe(**formats)


def test_roles_and_modes():
    one = recipe(weights="int4_g32", scale_mode="EVEN")
    assert one.of("weights").name == "int4_g32"
    assert one.of("kv").name == "int8"
    assert one.mode is ScaleMode.EVEN
    assert not one.wide
    assert RECIPES["bf16"].wide
