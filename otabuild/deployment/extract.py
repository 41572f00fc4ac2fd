"""Writes a folder of a payload for somebody who wants to look at it, without any privilege.

Owners, attributes, whiteouts and the bits setuid, setgid and sticky are left out: who is not root
could not set them all, and a program that runs as root on the device should not do so here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from otabuild.deployment.deploy import Deployment, check_target, making_target
from otabuild.deployment.deploy_checks import check_deployable
from otabuild.deployment.tree_plan import TreePlan
from otabuild.deployment.tree_writer import TreeWriter
from otabuild.errors import InputError
from otabuild.image.image import Payload
from otabuild.image.tables import FileEntry, FileTable
from otabuild.storage import fs, staging
from otabuild.storage.fs import StrPath
from otabuild.tally import Progress, Tally


@dataclass(frozen=True, slots=True)
class Extracted:
    """The result: the new folder, where it is in which payload, and the bytes written."""

    target: str
    payload: str
    path: str
    content_size: int

    def to_value(self) -> dict[str, object]:
        """Return the result as plain JSON values."""
        return {
            "target": self.target,
            "payload": self.payload,
            "path": self.path,
            "content-size": self.content_size,
        }


def extract(
    payload: Payload, path: str, target: StrPath, *, progress: Progress | None = None
) -> Extracted:
    """Write a folder of a payload as a new directory of the caller: types, contents, modes, links.

    Every rule about the payload and its tables is checked first, and each content is hashed while
    it is written. The signature is not looked at.

    Args:
        payload: a payload of an open image.
        path: a directory in it, or a symlink to one.
        target: the directory to make; its parent must exist, it must not.
        progress: called with the bytes written.

    Raises:
        InputError: the path does not exist, or is not a directory.
        StateError: the target exists, or is inside the image.
        StorageError: no space left, or the operating system failed.
        OtabuildError: the image is invalid; nothing is left behind.
    """
    fs.check_names()
    name = os.fspath(target)
    check_target(name, payload.image)
    check_deployable(payload, None, 0, insecure_no_verify=True)
    entry = payload.stat(path, follow=True)
    if not entry.is_directory:
        raise InputError(
            "not a directory",
            where=f"{payload.name}: {path}",
            hint="`otabuild cat` prints the content of a file",
        )
    plan = TreePlan(_Subtree(payload.file_table, entry.path))
    size = plan.content_size()
    payload.image.blobs.budget.check_size(size, payload.name)
    with making_target(name) as root:
        staging.check_room(root, size, name)
        writer = TreeWriter(root, no_owner=True)
        try:
            Deployment(payload, plan, writer, Tally(size, progress)).run(None, None)
        finally:
            writer.close()
    return Extracted(name, payload.name, entry.path, size)


class _Subtree(FileTable):
    """The part of a file table below a folder, with what a user without privileges can write."""

    def __init__(self, table: FileTable, folder: str) -> None:
        super().__init__(table.database, table.compat)
        self._prefix = folder.rstrip("/")

    def select(
        self, query: str, condition: str = "", parameters: Iterable[object] = ()
    ) -> Iterator[FileEntry]:
        for entry in super().select(query, condition, parameters):
            if f"{entry.path}/".startswith(f"{self._prefix}/") and not stat.S_ISCHR(entry.mode):
                yield entry._replace(
                    path=entry.path.removeprefix(self._prefix) or "/",
                    mode=entry.mode & ~0o7000,
                    packed_xattrs=None,
                )
