"""The image that was built last: its artifact, or its files in the work directory without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import msgpack

from otabuild.assembly.assemble import members
from otabuild.assembly.legacy_files import legacy_members
from otabuild.format.compat import STRICT
from otabuild.format.digest import Blob
from otabuild.format.index_jwt import NAME
from otabuild.format.legacy_jwt import CERTIFICATE_NAME
from otabuild.format.legacy_jwt import NAME as LEGACY_NAME
from otabuild.image.bounds import UNBOUNDED
from otabuild.image.image import Image, open_image
from otabuild.pipeline.base_release import BaseBlobs
from otabuild.pipeline.blob_list import read_blobs
from otabuild.pipeline.steps.sign_step import needs_legacy
from otabuild.pipeline.steps.store_step import OF_BASE
from otabuild.pipeline.workspace import Workspace
from otabuild.recipe.model import Recipe
from otabuild.releases.parallel import do_all
from otabuild.storage import files
from otabuild.storage.cache import Cache
from otabuild.storage.member import Member, member_chunks
from otabuild.storage.member_backend import MemberBackend


class BuiltFiles(NamedTuple):
    """Every file of an image, where its bytes are.

    Attributes:
        members: the files.
        of_base: digests of the blobs that only the base has.
        traffic: returns what was asked of the server of the base so far, by the names of the build
            report.
    """

    members: list[Member]
    of_base: frozenset[bytes]
    traffic: Callable[[], Mapping[str, int]]


@contextmanager
def built_files(recipe: Recipe, workspace: Workspace, cache: Cache) -> Iterator[BuiltFiles]:
    """Yield the files of the image whose index was built, and signed, last.

    Raises:
        DamagedBlobError: a blob is no longer in the cache.
        OtabuildError: a step before has not run, or the base cannot be opened.
    """

    def path(name: str) -> str:
        return os.path.join(workspace.folder(recipe.name), name)

    index = files.read_file(path("index.json"))
    token = files.read_file(path(NAME)) if recipe.sign else None
    of_base = cache.missing(read_blobs(path(OF_BASE)))
    with BaseBlobs(recipe) as base:
        extra = _legacy(path, cache) if needs_legacy(recipe) else ()
        found = members(
            index, token, read_blobs(path("blobs")), cache, extra, dict.fromkeys(of_base, base.read)
        )
        yield BuiltFiles(found, frozenset(blob.digest for blob in of_base), base.traffic)


def _legacy(path: Callable[[str], str], cache: Cache) -> list[Member]:
    """Return the files for legacy clients."""
    release = msgpack.unpackb(files.read_file(path("release")))
    certificate_pem, token = (
        files.read_file(path(name)) for name in (CERTIFICATE_NAME, LEGACY_NAME)
    )
    return legacy_members(
        {name: Blob(*blob) for name, blob in release.items()}, certificate_pem, token, cache
    )


class BuiltImage(NamedTuple):
    """An open image that was built.

    Attributes:
        image: the image.
        proven: digests of the blobs that need not be hashed again.
        traffic: see `BuiltFiles`.
    """

    image: Image
    proven: frozenset[bytes] = frozenset()
    traffic: Callable[[], Mapping[str, int]] = dict


@contextmanager
def open_built(recipe: Recipe, workspace: Workspace) -> Iterator[BuiltImage]:
    """Open the image that was built last, wherever it is.

    What is not in an artifact is hashed now, so that damage is found where it can still be mended.
    What only a trusted base has is not read: its digest follows from what was signed there.

    Raises:
        DamagedBlobError: a blob in the work directory is missing or damaged.
        OtabuildError: as for `open_image` and `built_files`.
    """
    if recipe.output is not None:
        with open_image(recipe.output, bounds=UNBOUNDED) as image:
            yield BuiltImage(image)
        return
    with (
        workspace.open_cache() as cache,
        built_files(recipe, workspace, cache) as (found, of_base, traffic),
    ):
        ours = [member for member in found if member.digest and member.digest not in of_base]
        total = sum(member.size for member in ours)
        progress = workspace.environment(cache, f"check {recipe.name}", total).progress

        def check(member: Member) -> None:
            for chunk in member_chunks(member):
                progress(len(chunk))

        do_all(check, ours, workspace.workers)
        proven = of_base.union(member.digest for member in ours if member.digest)
        with Image(MemberBackend(f"the image of {recipe.file}", found), STRICT, UNBOUNDED) as image:
            yield BuiltImage(image, proven, traffic)


def beside(recipe: Recipe, workspace: Workspace) -> str:
    """Return what names of documents about an image begin with: its artifact, or another place."""
    return recipe.output or os.path.join(os.path.dirname(workspace.work), "release", recipe.name)
