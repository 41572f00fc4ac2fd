"""The files named in a recipe."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from otabuild.errors import Finding, OtabuildError, Place, StorageError
from otabuild.format import limits
from otabuild.format.otaclient import RELEASE_MANIFEST, build_package
from otabuild.format.sys_config import parse_sys_config
from otabuild.format.urls import is_url
from otabuild.recipe.diagnose import Key, key_path
from otabuild.recipe.model import Recipe
from otabuild.recipe.sign import FileKey
from otabuild.storage.files import read_file


def missing_inputs(recipe: Recipe, root: str = os.curdir) -> list[Finding]:
    """Return what a recipe names and does not exist, except sources and overlays of a rootfs.

    A later step may create those.

    Args:
        recipe: a recipe loaded with this root.
        root: the folder that the paths of the recipe are relative to.
    """
    missing = [
        (keys, followed(path, root))
        for keys, path in recipe_inputs(recipe)
        if not os.path.exists(os.path.join(root, path))
    ]
    hint = "make it, or correct the path in the recipe"
    return [
        problem_at(recipe, keys, "no such file or folder", path, hint=hint)
        for keys, path in missing
    ]


def followed(path: str, root: str = os.curdir) -> str:
    """Return the path of something that does not exist and, if a link, where it leads."""
    try:
        target = os.readlink(os.path.join(root, path))
    except OSError:
        return path
    return f"{path}, a link to {target}, which does not exist"


@contextmanager
def naming_key(recipe: Recipe, *keys: Key) -> Iterator[None]:
    """Add file, line and key of a recipe to errors about the value at or below some of its keys.

    Without keys, only an error that names a value of the recipe is about it. The same holds for a
    StorageError, which may be about the work directory.
    """
    try:
        yield
    except OtabuildError as error:
        below = {found: value for found, value in _named(recipe) if found[: len(keys)] == keys}
        # The path of a `set` rule is one of the rootfs: no file of this machine is inside it.
        about = [
            found
            for found, value in below.items()
            if _is_about(error.where, value, inside="set" not in found)
        ]
        if not about and (not keys or isinstance(error, StorageError)):
            raise
        if not about and keys in below:
            error.at(below[keys])  # the error names only a part of the file
        error.at(place_of(recipe, about[0] if about else keys))
        raise


def _is_about(where: str, value: str, *, inside: bool) -> bool:
    """Whether the place that an error names is a value of the recipe, or inside what it names."""
    # An error may name several files, and a member of an archive follows after a colon.
    named = (value, os.path.abspath(value))
    return any(part in named for part in where.split(", ")) or (
        inside and where.startswith(tuple(f"{path}{end}" for path in named for end in "/:"))
    )


def bad_sys_configs(recipe: Recipe) -> list[Finding]:
    """Return what is wrong with the sys_config files that a recipe names, except missing ones."""
    problems = []
    for number, payload in enumerate(recipe.payloads):
        path = payload.sys_config
        if path is None or not os.path.exists(path):
            continue
        try:
            parse_sys_config(read_file(path, limits.DOCUMENT), path)
        except OtabuildError as error:
            what, keys = f"{error.where}: {error.what}", ("payloads", number, "sys-config")
            problems.append(
                problem_at(recipe, keys, what, error.observed, error.expected, hint=error.hint)
            )
    return problems


def bad_release(recipe: Recipe) -> list[Finding]:
    """Return what is wrong with the otaclient release that a recipe names, except a missing folder.

    Sizes are compared here; the checksums of these large files are compared where they are read
    into the image.
    """
    package = recipe.otaclient_package
    if package is None or not os.path.lexists(package.release_dir):
        return []
    keys = ("otaclient-package", "release-dir")
    manifest = os.path.join(package.release_dir, RELEASE_MANIFEST)
    hint = "name the folder of an otaclient release, or get the release again"
    try:
        release, *_ = build_package(read_file(manifest, limits.DOCUMENT), manifest)
    except OtabuildError as error:
        what = f"{error.where}: {error.what}"
        return [
            problem_at(recipe, keys, what, error.observed, error.expected, hint=error.hint or hint)
        ]
    problems = []
    for file in release.packages if package.legacy else release.squashfs:
        path = os.path.join(package.release_dir, file.filename)
        if not os.path.lexists(path):
            problems.append(problem_at(recipe, keys, f"{path}: no such file", hint=hint))
        elif not stat.S_ISREG((found := os.lstat(path)).st_mode):
            problems.append(problem_at(recipe, keys, f"{path}: not a regular file", hint=hint))
        elif found.st_size != file.size:
            what = f"{path}: not the size that {RELEASE_MANIFEST} says"
            problems.append(
                problem_at(
                    recipe, keys, what, f"{found.st_size} bytes", f"{file.size} bytes", hint=hint
                )
            )
    return problems


def problem_at(
    recipe: Recipe,
    keys: Sequence[Key],
    what: str,
    observed: str | None = None,
    expected: str | None = None,
    *,
    hint: str = "",
) -> Finding:
    """Return a problem with the value at some keys of a loaded recipe."""
    return Finding(place_of(recipe, keys), what, observed, expected, hint)


def place_of(recipe: Recipe, keys: Sequence[Key]) -> Place:
    """Return the place of the value at some keys of a recipe, or of what is nearest to it."""
    node, trail, _ = recipe.tree.follow(keys)
    return Place(recipe.file, node.line, node.column, key_path(trail))


def _named(recipe: Recipe) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Yield everything that a recipe names, including inside its rootfs and by URL, by keys."""
    yield from recipe_inputs(recipe)
    yield from recipe_sources(recipe)
    if recipe.storage.base and is_url(recipe.storage.base):
        yield ("storage", "base"), recipe.storage.base
    if recipe.publish:
        yield ("publish", "store"), recipe.publish.store.rstrip("/")
    for name, rootfs in recipe.rootfs.items():
        for number, rule in enumerate(rootfs.set):
            yield ("rootfs", name, "set", number, "path"), rule.path


def recipe_sources(recipe: Recipe) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Yield the inputs of the rootfs of a recipe: keys and path of each file and folder."""
    for name, rootfs in recipe.rootfs.items():
        for part, sources in (("source", rootfs.sources), ("overlay", rootfs.overlay)):
            for number, source in enumerate(sources):
                kind, path = source.place
                if path != "-":
                    yield ("rootfs", name, part, number, kind), path


def recipe_inputs(recipe: Recipe) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Yield all other inputs of a recipe: keys and path of each file and folder."""
    for number, payload in enumerate(recipe.payloads):
        if payload.sys_config:
            yield ("payloads", number, "sys-config"), payload.sys_config
    if recipe.otaclient_package:
        yield ("otaclient-package", "release-dir"), recipe.otaclient_package.release_dir
    if recipe.storage.base and not is_url(recipe.storage.base):
        yield ("storage", "base"), recipe.storage.base
    if recipe.sbom and recipe.sbom.vex:
        yield ("sbom", "vex"), recipe.sbom.vex
    if recipe.sign:
        yield ("sign", "certificate"), recipe.sign.certificate
        yield from (
            (("sign", "chain", number), path) for number, path in enumerate(recipe.sign.chain)
        )
        if isinstance(recipe.sign.key, FileKey):
            yield ("sign", "key", "file"), recipe.sign.key.file
    if recipe.verify:
        yield from (
            (("verify", "trust", number), path) for number, path in enumerate(recipe.verify.trust)
        )
        yield from (
            (("verify", "crl", number), path) for number, path in enumerate(recipe.verify.crl)
        )
