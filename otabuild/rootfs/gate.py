"""The gate of the scan: lets only entries through that the format has and that form a tree."""

from __future__ import annotations

import posixpath
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from otabuild.errors import InputError, MisplacedEntryError, UnsupportedEntryError
from otabuild.format import limits
from otabuild.format.file_table import (
    ACL,
    acl_permissions,
    pack_xattrs,
    xattr_problem,
)
from otabuild.rootfs import acl_text
from otabuild.rootfs.entry import Content, Entry

Unsupported = Literal["error", "warn", "skip"]
_SHOWN = 20
_KINDS = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


def supported(
    entries: Iterable[Entry], policy: Unsupported, left_out: list[str]
) -> Iterator[Entry]:
    """Leave out entries that the format lacks, and all below them; list each with the reason.

    Raises:
        UnsupportedEntryError: the policy is `error`. Raised after the last entry; lists the first
            20 and their number.
    """
    # All reasons are collected before the error, because a tree from a running system has sockets
    # and fifos at many places and nobody wants to meet them one build at a time. `startswith` takes
    # a tuple, so the usual case costs one test.
    dropped: tuple[str, ...] = ()
    for entry in entries:
        if dropped and entry.path.startswith(dropped):
            continue
        reason = _reason(entry)
        if reason:
            left_out.append(f"{entry.path} ({reason})")
            dropped += (entry.path + "/",) if entry.is_directory else ()
        else:
            yield _with_legal_xattrs(entry, left_out) if entry.xattrs else entry
    more = max(0, len(left_out) - _SHOWN)
    if left_out and policy == "error":
        raise UnsupportedEntryError(
            "the rootfs contains entries that the format cannot store",
            observed=", ".join(left_out[:_SHOWN]) + (f", and {more} more" if more else ""),
            hint="remove or exclude these, or set `unsupported: warn` to leave them out",
        )


def _reason(entry: Entry) -> str:
    """Return why the format cannot represent an entry, or an empty text if it can."""
    mode = entry.mode
    # Nearly all paths are short and ASCII: one test lets them pass.
    is_plain = entry.path.isascii() and len(entry.path) <= limits.NAME
    reason = "" if is_plain else _reason_of_name(entry.path)
    if reason or stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return reason
    if stat.S_ISLNK(mode):
        return "" if _is_utf8(entry.target or "") else "its target is not UTF-8"
    if stat.S_ISCHR(mode) and entry.target is None:
        return ""
    return " ".join(filter(None, (_KINDS.get(stat.S_IFMT(mode), f"type {mode:o}"), entry.target)))


def _reason_of_name(path: str) -> str:
    if not _is_utf8(path):
        return "its name is not UTF-8"
    encoded = path.encode()
    if len(encoded) > limits.PATH:
        return f"its path is longer than {limits.PATH} bytes"
    if len(posixpath.basename(encoded)) > limits.NAME:
        return f"its name is longer than {limits.NAME} bytes"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_legal_xattrs(entry: Entry, left_out: list[str]) -> Entry:
    bad = {
        name: reason
        for name, value in entry.xattrs.items()
        if (reason := _reason_of_xattr(name, value, entry.mode))
    }
    if not bad:
        return entry
    left_out.extend(f"{entry.path} ({reason})" for reason in bad.values())
    return entry._replace(
        xattrs={name: value for name, value in entry.xattrs.items() if name not in bad}
    )


def _reason_of_xattr(name: str, value: bytes, mode: int) -> str:
    if not _is_utf8(name):
        return f"the name of its attribute {name} is not UTF-8"
    if name.endswith(acl_text.UNCONVERTED):
        return (
            f"its access control list is there only {name.rpartition('(')[2][:-1]}, with names of "
            "the machine that packed it; pack with `tar --xattrs` instead of --acls, or drop it "
            "with `xattrs: {drop: [system.posix_acl_*]}`"
        )
    problem = xattr_problem(name, value, mode)
    return problem and f"its attribute {name} {problem}"


