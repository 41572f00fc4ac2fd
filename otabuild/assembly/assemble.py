"""Stores the blobs that descriptors name, and lists every file of an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from otabuild.errors import InputError, IntegrityError
from otabuild.format import limits
from otabuild.format.digest import Blob, Descriptor, blob_name, format_digest
from otabuild.format.index import OCI_LAYOUT
from otabuild.format.media_types import SYS_CONFIG
from otabuild.format.otaclient import RELEASE_MANIFEST, Package, build_package
from otabuild.format.sys_config import parse_sys_config
from otabuild.storage import files
from otabuild.storage.cache import Cache
from otabuild.storage.member import DamagedBlobError, Member, document

ReadBlob = Callable[[Blob], Iterable[bytes]]
"""Returns the bytes of a blob in parts of at most 1 MiB."""
_CHUNK = limits.MIB


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
        InputError, IntegrityError: a file is missing, not a regular file, or has the wrong size or
        checksum.
    """
    where = os.path.join(release_dir, RELEASE_MANIFEST)
    raw = files.read_file(where, limits.DOCUMENT)
    release, manifest, descriptor = build_package(raw, where)
    wanted = release.packages if legacy else release.squashfs
    stored = {
        p.filename: _add_package(os.path.join(release_dir, p.filename), p, cache) for p in wanted
    }
    folder = {RELEASE_MANIFEST: cache.add(raw), **stored}
    blobs = [
        folder[RELEASE_MANIFEST],
        cache.add(manifest),
        *(stored[p.filename] for p in release.squashfs),
    ]
    return StoredPackage(descriptor, blobs, folder)


def _add_package(path: str, package: Package, cache: Cache) -> Blob:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            "cannot read a file of the otaclient release", where=path, observed=error.strerror
        ) from None
    with open(fd, "rb") as file:
        writer = cache.new_blob(package.size)
        # A byte more than promised is enough to see that the file is too large.
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


def members(  # noqa: PLR0917 the parts of an image
    index_json: bytes,
    index_jwt: bytes | None,
    blobs: Iterable[Blob],
    cache: Cache,
    extra: Sequence[Member] = (),
    of_base: Mapping[Blob, ReadBlob] = MappingProxyType({}),
) -> list[Member]:
    """Return every file of an image.

    Args:
        index_json: its index.
        index_jwt: its signature, if it has one.
        blobs: all of its blobs.
        cache: has them, unless a base does.
        extra: the files that legacy compatibility adds.
        of_base: what returns the bytes of the blobs that a base has.

    Raises:
        DamagedBlobError: a blob is no longer in the cache, and not in the base.
    """
    found = [document("index.json", index_json), document("oci-layout", OCI_LAYOUT), *extra]
    if index_jwt is not None:
        found.append(document("index.jwt", index_jwt))
    taken, ours = [], {}
    for blob in blobs:
        name = blob_name(blob.digest)
        if blob in of_base:
            taken.append(Member(name, blob.size, partial(of_base[blob], blob), blob.digest))
        else:
            ours[name] = blob
    return [*found, *taken, *stored_files(ours, cache)]


def stored_files(blobs: Mapping[str, Blob], cache: Cache) -> Iterator[Member]:
    """Yield files of the image whose bytes are in the cache, given as blobs by their names.

    Raises:
        DamagedBlobError: those of one are not, any more.
    """
    readers = cache.readers(blobs.values())
    for name, blob in blobs.items():
        if blob not in readers:
            raise DamagedBlobError(blob.digest, name)
        yield Member(name, blob.size, readers[blob], blob.digest)
