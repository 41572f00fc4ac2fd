"""An open image and its payloads: documents, tables, entries and contents (sections 2 to 7)."""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import IO, Self, cast

from otabuild.errors import FilterError, FormatError, InputError, IntegrityError
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.compat import Compat, Early
from otabuild.format.digest import Descriptor, format_digest
from otabuild.format.image_config import ImageConfig
from otabuild.format.index import Index, payload_id
from otabuild.format.manifest import Manifest
from otabuild.format.media_types import SYS_CONFIG_OLD
from otabuild.format.urls import is_url
from otabuild.image.blobs import Blobs
from otabuild.image.bounds import Bounds
from otabuild.image.resources import ResourceTable
from otabuild.image.tables import FileEntry, FileTable
from otabuild.storage import staging
from otabuild.storage.backend import Backend
from otabuild.storage.backends import open_backend
from otabuild.storage.fs import StrPath

_CONTENTS = "SELECT digest, size FROM ft_resource WHERE contents IS NULL AND size > 0"
_IN_MEMORY = 8 << 20
_LINKS = 40
"""The limit for followed symlinks, the same as in Linux."""


def open_image(path: StrPath, *, compat: bool = False, bounds: Bounds | None = None) -> Image:
    """Open an image directory or an artifact, for use in a `with` statement.

    Everything read from it is verified by digest, starting with index.json. Use `otabuild.verify`
    to check that index.json itself is authentic.

    Args:
        path: the image, or its URL.
        compat: also read what releases 0.3 to 0.10 of the reference builder wrote; `Image.compat`
            tells what was met.
        bounds: what may be spent on rebuilding contents; default: 1 TiB, in any time.

    Raises:
        InputError: the path is not an image.
        ContainerError: the artifact is not the strict ZIP of the format.
        IntegrityError: the image directory has no blobs folder, or a symlink in its place.
        StorageError: the operating system, or the server, could not read it.
    """
    return Image(_open_backend(os.fspath(path)), Compat(is_on=compat), bounds)


def _open_backend(place: str) -> Backend:
    if not is_url(place):
        return open_backend(place)
    from otabuild.stores.open_by_url import open_by_url  # noqa: PLC0415 only who names a URL needs it

    return open_by_url(place)


