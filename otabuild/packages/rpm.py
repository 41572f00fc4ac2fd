"""Packages of rpm: Fedora, openSUSE, Red Hat and their relatives; the database is one of SQLite."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

from otabuild.errors import InputError, LimitError, TableError
from otabuild.format import limits
from otabuild.packages.installed import Found, InstalledPackage, or_note, unread
from otabuild.packages.payload_tree import Tree
from otabuild.storage.sqlite_read import open_database

_ROOTS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm")
_OLDER = {"Packages": "of Berkeley DB", "Packages.db": "of the form ndb"}
_LARGEST = 256 * limits.MIB
_BUDGET = 50_000_000
"""SQLite's instructions to read the database: 10 for each package are enough."""
_FILES = 300_000
_SOURCE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+-[^-]+)\.(no)?src\.rpm")

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_LICENSE, _ARCH, _SOURCE_RPM = 1014, 1022, 1044
_OLD_FILE_NAMES, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1027, 1116, 1117, 1118
_TEXTS = frozenset({_NAME, _VERSION, _RELEASE, _LICENSE, _ARCH, _SOURCE_RPM})
_LISTS = frozenset({_OLD_FILE_NAMES, _BASE_NAMES, _DIR_NAMES})
_STRING, _INT32, _STRINGS = 6, 4, 8

Tags = Mapping[int, str | list[str] | tuple[int, ...]]


def read_rpm(tree: Tree) -> Iterator[Found]:
    """Yield the packages of rpm. A database of another form than SQLite is named as unread."""
    # Each database once, though one folder may be a link to another.
    places = {tree.follow(root): root for root in _ROOTS}
    for root in places.values():
        path = f"{root}/rpmdb.sqlite"
        yield from or_note("rpm", path, _of_database(tree, path))
        for name, form in _OLDER.items():
            if tree.file(f"{root}/{name}") is not None and tree.file(path) is None:
                hint = "`rpmdb --rebuilddb` of a newer rpm makes it one of SQLite"
                yield unread(
                    "rpm",
                    f"{root}/{name}",
                    InputError(f"a database {form}, which is not read", hint=hint),
                )


def _of_database(tree: Tree, path: str) -> Iterator[InstalledPackage]:
    entry = tree.file(path)
    if entry is None:
        return
    with tree.open(entry, _LARGEST) as file:
        for tags in rpm_headers(file):
            yield _package(tags, entry.path, tree.owned(_paths(tags)))
    log = tree.file(f"{path}-wal")
    if log is not None and log.size:
        raise InputError(
            "its log has changes that are not in it: the image was made while rpm was at work"
        )


def rpm_headers(file: IO[bytes]) -> Iterator[Tags]:
    """Yield the wanted tags of each package of an rpmdb.sqlite.

    Raises:
        TableError: not such a database.
        LimitError: reading it takes too long.
    """
    database = open_database(_at_rest(file), "rpmdb.sqlite", _BUDGET)
    try:
        size = file.tell()
        for (blob,) in database.query("SELECT blob FROM Packages"):
            raw = blob if isinstance(blob, bytes) else b""
            size -= len(raw)
            if size < 0:  # SQLite can make bytes up
                raise LimitError(
                    "the packages are larger than their database", where="rpmdb.sqlite"
                )
            yield _header_tags(raw)
    finally:
        database.close()


def _at_rest(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the database as if it had no log.

    On a running system it is in write-ahead mode, in an image at rest.
    """
    head = file.read(20)
    yield head[:18] + b"\1\1"[: max(len(head) - 18, 0)]
    while chunk := file.read(limits.MIB):
        yield chunk


def _header_tags(blob: bytes) -> Tags:
    """Return the wanted tags of an rpm header.

    It is two counts, then entries (tag, type, offset, count), then their data.
    """
    try:
        entries, size = struct.unpack_from(">2I", blob)
        index, data = blob[8 : 8 + 16 * entries], blob[8 + 16 * entries :]
        if len(data) != size:
            raise TableError(
                "an rpm header has a different size", observed=len(data), expected=size
            )
        tags: dict[int, str | list[str] | tuple[int, ...]] = {}
        for tag, kind, offset, count in struct.iter_unpack(">4I", index):
            if tag in _TEXTS and kind == _STRING:
                tags[tag] = data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
            elif tag in _LISTS and kind == _STRINGS:
                tags[tag] = _strings(data, offset, count)
            elif tag in (_EPOCH, _DIR_INDEXES) and kind == _INT32 and count <= _FILES:
                tags[tag] = struct.unpack_from(f">{count}I", data, offset)
    except (struct.error, ValueError) as error:
        raise TableError("an rpm header cannot be read", observed=error) from None
    return tags


def _strings(data: bytes, offset: int, count: int) -> list[str]:
    if count > _FILES:
        raise LimitError(
            "an rpm header lists too many files", observed=count, expected=f"at most {_FILES:,}"
        )
    parts = data[offset:].split(b"\0", count)
    if len(parts) <= count:
        raise TableError("an rpm header ends within a list")
    return [part.decode("utf-8", "replace") for part in parts[:count]]


def _package(tags: Tags, database: str, files: tuple[str, ...]) -> InstalledPackage:
    name, version, release, license_, architecture, rpm = (
        str(tags.get(tag, "")) for tag in (_NAME, _VERSION, _RELEASE, _LICENSE, _ARCH, _SOURCE_RPM)
    )
    epoch = "".join(f"{number}:" for number in list(tags.get(_EPOCH, ()))[:1])
    source = _SOURCE.fullmatch(rpm)
    return InstalledPackage(
        "rpm",
        name,
        f"{epoch}{version}-{release}",
        database,
        architecture,
        source["name"] if source else "",
        source["version"] if source else "",
        (license_,) if license_ else (),
        files,
        name,
    )


def _paths(tags: Tags) -> Iterable[str]:
    """Return the paths of a package: each is a name, and the number of its folder."""
    folders, names, numbers = (tags.get(tag, ()) for tag in (_DIR_NAMES, _BASE_NAMES, _DIR_INDEXES))
    yield from map(str, tags.get(_OLD_FILE_NAMES, ()))
    for name, number in zip(names, numbers, strict=False):
        if not isinstance(number, int) or number >= len(folders):
            raise TableError(
                "an rpm header has a file in a folder that is not listed", observed=number
            )
        yield f"{folders[number]}{name}"
