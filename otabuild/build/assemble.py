"""Blobs that descriptors name, and the image as a directory or an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from otabuild.errors import InputError, IntegrityError, OtabuildError, StorageError
from otabuild.format import limits
from otabuild.format.digest import Descriptor, blob_name
from otabuild.format.index import OCI_LAYOUT, Index
from otabuild.format.media_types import SYS_CONFIG
from otabuild.format.otaclient import RELEASE_MANIFEST, Package, build_package
from otabuild.format.sys_config import parse_sys_config
from otabuild.storage import files, fs
from otabuild.storage.cache import Blob, Cache
from otabuild.storage.member import DamagedBlobError, Member, arrange, member_chunks

_CHUNK = limits.MIB


def add_sys_config(path: str, cache: Cache) -> Descriptor:
    """Check a sys_config and store it as it is (specification, section 5).

    Raises:
        FormatError: clients would refuse it, or silently ignore a part of it.
        StorageError: it cannot be read.
    """
    raw = files.read_file(path, limits.DOCUMENT)
    parse_sys_config(raw, path)
    cache.add(raw)
    return Descriptor.of(raw, SYS_CONFIG)


class StoredPackage(NamedTuple):
    """An otaclient release folder, stored.

    Attributes:
        descriptor: of its manifest, for the index.
        blobs: those that the package consists of.
        folder: every file of the folder that is stored, by name.
    """

    descriptor: Descriptor
    blobs: list[Blob]
    folder: dict[str, Blob]


def add_otaclient_package(release_dir: str, cache: Cache, *, legacy: bool) -> StoredPackage:
    """Store an otaclient release folder as a package (specification, section 9).

    Args:
        release_dir: the folder.
        cache: where its files go.
        legacy: also store the files that are no part of the package, for the copy of the folder.

    Raises:
        FormatError: its manifest.json does not follow the format.
        InputError, IntegrityError: a file is missing, no regular file, or not of its size and checksum.
    """
    where = os.path.join(release_dir, RELEASE_MANIFEST)
    raw = files.read_file(where, limits.DOCUMENT)
    release, manifest, descriptor = build_package(raw, where)
    wanted = release.packages if legacy else release.squashfs
    stored = {p.filename: _add_package(os.path.join(release_dir, p.filename), p, cache) for p in wanted}
    folder = {RELEASE_MANIFEST: cache.add(raw), **stored}
    blobs = [folder[RELEASE_MANIFEST], cache.add(manifest), *(stored[p.filename] for p in release.squashfs)]
    return StoredPackage(descriptor, blobs, folder)


def _add_package(path: str, package: Package, cache: Cache) -> Blob:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError("cannot read a file of the otaclient release", where=path, observed=error.strerror) from None
    with open(fd, "rb") as file:
        writer = cache.new_blob(package.size)
        while chunk := file.read(min(_CHUNK, package.size + 1 - writer.size)):
            writer.write(chunk)
    blob = writer.commit()
    if blob.size != package.size or f"sha256:{blob.digest.hex()}" != package.checksum:
        raise IntegrityError(
            "a file of the otaclient release is not what its manifest.json says",
            where=path,
            observed=f"{blob.size} bytes, sha256:{blob.digest.hex()}",
            expected=f"{package.size} bytes, {package.checksum}",
        )
    return blob


def members(
    index_json: bytes, index_jwt: bytes | None, blobs: Iterable[Blob], cache: Cache, extra: Sequence[Member] = ()
) -> list[Member]:
    """Every file of an image; `extra` is what legacy compatibility adds."""
    found = [document("index.json", index_json), document("oci-layout", OCI_LAYOUT), *extra]
    if index_jwt is not None:
        found.append(document("index.jwt", index_jwt))
    return found + [stored_file(blob_name(blob.digest), blob, cache) for blob in blobs]


def stored_file(name: str, blob: Blob, cache: Cache) -> Member:
    """A file of the image whose bytes are in the cache.

    Raises:
        DamagedBlobError: the cache has lost them.
    """
    place = cache.place(blob.digest)
    if place is None:
        raise DamagedBlobError(blob.digest, name)
    return Member(name, blob.size, file=place.path, offset=place.offset, digest=blob.digest)


def document(name: str, content: bytes) -> Member:
    """A file of the image whose bytes are at hand."""
    return Member(name, len(content), content)


def is_image_directory(path: str) -> bool:
    """Whether a folder is an image of this format; any container image has an oci-layout, too, so that tells nothing."""
    try:
        Index.parse(files.read_file(os.path.join(path, "index.json"), limits.INDEX))
    except OtabuildError:
        return False
    return True


def write_directory(path: str, contents: Sequence[Member], *, progress: Callable[[int], None]) -> None:
    """Write the members as an image directory: a new one beside it, synced, then put in its place.

    Where `path` is a link, it stays, and the folder that it leads to is replaced.

    Raises:
        InputError: there is something at `path` that is no image directory.
        StateError: another process writes it.
        DamagedBlobError: a blob in the cache is not what its name says.
        StorageError: writing failed; what was at `path` is still there.
    """
    place = os.path.realpath(path)
    with files.alone(place):
        taken = os.path.lexists(place)
        if taken and not is_image_directory(place):
            raise InputError(
                "there is something at the output directory that is no OTA image",
                where=path,
                hint="choose a folder of its own for `output-dir`, or remove this one",
            )
        fresh = _beside(place)
        try:
            fs.remove_tree(fresh)
            _fill_directory(fresh, contents, progress)
            fs.sync_tree(fresh)
            if taken:
                fs.exchange(fresh, place)
            else:
                fs.rename(fresh, place)
            fs.sync_directory(os.path.dirname(place))
        finally:  # what is there now is a part of the new one, or the old one
            with fs.undisturbed(), suppress(StorageError):
                fs.remove_tree(fresh)


def remove_directory(path: str) -> None:
    """Remove an image directory; where `path` is a link, it stays, and the folder that it leads to goes.

    The folder leaves its place first: one of which a kill left a part would be no image, and stand in the way for good.

    Raises:
        StorageError: the operating system refused.
    """
    place = os.path.realpath(path)
    with files.alone(place), fs.undisturbed():
        fs.remove_tree(_beside(place))
        fs.rename(place, _beside(place))
        fs.remove_tree(_beside(place))


def _beside(place: str) -> str:
    return f"{place}.otabuild-tmp"


def _fill_directory(path: str, contents: Sequence[Member], progress: Callable[[int], None]) -> None:
    fs.make_folder(path)
    for member in arrange(contents):
        target = os.path.join(path, member.name)
        if member.name.endswith("/"):
            fs.make_folder(target)
        else:
            with files.creating(target) as fd:
                for chunk in member_chunks(member):
                    fs.write(fd, chunk, target)
        progress(member.size)
