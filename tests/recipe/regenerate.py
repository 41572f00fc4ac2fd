"""Write the messages of the broken recipes again: `python -m tests.recipe.regenerate`."""

from __future__ import annotations

import pathlib

from otabuild.errors import RecipeError
from otabuild.recipe.load import load_recipe
from tests.recipe import world

BROKEN = pathlib.Path(world.HERE) / "broken"


def message(recipe: pathlib.Path) -> str:
    """Return the whole message about a broken recipe, without hints that depend on the machine."""
    try:
        load_recipe(recipe, world.OUTSIDE_GIT, root=str(BROKEN))
    except RecipeError as error:
        return f"{error}\n"
    return "loads\n"


if __name__ == "__main__":
    for path in sorted(BROKEN.glob("*.yaml")):
        path.with_suffix(".txt").write_text(message(path), encoding="utf-8")
