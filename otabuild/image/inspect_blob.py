"""inspect-blob, get-filetable and get-resourcetable: write blobs and tables to files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from otabuild.format.digest import format_digest, parse_digest
from otabuild.image.blobs import Chunk
from otabuild.image.image import Image, Payload
from otabuild.image.tables import table_chunks
from otabuild.storage import fs, publishing
from otabuild.storage.fs import StrPath


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written: its size in bytes and the digest of its content."""

    path: str
    size: int
    digest: str

    def to_value(self) -> dict[str, object]:
        """Return the result as plain JSON values."""
        return {"path": self.path, "size": self.size, "digest": self.digest}


def inspect_blob(image: Image, digest: str) -> Iterator[Chunk]:
    """Yield the bytes of a blob (`sha256:<hex>`) in parts, trusted only after the last part.

    Raises:
        FormatError: not a digest.
        IntegrityError: the blob is missing or damaged.
    """
    return image.blobs.stream(parse_digest(digest))


def save_blob(image: Image, digest: str, path: StrPath) -> WrittenFile:
    """Write a blob to a file, whole and verified, or not at all; raises as `inspect_blob`."""
    return _save(image, inspect_blob(image, digest), path)


def get_filetable(image: Image, payload: Payload, path: StrPath) -> WrittenFile:
    """Write the decompressed file table of a payload to a file.

    Raises:
        IntegrityError: the table is missing or damaged.
        LimitError: it decompresses to more than the limit for tables.
    """
    return _save(
        image,
        table_chunks(image.blobs, payload.manifest.file_table, f"file table of {payload.name}"),
        path,
    )


def get_resourcetable(image: Image, path: StrPath) -> WrittenFile:
    """Write the decompressed resource table of an image to a file; raises as `get_filetable`."""
    return _save(
        image, table_chunks(image.blobs, image.index.resource_table, "resource table"), path
    )


def _save(image: Image, chunks: Iterator[Chunk], path: StrPath) -> WrittenFile:
    image.source.check_apart(path)
    sha256, size = hashlib.sha256(), 0
    with publishing.replacing(str(path)) as fd:
        for chunk in chunks:
            fs.write(fd, chunk, path)
            sha256.update(chunk)
            size += len(chunk)
    return WrittenFile(str(path), size, format_digest(sha256.digest()))
