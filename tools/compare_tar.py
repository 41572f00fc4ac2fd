"""Compare a tar with the tree that it should contain; shares no code with otabuild."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "device",
}
_XATTR = "SCHILY.xattr."

Facts = dict[str, Any]


def differences(archive: Path, tree: Path, owner: tuple[int, int]) -> Iterator[str]:
    """Compare type, mode, owner, content, link target, attributes and hard links of every entry.

    Args:
        archive: a tar.
        tree: a directory.
        owner: uid and gid that every entry of the tar should have.

    Yields:
        One line for each difference.
    """
    found, wanted = _facts_of_tar(archive), _facts_of_tree(tree, owner)
    for path in sorted(found.keys() | wanted.keys()):
        if path not in found or path not in wanted:
            yield f"{path}: only in the {'tree' if path in wanted else 'tar'}"
            continue
        for name, value in wanted[path].items():
            if found[path][name] != value:
                yield f"{path}: {name}: {found[path][name]!r} in the tar, {value!r} in the tree"


def _facts_of_tar(archive: Path) -> dict[str, Facts]:
    facts: dict[str, Facts] = {}
    groups: dict[str, list[str]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = _normal(member.name)
            if member.islnk():
                groups[_normal(member.linkname)].append(path)
                facts[path] = facts[_normal(member.linkname)]
                continue
            groups[path] = [path]
            content = tar.extractfile(member) if member.isreg() else None
            facts[path] = {
                "type": _TYPES.get(member.type, member.type),
                "mode": oct(member.mode),
                "owner": (member.uid, member.gid),
                "content": content and hashlib.sha256(content.read()).hexdigest(),
                "target": member.linkname if member.issym() else None,
                "attributes": {
                    key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
                    for key, value in member.pax_headers.items()
                    if key.startswith(_XATTR)
                },
            }
    return _with_groups(facts, groups.values())


def _facts_of_tree(tree: Path, owner: tuple[int, int]) -> dict[str, Facts]:
    facts: dict[str, Facts] = {}
    groups: dict[int, list[str]] = {}
    for path in (tree, *sorted(tree.rglob("*"))):
        status, name = path.lstat(), _normal(str(path.relative_to(tree)))
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFDIR:
            groups.setdefault(status.st_ino, []).append(name)
        facts[name] = {
            "type": {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}.get(
                kind, "device"
            ),
            "mode": oct(stat.S_IMODE(status.st_mode)),
            "owner": owner,
            "content": hashlib.sha256(path.read_bytes()).hexdigest()
            if kind == stat.S_IFREG
            else None,
            "target": os.readlink(path) if kind == stat.S_IFLNK else None,
            "attributes": {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            },
        }
    return _with_groups(facts, groups.values())


def _with_groups(facts: dict[str, Facts], groups: Any) -> dict[str, Facts]:
    names = {path: sorted(group) for group in groups for path in group}
    return {path: {**fact, "hard links": names.get(path, [path])} for path, fact in facts.items()}


def _normal(name: str) -> str:
    return name.removeprefix("./").strip("/") or "."
