"""Stores the blobs that descriptors name, and writes the image as a directory or an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from otabuild.errors import InputError, IntegrityError, OtabuildError
from otabuild.format import limits
from otabuild.format.digest import Descriptor, blob_name, format_digest
from otabuild.format.index import OCI_LAYOUT, Index
from otabuild.format.media_types import SYS_CONFIG
from otabuild.format.otaclient import RELEASE_MANIFEST, Package, build_package
from otabuild.format.sys_config import parse_sys_config
from otabuild.storage import files, fs, publishing
from otabuild.storage.cache import Blob, Cache
from otabuild.storage.member import DamagedBlobError, Member, arrange, member_chunks

_CHUNK = limits.MIB
_MARKER = "index.json"
"""`is_image_directory` knows an image by it."""


def add_sys_config(path: str, cache: Cache) -> Descriptor:
    """Check a sys_config and store it unchanged (section 5).

    Raises:
        FormatError: clients would refuse it, or silently ignore a part of it.
        StorageError: the file cannot be read.
    """
    raw = files.read_file(path, limits.DOCUMENT)
    parse_sys_config(raw, path)
    cache.add(raw)
    return Descriptor.of(raw, SYS_CONFIG)


class StoredPackage(NamedTuple):
    """A stored otaclient release folder.

    Attributes:
        descriptor: the descriptor of its manifest, for the index.
        blobs: the blobs of the package.
        folder: every file of the folder that is stored, by name.
    """

    descriptor: Descriptor
    blobs: list[Blob]
    folder: dict[str, Blob]


def add_otaclient_package(release_dir: str, cache: Cache, *, legacy: bool) -> StoredPackage:
    """Store an otaclient release folder as a package (section 9).

    Args:
        release_dir: the folder.
        cache: where its files go.
        legacy: also store the files that are not part of the package, for the copy of the folder.

    Raises:
        FormatError: its manifest.json does not follow the format.
        InputError, IntegrityError: a file is missing, not a regular file, or has the wrong size or checksum.
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
    checksum = format_digest(blob.digest)
    if (blob.size, checksum) != (package.size, package.checksum):
        raise IntegrityError(
            "a file of the otaclient release is not what its manifest.json says",
            where=path,
            observed=f"{blob.size} bytes, {checksum}",
            expected=f"{package.size} bytes, {package.checksum}",
        )
    return blob


def members(
    index_json: bytes, index_jwt: bytes | None, blobs: Iterable[Blob], cache: Cache, extra: Sequence[Member] = ()
) -> list[Member]:
    """Return every file of an image; `extra` has the files that legacy compatibility adds."""
    found = [document("index.json", index_json), document("oci-layout", OCI_LAYOUT), *extra]
    if index_jwt is not None:
        found.append(document("index.jwt", index_jwt))
    return found + [stored_file(blob_name(blob.digest), blob, cache) for blob in blobs]


def stored_file(name: str, blob: Blob, cache: Cache) -> Member:
    """Return a file of the image whose bytes are in the cache.

    Raises:
        DamagedBlobError: the bytes are no longer in the cache.
    """
    place = cache.place(blob.digest)
    if place is None:
        raise DamagedBlobError(blob.digest, name)
    return Member(name, blob.size, file=place.path, offset=place.offset, digest=blob.digest)


def document(name: str, content: bytes) -> Member:
    """Return a file of the image whose bytes are in memory."""
    return Member(name, len(content), content)


def is_image_directory(path: str) -> bool:
    """Whether a folder is an image of this format. An oci-layout alone is not enough: every OCI image has one."""
    try:
        Index.parse(files.read_file(os.path.join(path, _MARKER), limits.INDEX))
    except OtabuildError:
        return False
    return True


def write_directory(path: str, contents: Sequence[Member], *, progress: Callable[[int], None]) -> None:
    """Write the members as an image directory, which appears when it is complete; see `publishing.replacing_folder`.

    Raises:
        InputError: `path` exists and is not an image directory.
        StateError: another process is writing it.
        DamagedBlobError: a blob in the cache does not match its name.
        StorageError: writing failed; what was at `path` is still there.
    """

    def check(place: str) -> None:
        if not is_image_directory(place):
            raise InputError(
                "the output directory exists and is not an OTA image",
                where=path,
                hint="choose a different folder for `output-dir`, or remove this one",
            )

    with publishing.replacing_folder(path, marker=_MARKER, check=check) as fresh:
        _fill_directory(fresh, contents, progress)


def remove_directory(path: str) -> None:
    """Remove an image directory. If `path` is a link, the link stays, and the folder that it leads to is removed.

    Raises:
        StorageError: the operating system refused.
    """
    publishing.remove_folder(path, marker=_MARKER)


def _fill_directory(path: str, contents: Sequence[Member], progress: Callable[[int], None]) -> None:
    for member in arrange(contents):
        target = os.path.join(path, member.name)
        if member.name.endswith("/"):
            fs.make_folder(target)
        else:
            with files.creating(target) as fd:
                for chunk in member_chunks(member):
                    fs.write(fd, chunk, target)
        progress(member.size)
