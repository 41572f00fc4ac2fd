"""The files that a recipe names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from otabuild.errors import OtabuildError, Problem
from otabuild.format import limits
from otabuild.format.strict_yaml import Node, YamlError, parse_yaml
from otabuild.format.sys_config import parse_sys_config
from otabuild.recipe.diagnose import Key, key_path
from otabuild.recipe.model import Recipe
from otabuild.recipe.signing import FileKey
from otabuild.recipe.sources import DirectorySource, DockerArchiveSource, OciSource, Source, TarSource
from otabuild.storage.files import read_file


def missing_inputs(recipe: Recipe, root: str = os.curdir) -> list[Problem]:
    """The files and folders that a recipe names and that are not there, but for its rootfs sources and overlays.

    Those may be made by a step that runs later; whatever scans them says when they are missing.

    Args:
        recipe: as loaded with this root.
        root: the folder that the paths of the recipe are relative to.
    """
    return [
        problem_at(
            recipe, keys, root, "no such file or folder", path, hint="make it, or correct the path in the recipe"
        )
        for keys, path in recipe_inputs(recipe)
        if not os.path.exists(os.path.join(root, path))
    ]


def bad_sys_configs(recipe: Recipe, root: str = os.curdir) -> list[Problem]:
    """What is wrong with the sys_config files that a recipe names, but for those that are not there."""
    problems = []
    for number, payload in enumerate(recipe.payloads):
        path = os.path.normpath(os.path.join(root, payload.sys_config or ""))
        if payload.sys_config is None or not os.path.exists(path):
            continue
        try:
            parse_sys_config(read_file(path, limits.DOCUMENT), payload.sys_config)
        except OtabuildError as error:
            what, keys = f"{error.where}: {error.what}", ("payloads", number, "sys-config")
            problem = problem_at(recipe, keys, root, what, error.observed, hint=error.hint)
            problems.append(problem._replace(expected=error.expected))
    return problems


def problem_at(
    recipe: Recipe, keys: Sequence[Key], root: str, what: str, observed: str | None = None, *, hint: str = ""
) -> Problem:
    """A problem with what a loaded recipe has at some keys; paths of the recipe are relative to `root`."""
    node = read_tree(recipe, root).follow(keys)[0]
    return Problem(recipe.file, node.line, node.column, key_path(keys), what, observed, hint=hint)


def read_tree(recipe: Recipe, root: str) -> Node:
    """The YAML of a recipe that was loaded; an empty one where it can no longer be read."""
    try:
        with open(os.path.join(root, recipe.file), "rb") as file:
            return parse_yaml(file.read(), recipe.file)[0]
    except (OSError, YamlError):  # it changed since it was loaded
        return Node("null", 1, 1)


def recipe_sources(recipe: Recipe) -> Iterator[tuple[Sequence[Key], str]]:
    """What the rootfs of a recipe are made from: keys and path of each file and folder."""
    for name, rootfs in recipe.rootfs.items():
        for part, sources in (("source", rootfs.sources), ("overlay", rootfs.overlay)):
            for number, source in enumerate(sources):
                kind, path = _place(source)
                if path != "-":
                    yield ("rootfs", name, part, number, kind), path


def _place(source: Source) -> tuple[str, str]:
    match source:
        case DirectorySource():
            return "directory", source.directory
        case TarSource():
            return "tar", source.tar
        case OciSource():
            return "oci", source.oci.layout
        case DockerArchiveSource():
            return "docker-archive", source.docker_archive


def recipe_inputs(recipe: Recipe) -> Iterator[tuple[Sequence[Key], str]]:
    """Everything else that a recipe reads: keys and path of each file and folder."""
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
