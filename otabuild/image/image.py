"""An open image."""

from __future__ import annotations

from functools import cached_property
from typing import Self

from otabuild.errors import FormatError, InputError, IntegrityError, LimitError
from otabuild.format import annotations as ann
from otabuild.format import limits
from otabuild.format.index import Index
from otabuild.image.blobs import Blobs
from otabuild.image.payload import Payload
from otabuild.image.resources import ResourceTable
from otabuild.storage.fs import StrPath
from otabuild.storage.source import Source, open_source


def open_image(path: StrPath) -> Image:
    """Open an image directory or an artifact, for use in a `with` statement.

    Everything read from it is verified by digest, starting with index.json. Use `otabuild.verify` to check that
    index.json itself is authentic.

    Raises:
        InputError: the path is not an image.
        ContainerError: the artifact is not the strict ZIP of the format.
        IntegrityError: the image directory has no blobs folder, or a symlink in its place.
        StorageError: the operating system could not read it.
    """
    return Image(open_source(path))


class Image:
    """An image, opened once. Nothing is looked up by path again."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blobs = Blobs(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The path of the image."""
        return self.source.path

    def read_file(self, name: str, limit: int) -> bytes | None:
        """Return a file beside the blobs, unverified, or None if it does not exist.

        Raises:
            LimitError: it has more than `limit` bytes.
            IntegrityError: it is not a regular file.
        """
        size = self.source.size(name)
        if size is None:
            return None
        if size > limit:
            raise LimitError("too large", where=name, observed=size, expected=f"at most {limit} bytes")
        return b"".join(self.source.chunks(name))

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
        """The resource table, open until the image is closed; raises the same errors as `open_table`."""
        return ResourceTable.open(self.blobs, self.index.resource_table)

    @cached_property
    def payloads(self) -> tuple[Payload, ...]:
        """The file-based payloads in the order of index.json; entries of unknown type are in `index.unknown`."""
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
            expected=", ".join(payload.name for payload in self.payloads) or "an image that has a payload",
        )

    def close(self) -> None:
        """Close the image and its tables."""
        for payload in vars(self).get("payloads", ()):
            if "file_table" in vars(payload):
                payload.file_table.close()
        if "resources" in vars(self):
            self.resources.close()
        self.source.close()