def as_tree(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Check a stream against the rules of a tree.

    Raises:
        MisplacedEntryError: a parent is missing or not a directory.
        InputError: no `/`, a path out of order or duplicate, an owner, mode, target or attribute
            beyond the limits, or hard links of one inode that differ.
    """
    # Folders are remembered to the end: /a-b comes between /a and /a/x, so a parent need not be a
    # recent entry. Symlinks only improve the message about a missing parent, and are forgotten as
    # soon as nothing below them can follow.
    folders: set[str] = set()
    links: dict[str, Entry] = {}
    symlinks: deque[Entry] = deque()
    previous = ""
    for entry in entries:
        path = entry.path
        if path <= previous:
            raise InputError("the path occurs twice or out of order", where=path)
        previous = path
        parent = path.rpartition("/")[0] or "/"
        if parent not in folders and path != "/":
            raise _bad_parent(path, parent, symlinks)
        if stat.S_ISDIR(entry.mode):
            folders.add(path)
        elif stat.S_ISLNK(entry.mode):
            while symlinks and symlinks[0].path + "0" <= path:  # "0" comes after "/"
                symlinks.popleft()
            symlinks.append(entry)
        _check_metadata(entry)
        if entry.link is not None:
            _check_link(entry, links.setdefault(entry.link, entry))
        yield entry
    if "/" not in folders:
        raise InputError("the rootfs is empty: it has no `/`")


def _bad_parent(path: str, parent: str, symlinks: Iterable[Entry]) -> MisplacedEntryError:
    link = next((link for link in symlinks if path.startswith(link.path + "/")), None)
    if link is None:
        return MisplacedEntryError(
            "its parent is not a directory of the rootfs",
            where=path,
            hint=f"add the directory {parent}",
        )
    leads = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target or ""))
    return MisplacedEntryError(
        "it lies below a symlink, and programs differ in whether they follow it",
        where=path,
        observed=f"{link.path} is a symlink to {link.target}",
        expected=f"{leads}{path.removeprefix(link.path)}",
        hint=f"pack it below {leads}, where the link leads, or exclude it here",
    )


def _check_metadata(entry: Entry) -> None:
    if not (0 <= entry.uid <= limits.OWNER and 0 <= entry.gid <= limits.OWNER):
        raise InputError(
            "the owner is out of range",
            where=entry.path,
            observed=f"{entry.uid}:{entry.gid}",
            expected=f"0 to {limits.OWNER}",
        )
    if not 0 <= entry.mode <= limits.MODE:
        raise InputError(
            "the mode has more than 16 bits", where=entry.path, observed=oct(entry.mode)
        )
    if entry.xattrs:
        pack_xattrs(entry.xattrs, entry.path)
        _check_acl(entry)
    if entry.target is not None and not (
        0 < len(entry.target.encode()) <= limits.SYMLINK_TARGET and "\0" not in entry.target
    ):
        raise InputError("the target of the symlink is empty or too long", where=entry.path)


def _check_acl(entry: Entry) -> None:
    acl = entry.xattrs.get(ACL)
    due = None if acl is None else acl_permissions(acl)
    if acl is not None and due != entry.mode & 0o777:
        raise InputError(
            "its mode and its access control list differ: Linux would set the mode by the list",
            where=entry.path,
            observed=f"{entry.mode & 0o777:03o}",
            expected="a list that Linux keeps" if due is None else f"{due:03o}",
            hint=f"give it no `set` mode, or drop the list with `xattrs: {{drop: [{ACL}]}}`",
        )


_INODE = slice(Entry._fields.index("mode"), Entry._fields.index("content"))
"""Mode, owner, attributes and target of an entry; comparing tuples is cheap enough for every path
of a hard link."""
_BYTES = slice(Content._fields.index("offset"), None)
"""All of a content but its path, in which hard links differ."""
_SHARED: Mapping[str, Callable[[Entry], object]] = {
    "owner": lambda entry: (entry.uid, entry.gid),
    "mode": lambda entry: oct(entry.mode),
    "attributes": lambda entry: dict(entry.xattrs),
    "target": lambda entry: entry.target,
    "size or content": lambda entry: entry.content and entry.content[_BYTES],
}


def _check_link(entry: Entry, first: Entry) -> None:
    same_bytes = (entry.content and entry.content[_BYTES]) == (
        first.content and first.content[_BYTES]
    )
    if same_bytes and entry[_INODE] == first[_INODE]:
        return
    differing = [name for name, of in _SHARED.items() if of(entry) != of(first)]
    raise InputError(
        f"hard links of one inode differ in {' and '.join(differing)}",
        where=entry.path,
        observed=f"linked with {first.path}",
        hint="give `set` rules of a hard-linked file for each of its paths",
    )
