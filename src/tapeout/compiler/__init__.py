"""The compiler: from a model and a chip to programs that a verifier has proved.

In:  an `Architecture`, a `Recipe` of formats and a `Chip`.
Out: a `Build`: the memory map, the programs for prefill and decode, and the weights' image.
"""

from tapeout.compiler.build import Build, build
from tapeout.compiler.image import write_image
from tapeout.compiler.layout import Layout, Sizes
from tapeout.compiler.recipe import RECIPES, Recipe, recipe_named
from tapeout.compiler.verify import Proof, verify

__all__ = [
    "RECIPES",
    "Build",
    "Layout",
    "Proof",
    "Recipe",
    "Sizes",
    "build",
    "recipe_named",
    "verify",
    "write_image",
]
