"""Helpers for tests of reading commands: verify and deploy in one call, a tree as a value, a sentinel beside it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import msgpack
import pytest

from otabuild.deployment.deploy import deploy
from otabuild.deployment.deploy_tar import deploy_tar
from otabuild.errors import OtabuildError
from otabuild.image.image import open_image
from otabuild.storage.fs import StrPath
from otabuild.verification.verify import Report, verify
from tests import pki
from tests.image import forge

IS_ROOT = os.geteuid() == 0
needs_root = [pytest.mark.root, pytest.mark.skipif(not IS_ROOT, reason="needs root")]


def verified(path: Path, **options: Any) -> Report:
    """Return the report on an image, with the trust policy of the tests."""
    with open_image(path) as image:
        return verify(image, forge.policy(), pki.NOW, **options)


def errors_of(path: Path) -> set[str]:
    """Return the ids of all errors that verification finds, or the class of the error if it cannot be opened."""
    try:
        report = verified(path)
    except OtabuildError as error:
        return {type(error).__name__}
    assert report.ok != any(finding.severity == "error" for finding in report.findings)
    return {finding.rule for finding in report.findings if finding.severity == "error"}


def deploy_error(path: StrPath, target: Path) -> str | None:
    """Return the class of the error with which deployment as a tar refuses an image, or None.

    No owner is set, so that this runs for any user; everything beside the target must be unchanged.
    """
    before = sorted(os.listdir(target.parent))
    try:
        with open_image(path) as image:
            deploy_tar(image.payload("main"), target, forge.policy(), pki.NOW)
    except OtabuildError as error:
        assert sorted(os.listdir(target.parent)) == before
        return type(error).__name__
    return None


def deployed(path: Path, target: Path, **options: Any) -> dict[str, Any]:
    """Deploy payload main/dev as a tree, and describe the result."""
    with open_image(path) as image:
        deploy(image.payload("main"), target, forge.policy(), pki.NOW, **options)
    return describe(target)


def describe(root: Path) -> dict[str, Any]:
    """Return a tree as a value: type, mode, owner, content, target, device, attributes and hard links of every path."""
    found: dict[str, Any] = {}
    groups: dict[int, list[str]] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files, *(["."] if folder == str(root) else [])]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            key = "/" + os.path.relpath(path, root) if name != "." else "/"
            facts: dict[str, Any] = {"mode": status.st_mode, "owner": (status.st_uid, status.st_gid)}
            if stat.S_ISREG(status.st_mode):
                facts["sha256"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                facts["target"] = os.readlink(path)
            elif not stat.S_ISDIR(status.st_mode):
                facts["device"] = status.st_rdev
            if not stat.S_ISDIR(status.st_mode):
                groups.setdefault(status.st_ino, []).append(key)
            names = os.listxattr(path, follow_symlinks=False)
            facts["xattrs"] = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
            found[key] = facts
    for group in groups.values():
        for key in group:
            found[key]["links"] = sorted(group)
    return found


def expected_tree(rows: dict[str, list[tuple[Any, ...]]] | None = None) -> dict[str, Any]:
    """Return the result of deploying the good forged image, or one with these rows in its file table."""
    rows = rows or forge.file_rows()
    inodes = {row[0]: row for row in rows["ft_inode"]}
    digests = {row[0]: row[1].hex() for row in rows["ft_resource"]}
    found: dict[str, Any] = {}
    paths: dict[int, list[str]] = {}
    for table in ("ft_dir", "ft_regular", "ft_non_regular"):
        for path, inode_id, *rest in rows[table]:
            _, uid, gid, mode, _, xattrs = inodes[inode_id]
            facts: dict[str, Any] = {
                "mode": mode,
                "owner": (uid, gid),
                "xattrs": msgpack.unpackb(xattrs) if xattrs else {},
            }
            if table == "ft_regular":
                facts["sha256"] = digests[rest[0]]
            elif table == "ft_non_regular":
                facts |= {"target": rest[0].decode()} if rest[0] else {"device": 0}
            if table != "ft_dir":
                paths.setdefault(inode_id, []).append(path)
                facts["links"] = paths[inode_id]
            found[path] = facts
    for group in paths.values():
        group.sort()
    return found
