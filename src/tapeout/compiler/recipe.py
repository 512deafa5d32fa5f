"""Which format each tensor of a model takes on the chip."""

from dataclasses import dataclass
from typing import Literal

from tapeout.config import did_you_mean
from tapeout.errors import ConfigError
from tapeout.numerics import Format, ScaleMode, check_pair, format_named
from tapeout.numerics.formats import BLOCK


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Formats by name; every pair that is multiplied must be of one family."""

    name: str
    weights: str
    activations: str
    kv: str
    probabilities: str
    """Format of queries' products with values: softmax output."""
    scale_mode: Literal["FLOOR", "CEIL", "EVEN", "RCEIL"] = "RCEIL"
    """How E8M0 scales of activations and weights are rounded."""

    def __post_init__(self) -> None:
        if self.wide:
            if self.activations != "fp32" or format_named(self.kv).family != "wide":
                raise ConfigError("a recipe with wide weights must have wide activations and KV")
        else:
            check_pair(format_named(self.activations), format_named(self.weights))
            check_pair(format_named(self.activations), format_named(self.kv))
            check_pair(format_named(self.probabilities), format_named(self.kv))
            if format_named(self.activations).group > BLOCK:
                raise ConfigError(
                    f"activations must have a scale for each {BLOCK} elements or fewer,"
                    f" not {self.activations}"
                )

    @property
    def wide(self) -> bool:
        """Whether the vector unit multiplies, in FP32."""
        return format_named(self.weights).family == "wide"

    @property
    def mode(self) -> ScaleMode:
        """The scale rounding as instructions encode it."""
        return ScaleMode[self.scale_mode]

    def of(self, role: Literal["weights", "activations", "kv", "probabilities"]) -> Format:
        """The format of a role."""
        return format_named(getattr(self, role))


def _recipe(name: str, weights: str, activations: str, kv: str) -> Recipe:
    wide = format_named(weights).family == "wide"
    return Recipe(
        name=name,
        weights=weights,
        activations=activations,
        kv=kv,
        probabilities="fp32" if wide else activations,
    )


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _recipe("fp32", "fp32", "fp32", "fp32"),
        _recipe("bf16", "bf16", "fp32", "bf16"),
        _recipe("int8", "int8", "int8", "int8"),
        _recipe("int4_g32", "int4_g32", "int8", "int8"),
        _recipe("int4_g128", "int4_g128", "int8", "int8"),
        _recipe("fp8_e4m3", "fp8_e4m3", "mxfp8_e4m3", "fp8_e4m3"),
        _recipe("fp8_e5m2", "fp8_e5m2", "mxfp8_e4m3", "fp8_e5m2"),
        _recipe("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3"),
        _recipe("mxfp8_e5m2", "mxfp8_e5m2", "mxfp8_e5m2", "mxfp8_e5m2"),
        _recipe("mxfp6_e2m3", "mxfp6_e2m3", "mxfp8_e4m3", "fp8_e4m3"),
        _recipe("mxfp6_e3m2", "mxfp6_e3m2", "mxfp8_e4m3", "fp8_e4m3"),
        _recipe("mxfp4", "mxfp4", "mxfp8_e4m3", "fp8_e4m3"),
        _recipe("mxint8", "mxint8", "mxint8", "mxint8"),
        _recipe("nvfp4", "nvfp4", "mxfp8_e4m3", "fp8_e4m3"),
        _recipe("mxfp4_kv4", "mxfp4", "mxfp8_e4m3", "mxfp4"),
        _recipe("int4_kv4", "int4_g32", "int8", "int4_g32"),
    )
}
"""One recipe per weight format, W4A8 for 4-bit weights, and two with 4-bit KV."""


def recipe_named(name: str) -> Recipe:
    """The recipe called `name`; raises `ConfigError`."""
    if name not in RECIPES:
        hint = did_you_mean(name, RECIPES)
        raise ConfigError(f"format must be one of {', '.join(RECIPES)}, not {name}{hint}")
    return RECIPES[name]
