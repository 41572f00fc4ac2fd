"""The files that a recipe names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from otabuild.errors import Problem
from otabuild.format.strict_yaml import YamlError, parse_yaml
from otabuild.recipe.diagnose import Key, key_path
from otabuild.recipe.model import Recipe
from otabuild.recipe.signing import FileKey


def missing_inputs(recipe: Recipe, root: str = os.curdir) -> list[Problem]:
    """The files and folders that a recipe names and that are not there, but for its rootfs sources and overlays.

    Those may be made by a step that runs later; whatever scans them says when they are missing.

    Args:
        recipe: as loaded with this root.
        root: the folder that the paths of the recipe are relative to.
    """
    missing = [(keys, path) for keys, path in _inputs(recipe) if not os.path.exists(os.path.join(root, path))]
    return [
        problem_at(
            recipe, keys, root, "no such file or folder", path, hint="make it, or correct the path in the recipe"
        )
        for keys, path in missing
    ]


def problem_at(
    recipe: Recipe, keys: Sequence[Key], root: str, what: str, observed: str | None = None, *, hint: str = ""
) -> Problem:
    """A problem with what a loaded recipe has at some keys; paths of the recipe are relative to `root`."""
    line, column = 1, 1
    try:
        with open(os.path.join(root, recipe.file), "rb") as file:
            node, _, _ = parse_yaml(file.read(), recipe.file)[0].follow(keys)
        line, column = node.line, node.column
    except (OSError, YamlError):  # it changed since it was loaded
        pass
    return Problem(recipe.file, line, column, key_path(keys), what, observed, hint=hint)


def _inputs(recipe: Recipe) -> Iterator[tuple[Sequence[Key], str]]:
    for number, payload in enumerate(recipe.payloads):
        if payload.sys_config:
            yield ("payloads", number, "sys-config"), payload.sys_config
    if recipe.otaclient_package:
        yield ("otaclient-package", "release-dir"), recipe.otaclient_package.release_dir
    if recipe.storage.base:
        yield ("storage", "base"), recipe.storage.base
    if recipe.sign:
        yield ("sign", "certificate"), recipe.sign.certificate
        yield from ((("sign", "chain", number), path) for number, path in enumerate(recipe.sign.chain))
        if isinstance(recipe.sign.key, FileKey):
            yield ("sign", "key", "file"), recipe.sign.key.file
    if recipe.verify:
        yield from ((("verify", "trust", number), path) for number, path in enumerate(recipe.verify.trust))
        yield from ((("verify", "crl", number), path) for number, path in enumerate(recipe.verify.crl))
