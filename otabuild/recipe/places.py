"""Checks that the outputs of a recipe do not collide with its inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import product

from otabuild.errors import Finding
from otabuild.format.urls import is_url
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import place_of, recipe_inputs, recipe_sources
from otabuild.storage.beside import PROVENANCE, SBOM, VEX

_FOLDER = "is a folder, but the artifact is a file"


def clashes(recipe: Recipe, root: str = os.curdir, *, work: str | None = None) -> list[Finding]:
    """Find outputs that are, contain or are in an input, another output or the work directory.

    Such an output would overwrite its own input, or include itself and grow with every build.

    Args:
        recipe: a recipe loaded with this root.
        root: the folder that the paths of the recipe are relative to.
        work: the work directory, if known.
    """
    sources = [(place_of(recipe, keys).key, path) for keys, path in recipe_sources(recipe)]
    if work is not None:
        sources.append(("the work directory", work))
    inputs = [(place_of(recipe, keys).key, path) for keys, path in recipe_inputs(recipe)]
    places = [("the recipe itself", recipe.file), *sources, *inputs]
    found = []
    store = recipe.publish.store if recipe.publish else None
    # Of the inputs only the sources: the base, for one, may be a release in this store.
    if store and not is_url(store) and (what := _clash("publish.store", store, sources, root)):
        hint = "publish to a place of its own"
        found.append(
            Finding(place_of(recipe, ["publish", "store"]), what, observed=store, hint=hint)
        )
    outputs = (
        ("output", recipe.output),
        ("output-dir", recipe.output_dir),
        ("sbom", f"{recipe.output}{SBOM}" if recipe.sbom else None),
        ("sbom", f"{recipe.output}{VEX}" if recipe.sbom and recipe.sbom.vex else None),
        ("provenance", f"{recipe.output}{PROVENANCE}" if recipe.provenance else None),
    )
    for key, output in outputs:
        if output is None:
            continue
        if what := _clash(key, output, places, root):
            into = f"name the file, such as {recipe.output}/{recipe.name}.zip"
            hint = into if what == _FOLDER else "write it to a place of its own"
            found.append(Finding(place_of(recipe, [key]), what, observed=output, hint=hint))
        places.append((key, output))
    return found


def _clash(key: str, output: str, places: Iterable[tuple[str, str]], root: str) -> str:
    """Return what is wrong with the place of an output, in words, or an empty text."""
    if key == "output" and os.path.isdir(os.path.join(root, output)):
        return _FOLDER
    for name, other in places:
        # Both the link and what it leads to count, on either side: writing may replace the one or
        # the other.
        for theirs, ours in product(_real(other, root), _real(output, root)):
            if ours == theirs:
                return f"is the same place as {name}"
            if ours.startswith(os.path.join(theirs, "")):
                return f"is inside {name}"
            if theirs.startswith(os.path.join(ours, "")):
                return f"contains {name}"
    return ""


def _real(path: str, root: str) -> tuple[str, str]:
    """Return where a path leads to, and where the link itself is: it can be overwritten, too."""
    place = os.path.normpath(os.path.join(root, path))
    folder, name = os.path.split(place)
    return os.path.realpath(place), os.path.join(os.path.realpath(folder), name)
