"""Writes and removes image directories (section 1)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from otabuild.errors import InputError, OtabuildError
from otabuild.format import limits
from otabuild.format.index import Index
from otabuild.storage import files, fs, publishing, staging
from otabuild.storage.member import Member, arrange, member_chunks

_MARKER = "index.json"
"""`is_image_directory` knows an image by it."""


def is_image_directory(path: str) -> bool:
    """Whether a folder is an image of this format.

    An oci-layout alone is not enough: every OCI image has one.
    """
    try:
        Index.parse(files.read_file(os.path.join(path, _MARKER), limits.INDEX))
    except OtabuildError:
        return False
    return True


def write_directory(
    path: str, members: Sequence[Member], *, progress: Callable[[int], None]
) -> None:
    """Write the members as an image directory, which appears when it is complete.

    See `publishing.replacing_folder`.

    Raises:
        InputError: `path` exists and is not an image directory.
        StateError: another process is writing it.
        DamagedBlobError: a member is not what its digest says.
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
        staging.check_room(fresh, sum(member.size for member in members), path)
        for member in arrange(members):
            target = os.path.join(fresh, member.name)
            if member.name.endswith("/"):
                fs.make_folder(target)
            else:
                with files.creating(target) as fd:
                    for chunk in member_chunks(member):
                        fs.write(fd, chunk, target)
            progress(member.size)


def remove_directory(path: str) -> None:
    """Remove an image directory.

    If `path` is a link, the link stays, and the folder that it leads to is removed.

    Raises:
        StorageError: the operating system refused.
    """
    publishing.remove_folder(path, marker=_MARKER)