class Image:
    """An image, opened once. Nothing is looked up by path again."""

    def __init__(self, source: Backend, compat: Compat, bounds: Bounds | None = None) -> None:
        self.source = source
        self.compat = compat
        self.blobs = Blobs(source, compat, bounds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The path or URL of the image."""
        return self.source.path

    def read_from(self, source: Backend) -> None:
        """Read from here on from another place, which has the same files."""
        self.source = source
        self.blobs = Blobs(source, self.compat)

    def read_file(self, name: str, limit: int) -> bytes | None:
        """Return a file beside the blobs, unverified, or None if it does not exist.

        Raises:
            LimitError: it has more than `limit` bytes.
            IntegrityError: it is not a regular file.
        """
        return self.source.read(name, limit)

    @cached_property
    def index_raw(self) -> bytes:
        """The bytes of index.json.

        Raises:
            IntegrityError: the file does not exist.
            LimitError: over 8 MiB.
        """
        raw = self.read_file("index.json", limits.INDEX)
        if raw is None:
            raise IntegrityError("not an OTA image: index.json is missing", where=self.path)
        return raw

    @cached_property
    def token_raw(self) -> bytes | None:
        """The bytes of index.jwt, or None if the image is not signed."""
        return self.read_file("index.jwt", limits.JWT)

    @cached_property
    def index(self) -> Index:
        """The model of index.json.

        Raises:
            FormatError: it is not an index of this format.
        """
        return Index.parse(self.index_raw)

    @cached_property
    def resources(self) -> ResourceTable:
        """The resource table, open until the image is closed; raises as `open_table`."""
        return ResourceTable.open(self.blobs, self.index.resource_table)

    @cached_property
    def payloads(self) -> tuple[Payload, ...]:
        """The file-based payloads in the order of index.json.

        Entries of unknown type are in `index.unknown`.
        """
        return tuple(Payload(self, descriptor) for descriptor in self.index.payloads)

    def payload(self, ecu: str, release_key: str = "dev") -> Payload:
        """Return the payload for an ECU.

        Raises:
            InputError: the payload does not exist; the message names the existing ones.
            FormatError: the payload has an unknown type or release key.
        """
        for payload in self.payloads:
            if (payload.ecu, payload.release_key) == (ecu, release_key):
                return payload
        for descriptor in self.index.partition_payloads:
            if payload_id(descriptor) == (ecu, release_key):
                raise FormatError(
                    "a partition-based payload, which otabuild verifies but does "
                    "not deploy or unpack",
                    where=f"{ecu}/{release_key}",
                    expected=", ".join(payload.name for payload in self.payloads)
                    or "a file-based payload",
                )
        for descriptor in self.index.unknown:
            if (descriptor.annotations or {}).get(ann.ECU) == ecu:
                raise FormatError(
                    "a payload of a type or release key that we do not know",
                    where=descriptor.digest_text,
                    observed=f"{descriptor.artifact_type}, {descriptor.annotations}",
                )
        raise InputError(
            "no such payload",
            where=self.path,
            observed=f"{ecu}/{release_key}",
            expected=", ".join(payload.name for payload in self.payloads)
            or "an image that has a payload",
        )

    def close(self) -> None:
        """Close the image and its tables."""
        for payload in vars(self).get("payloads", ()):
            if "file_table" in vars(payload):
                payload.file_table.close()
        if "resources" in vars(self):
            self.resources.close()
        self.source.close()


class Payload:
    """A payload. Nothing is read before it is asked for, and everything is verified then.

    Attributes:
        image: the image that contains it.
        descriptor: its entry in index.json.
        ecu: id of its ECU.
        release_key: `dev` or `prd`.
    """

    def __init__(self, image: Image, descriptor: Descriptor) -> None:
        self.image = image
        self.descriptor = descriptor
        self.ecu, self.release_key = payload_id(descriptor)

    @property
    def name(self) -> str:
        """ECU and release key, for messages."""
        return f"{self.ecu}/{self.release_key}"

    @cached_property
    def manifest(self) -> Manifest:
        """The image manifest.

        Raises:
            IntegrityError, LimitError: the blob is missing, damaged or too large.
            FormatError: it is not an image manifest.
        """
        return Manifest.from_json(
            self.image.blobs.read(self.descriptor, limits.DOCUMENT), f"manifest of {self.name}"
        )

    @cached_property
    def config(self) -> ImageConfig:
        """The image config; raises the same errors as `manifest`."""
        raw = self.image.blobs.read(self.manifest.config, limits.DOCUMENT)
        return ImageConfig.from_json(raw, f"config of {self.name}")

    @cached_property
    def sys_config(self) -> bytes | None:
        """The sys_config as its author wrote it (YAML), or None. Raises as `manifest`."""
        descriptor = self.config.sys_config
        if descriptor is not None and descriptor.media_type == SYS_CONFIG_OLD:
            # Refused by nobody: this is for the note.
            self.image.compat.accepts(Early.SYS_CONFIG_TYPE)
        return None if descriptor is None else self.image.blobs.read(descriptor, limits.DOCUMENT)

    @cached_property
    def file_table(self) -> FileTable:
        """The file table, open until the image is closed; raises as `open_table`."""
        return FileTable.open(
            self.image.blobs, self.manifest.file_table, f"file table of {self.name}"
        )

    def contents(self) -> dict[bytes, int]:
        """Return the size in bytes of each content that is not inlined, by digest.

        Raises:
            TableError: the file table is invalid.
        """
        return dict(self.file_table.database.query(_CONTENTS))

    def entries(self) -> Iterator[FileEntry]:
        """Yield every entry in byte order of the paths.

        Raises:
            TableError: the file table is invalid.
        """
        return self.file_table.entries()

    def stat(self, path: str, *, follow: bool = False) -> FileEntry:
        """Return the entry of a path, absolute within the rootfs, as its running system finds it.

        Symlinks on the way are followed; a symlink at the end is followed with `follow` or if the
        path ends in a slash.

        Raises:
            InputError: the path does not exist, or has too many symlinks.
        """
        # As the kernel does it: `todo` is a stack of names, the next one on top, and the target of
        # a symlink is put on it. `..` is taken after links, so that it leads to the parent of where
        # the link went.
        todo, links = _parts(path), 0
        entry = self.file_table.find("/")
        at, link, after_link = "/", "", 0
        while todo and entry is not None:
            step = posixpath.normpath(posixpath.join(at, todo.pop()))
            entry = self.file_table.find(step) if entry.is_directory else None
            if (
                entry is not None
                and stat.S_ISLNK(entry.mode)
                and (todo or follow or path.endswith("/"))
            ):
                links += 1
                link, after_link = f"{step} -> {entry.target}", len(todo)
                todo += _parts(entry.target or "")
                at = "/" if (entry.target or "").startswith("/") else posixpath.dirname(step)
                entry = self.file_table.find(at)
            else:
                at = step
            if links > _LINKS:
                raise InputError(
                    "too many symlinks on the way",
                    where=f"{self.name}: {path}",
                    observed=entry and at,
                )
        # A part of the target is what was not found.
        if entry is None and link and len(todo) >= after_link:
            raise InputError(
                "a symlink leads to nothing", where=f"{self.name}: {path}", observed=link
            )
        if entry is None:
            raise InputError("no such path in the payload", where=f"{self.name}: {path}")
        return entry

    def ls(self, path: str = "/", *, recursive: bool = False) -> Iterator[FileEntry]:
        """Yield the entries in a directory, in byte order, or the entry itself if it is none.

        With `recursive`, also the entries of the directories in it.

        Raises:
            InputError: the path does not exist.
            TableError: the file table is invalid.
        """
        entry = self.stat(path)
        if not entry.is_directory:
            yield entry
            return
        for found in self.file_table.below(entry.path.rstrip("/") + "/"):
            if found.path != "/" and (recursive or posixpath.dirname(found.path) == entry.path):
                yield found

    def open(self, path: str) -> IO[bytes]:
        """Open the content of a regular file, or of one that a symlink leads to, for reading.

        The whole content is verified before the first byte is returned.

        Raises:
            InputError: the path does not exist, or is not a regular file.
            IntegrityError, FilterError: the content cannot be rebuilt from the image.
            LimitError: that would exceed the bounds of the image.
            StorageError: a temporary file has no room for it.
        """
        entry = self.stat(path, follow=True)
        if entry.digest is None:
            raise InputError("not a regular file", where=f"{self.name}: {path}")
        if entry.contents is not None:
            return io.BytesIO(entry.contents)
        resources = self.image.resources
        row = resources.by_digest(entry.digest)
        if row is None or row.size != entry.size:
            raise FilterError(
                "its content is not in the resource table",
                where=path,
                observed=format_digest(entry.digest),
            )
        chunks = resources.plan(row).stream(self.image.blobs)
        if row.size > _IN_MEMORY:
            staging.check_room(tempfile.gettempdir(), row.size, path)
        with ExitStack() as on_error:
            file = on_error.enter_context(tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))
            for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            on_error.pop_all()
        return cast("IO[bytes]", file)


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the last one first; `..` of the root is the root."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
