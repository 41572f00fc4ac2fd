"""Checks what a recipe needs from this machine: sources, places, a signing program, the clock."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from otabuild.errors import Finding
from otabuild.format.times import utc
from otabuild.format.urls import is_url
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import followed, place_of, problem_at, recipe_sources
from otabuild.recipe.sign import CommandKey


def bad_surroundings(recipe: Recipe, now: int, is_made: Callable[[str], bool]) -> Iterator[Finding]:
    """Yield missing sources, impossible outputs, a missing sign command, a future timestamp.

    Args:
        recipe: as loaded with the current folder as its root.
        now: Unix seconds.
        is_made: whether a step may still make the sources of the rootfs of this name.
    """
    for keys, path in recipe_sources(recipe):
        if not os.path.exists(path) and not is_made(str(keys[1])):
            hint = (
                "make it, or correct the path in the recipe; `otabuild.before_scan` registers a "
                "step that makes it"
            )
            yield problem_at(recipe, keys, "no such file or folder", followed(path), hint=hint)
        elif keys[-1] == "directory" and os.path.lexists(path) and not os.path.isdir(path):
            kind = "overlay" if "overlay" in keys else "rootfs"
            what = f"{os.path.abspath(path)}: cannot open the {kind} directory"
            hint = "an archive is given with `tar:`"
            yield problem_at(recipe, keys, what, "Not a directory", hint=hint)
    written = {"output": recipe.output, "output-dir": recipe.output_dir}
    outputs: dict[tuple[str, ...], str] = {
        (key,): os.path.dirname(path) for key, path in written.items() if path is not None
    }
    if recipe.publish and not is_url(recipe.publish.store):
        outputs["publish", "store"] = recipe.publish.store
    for keys, folder in outputs.items():
        if what := _obstacle(_existing(folder)):
            hint = "name another place, or build as a user who may write there"
            yield problem_at(recipe, keys, what, _existing(folder), hint=hint)
    key = recipe.sign and recipe.sign.key
    if isinstance(key, CommandKey) and shutil.which(key.command[0]) is None:
        keys, program = ("sign", "key", "command", 0), key.command[0]
        hint = (
            "install it, make it executable, or correct its name; PATH is searched for a name "
            "without a slash"
        )
        yield problem_at(recipe, keys, "no such program", program, hint=hint)
    if recipe.timestamp > now:
        what = "is in the future: clients would refuse the image"
        hint = (
            "set `timestamp` or SOURCE_DATE_EPOCH to a time that has passed, or correct this "
            "machine's clock"
        )
        place = place_of(recipe, ["timestamp"])._replace(key="timestamp")  # it may have its default
        yield Finding(place, what, utc(recipe.timestamp), f"at most {utc(now)}", hint)


def _existing(folder: str) -> str:
    """Return a folder or, if it does not exist, the nearest folder above it that does."""
    while folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder or os.curdir


def _obstacle(folder: str) -> str:
    """Return what prevents writing an output below a folder, in words, or an empty text."""
    if not os.path.isdir(folder):
        return "is inside something that is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return "is in a folder that is not writable"
    return ""
