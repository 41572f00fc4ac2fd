"""The files of a container image on the host: a directory, or a tar archive of it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from otabuild.errors import InputError
from otabuild.format import limits
from otabuild.format.json_text import load_json
from otabuild.rootfs.content import read_content
from otabuild.rootfs.entry import Content, Entry
from otabuild.rootfs.tar_source import TarSource, read_chunks
from otabuild.storage import fs

_DOCUMENT_MAX = 4 * limits.MIB
_LINKS_MAX = 8
_COMPLETE = (
    "check that it is of the kind that the recipe says, and copy it with all of its layers, as "
    "with skopeo copy"
)
_COPY = "copy the layout in a way that follows links, for instance with cp -rL"

T = TypeVar("T")


class MissingFileError(InputError):
    """A file that an image must have is missing."""


class Files(Protocol):
    """Gives access to files by their name in the image."""

    where: str

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts.

        Raises:
            InputError: the file does not exist or cannot be read.
        """


class DirectoryFiles:
    """The files of a directory."""

    def __init__(self, where: str) -> None:
        self.where = where

    def chunks(self, name: str) -> Iterator[bytes]:
        """See Files."""
        path = os.path.join(self.where, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with fs.closing_fd(fd):
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise InputError("is not a plain file", where=path)
                yield from read_chunks(fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InputError(
                    "is a symlink", where=path, expected="a plain file", hint=_COPY
                ) from error
            if error.errno == errno.ENOENT:
                raise MissingFileError(
                    "the image lacks a file", where=path, hint=_COMPLETE
                ) from error
            raise InputError(
                "cannot read a file of the image", where=path, observed=error.strerror
            ) from error


class ArchiveFiles:
    """The files of a tar archive."""

    def __init__(self, where: str, archive: TarSource) -> None:
        self.where = where
        self._entries: dict[str, Entry] = {entry.path: entry for entry in archive.entries()}

    def content(self, name: str) -> Content:
        """Return where a file is; symlinks within the archive are followed.

        Raises:
            InputError: the file does not exist.
        """
        path = os.path.normpath("/" + name)
        for _step in range(_LINKS_MAX):
            found = self._entries.get(path)
            if found is not None and found.content is not None:
                return found.content
            if found is None or found.target is None:
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), found.target))
        raise MissingFileError(
            "the image lacks a file", where=f"{self.where}: {name[:500]}", hint=_COMPLETE
        )

    def chunks(self, name: str) -> Iterator[bytes]:
        """See Files."""
        return read_content(self.content(name))


def read_document(files: Files, name: str, digest: str | None = None) -> Any:
    """Read a JSON document of an image and check its SHA-256 (hex), if given.

    Raises:
        InputError: missing, too large, damaged, or not JSON.
    """
    where = f"{files.where}: {name[:500]}"
    raw = bytearray()
    for chunk in files.chunks(name):
        raw += chunk
        if len(raw) > _DOCUMENT_MAX:
            raise InputError(
                "a document of the image is too large",
                where=where,
                expected=f"at most {_DOCUMENT_MAX}",
            )
    found = hashlib.sha256(raw).hexdigest()
    if digest is not None and found != digest:
        raise InputError(
            "a document of the image does not have its digest", where=where, observed=found
        )
    try:
        return load_json(raw, object_pairs_hook=_unique)
    except ValueError as error:
        raise InputError(
            "a document of the image is not JSON", where=where, observed=error
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def field(value: object, key: str, kind: type[T], where: str) -> T:
    """Return a field of a JSON object, checking that it has the expected type.

    Raises:
        InputError: it is missing or of another type.
    """
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise InputError(
            f"the image has no valid {key} here", where=where, observed=f"{found!r:.100}"
        )
    return found
