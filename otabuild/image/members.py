"""Every file of an image, to be copied as it is."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from otabuild.errors import IntegrityError
from otabuild.format.digest import sha256_of
from otabuild.image.image import Image
from otabuild.image.inventory import files_of
from otabuild.storage.member import Member
from otabuild.storage.zip_reader import legal_name


def members_of(image: Image, *, without: Collection[str] = ()) -> list[Member]:
    """Return every file of an image but some, to be copied from where it is.

    Blobs have the digest that their name says, and other files the one that they have now.

    Raises:
        IntegrityError: a file does not belong in an image.
        OtabuildError: a file cannot be read.
    """
    found = []
    for name, size in files_of(image):
        if not legal_name(name):
            raise IntegrityError("does not belong in an image", where=f"{image.path}: {name}")
        if name not in without:
            found.append(
                Member(name, size, partial(image.source.chunks, name), _digest(image, name))
            )
    return found


def _digest(image: Image, name: str) -> bytes:
    folder, _, last = name.rpartition("/")
    if folder == "blobs/sha256":
        return bytes.fromhex(last)
    return sha256_of(image.source.chunks(name))
