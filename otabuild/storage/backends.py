"""Opens an image for reading, wherever it is."""

from __future__ import annotations

import os
import stat

from otabuild.errors import ContainerError, InputError, IntegrityError, LimitError
from otabuild.storage.artifact_backend import ArtifactBackend
from otabuild.storage.backend import Backend
from otabuild.storage.directory_backend import DirectoryBackend
from otabuild.storage.fs import StrPath, storage_error


def open_backend(path: StrPath) -> Backend:
    """Open an image directory or an artifact.

    Raises:
        InputError: the path does not exist, or is neither a directory nor a regular file.
        IntegrityError: the directory, or its blobs folder, is a symlink or missing.
        ContainerError: the artifact is not the strict ZIP of the format.
        StorageError: the operating system could not read it.
    """
    name = os.fspath(path)
    try:
        # O_NONBLOCK: opening a fifo must not block.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError("no such image", where=name) from None
    except OSError as error:
        raise storage_error(error, "open the image", name) from error
    try:
        return _backend_of(fd, name)
    except BaseException:
        os.close(fd)
        raise


def _backend_of(fd: int, name: str) -> Backend:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        if os.path.islink(name):
            raise IntegrityError(
                "the image folder is a symlink", where=name, hint="name the folder it points to"
            )
        return DirectoryBackend(name, fd)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            "neither a folder nor a plain file", where=name, observed=oct(status.st_mode)
        )
    try:
        return ArtifactBackend(name, fd)
    except (ContainerError, LimitError) as error:
        error.at(name)
        if name.endswith((".yaml", ".yml")):
            error.hint = "this is a recipe; build it first"
        raise
