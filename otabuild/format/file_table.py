"""The file table: one SQLite database for each rootfs (section 6).

This module works on an open connection. The caller decides how to open and protect it.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgpack

from otabuild.errors import LimitError, TableError
from otabuild.format import limits

EMPTY_DIGEST = hashlib.sha256(b"").digest()
EMPTY_RESOURCE_ID = 0
CAPABILITY = "security.capability"
ACL, DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"

_CAPABILITY_SIZES = (12, 20, 24)
"""Bytes of a capability by revision, from 1."""
_CAPABILITY_EFFECTIVE = 1
_CAPABILITY_REVISION_2 = 0x02000000
_ACL_VERSION = b"\2\0\0\0"
_ACL_OWNER, _ACL_MASK, _ACL_OTHER = 0x01, 0x10, 0x20
_ACL_TAGS = {_ACL_OWNER: "u", 0x02: "U", 0x04: "g", 0x08: "G", _ACL_MASK: "m", _ACL_OTHER: "o"}
_ACL_ORDER = re.compile("ugm?o|uU*gG*mo")
"""The kinds of entries of a list, in the order that Linux demands; named users and groups need a
mask."""

TABLES = (
    """CREATE TABLE ft_inode (
    inode_id INTEGER PRIMARY KEY, uid INTEGER NOT NULL, gid INTEGER NOT NULL, mode INTEGER NOT NULL,
    links_count INTEGER, xattrs BLOB)""",
    """CREATE TABLE ft_regular (
    path TEXT PRIMARY KEY, inode_id INTEGER NOT NULL, resource_id INTEGER) WITHOUT ROWID""",
    """CREATE TABLE ft_non_regular (
    path TEXT PRIMARY KEY, inode_id INTEGER NOT NULL, meta BLOB) WITHOUT ROWID""",
    """CREATE TABLE ft_dir (
    path TEXT PRIMARY KEY, inode_id INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE ft_resource (
    resource_id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, contents BLOB)""",  # noqa: E501 its bytes are the format's
)
INDEXES = (
    "CREATE INDEX fr_resource_id_index ON ft_regular (resource_id)",
    "CREATE INDEX fr_inode_id_index ON ft_regular (inode_id)",
    "CREATE INDEX fnr_inode_id_index ON ft_non_regular (inode_id)",
    "CREATE INDEX fd_inode_id_index ON ft_dir (inode_id)",
)


class Inode(NamedTuple):
    """Owner and whole st_mode; `links_count` is None unless several paths share the inode."""

    inode_id: int
    uid: int
    gid: int
    mode: int
    links_count: int | None
    xattrs: bytes | None


class Regular(NamedTuple):
    """A path of a regular file."""

    path: str
    inode_id: int
    resource_id: int


class NonRegular(NamedTuple):
    """A symlink (`meta` is its target) or a whiteout (`meta` is None)."""

    path: str
    inode_id: int
    meta: bytes | None


class Directory(NamedTuple):
    """A directory; `/` itself is one."""

    path: str
    inode_id: int


class Resource(NamedTuple):
    """A distinct content: its 32-byte digest, size in bytes, and itself if it is inlined."""

    resource_id: int
    digest: bytes
    size: int
    contents: bytes | None


EMPTY_RESOURCE = Resource(EMPTY_RESOURCE_ID, EMPTY_DIGEST, 0, b"")

_INSERT = {
    Inode: "INSERT INTO ft_inode VALUES (?,?,?,?,?,?)",
    Regular: "INSERT INTO ft_regular VALUES (?,?,?)",
    NonRegular: "INSERT INTO ft_non_regular VALUES (?,?,?)",
    Directory: "INSERT INTO ft_dir VALUES (?,?)",
    Resource: "INSERT INTO ft_resource VALUES (?,?,?,?)",
}

Row = Inode | Regular | NonRegular | Directory | Resource


def insert(connection: sqlite3.Connection, kind: type[Row], rows: Iterable[Row]) -> None:
    """Insert rows of one kind. Sorted input produces the smallest file, and always the same one."""
    connection.executemany(_INSERT[kind], rows)


def pack_xattrs(xattrs: Mapping[str, bytes], where: str) -> bytes | None:
    """Return the `xattrs` column of an inode: MessagePack with sorted names; None without any.

    Raises:
        LimitError: a name over 255 bytes, a value over 64 KiB, or more than 1 MiB packed.
    """
    if not xattrs:
        return None
    for name, value in xattrs.items():
        if len(name.encode()) > limits.XATTR_NAME or len(value) > limits.XATTR_VALUE:
            raise LimitError(
                "extended attribute too large",
                where=f"{where} {name}",
                observed=f"{len(value)} bytes",
                expected=f"at most {limits.XATTR_VALUE}",
            )
    # Sorted, so that the table depends on the tree alone (section 6).
    packed = bytes(msgpack.packb(dict(sorted(xattrs.items()))))
    _check_packed(packed, where)
    return packed


def unpack_xattrs(packed: bytes | None, where: str) -> dict[str, bytes]:
    """Return the extended attributes in an `xattrs` column.

    Raises:
        TableError: the column is not a MessagePack map of attribute names to bytes.
        LimitError: more than 1 MiB packed.
    """
    if packed is None:
        return {}
    _check_packed(packed, where)
    try:
        # As pairs, so that a name that occurs twice is seen.
        pairs = msgpack.unpackb(
            packed, strict_map_key=True, object_pairs_hook=list, max_ext_len=0, max_array_len=0
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise TableError("xattrs are not a MessagePack map", where=where, observed=error) from None
    if not isinstance(pairs, list) or not pairs:
        raise TableError(
            "xattrs are not a MessagePack map with an entry: without attributes the column is NULL",
            where=where,
        )
    found: dict[str, bytes] = {}
    for name, value in pairs:
        problem = _pair_problem(name, value) or ("occurs twice" if name in found else "")
        if problem:
            raise TableError(f"extended attribute {name!r:.80} {problem}", where=where)
        found[name] = value
    return found


def _check_packed(packed: bytes, where: str) -> None:
    if len(packed) > limits.XATTRS:
        raise LimitError(
            "extended attributes too large",
            where=where,
            observed=len(packed),
            expected=limits.XATTRS,
        )


def xattr_problem(name: str, value: bytes, mode: int) -> str:
    """Return why the format cannot store an attribute of an inode with this mode, or nothing.

    A build refuses just what verification finds: what no Linux sets, whatever the file system. How
    large a value may be is not part of it, because that depends on the file system of the device.
    """
    if problem := xattr_name_problem(name):
        return problem
    if name == CAPABILITY:
        return _capability_problem(value)
    if name.startswith("user.") and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is one that Linux sets of files and directories only"
    if name in (ACL, DEFAULT_ACL):
        return _acl_problem(name, value, mode)
    return ""


def _pair_problem(name: object, value: object) -> str:
    if not isinstance(name, str) or not isinstance(value, bytes):
        return "is not a pair of name and bytes"
    return xattr_name_problem(name)


def xattr_name_problem(name: str) -> str:
    """Return why Linux does not accept the name of an extended attribute, or an empty text."""
    if not name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > limits.XATTR_NAME:
        return f"has a name that Linux does not accept (1 to {limits.XATTR_NAME} bytes, no NUL)"
    return ""


def _capability_problem(value: bytes) -> str:
    """Return why Linux would not set a `security.capability`: only revision 2 with one flag."""
    if len(value) not in _CAPABILITY_SIZES:
        return f"has {len(value)} bytes, which matches no revision"
    revision = _CAPABILITY_SIZES.index(len(value)) + 1
    if revision == 3:
        return "has a namespace (revision 3), which the format stores as revision 2"
    if revision == 1:
        return "has revision 1, which Linux does not set any more; set it again with `setcap`"
    header = int.from_bytes(value[:4], "little")
    if header & ~_CAPABILITY_EFFECTIVE != _CAPABILITY_REVISION_2:
        return f"begins with {header:#010x}, which is neither revision 2 nor its effective flag"
    return ""


def _acl_problem(name: str, value: bytes, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is on a symlink, which has no access control list"
    if name == DEFAULT_ACL and not stat.S_ISDIR(mode):
        return "is one that Linux sets of directories only"
    return "" if _is_acl(value) else "is not an access control list that Linux takes"


def _is_acl(value: bytes) -> bool:
    entries = _acl_entries(value)
    kinds = "".join(_ACL_TAGS.get(tag, "?") for tag, _, _ in entries)
    return _ACL_ORDER.fullmatch(kinds) is not None and all(
        permissions <= 7 and (kind not in "UG" or number <= limits.OWNER)
        for kind, (_, permissions, number) in zip(kinds, entries, strict=True)
    )


def _acl_entries(value: bytes) -> list[tuple[int, int, int]]:
    """Return tag, permissions and id of each entry of a list; none if it is not one at all."""
    if not value.startswith(_ACL_VERSION) or len(value) % 8 != 4:
        return []
    return list(struct.iter_unpack("<HHI", value[4:]))


def acl_permissions(value: bytes) -> int | None:
    """Return the nine permission bits of a file that has this access control list.

    Linux keeps them in the list and sets the mode by it. None: it does not keep such a list.
    """
    bits = {tag: permissions for tag, permissions, _ in _acl_entries(value)}
    if not bits.keys() >= {_ACL_OWNER, _ACL_MASK, _ACL_OTHER}:
        return None
    return bits[_ACL_OWNER] << 6 | bits[_ACL_MASK] << 3 | bits[_ACL_OTHER]
