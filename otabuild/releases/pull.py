"""Writes a release of a store, or any image, as the artifact or directory of a build."""

from __future__ import annotations

import os
from dataclasses import dataclass

from otabuild.errors import NotVerifiedError
from otabuild.image.image import Image
from otabuild.image.members import members_of
from otabuild.releases.about import about_image
from otabuild.releases.checked_image import signature_findings
from otabuild.storage.files import write_file
from otabuild.storage.fs import StrPath
from otabuild.storage.sink import ArtifactSink, DirectorySink
from otabuild.tally import Progress, Tally


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was written: where, how many files and bytes, and the SHA-256 (hex) of an artifact.

    `documents` are the paths of the documents about the image, which were written beside it.
    """

    target: str
    files: int
    size: int
    sha256: str | None
    documents: tuple[str, ...] = ()

    def to_value(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "target": self.target,
            "files": self.files,
            "size": self.size,
            "sha256": self.sha256,
            "documents": list(self.documents),
        }


def pull(
    image: Image, target: StrPath, now: int, *, workers: int, progress: Progress | None = None
) -> Pulled:
    """Write an image as an artifact, or as a directory if the target ends in a slash.

    The bytes are those that a build of the same image writes. The signature must be that of
    index.json, and every blob is hashed while it is written. That a signer is trusted, and all
    else, is for `verify` to say of the result. The documents about it, such as its bill of
    materials, are written beside it.

    Args:
        image: an open image.
        now: Unix seconds, for the validity of certificates.
        target: the file, or the folder with a slash at its end; what is there is replaced.
        workers: number of threads.
        progress: called with the bytes written.

    Raises:
        NotVerifiedError: its signature is not valid.
        DamagedBlobError: a blob is not what its digest says; what was at the target is still there.
        InputError, StateError, StorageError: the target cannot be written, or is in the image.
    """
    path = os.fspath(target)
    image.source.check_apart(path.rstrip("/"))
    if found := signature_findings(image, now):
        raise NotVerifiedError(image.path, found)
    documents = about_image(image)
    files = [member for member in members_of(image) if not member.name.endswith("/")]
    tally = Tally(sum(member.size for member in files), progress)
    if path.endswith("/"):
        DirectorySink(path.rstrip("/")).write(files, workers=workers, progress=tally.add)
        digest = None
    else:
        digest = ArtifactSink(path).write(files, workers=workers, progress=tally.add)
    about = {f"{path.rstrip('/')}{suffix}": raw for suffix, raw in documents.items()}
    for name, raw in about.items():
        write_file(name, raw)
    return Pulled(path, len(files), tally.total, digest, tuple(about))
