"""Deployment of a payload as a directory tree (section 11).

Everything is written into a private folder beside the target and renamed into place when it is complete and durable.
Therefore the target exists completely, or not at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice

from otabuild.deployment.deploy_checks import Deployed, check_deployable
from otabuild.deployment.tree_plan import Demands, TreePlan
from otabuild.deployment.tree_writer import TreeWriter
from otabuild.errors import MetaApplyError, StateError, StorageError
from otabuild.format.resource_table import ResourceRow
from otabuild.image.image import Image, Payload
from otabuild.image.rebuild import Opener, rebuild, run_parallel
from otabuild.image.resources import GroupMember
from otabuild.image.tables import FileEntry
from otabuild.signing.trust import TrustPolicy
from otabuild.storage import fs, fs_at, publishing, staging
from otabuild.storage.fs import StrPath
from otabuild.tally import Progress, Tally

_BATCH = 64


def deploy(
    payload: Payload,
    target: StrPath,
    policy: TrustPolicy | None,
    now: int,
    *,
    insecure_no_verify: bool = False,
    no_owner: bool = False,
    progress: Progress | None = None,
) -> Deployed:
    """Deploy a payload as a new directory with exact types, contents, owners, modes, attributes and hard links.

    The signature is verified first, then every rule about the payload, its tables and the resource table. Each content
    is hashed while it is written.

    Args:
        payload: a payload of an open image.
        target: the directory to make; its parent must exist, it must not.
        policy: whom to trust.
        now: Unix seconds.
        insecure_no_verify: skip the signature, and nothing else.
        no_owner: let the calling user own everything.
        progress: called with the bytes written.

    Raises:
        TrustError: the image is not authentic.
        StateError: the target exists, or is inside the image.
        MetaApplyError: owners, modes, devices or attributes cannot be set here; detected before a file is written.
        StorageError: no space left, or the operating system failed.
        OtabuildError: the image is invalid; nothing is left behind.
    """
    fs.check_names()
    signer = check_deployable(payload, policy, now, insecure_no_verify=insecure_no_verify)
    plan = TreePlan(payload.file_table)
    demands = plan.demands()
    with _staging(os.fspath(target), payload.image) as root:
        _check_room(root, demands, os.fspath(target))
        writer = TreeWriter(root, no_owner=no_owner)
        try:
            _rehearse(writer, demands, os.fspath(target))
            _Deployment(payload.image, plan, writer, Tally(demands.content_size, progress)).run()
        finally:
            writer.close()
    return Deployed(os.fspath(target), payload.name, signer, demands.inodes, demands.content_size)


def _rehearse(writer: TreeWriter, demands: Demands, target: str) -> None:
    try:
        writer.rehearse(demands)
    except MetaApplyError as error:
        error.at(target)
        raise


@contextmanager
def _staging(target: str, image: Image) -> Iterator[int]:
    """Yield a descriptor of a private folder beside the target; it becomes the target or is removed."""
    # Split it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to another place.
    parent_path, name = os.path.split(target.rstrip("/"))
    parent_path = parent_path or "."
    if name in ("", ".", ".."):
        raise StateError(
            "does not name a directory to make", where=repr(target), hint="name one that does not exist yet"
        )
    _check_target(target, parent_path, image)
    busy = "another deployment is writing to this target"
    with publishing.making_folder(os.path.join(parent_path, name), busy=busy) as root:
        fs_at.drop_acls(root, target)
        yield root


def _check_target(target: str, parent: str, image: Image) -> None:
    if os.path.lexists(target):
        raise StateError("the target already exists", where=target, hint="name a directory that does not exist yet")
    if not os.path.isdir(parent):
        raise StateError("the folder of the target is missing", where=parent)
    image.source.check_apart(target)


def _check_room(root: int, demands: Demands, target: str) -> None:
    staging.check_room(root, demands.content_size, target)
    room = os.fstatvfs(root)
    if room.f_files and demands.inodes > room.f_favail:
        raise StorageError(
            "not enough inodes", where=target, observed=f"{room.f_favail} free", expected=str(demands.inodes)
        )


class _Deployment:
    """One run: makes directories, then symlinks and whiteouts, then files, then sets metadata of directories."""

    def __init__(self, image: Image, plan: TreePlan, writer: TreeWriter, tally: Tally) -> None:
        self._image = image
        self._plan = plan
        self._writer = writer
        self._tally = tally

    def run(self) -> None:
        for entry in self._plan.directories():
            self._writer.make_directory(entry)
        for paths in self._plan.non_regulars():
            self._writer.make_non_regular(paths)
        run_parallel(self._write_inlined, _batches(self._plan.inlined()))
        rebuild(self._image.resources.groups(self._files_of), self._image.blobs, self._write_content)
        for entry in self._plan.directories(bottom_up=True):
            self._writer.finish_directory(entry)
        self._tally.check_complete("deployment")

    def _files_of(self, row: ResourceRow) -> list[list[FileEntry]] | None:
        return self._plan.with_content(row.digest) or None

    def _write_inlined(self, batch: list[list[FileEntry]], stop: threading.Event) -> None:
        for paths in batch:
            if stop.is_set():
                return
            self._tally.add(self._writer.write_file(paths, partial(iter, (paths[0].contents or b"",))))

    def _write_content(self, member: GroupMember[list[list[FileEntry]]], open_content: Opener) -> None:
        for paths in member.use:
            self._tally.add(self._writer.write_file(paths, open_content))


def _batches(groups: Iterator[list[FileEntry]]) -> Iterator[list[list[FileEntry]]]:
    while batch := list(islice(groups, _BATCH)):
        yield batch
