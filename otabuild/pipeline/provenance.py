"""How an image was made: the predicate SLSA provenance, version 1, of the build of a recipe.

It has nothing that differs between two builds of the same inputs, such as times of day, so the same
build gives the same statement.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from otabuild.errors import InputError
from otabuild.format.statement import PROVENANCE, Statement, Subject
from otabuild.format.times import utc
from otabuild.image.image import open_image
from otabuild.pipeline.build_report import versions
from otabuild.pipeline.builder import check_builder
from otabuild.recipe.context import ask_git
from otabuild.recipe.model import Recipe
from otabuild.recipe.named_files import recipe_inputs, recipe_sources
from otabuild.rootfs.container_files import DirectoryFiles
from otabuild.rootfs.content import with_digest
from otabuild.rootfs.directory import DirectorySource
from otabuild.rootfs.entry import Entry
from otabuild.rootfs.inputs import OciInput
from otabuild.rootfs.oci import oci_layers
from otabuild.storage import files

BUILD_TYPE = "urn:otabuild:recipe:1"
_LIBRARIES = ("cryptography", "msgpack", "pydantic", "pyjwt", "pyyaml", "zstandard")
_ELSEWHERE = {"file", "timestamp", "output", "output_dir", "sign", "verify", "publish"}


def provenance(recipe: Recipe, subjects: tuple[Subject, ...], builder: str) -> Statement:
    """Return the statement about how an image was made of a recipe.

    Args:
        recipe: the recipe, whose inputs are hashed now.
        subjects: what was made; see `image_subjects`.
        builder: the identity of the builder, a URI.

    Raises:
        InputError: the builder is not known, or an input cannot be read.
        StorageError: an input cannot be read.
    """
    check_builder(builder)
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "recipe": recipe.file,
                "timestamp": utc(recipe.timestamp),
                "parameters": parameters(recipe),
            },
            "resolvedDependencies": list(dependencies(recipe)),
        },
        "runDetails": {"builder": {"id": builder, "version": versions(_LIBRARIES)}},
    }
    return Statement(subject=subjects, predicate_type=PROVENANCE, predicate=predicate)


def parameters(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says of the image, substituted; not where keys are, nor outputs go."""
    found = recipe.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE, exclude_none=True)
    return {**found, "annotations": recipe.index_annotations}


def watched(recipe: Recipe, builder: str) -> tuple[object, ...]:
    """Return what a provenance depends on besides the image, and so the contents of inputs."""
    return (
        builder,
        parameters(recipe),
        _file("recipe", recipe.file),
        list(_commit(recipe)),
        versions(_LIBRARIES),
    )


def dependencies(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield the recipe, its git commit, and its inputs with digests, as in-toto descriptors.

    A file has its SHA-256. A directory has that of its tree: of one line for each entry. A layout
    of container images has those of the layers that were used. A base that is no file has that of
    its index.json. Standard input cannot be read again, and has none.
    """
    yield _file("recipe", recipe.file)
    yield from _commit(recipe)
    for keys, path in (*recipe_sources(recipe), *recipe_inputs(recipe)):
        name = ".".join(map(str, keys))
        if keys[0] in ("sign", "verify") or (keys[0] == "storage" and not os.path.isfile(path)):
            continue
        if os.path.isfile(path):
            yield _file(name, path)
        elif keys[-1] in ("directory", "release-dir"):
            digest, entries = tree_digest(path)
            yield {
                "name": name,
                "uri": path,
                "digest": {"sha256": digest},
                "annotations": {"entries": entries},
            }
        else:
            yield from _layers(recipe, keys, name)
    base = recipe.storage.base
    if base is not None and not os.path.isfile(base):
        with open_image(base, compat=True) as image:
            digest = hashlib.sha256(image.index_raw).hexdigest()
        yield {
            "name": "storage.base",
            "uri": base,
            "digest": {"sha256": digest},
            "annotations": {"file": "index.json"},
        }


def _commit(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield the commit that was checked out, and git's description, which tells of changes."""
    folder = os.path.dirname(recipe.file) or os.curdir
    with suppress(InputError):  # not everything is in git
        commit, described = ask_git(folder, "commit"), ask_git(folder, "describe")
        yield {
            "name": "git",
            "digest": {"gitCommit": commit},
            "annotations": {"describe": described},
        }


def _file(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "uri": path, "digest": {"sha256": files.hash_file(path)}}


def _layers(recipe: Recipe, keys: tuple[Any, ...], name: str) -> Iterator[dict[str, Any]]:
    """Yield the layers of an image in an OCI layout that is a directory."""
    rootfs = recipe.rootfs[keys[1]]
    found = rootfs.sources[keys[3]].input(None, rootfs.architecture)
    if isinstance(found, OciInput):
        files_of = DirectoryFiles(found.location)
        layers = oci_layers(files_of, found.reference, found.platform, found.architecture)
        for number, layer in enumerate(layers):
            yield {
                "name": f"{name}.layer.{number}",
                "uri": found.location,
                "digest": {"sha256": layer.digest},
            }


def tree_digest(path: str) -> tuple[str, int]:
    """Return the digest of a directory and its number of entries.

    It is the SHA-256, as hex, of one line of JSON for each entry in byte order of the paths: the
    list of path, mode, owner, group, SHA-256 of the content or target of the link, and extended
    attributes as hex.

    Raises:
        InputError: something in it cannot be read, or changes meanwhile.
    """
    sha256, count = hashlib.sha256(), 0
    source = DirectorySource(path, one_file_system=False, prune=lambda _path: False)
    for count, entry in enumerate(source.entries(), 1):  # noqa: B007  (the last number is their number)
        sha256.update(json.dumps(_line(entry)).encode() + b"\n")
    return sha256.hexdigest(), count


def _line(entry: Entry) -> list[object]:
    content = None if entry.content is None else with_digest(entry.content).digest
    holds = entry.target if content is None else content.hex()
    xattrs = {name: value.hex() for name, value in sorted(entry.xattrs.items())}
    return [entry.path, entry.mode, entry.uid, entry.gid, holds, xattrs]
