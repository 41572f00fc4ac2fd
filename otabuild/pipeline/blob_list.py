"""Lists of blobs in the folder of a recipe, from one step to a later one."""

from __future__ import annotations

from collections.abc import Iterable

import msgpack

from otabuild.format.digest import Blob
from otabuild.storage import files


def write_blobs(path: str, blobs: Iterable[Blob]) -> None:
    """Write a list of blobs; errors as for `write_file`."""
    files.write_file(path, bytes(msgpack.packb(list(blobs))))


def read_blobs(path: str) -> list[Blob]:
    """Return what `write_blobs` wrote; errors as for `read_file`."""
    return [Blob(*blob) for blob in msgpack.unpackb(files.read_file(path))]
