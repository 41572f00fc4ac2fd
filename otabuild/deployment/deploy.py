"""Deployment of a payload as a directory tree (section 11).

Everything is written into a private folder beside the target and renamed into place when it is
complete and durable. Therefore the target exists completely, or not at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from otabuild.deployment.contents import Contents, Fill, Transfer
from otabuild.deployment.deploy_checks import Deployed, check_deployable
from otabuild.deployment.kept_blobs import KeptBlobs, drop_left, keeping
from otabuild.deployment.old_trees import OldTrees
from otabuild.deployment.tree_plan import Demands, TreePlan
from otabuild.deployment.tree_writer import FillFile, TreeWriter
from otabuild.errors import MetaApplyError, StateError, StorageError
from otabuild.image.image import Image, Payload
from otabuild.image.rebuild import batches, run_parallel
from otabuild.image.tables import FileEntry
from otabuild.signing.trust import TrustPolicy
from otabuild.storage import fs, fs_at, publishing, staging
from otabuild.storage.fs import StrPath
from otabuild.tally import Progress, Tally


def deploy(
    payload: Payload,
    target: StrPath,
    policy: TrustPolicy | None,
    now: int,
    *,
    insecure_no_verify: bool = False,
    no_owner: bool = False,
    reuse: OldTrees | None = None,
    progress: Progress | None = None,
) -> Deployed:
    """Deploy a payload as a new directory, exact in types, contents, metadata and hard links.

    The signature is verified first, then every rule about the payload, its tables and the resource
    table. Each content is hashed while it is written.

    Args:
        payload: a payload of an open image.
        target: the directory to make; its parent must exist, it must not.
        policy: whom to trust.
        now: Unix seconds.
        insecure_no_verify: skip the signature, and nothing else.
        no_owner: let the calling user own everything.
        reuse: trees of this machine whose contents are used as far as they are right; the rest
            comes from the image.
        progress: called with the bytes written.

    Raises:
        TrustError: the image is not authentic.
        StateError: the target exists, or is inside the image.
        MetaApplyError: owners, modes, devices or attributes cannot be set here; detected before a
            file is written.
        StorageError: no space left, or the operating system failed.
        OtabuildError: the image is invalid; nothing is left behind.
    """
    fs.check_names()
    path = os.fspath(target)
    if os.path.lexists(path):  # a run may have been killed when its tree was in place
        drop_left(path)
    check_target(path, payload.image)
    with keeping(payload.image, path) as kept:
        # What fails here stops the deployment before the target is written to (section 11).
        signer = check_deployable(
            payload, policy, now, insecure_no_verify=insecure_no_verify, reuse=reuse
        )
        plan = TreePlan(payload.file_table)
        demands = plan.demands()
        payload.image.blobs.budget.check_size(demands.content_size, payload.name)
        with making_target(path) as root:
            _check_room(root, demands, path)
            writer = TreeWriter(root, no_owner=no_owner)
            try:
                _rehearse(writer, demands, path)
                deployment = Deployment(
                    payload, plan, writer, Tally(demands.content_size, progress)
                )
                transfer = deployment.run(reuse, kept)
            finally:
                writer.close()
    return Deployed(path, payload.name, signer, demands.inodes, demands.content_size, transfer)


def _rehearse(writer: TreeWriter, demands: Demands, target: str) -> None:
    try:
        writer.rehearse(demands)
    except MetaApplyError as error:
        error.at(target)
        raise


@contextmanager
def making_target(target: str) -> Iterator[int]:
    """Yield a descriptor of a private folder that becomes the target, or is removed."""
    parent, name = _split(target)
    busy = "another deployment is writing to this target"
    with publishing.making_folder(os.path.join(parent, name), busy=busy) as root:
        fs_at.drop_acls(root, target)
        yield root


def _split(target: str) -> tuple[str, str]:
    # Split it like the kernel: if a parent is a symlink, os.path.abspath leads `..` to another
    # place.
    parent, name = os.path.split(target.rstrip("/"))
    return parent or ".", name


def check_target(target: str, image: Image) -> None:
    """Check that a directory can be made.

    Raises:
        StateError: it exists, has no name or no parent, or is inside the image.
    """
    parent, name = _split(target)
    if name in ("", ".", ".."):
        raise StateError(
            "does not name a directory to make",
            where=repr(target),
            hint="name one that does not exist yet",
        )
    if os.path.lexists(target):
        raise StateError(
            "the target already exists",
            where=target,
            hint="name a directory that does not exist yet",
        )
    if not os.path.isdir(parent):
        raise StateError("the folder of the target is missing", where=parent)
    image.source.check_apart(target)


def _check_room(root: int, demands: Demands, target: str) -> None:
    staging.check_room(root, demands.content_size, target)
    room = os.fstatvfs(root)
    if room.f_files and demands.inodes > room.f_favail:
        raise StorageError(
            "not enough inodes",
            where=target,
            observed=f"{room.f_favail} free",
            expected=str(demands.inodes),
        )


class Deployment:
    """One run: makes directories, then symlinks and whiteouts, then files, then sets metadata."""

    def __init__(self, payload: Payload, plan: TreePlan, writer: TreeWriter, tally: Tally) -> None:
        self._payload = payload
        self._plan = plan
        self._writer = writer
        self._tally = tally

    def run(self, reuse: OldTrees | None, kept: KeptBlobs | None) -> Transfer | None:
        """Write everything; return where the contents came from, as `Contents.write_all` does.

        Raises:
            OtabuildError: a content is damaged, or the operating system failed.
        """
        for entry in self._plan.directories():
            self._writer.make_directory(entry)
        for paths in self._plan.non_regulars():
            self._writer.make_non_regular(paths)
        run_parallel(self._write_inlined, batches(self._plan.inlined()))
        contents = Contents(
            self._payload,
            self._plan.with_content,
            self._plan.contents,
            self._write_content,
            reuse,
            kept,
        )
        transfer = contents.write_all()
        # Last, because a mode may forbid to write into the folder, and what is made in one with
        # setgid or a default access control list would inherit it.
        for entry in self._plan.directories(bottom_up=True):
            self._writer.finish_directory(entry)
        self._tally.check_complete("deployment")
        return transfer

    def _write_inlined(self, batch: list[list[FileEntry]], stop: threading.Event) -> None:
        for paths in batch:
            if stop.is_set():
                return
            self._write(paths, partial(_fill_inlined, paths[0].contents or b""))

    def _write_content(self, paths: list[FileEntry], fill: Fill) -> bool:
        return self._write(paths, lambda fd, path: fill(fd, 0, path))

    def _write(self, paths: list[FileEntry], fill: FillFile) -> bool:
        is_there = self._writer.write_file(paths, fill)
        if is_there:
            self._tally.add(paths[0].size)
        return is_there


def _fill_inlined(contents: bytes, fd: int, path: str) -> bool:
    fs.write(fd, contents, path)
    return True
