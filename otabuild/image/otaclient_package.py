"""The otaclient package of an image, and the files for earlier clients (section 9)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from otabuild.errors import FormatError, InputError, IntegrityError, OtabuildError, TrustError
from otabuild.format import legacy_jwt, limits
from otabuild.format.digest import Blob, Descriptor
from otabuild.format.otaclient import RELEASE_MANIFEST, PackageManifest, Release, parse_package
from otabuild.image.blobs import verified
from otabuild.image.image import Image
from otabuild.storage import fs, publishing
from otabuild.storage.fs import StrPath


@dataclass(frozen=True, slots=True)
class OtaclientPackage:
    """The content of an image for otaclient itself.

    Attributes:
        release: the manifest.json of the release, or None if the image has no package.
        legacy_files: names of the files for legacy clients, with their sizes in bytes.
    """

    release: Release | None
    legacy_files: tuple[tuple[str, int], ...]

    def to_value(self) -> dict[str, object]:
        """Return the package as plain JSON values."""
        return {
            "release": None if self.release is None else self.release.to_value(),
            "legacy-files": [{"name": name, "size": size} for name, size in self.legacy_files],
        }


def list_otaclient_package(image: Image) -> OtaclientPackage:
    """List the otaclient package and the legacy files of an image.

    Raises:
        FormatError, IntegrityError: the package is invalid.
    """
    descriptor = image.index.otaclient_package
    release = None if descriptor is None else read_package(image, descriptor)[1]
    return OtaclientPackage(release, tuple(legacy_files(image, release)))


def legacy_files(image: Image, release: Release | None) -> Iterator[tuple[str, int]]:
    """Yield name and size of each file for legacy clients, by name.

    Where files cannot be listed, those are looked for that a release names.

    Args:
        image: an open image.
        release: that of the image's package, if it has one; the release in the folder may be
            another.
    """
    if image.source.lists_files:
        listed = (
            member
            for member in image.source.members()
            if member.name.startswith(legacy_jwt.PREFIXES)
        )
        yield from (
            (member.name, member.size) for member in listed if not member.name.endswith("/")
        )
        return
    found = {RELEASE_MANIFEST, *(() if release is None else _files_of(release))}
    if (raw := image.read_file(legacy_jwt.FOLDER + RELEASE_MANIFEST, limits.DOCUMENT)) is not None:
        with suppress(FormatError):  # verification notes it
            found.update(_files_of(Release.from_json(raw, RELEASE_MANIFEST)))
    names = {
        legacy_jwt.NAME,
        legacy_jwt.CERTIFICATE_NAME,
        *(legacy_jwt.FOLDER + name for name in found),
    }
    for name in sorted(names):
        if (size := image.source.size(name)) is not None:
            yield name, size


def read_package(image: Image, descriptor: Descriptor) -> tuple[PackageManifest, Release]:
    """Return the manifest blob of a package, and the release manifest in its config.

    Raises:
        FormatError: one of them does not follow the format, or they do not agree.
        IntegrityError, LimitError: a blob is missing, damaged or too large.
    """
    where = "otaclient package"
    raw = image.blobs.read(descriptor, limits.DOCUMENT)
    config = PackageManifest.from_json(raw, where).config
    return parse_package(raw, image.blobs.read(config, limits.DOCUMENT), where)


def export_otaclient_package(image: Image, folder: StrPath) -> tuple[str, ...]:
    """Write the release folder of the package into a new folder.

    Returns:
        The names of the files written.

    Raises:
        InputError: the image has no otaclient package.
        IntegrityError: a file is damaged.
        StateError: the folder is in the image.
        StorageError: the folder exists, or cannot be written.
    """
    descriptor = image.index.otaclient_package
    if descriptor is None:
        raise InputError("the image has no otaclient package", where=image.path)
    package, release = read_package(image, descriptor)
    exported = [(RELEASE_MANIFEST, package.config.digest, package.config.size)]
    exported += [(part.filename, part.descriptor().digest, part.size) for part in release.squashfs]
    image.source.check_apart(folder)
    fs.mkdir(folder, 0o755)
    for name, digest, size in exported:
        path = os.path.join(folder, name)
        with publishing.replacing(path) as fd:
            for chunk in image.blobs.stream(digest, size):
                fs.write(fd, chunk, path)
    return tuple(name for name, *_ in exported)


def check_legacy(
    image: Image, package: tuple[PackageManifest, Release] | None, signer: bytes | None
) -> tuple[OtabuildError, ...]:
    """Check the files for legacy clients against the package and the signature.

    Args:
        image: an open image.
        package: the result of `read_package`, if the image has a valid package.
        signer: the DER bytes of the signing certificate, or None if the signature was not verified.

    Returns:
        The notes of `check_legacy_folder`.

    Raises:
        IntegrityError: as `check_legacy_folder`.
        TrustError, FormatError: metadata.jwt is invalid, or signed with a different certificate
        than index.jwt.
    """
    notes = check_legacy_folder(image, package)
    token = image.read_file(legacy_jwt.NAME, limits.JWT)
    pem = image.read_file(legacy_jwt.CERTIFICATE_NAME, limits.CERTIFICATE)
    if (token is None) != (pem is None):
        raise FormatError("metadata.jwt and certificate.pem belong together", where=image.path)
    if token is not None and pem is not None:
        certificate = legacy_jwt.verify_legacy_jwt(token, pem)
        if signer is not None and certificate.public_bytes(Encoding.DER) != signer:
            raise TrustError(
                "not the certificate that signed the image", where=legacy_jwt.CERTIFICATE_NAME
            )
    return notes


def check_legacy_folder(
    image: Image, package: tuple[PackageManifest, Release] | None
) -> tuple[OtabuildError, ...]:
    """Check the release folder for legacy clients against the package, or against itself.

    The signature of the image covers the package, and so only files that are equal to those of the
    package. A folder of another release is checked by what it says of itself.

    Args:
        image: an open image.
        package: the result of `read_package`, if the image has a valid package.

    Returns:
        A note on each file that the signature does not cover, and on each that its own release
        contradicts.

    Raises:
        IntegrityError: a file of the package's own release differs from the package, or is missing.
    """
    prefix = legacy_jwt.FOLDER
    listed = legacy_files(image, None if package is None else package[1])
    found = {name.removeprefix(prefix) for name, _size in listed if name.startswith(prefix)}
    raw = image.read_file(prefix + RELEASE_MANIFEST, limits.DOCUMENT)
    if package is not None:
        manifest, release = package
        due = {
            **_files_of(release),
            RELEASE_MANIFEST: Blob(manifest.config.digest, manifest.config.size),
        }
        # A folder without a manifest counts as the package's own, so that what it lacks is missed.
        if raw is None or hashlib.sha256(raw).digest() == manifest.config.digest:
            _check_own_release(image, found, due)
            return tuple(_not_covered(prefix + name) for name in sorted(found - due.keys()))
    return tuple(_notes_on_other_release(image, found, raw))


def _files_of(release: Release) -> dict[str, Blob]:
    return {part.filename: Blob(part.descriptor().digest, part.size) for part in release.packages}


def _check_own_release(image: Image, found: set[str], due: dict[str, Blob]) -> None:
    is_meant = image.source.size(legacy_jwt.NAME) is not None or not found.isdisjoint(due)
    if is_meant and (missing := due.keys() - found):
        raise IntegrityError(
            "legacy files are missing", where=legacy_jwt.FOLDER, expected=", ".join(sorted(missing))
        )
    for name in sorted(found & due.keys()):
        _read_verified(image, name, due[name])


def _notes_on_other_release(
    image: Image, found: set[str], raw: bytes | None
) -> Iterator[OtabuildError]:
    yield from (_not_covered(legacy_jwt.FOLDER + name) for name in sorted(found))
    if raw is None:
        return
    try:
        due = _files_of(Release.from_json(raw, legacy_jwt.FOLDER + RELEASE_MANIFEST))
    except FormatError as error:
        yield error
        return
    for name, facts in due.items():
        try:
            _read_verified(image, name, facts)
        except IntegrityError as error:
            yield error


def _read_verified(image: Image, name: str, due: Blob) -> None:
    path = legacy_jwt.FOLDER + name
    if image.source.size(path) is None:
        raise IntegrityError("a file that the release in this folder names is missing", where=path)
    for _ in verified(image.source.chunks(path), *due, path):
        pass


def _not_covered(name: str) -> OtabuildError:
    return IntegrityError(
        "not a file of the otaclient package: the signature does not cover it", where=name
    )
