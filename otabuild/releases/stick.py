"""Images for devices without a network: the tree that field clients read as an external cache.

A client asks for each file by a digest: for a blob that it decompresses while it arrives, by that
of the decompressed bytes, which it finds in `data/<hex>.zst`; for anything else, by that of the
stored bytes, in `data/<hex>`. If both names are there, `.zst` is tried first, and gives the same
bytes. The one file without a digest is index.jwt, which somebody must serve by HTTP: it lies in
`releases/<name>/`, with the other documents of the image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from otabuild.errors import InputError, StateError, StorageError
from otabuild.format import limits
from otabuild.format.digest import Blob
from otabuild.format.filters import Compressed
from otabuild.image.blobs import Chunk
from otabuild.image.image import Image
from otabuild.image.otaclient_package import read_package
from otabuild.image.resources import Plan
from otabuild.storage import files, fs, publishing
from otabuild.storage.fs import StrPath
from otabuild.tally import Progress, Tally

_DOCUMENTS = {"index.json": limits.INDEX, "index.jwt": limits.JWT, "oci-layout": limits.DOCUMENT}


@dataclass(frozen=True, slots=True)
class Stick:
    """What was written.

    Attributes:
        folder: where.
        releases: names of the images.
        files: how many files `data/` has of these images.
        size: bytes of the blobs among them.
    """

    folder: str
    releases: tuple[str, ...]
    files: int
    size: int

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "folder": self.folder,
            "releases": list(self.releases),
            "files": self.files,
            "bytes": self.size,
        }


def write_stick(
    images: Mapping[str, Image],
    folder: StrPath,
    bases: Sequence[Image] = (),
    *,
    progress: Progress | None = None,
) -> Stick:
    """Write what devices fetch to update to any of the images; the same images give the same files.

    What is there already stays, and is not written again if it is right, so several calls may share
    a folder.

    Args:
        images: open images by the names that their releases get.
        folder: made if it does not exist.
        bases: images that the devices run; contents that all of them have for an ECU are left out.
            A device with another image needs a network for those.
        progress: called with the bytes done.

    Raises:
        InputError: an image is not signed, so no client would accept it.
        StateError: the folder is in one of the images.
        IntegrityError: a blob is damaged.
        StorageError: the folder cannot be written.
    """
    path = os.fspath(folder)
    for name, image in images.items():
        _check(name, image, path)
    wanted: dict[str, tuple[Image, Blob]] = {}
    for image in images.values():
        wanted = {file: (image, blob) for file, blob in _files_of(image, bases)} | wanted
    tally = Tally(sum(blob.size for _, blob in wanted.values()), progress)
    fs.makedirs(os.path.join(path, "data"))
    for file, (image, blob) in sorted(wanted.items()):
        _write(os.path.join(path, "data", file), blob.digest, lambda: image.blobs.stream(*blob))  # noqa: B023 called at once
        tally.add(blob.size)
    for name, image in images.items():
        files.write_file(
            os.path.join(path, "data", hashlib.sha256(image.index_raw).hexdigest()), image.index_raw
        )
        _write_documents(image, os.path.join(path, "releases", name))
    return Stick(path, tuple(images), len(wanted) + len(images), tally.total)


def _check(name: str, image: Image, folder: str) -> None:
    if name in ("", ".", "..") or "/" in name:
        raise InputError("not a name for a release", where=image.path, observed=repr(name))
    if image.token_raw is None:
        hint = "sign it first: clients refuse an image without index.jwt"
        raise InputError("the image is not signed", where=image.path, hint=hint)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise StateError("not a folder", where=folder)
    image.source.check_apart(os.path.join(folder, "data"))


def _files_of(image: Image, bases: Sequence[Image]) -> Iterator[tuple[str, Blob]]:
    """Yield the name in `data/` of each blob that a client may ask for."""
    index = image.index
    described = [*index.manifests]
    for payload in image.payloads:
        described += [payload.manifest.config, payload.manifest.file_table]
        described += filter(None, [payload.config.sys_config])
    if index.otaclient_package is not None:
        package, _ = read_package(image, index.otaclient_package)
        described += [package.config, *package.layers]
    yield from (
        (descriptor.digest.hex(), Blob(descriptor.digest, descriptor.size))
        for descriptor in described
    )
    lacking = _lacking(image, bases)
    for group in image.resources.groups(lambda row: True if row.digest in lacking else None):
        for plan in (group.bundle, *(member.plan for member in group.members)):
            if plan is not None:
                yield from _files_of_plan(plan)


def _files_of_plan(plan: Plan) -> Iterator[tuple[str, Blob]]:
    step = plan.steps[0] if plan.steps else None
    if step is not None and isinstance(step.filter, Compressed):
        yield f"{step.digest.hex()}.zst", plan.leaves[0]
    else:
        yield from ((leaf.digest.hex(), leaf) for leaf in plan.leaves)


def _lacking(image: Image, bases: Iterable[Image]) -> set[bytes]:
    """Return the contents of all payloads that a device with one of the bases may lack."""
    lacking: set[bytes] = set()
    for payload in image.payloads:
        # A device has one of the bases, and nobody knows which: only what all of them have is
        # surely there.
        held = None
        for base in bases:
            same = (
                one
                for one in base.payloads
                if (one.ecu, one.release_key) == (payload.ecu, payload.release_key)
            )
            has = {digest for one in same for digest in one.contents()}
            held = has if held is None else held & has
        lacking |= payload.contents().keys() - (held or set())
    return lacking


def _write(path: str, digest: bytes, read: Callable[[], Iterable[Chunk]]) -> None:
    """Write a file, unless it is there and right."""
    if os.path.isfile(path):
        try:
            if files.hash_file(path) == digest.hex():
                return
        except StorageError:
            pass  # a stick with a bad block: writing again may help, and says so if not
    with publishing.replacing(path) as fd:
        for chunk in read():
            fs.write(fd, chunk, path)


def _write_documents(image: Image, folder: str) -> None:
    fs.makedirs(folder)
    for name, limit in _DOCUMENTS.items():
        raw = image.read_file(name, limit)
        if raw is not None:
            files.write_file(os.path.join(folder, name), raw)
